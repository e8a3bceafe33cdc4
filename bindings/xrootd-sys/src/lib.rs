//! Raw bindings of `shim.h`, the C face of `XrdCl`: nothing safe, nothing decided here.
//! The bindings are committed, so that a user needs no libclang; the test `bindings` (feature `bindgen`) keeps them in
//! step with the header. Everything else is in the crate `xrootd`.
#![allow(unsafe_code, reason = "this is the boundary to C")]
#![warn(clippy::undocumented_unsafe_blocks)]

#[allow(
    missing_docs,
    missing_debug_implementations,
    non_camel_case_types,
    unreachable_pub,
    clippy::pedantic,
    reason = "generated"
)]
mod bindings;

pub use bindings::*;

/// `XrdCl`'s status bits: nothing went wrong.
pub const ST_OK: u16 = 0;
/// `kXR_query` code: a file's checksum.
pub const QUERY_CHECKSUM: u32 = 3;
/// `kXR_query` code: space of a path.
pub const QUERY_SPACE: u32 = 5;
/// `kXR_query` code: values of the server's configuration.
pub const QUERY_CONFIG: u32 = 7;

#[cfg(test)]
mod tests {
    use super::*;

    /// Links, runs, and tells which headers were compiled in.
    #[test]
    fn the_shim_was_compiled_against_a_version_that_it_knows() {
        // SAFETY: takes nothing and returns a number.
        let version = unsafe { xrds_version() };
        assert!((50_500..70_000).contains(&version), "XrdVNUMBER {version}");
    }

    #[test]
    fn a_bad_url_has_no_host() {
        let mut out = [0 as std::ffi::c_char; 64];
        // SAFETY: a NUL-terminated string, and a buffer with its length.
        let length = unsafe { xrds_url_host_id(c"root://".as_ptr(), out.as_mut_ptr(), out.len()) };
        assert_eq!(length, 0);
    }
}
