//! The program `lightrail-analysis`: all of it is in the library.

fn main() -> std::process::ExitCode {
    lightrail_analysis::cli::main()
}
