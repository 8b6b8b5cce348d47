//! The command line: one file per noun. Each turns arguments into one or a few requests and prints the answers.

pub mod admin;
mod alarm;
mod audit;
mod backup;
mod cert;
mod conformance;
mod crl;
mod device;
mod duration;
mod enrolment;
pub mod files;
mod import;
mod issuer;
mod ocsp;
pub mod output;
mod process;
mod profile;
mod queue;
mod responder;
mod scep;
mod sentences;
mod shell;
mod sim;
mod source;
mod ticket;
mod token;
mod url;
mod user;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::app::failure::Outcome;
use output::Format;

/// A standalone PKI and SCEP gateway: devices enrol over SCEP, network gear asks over OCSP and CRL, and wiping a device revokes
/// its certificates.
#[derive(Parser, Debug)]
#[command(
    name = "certgate",
    version,
    disable_help_subcommand = true,
    max_term_width = 110,
    after_help = "See it work, in an empty directory:
  certgate quickstart --data ./lab

Set up a server:
  certgate init --data /var/lib/certgate --url http://pki.lab.example
  certgate serve --data /var/lib/certgate

Then, beside the server:
  certgate device register SN123
  certgate ticket create --profile device --device SN123
  certgate device wipe SN123

Exit codes: 0 ok, 1 error, 2 wrong usage, 3 not found, 4 refused, 5 only partly done."
)]
pub struct Cli {
    /// Form of the result on standard output
    #[arg(long, short = 'o', global = true, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// See the whole job in one command: create everything, enrol, check, wipe, see it revoked
    Quickstart(process::QuickstartArgs),
    /// Create a new gateway in an empty directory
    Init(Box<process::InitArgs>),
    /// Run the gateway
    Serve(process::ServeArgs),
    /// Check a configuration file and name every mistake in it
    CheckConfig(process::CheckConfigArgs),
    /// Ask a running gateway what does not work
    Doctor(process::DoctorArgs),
    /// The CAs
    Issuer(issuer::IssuerArgs),
    /// What certificates look like and who may have them
    Profile(profile::ProfileArgs),
    /// One-time challenges
    Ticket(ticket::TicketArgs),
    /// Devices and what becomes of them
    Device(device::DeviceArgs),
    /// Where device records come from: inventories of an MDM
    Source(source::SourceArgs),
    /// Users of devices
    User(user::UserArgs),
    /// Issued certificates
    Cert(cert::CertArgs),
    /// Revocation lists
    Crl(crl::CrlArgs),
    /// What became of each enrolment, and why it was refused
    #[command(alias = "enrollment")]
    Enrolment(enrolment::EnrolmentArgs),
    /// Enrolments that wait for approval
    Queue(queue::QueueArgs),
    /// Signs of a breach, until somebody has seen them
    Alarm(alarm::AlarmArgs),
    /// Who did what
    Audit(audit::AuditArgs),
    /// API tokens
    Token(token::TokenArgs),
    /// Back up a gateway, running or stopped
    Backup(backup::BackupArgs),
    /// Restore a backup into an empty directory
    Restore(backup::RestoreArgs),
    /// Take over the certificates and revocations of another CA
    Import(import::ImportArgs),
    /// Who signs OCSP answers about certificates of other CAs
    Responder(responder::ResponderArgs),
    /// SCEP client, for this and other servers
    Scep(scep::ScepArgs),
    /// OCSP client, for this and other responders
    Ocsp(ocsp::OcspArgs),
    /// A fleet of simulated devices against this or any SCEP server
    Sim(Box<sim::SimArgs>),
    /// Check any SCEP server or OCSP responder against the RFCs
    Conformance(conformance::ConformanceArgs),
    /// Print the completion script of a shell
    Completion(shell::CompletionArgs),
    /// Print or write the manual pages
    Man(shell::ManArgs),
}

/// Parses the command line, runs the command, says what went wrong, gives the exit code.
pub fn main() -> ExitCode {
    // clap prints help and usage errors itself; its exit code for the latter is ours too: 2.
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()) * 2);
        }
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::note(&format!("certgate: {failure}"));
            failure.into()
        }
    }
}

