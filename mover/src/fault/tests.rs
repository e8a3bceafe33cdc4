use super::*;

fn answered(code: u16, errno: u32, message: &str) -> Fault {
    Fault::from_answer("opening /a", Side::Destination, Some("d1:1094"), Answer { code, errno, message })
}

#[test]
fn the_class_table_holds() {
    use FaultClass::{Cancelled, Credential, Endpoint, Integrity, Permanent, Transient};
    for (code, errno, message, class, word) in [
        (101, 0, "", Transient, "unreachable"),
        (110, 0, "", Credential, "tls-failed"),
        (204, 0, "", Credential, "auth-failed"),
        (206, 0, "operation expired", Transient, "no-answer"),
        (306, 0, "", Endpoint, "redirect-limit"),
        (305, 0, "", Integrity, "checksum-error"),
        (9, 0, "", Permanent, "bad-argument"),
        (400, 3009, "no space left on device", Endpoint, "no-space"),
        (400, 3021, "quota", Endpoint, "over-quota"),
        (400, 3025, "read-only", Endpoint, "read-only"),
        (400, 3024, "overloaded", Transient, "overloaded"),
        (400, 3010, "not authorized", Credential, "not-authorized"),
        (400, 3010, "Unable to open /a; permission denied", Credential, "permission-denied"),
        (400, 3010, "tpc authorization expired", Transient, "tpc-expired"),
        (400, 3013, "not supported", Permanent, "unsupported"),
        (400, 3017, "cancelled", Cancelled, "cancelled"),
        (400, 3018, "file exists", Transient, "exists"),
        (400, 3019, "", Integrity, "checksum-error"),
    ] {
        let fault = answered(code, errno, message);
        assert_eq!((fault.class, fault.code.as_str()), (class, word), "{code} {errno} {message}");
    }
}

#[test]
fn a_source_s_error_that_the_destination_relays_is_the_source_s() {
    let fault = answered(400, 3005, "copy failed; [3005] remote said [3010] tpc authorization expired");
    assert_eq!((fault.class, fault.side, fault.kxr), (FaultClass::Transient, Side::Source, Some(3010)));
    assert_eq!(fault.endpoint, None);
    let fault = answered(400, 3005, "[3011] No such file or directory");
    assert_eq!((fault.class, fault.side), (FaultClass::SourceNotReady, Side::Source));
    for (message, side) in [
        ("Run: [3005] [ERROR] Local error: no space left on device:  (destination)\0", Side::Destination),
        ("[ERROR] Local error: no space left on device:  (destination)", Side::Destination),
        ("[ERROR] Server responded with an error: [3011] No such file (source)", Side::Source),
    ] {
        let fault = answered(400, 3005, message);
        assert_eq!(fault.side, side, "{message}");
        assert!(!fault.text.contains('\0'));
        assert_eq!(fault.code == "no-space", side == Side::Destination);
    }
    assert_eq!(wrapped_code("[31] [3abc] [3010"), None);
}

#[test]
fn what_is_not_there_is_a_source_not_ready_only_at_the_source() {
    let fault = answered(400, 3011, "no such file");
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Transient, "not-found"));
    let at_source = Fault::from_answer(
        "opening",
        Side::Source,
        None,
        Answer { code: 400, errno: 3011, message: "no such file" },
    );
    assert_eq!(at_source.class, FaultClass::SourceNotReady);
}

#[test]
fn one_unreadable_file_does_not_open_its_endpoint_s_breaker() {
    assert!(!answered(400, 3010, "permission denied").opens_breaker());
    assert!(answered(400, 3030, "auth failed").opens_breaker());
    assert!(!answered(400, 3009, "").uses_a_try() && answered(101, 0, "").uses_a_try());
}

#[test]
fn a_fault_survives_the_journal() {
    let fault = answered(400, 3009, "no space");
    let bytes = postcard::to_allocvec(&fault).unwrap();
    assert_eq!(postcard::from_bytes::<Fault>(&bytes).unwrap(), fault);
}
