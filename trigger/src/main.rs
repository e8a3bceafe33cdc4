//! The program `lightrail-trigger`: all of it is in the library.

fn main() -> std::process::ExitCode {
    lightrail_trigger::cli::main()
}
