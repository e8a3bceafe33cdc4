//! What can be told without an engine; the rest is in the container suite.

use super::*;

#[test]
fn a_folder_inside_another_is_not_shared_twice() {
    let mut start = Start::new("x", "x", Path::new("/a/b"));
    start.shares = ["/a/b/c", "/a", "/d", "/ab", "/d"].map(std::path::PathBuf::from).to_vec();
    assert_eq!(shared(&start), [Path::new("/a"), Path::new("/ab"), Path::new("/d")]);
}
