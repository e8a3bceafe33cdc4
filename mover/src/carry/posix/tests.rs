use super::*;
use crate::carry::engine::Place;

fn site(folder: &Path) -> Site {
    Site::new("S3DF".parse().unwrap(), None, folder.to_str().unwrap())
}

#[tokio::test]
async fn a_file_system_that_is_not_mounted_is_no_missing_file() {
    let scratch = tempfile::tempdir().unwrap();
    let site = site(&scratch.path().join("not-mounted"));
    let place = Place { site: &site, server: None };
    let path = site.path(&"/mfx/mfxlv9518/xtc/a.xtc".parse().unwrap());
    let fault = Posix.stat(place, &path).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Endpoint, "not-mounted"));
    assert_eq!(Posix.list(place, &path.folder()).await.unwrap_err().code, "not-mounted");
    assert_eq!(Posix.ping(place).await.unwrap_err().code, "not-mounted");
    let from = scratch.path().join("source");
    fs::write(&from, b"x").unwrap();
    let (progress, _news) = watch::channel(Progress::START);
    let done = copy_file(&from, Path::new(path.as_str()), &site.prefix, &AtomicBool::new(false), &progress);
    assert_eq!(done.unwrap_err().code, "not-mounted");
    assert!(!scratch.path().join("not-mounted").exists(), "its folder was not made");
}

#[test]
fn of_two_renames_to_one_name_one_wins_and_nothing_is_lost() {
    let scratch = tempfile::tempdir().unwrap();
    for round in 0..200 {
        let at = |name: &str| scratch.path().join(format!("{round}-{name}"));
        fs::write(at("a"), b"a").unwrap();
        fs::write(at("b"), b"b").unwrap();
        let results: Vec<Result<(), Fault>> = std::thread::scope(|scope| {
            let threads = ["a", "b"].map(|name| {
                let (from, to) = (at(name), at("final"));
                scope.spawn(move || rename_new(&from, &to))
            });
            threads.map(|thread| thread.join().unwrap()).into()
        });
        let winners = results.iter().filter(|result| result.is_ok()).count();
        assert_eq!(winners, 1, "{results:?}");
        assert!(
            results.iter().filter_map(|result| result.as_ref().err()).all(|fault| fault.code == "exists")
        );
        let loser = if results[0].is_ok() { "b" } else { "a" };
        assert_eq!(fs::read(at(loser)).unwrap(), loser.as_bytes());
        assert_ne!(fs::read(at("final")).unwrap(), loser.as_bytes());
    }
}

#[test]
fn the_operating_system_s_numbers_have_a_class() {
    let of = |errno: Errno| {
        let fault = fault("writing", Path::new("/a"), &errno.into());
        (fault.class, fault.code)
    };
    assert_eq!(of(Errno::NOSPC), (FaultClass::Endpoint, "no-space".to_owned()));
    assert_eq!(of(Errno::DQUOT), (FaultClass::Endpoint, "over-quota".to_owned()));
    assert_eq!(of(Errno::ROFS), (FaultClass::Endpoint, "read-only".to_owned()));
    assert_eq!(of(Errno::ACCESS), (FaultClass::Credential, "permission-denied".to_owned()));
    assert_eq!(of(Errno::STALE).0, FaultClass::Transient);
}
