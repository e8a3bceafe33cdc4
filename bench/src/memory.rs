//! The file system in memory on which benchmarks lay what they read and write: with large pages where `bench/run` could mount one,
//! else `/dev/shm`, where a simulator at the beam's pace spends most of its time on new pages.

use std::path::PathBuf;

/// Names the folder that `bench/run` has mounted.
const MOUNTED: &str = "LIGHTRAIL_MEMORY";

/// Where it is; the temporary folder where there is none.
pub(crate) fn folder() -> PathBuf {
    let shared = || Some(PathBuf::from("/dev/shm")).filter(|path| path.is_dir());
    mounted().or_else(shared).unwrap_or_else(std::env::temp_dir)
}

/// What is printed with the table.
pub(crate) fn text() -> String {
    match mounted() {
        Some(_) => "files lie in memory, in a tmpfs with large pages (huge=within_size)".to_owned(),
        None => format!("files lie in {}, without large pages", folder().display()),
    }
}

fn mounted() -> Option<PathBuf> {
    std::env::var_os(MOUNTED).map(PathBuf::from).filter(|path| path.is_dir())
}