fn run(cli: Cli) -> Outcome {
    let format = cli.output;
    match cli.command {
        Command::Quickstart(args) => process::quickstart(args),
        Command::Init(args) => process::init(*args, format),
        Command::Serve(args) => process::serve(&args),
        Command::CheckConfig(args) => process::check_config(&args, format),
        Command::Doctor(args) => process::doctor(&args, format),
        Command::Issuer(args) => issuer::run(args, format),
        Command::Profile(args) => profile::run(args, format),
        Command::Ticket(args) => ticket::run(args, format),
        Command::Device(args) => device::run(args, format),
        Command::Source(args) => source::run(args, format),
        Command::User(args) => user::run(args, format),
        Command::Cert(args) => cert::run(args, format),
        Command::Crl(args) => crl::run(args, format),
        Command::Enrolment(args) => enrolment::run(args, format),
        Command::Queue(args) => queue::run(args, format),
        Command::Alarm(args) => alarm::run(args, format),
        Command::Audit(args) => audit::run(&args, format),
        Command::Token(args) => token::run(args, format),
        Command::Backup(args) => backup::backup(args, format),
        Command::Restore(args) => backup::restore(args, format),
        Command::Import(args) => import::run(args, format),
        Command::Responder(args) => responder::run(args, format),
        Command::Scep(args) => scep::run(args, format),
        Command::Ocsp(args) => ocsp::run(args, format),
        Command::Sim(args) => sim::run(&args, format),
        Command::Conformance(args) => conformance::run(args, format),
        Command::Completion(args) => shell::completion(&args),
        Command::Man(args) => shell::man(&args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parses(line: &str) -> bool {
        Cli::try_parse_from(line.split_whitespace()).is_ok()
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_readme_lists_every_command_with_its_verbs() {
        const README: &str = include_str!("../../../README.md");
        let rows: Vec<_> = README.lines().filter(|line| line.starts_with("| `")).collect();
        for command in Cli::command().get_subcommands() {
            let name = format!("`{}`", command.get_name());
            let row = rows.iter().find(|row| row.split('|').nth(1).is_some_and(|cell| cell.contains(&name)));
            let row = row.unwrap_or_else(|| panic!("{name} is missing"));
            for verb in command.get_subcommands() {
                assert!(row.contains(&format!("`{}`", verb.get_name())), "{} of {name}", verb.get_name());
            }
        }
    }

    /// Where help goes into a pipe it is broken at 100 columns, and a command that is broken cannot be pasted.
    #[test]
    fn the_examples_of_help_are_not_broken() {
        fn check(command: &clap::Command) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in help.lines().filter(|line| line.starts_with("  ")) {
                assert!(line.chars().count() <= 100, "{}: {line}", command.get_name());
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }

    #[test]
    fn both_spellings_of_enrol_are_taken() {
        for verb in ["enrol", "enroll"] {
            assert!(
                parses(&format!("certgate scep {verb} --url http://x/ --subject CN=a --key k --cert c")),
                "{verb}"
            );
        }
    }

    #[test]
    fn server_and_output_may_stand_anywhere() {
        for line in [
            "certgate -o json device list --data /d",
            "certgate device --data /d list -o json",
            "certgate device list --socket /d/s --lifecycle active --limit 10 --after x",
        ] {
            assert!(parses(line), "{line}");
        }
    }

    #[test]
    fn a_secret_has_no_place_in_the_arguments() {
        for line in [
            "certgate scep enrol --url http://x/ --subject CN=a --key k --cert c --challenge s3cret",
            "certgate ticket create --profile device --device a --secret s3cret",
            "certgate backup --out b --passphrase s3cret",
        ] {
            assert!(!parses(line), "{line}");
        }
    }

    #[test]
    fn a_ticket_is_for_somebody() {
        assert!(!parses("certgate ticket create --profile device"));
        assert!(parses("certgate ticket create --profile device --user ada"));
    }
}
