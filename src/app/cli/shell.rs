//! `certgate completion` and `certgate man`: what the shell and the manual know, made from the command line itself.

use std::{io, path::PathBuf};

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use crate::app::failure::{Failure, Outcome};

/// Print the completion script of a shell.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  certgate completion bash > /etc/bash_completion.d/certgate")]
pub(super) struct CompletionArgs {
    /// Which shell
    shell: Shell,
}

/// Print the manual page, or write the pages of all commands.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  certgate man | man -l -
  certgate man --out /usr/local/share/man/man1")]
pub(super) struct ManArgs {
    /// Write a page for every command into this directory
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Runs `certgate completion`.
pub(super) fn completion(args: &CompletionArgs) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "certgate", &mut script);
    write(&script)
}

/// Runs `certgate man`.
pub(super) fn man(args: &ManArgs) -> Outcome {
    if let Some(directory) = &args.out {
        return std::fs::create_dir_all(directory)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), directory))
            .map_err(Failure::while_doing(directory.display()));
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page).map_err(Failure::error)?;
    write(&page)
}

/// A reader that has gone away is no error.
fn write(bytes: &[u8]) -> Outcome {
    match io::Write::write_all(&mut io::stdout(), bytes) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::error(error)),
        _ => Ok(()),
    }
}
