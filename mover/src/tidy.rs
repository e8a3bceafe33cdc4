//! Rules of the whole tree that the compiler does not keep, read off its sources: who may import what, where `unsafe`
//! may stand, how a file begins, how long it may be.

use std::path::{Path, PathBuf};

/// All Rust sources of the workspace, with their paths from its root.
fn sources() -> Vec<(String, String)> {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a crate lies in the workspace").to_owned();
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> =
        ["topics", "bindings", "service", "mover", "analysis", "trigger", "compose", "tests", "bench"]
            .iter()
            .map(|name| root.join(name))
            .collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the workspace") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let name = path.strip_prefix(&root).expect("below the root").to_string_lossy().into_owned();
                found.push((name, std::fs::read_to_string(&path).expect("a source")));
            }
        }
    }
    found.sort();
    assert!(found.len() > 100, "the sources are found");
    found
}

/// Code lines with `needle`, outside of comments, in files that `allowed` does not allow.
fn offenders(needle: &str, allowed: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (name, text) in sources() {
        for (line, code) in text.lines().enumerate() {
            let is_code = !code.trim_start().starts_with("//");
            if is_code && code.contains(needle) && !allowed(&name) && name != "mover/src/tidy.rs" {
                found.push(format!("{name}:{}: {}", line + 1, code.trim()));
            }
        }
    }
    found
}

#[test]
fn only_one_module_imports_each_client() {
    let in_topics_kafka =
        |name: &str| name.starts_with("topics/src/kafka") || name.starts_with("topics/tests/");
    assert_eq!(offenders("rdkafka::", in_topics_kafka), [""; 0]);
    // `compose` and the suites have a module of that name.
    let may_xrootd = |name: &str| match name.split_once("/src/") {
        Some(("mover", module)) => module.starts_with("carry/native"),
        Some(("analysis", module)) => module == "source.rs" || module.starts_with("source/"),
        _ => true,
    };
    assert_eq!(offenders("xrootd::", may_xrootd), [""; 0]);
    assert_eq!(
        offenders("sled::", |name| name.starts_with("mover/src/journal") || name.starts_with("bench/")),
        [""; 0]
    );
    assert_eq!(offenders("openssl::", |name| name == "trigger/src/jwt.rs"), [""; 0]);
    assert_eq!(offenders("use ::backoff::", |name| name == "mover/src/carry/backoff.rs"), [""; 0]);
}

#[test]
fn unsafe_stands_only_in_the_bindings_and_in_kernels_and_says_why_it_is_sound() {
    let kernels = ["analysis/src/simd/level.rs", "analysis/src/simd/x86.rs", "analysis/src/simd/lines.rs"];
    let may = |name: &str| name.starts_with("bindings/") || kernels.contains(&name);
    assert_eq!(offenders("unsafe {", may), [""; 0]);
    let told = |name: &str| name.starts_with("bindings/xrootd/src") || name.starts_with("analysis/src/simd");
    for (name, text) in sources().into_iter().filter(|(name, _)| told(name)) {
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.contains("unsafe {")) {
            let told = lines[at.saturating_sub(6)..=at].iter().any(|line| line.contains("SAFETY:"));
            assert!(told, "{name}:{}: {}", at + 1, line.trim());
        }
    }
}

#[test]
fn every_file_says_what_it_is_and_none_is_too_long() {
    for (name, text) in sources() {
        if name.ends_with("xrootd-sys/src/bindings.rs") {
            continue;
        }
        // A module's own tests are told by the module.
        let is_tests = name.ends_with("tests.rs") || name.contains("/tests/");
        assert!(is_tests || text.starts_with("//!"), "{name} does not begin with what it is");
        let lines = text.lines().count();
        assert!(lines <= 600, "{name} has {lines} lines; look for a seam");
    }
}

#[test]
fn deciding_code_has_no_clock_no_randomness_and_no_input() {
    let pure = |name: &str| {
        let deciding = ["mover/src/ledger/", "trigger/src/decide", "trigger/src/place"]
            .iter()
            .any(|of| name.starts_with(of));
        deciding && !name.contains("tests")
    };
    let impure = ["SystemTime", "Instant::now", "fastrand", "std::fs", "tokio::", "async fn", "std::env"];
    for (name, text) in sources().into_iter().filter(|(name, _)| pure(name)) {
        for word in impure {
            let code = text.lines().find(|line| line.contains(word) && !line.trim_start().starts_with("//"));
            assert!(code.is_none(), "{name} has {word}: {}", code.unwrap_or_default());
        }
    }
}

#[test]
fn the_files_that_the_architecture_names_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a crate lies in the workspace");
    let page = std::fs::read_to_string(root.join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let sources = sources();
    // Whatever stands between backticks and ends as a source, without what is named in it.
    let named = page.split('`').skip(1).step_by(2).map(|code| code.split("::").next().unwrap_or(code));
    let is_source =
        |code: &&str| Path::new(code).extension().is_some_and(|end| end == "rs") && !code.contains(' ');
    let named: Vec<&str> = named.filter(is_source).collect();
    assert!(named.len() > 50, "{} files are named", named.len());
    let is_there = |file: &&&str| {
        let end = format!("/{file}");
        sources.iter().any(|(name, _)| name == **file || name.ends_with(&end))
    };
    let missing: Vec<&&str> = named.iter().filter(|file| !is_there(file)).collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md names {missing:?}");
}
