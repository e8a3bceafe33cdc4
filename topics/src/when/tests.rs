use super::*;

fn read(text: &str) -> Result<When, String> {
    text.parse::<When>().map_err(|error| error.to_string())
}

fn shape(clause: &Clause) -> String {
    let list = |name: &str, parts: &[Clause]| {
        format!("{name}({})", parts.iter().map(shape).collect::<Vec<_>>().join(", "))
    };
    match &clause.test {
        Test::All(parts) => list("all", parts),
        Test::Any(parts) => list("any", parts),
        Test::Not(of) => list("not", std::slice::from_ref(&**of)),
        test => format!("{test:?}"),
    }
}

#[test]
fn a_text_is_read_as_it_is_meant() {
    let text = "run.number >= 12 and param('beam energy') > 9.5 keV and not ('a' in tags or run.ended)";
    let when = read(text).unwrap();
    assert_eq!(when.to_string(), text);
    insta::assert_snapshot!(shape(when.root()), @r#"all(Compare(Field(RunNumber), AtLeast, Literal(Number(12.0))), Compare(Param("beam energy"), More, Literal(Number(9500.0))), not(any(Tagged(a), Holds(Field(RunEnded)))))"#);
    let parts: Vec<&str> = when.parts().iter().map(|part| when.text_of(part)).collect();
    assert_eq!(
        parts,
        ["run.number >= 12", "param('beam energy') > 9.5 keV", "not ('a' in tags or run.ended)"]
    );
    // `or` binds less than `and`, `not` more; one `=` is as good as two.
    let when = read("not known(run.sample) or run.type = \"DATA\" and files.size > 1.5GB").unwrap();
    insta::assert_snapshot!(shape(when.root()), @r#"any(not(Known(Field(RunSample))), all(Compare(Field(RunType), Equal, Literal(Text("DATA"))), Compare(Field(FilesSize), More, Literal(Number(1500000000.0)))))"#);
    let when =
        read("run.sample not like 'lyso*' and param('x') in [1, 'two', true] and -1e-3 < param(\"y\")")
            .unwrap();
    insta::assert_snapshot!(shape(when.root()), @r#"all(not(Like(Field(RunSample), "lyso*")), OneOf(Param("x"), [Number(1.0), Text("two"), Truth(true)]), Compare(Literal(Number(-0.001)), Less, Param("y")))"#);
}

#[test]
fn faults_are_told_with_their_place() {
    let wrong = [
        "",
        "run.number",
        "run.number > ",
        "run.number > 'x'",
        "run.numbers > 3",
        "run.sample < 'b'",
        "run.ended > true",
        "files.size > 3 GiBi",
        "'a b' in tags",
        "3 in tags",
        "'a' in 3",
        "run.number in [1, 'a']",
        "run.number like 'x'",
        "run.number > 3 run.number < 5",
        "(run.number > 3",
        "run.number > 3)",
        "param(x) > 3",
        "param('x' > 3",
        "'never ends",
        "\u{e9}t\u{e9} > 3",
        "run.number > 3 and \u{a7}",
        "run.number not 3",
        "1e999 > run.number",
        "known run.number",
    ];
    let told: Vec<String> =
        wrong.iter().map(|text| format!("{text:?}: {}", read(text).unwrap_err())).collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn length_and_depth_are_bounded() {
    let deep = |levels: usize| format!("{}run.ended{}", "(".repeat(levels), ")".repeat(levels));
    assert!(read(&deep(MAX_DEPTH)).is_ok());
    assert!(read(&deep(MAX_DEPTH + 1)).unwrap_err().contains("deeper"));
    assert!(read(&"not ".repeat(400)).unwrap_err().contains("deeper"));
    assert!(read(&format!("run.ended{}", " ".repeat(MAX_TEXT))).unwrap_err().contains("longer"));
}

#[test]
fn no_text_makes_it_panic() {
    let pieces = [
        "run.number",
        "param",
        "tags",
        "'",
        "\"",
        "(",
        ")",
        "[",
        "]",
        ",",
        "-",
        "1",
        ".",
        "e",
        "1e",
        "GB",
        " ",
        "and",
        "or",
        "not",
        "in",
        "like",
        "==",
        "<",
        "=",
        "!",
        "\u{e9}",
        "\u{1f980}",
        "known",
        "true",
        "'a'",
    ];
    let mut state = 7_u64;
    for _ in 0..20_000 {
        let mut text = String::new();
        for _ in 0..12 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let index = usize::try_from(state >> 33).unwrap() % pieces.len();
            text.push_str(pieces[index]);
            if state & 1 << 20 == 0 {
                text.push(' ');
            }
        }
        match text.parse::<When>() {
            Ok(when) => assert_eq!(when.as_str(), text),
            Err(error) => assert!((1..=text.chars().count() + 1).contains(&error.column), "{text}: {error}"),
        }
    }
}
