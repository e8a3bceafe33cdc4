//! Benchmarks under the system's allocator: the analysis and the trigger, whose programs run under it. Starts the other program
//! for the scenarios that belong there.

fn main() -> anyhow::Result<()> {
    lightrail_bench::main(lightrail_bench::Allocator::System)
}
