//! Compiles shim.cc against the installed `XRootD` headers and links the client library.
//! It looks for the headers in `XROOTD_INCLUDE`, then /usr/include/xrootd, then where `xrootd-config` points; it never
//! downloads anything and never runs bindgen.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The two headers that tell that both Debian packages are there.
const CLIENT: &str = "XrdCl/XrdClFile.hh";
const COMMON: &str = "XProtocol/XProtocol.hh";

fn main() {
    println!("cargo::rerun-if-changed=shim.h");
    println!("cargo::rerun-if-changed=shim.cc");
    println!("cargo::rerun-if-env-changed=XROOTD_INCLUDE");
    println!("cargo::rerun-if-env-changed=XROOTD_LIB");

    let tried = candidates();
    let Some(include) = tried.iter().find(|dir| dir.join(CLIENT).exists() && dir.join(COMMON).exists())
    else {
        let tried: Vec<String> = tried.iter().map(|dir| dir.display().to_string()).collect();
        println!(
            "cargo::error=the XRootD client headers ({CLIENT}, {COMMON}) were not found in {}; on Debian and Ubuntu: \
             apt-get install libxrootd-client-dev libxrootd-dev; elsewhere set XROOTD_INCLUDE to the folder that \
             holds XrdCl/",
            tried.join(", ")
        );
        return;
    };

    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .file("shim.cc")
        .include(".")
        // As system headers, for their warnings are not ours to mend.
        .flag("-isystem")
        .flag(include)
        .define("_LARGEFILE64_SOURCE", None)
        .define("_FILE_OFFSET_BITS", "64")
        .compile("xrootd_shim");

    if let Some(folder) = std::env::var_os("XROOTD_LIB") {
        println!("cargo::rustc-link-search=native={}", Path::new(&folder).display());
    }
    println!("cargo::rustc-link-lib=dylib=XrdCl");
    println!("cargo::rustc-link-lib=dylib=XrdUtils");
}

fn candidates() -> Vec<PathBuf> {
    if let Some(named) = std::env::var_os("XROOTD_INCLUDE") {
        return vec![PathBuf::from(named)];
    }
    let mut found = vec![PathBuf::from("/usr/include/xrootd")];
    if let Ok(told) = Command::new("xrootd-config").arg("--prefix").output()
        && told.status.success()
    {
        let prefix = String::from_utf8_lossy(&told.stdout);
        found.push(Path::new(prefix.trim()).join("include/xrootd"));
    }
    found
}
