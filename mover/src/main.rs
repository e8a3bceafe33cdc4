//! The program `lightrail-mover`: all of it is in the library.

fn main() -> std::process::ExitCode {
    lightrail_mover::cli::main()
}
