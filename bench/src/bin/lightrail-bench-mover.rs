//! Benchmarks of what runs under jemalloc, as the mover does: the mover itself and its journal.

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> anyhow::Result<()> {
    lightrail_bench::main(lightrail_bench::Allocator::Jemalloc)
}
