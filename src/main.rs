//! The `certgate` binary: everything is in the library.

fn main() -> std::process::ExitCode {
    certgate::app::main()
}
