//! What PBS prints is read: as its versions print it, with all that stands in the way.

use super::*;

fn told(found: &[Sighting]) -> String {
    let lines = found.iter().map(|sighting| format!("{} {} {:?}", sighting.name, sighting.id, sighting.seen));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn what_pbs_pro_prints_is_read() {
    // In the shape of OpenPBS 23.06's `qstat -x -f -F json`.
    let text = r#"{"timestamp":1706798400,"pbs_version":"23.06.06","pbs_server":"pbs","Jobs":{
        "1.pbs":{"Job_Name":"lra","Job_Owner":"u@pbs","job_state":"Q","queue":"workq","comment":"Not Running: Insufficient amount of resource"},
        "2.pbs":{"Job_Name":"lrb","job_state":"R","substate":42},
        "3.pbs":{"Job_Name":"lrc","job_state":"F","substate":92,"Exit_status":0},
        "4.pbs":{"Job_Name":"lrd","job_state":"F","substate":93,"Exit_status":7},
        "5.pbs":{"Job_Name":"lre","job_state":"F","substate":91,"Exit_status":271,"comment":"terminated"},
        "6.pbs":{"Job_Name":"lrf","job_state":"F","Exit_status":-29},
        "7.pbs":{"Job_Name":"lrg","job_state":"F","Exit_status":-3},
        "8.pbs":{"Job_Name":"lrh","job_state":"F","Exit_status":265},
        "9.pbs":{"Job_Name":"lri","job_state":"H"},
        "10.pbs":{"Job_Name":"somebody's","job_state":"R"},
        "11.pbs":{"Job_Name":"lrj","job_state":"?"}}}"#;
    let names = "abcdefghij".chars().map(|letter| format!("lr{letter}").parse().unwrap()).collect();
    insta::assert_snapshot!(told(&json(text, &names).unwrap()));
    assert_eq!(
        json(r#"{"timestamp":1,"pbs_version":"23.06.06","pbs_server":"pbs"}"#, &names),
        Some(Vec::new())
    );
    assert_eq!(json("qstat: cannot connect to server pbs", &names), None);
}

#[test]
fn a_job_whose_environment_pbs_cannot_write_in_json_hides_no_other() {
    let text = include_str!("../golden/openpbs-22.05.json");
    assert!(serde_json::from_str::<Value>(text).is_err());
    let names = "abc".chars().map(|letter| format!("lr{letter}").parse().unwrap()).collect();
    insta::assert_snapshot!(told(&json(text, &names).unwrap()), @r#"
    lra 157.pbs01 Held
    lrb 159.pbs01 Ended { end: Done, exit: Some(0) }
    lrc 160.pbs01 Ended { end: Failed { class: Application, text: "F Exit_status 117 Job run at Thu Feb 01 at 14:16 on (node1299:ncpus=64) and failed" }, exit: Some(117) }
    "#);
    let said: Value = serde_json::from_str(&mended::mended(text)).unwrap();
    insta::assert_snapshot!(said["Jobs"]["158.pbs01"]["Variable_List"], @r#"{"FOO":"005","FOO1":".123","FOO2":"123.","FOO4":"-00","FOO7":"inf","FOO8":"0x1F","MYVAR":"'\"asads\"'","MYVAR2":"ab,c","TAB":"a\tb"}"#);
    assert_eq!(said["Jobs"]["159.pbs01"]["exec_host"], "node1299/0*64");
}

#[test]
fn what_is_json_is_left_as_it_is_and_no_text_is_mended_for_ever() {
    let plain = r#"{"a": [-1.5e3, 0, true, null, "\u00e9\"\\ \/{}:,"], "": {}}"#;
    assert_eq!(mended::mended(plain), plain);
    for cut in (0..plain.len()).filter(|cut| plain.is_char_boundary(*cut)) {
        let mended = mended::mended(&plain[..cut]);
        assert!(mended.len() <= 2 * cut + 2, "{mended}");
    }
    assert_eq!(mended::mended(r"\u12"), r#""\\u12""#);
    assert_eq!(mended::mended(r#""\u12""#), r#""u12""#);
}

#[test]
fn every_state_has_its_meaning() {
    let states = ["Q", "W", "T", "M", "H", "R", "B", "E", "S", "U", "?"];
    let mut told: Vec<String> =
        states.iter().map(|state| format!("{state}: {:?}", seen(state, None, None, ""))).collect();
    for exit in [0, 7, 265, -3, -10, -11, -12, -26, -27, -28, -29] {
        told.push(format!("F {exit}: {:?}", seen("F", Some(exit), None, "")));
    }
    for (state, exit, substate, comment) in [
        ("X", Some(0), None, ""),
        ("C", Some(1), None, ""),
        ("F", None, None, ""),
        ("F", Some(271), Some(91), "Job deleted"),
        ("F", Some(271), None, "Job exceeded limit walltime"),
        ("F", Some(265), None, "walltime 60 exceeded"),
    ] {
        let seen = seen(state, exit, substate, comment);
        told.push(format!("{state} {exit:?} {substate:?} {comment}: {seen:?}"));
    }
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn what_torque_prints_is_read() {
    // As torque 6 prints it; the wrappers over Slurm print the first lines of a job with tabs, and no exit status.
    let text = "Job Id: 12.host\n    Job_Name = lra\n    Job_Owner = root@n\n    job_state = R\n    queue = debug\n\n\
        Job Id: 13.host\n    Job_Name = lrb\n    job_state = C\n    exit_status = 0\n\n\
        Job Id: 14.host\n    Job_Name = lrc\n    job_state = C\n    exit_status = -11\n\n\
        Job Id:\t15\n\tJob_Name = lrd\n\tjob_state = R\n";
    let names = "abcd".chars().map(|letter| format!("lr{letter}").parse().unwrap()).collect();
    insta::assert_snapshot!(told(&torque(text, &names)));
    // As torque 6 prints all of a job, what its environment holds of lines included.
    let text = include_str!("../golden/torque-6.txt");
    insta::assert_snapshot!(told(&torque(text, &names)), @r#"
    lra 9.torque01.example.org Ended { end: Done, exit: Some(0) }
    lrb 10.torque01.example.org Ended { end: Failed { class: Application, text: "C Exit_status 271 Job 10.torque01.example.org deleted because its dependency of arr" }, exit: None }
    lrc 11.torque01.example.org Running
    "#);
}
