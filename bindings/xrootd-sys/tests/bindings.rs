//! Keeps `src/bindings.rs` in step with `shim.h`; `UPDATE_BINDINGS=1` writes it anew.

use std::path::Path;

#[test]
fn committed_bindings_are_those_of_the_header() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = bindgen::Builder::default()
        .header(root.join("shim.h").display().to_string())
        .allowlist_item("xrds_.*")
        .rust_target(bindgen::RustTarget::stable(90, 0).expect("a Rust that bindgen knows"))
        .rust_edition(bindgen::RustEdition::Edition2024)
        .generate_comments(false)
        .layout_tests(true)
        .raw_line("// Made from shim.h by bindgen: `UPDATE_BINDINGS=1 cargo test -p xrootd-sys --features bindgen`.")
        .disable_header_comment()
        .generate()
        .expect("bindgen understands a plain C header")
        .to_string();
    let path = root.join("src/bindings.rs");
    if std::env::var_os("UPDATE_BINDINGS").is_some() {
        std::fs::write(&path, &made).expect("writing src/bindings.rs");
    }
    let committed = std::fs::read_to_string(&path).expect("reading src/bindings.rs");
    assert!(committed == made, "src/bindings.rs is not what shim.h says; run with UPDATE_BINDINGS=1");
}
