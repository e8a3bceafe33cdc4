//! The program `lightrail-mover`: all of it is in the library.

/// For this program's C++ and C as well: what they allocate on one thread they free on another, which glibc does slowly.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    lightrail_mover::cli::main()
}
