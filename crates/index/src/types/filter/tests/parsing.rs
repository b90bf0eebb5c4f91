//! Tests of what texts mean, of limits, and of canonical texts.

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash, Hasher},
};

use proptest::prelude::*;
use time::OffsetDateTime;

use super::*;
use crate::types::{
    field::{Comparison, Decimal, FieldPath},
    filter::{
        expression::{Clause, Expression, Located, Name, Operator},
        literal::Literal,
    },
};

fn parse(text: &str) -> Result<Filter, FilterError> {
    text.parse()
}

#[test]
fn the_canonical_text_has_one_form() {
    for (text, canonical) in [
        ("price<50", "price < 50"),
        ("a=1 or b=2 and not c=3", "a = 1 OR b = 2 AND c != 3"),
        ("(a=1 or b=2) and c=3", "(a = 1 OR b = 2) AND c = 3"),
        ("((a=1 and (b=2 and c=3)))", "a = 1 AND b = 2 AND c = 3"),
        ("not (a=1 and b=2)", "NOT (a = 1 AND b = 2)"),
        ("NOT a < 1", "NOT a < 1"),
        ("not not a != 1", "NOT NOT a != 1"),
        ("a in (1,2)", "a IN [1, 2]"),
        ("a Not In ['x']", r#"a NOT IN ["x"]"#),
        ("a not exists or a exists", "a NOT EXISTS OR a EXISTS"),
        ("a is null and b is not null", "a IS NULL AND b IS NOT NULL"),
        ("a starts with 'x'", r#"a STARTS WITH "x""#),
        ("not a starts with 'x'", r#"a NOT STARTS WITH "x""#),
        (r#""a"."b c" = TRUE"#, r#"a."b c" = true"#),
        (r#""in"=1 and a.in=1"#, r#""in" = 1 AND a.in = 1"#),
        (
            r#""labels"=1 and labels='x'"#,
            r#""labels" = 1 AND labels = "x""#,
        ),
        ("labels.a = 1", "labels.a = 1"),
        ("a . b = 1", "a.b = 1"),
        ("a = 1.0", "a = 1"),
        ("a = -0.0", "a = 0"),
        ("a = 1e2", "a = 100"),
        ("a = 1e300", "a = 1e300"),
        ("a = 0.10", "a = 0.1"),
        ("a = 18446744073709551615", "a = 18446744073709551615"),
        ("a = 18446744073709551616", "a = 1.8446744073709552e19"),
        (
            r#"a = "\"\'\\\/\n\t\u00e9\ud83d\ude00""#,
            r#"a = "\"'\\/\n\té😀""#,
        ),
        (r#"a = 'it\'s "x"'"#, r#"a = "it's \"x\"""#),
        ("a = \"e\u{301}\u{1}\"", "a = \"\u{e9}\\u0001\""),
        ("a = 2026-01-02T03:04:05+01:00", "a = 2026-01-02T02:04:05Z"),
        (
            "a = 2026-01-02T03:04:05.1200Z",
            "a = 2026-01-02T03:04:05.12Z",
        ),
        (
            "a = 0000-01-01T00:00:00+01:00",
            "a = 0000-01-01T22:59:00+23:59",
        ),
        (
            "a = 9999-12-31T23:00:00-01:00",
            "a = 9999-12-31T00:01:00-23:59",
        ),
    ] {
        let filter = parse(text).unwrap();
        assert_eq!(filter.to_string(), canonical, "{text}");
        assert_eq!(parse(canonical).unwrap(), filter, "{text}");
    }
}

#[test]
fn filters_are_equal_by_meaning() {
    let hash = |filter: &Filter| {
        let mut hasher = DefaultHasher::new();
        filter.hash(&mut hasher);
        hasher.finish()
    };
    let (one, other) = (
        parse("a=1.0 and b!='x'"),
        parse("  a = 1 AND NOT b = \"x\""),
    );
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!(one, other);
    assert_eq!(hash(&one), hash(&other));
    assert_ne!(one, parse("a = 1 AND b = \"x\"").unwrap());
    let json = serde_json::to_string(&one).unwrap();
    assert_eq!(json, r#""a = 1 AND b != \"x\"""#);
    assert_eq!(serde_json::from_str::<Filter>(&json).unwrap(), one);
    let error = serde_json::from_str::<Filter>(r#""a =""#).unwrap_err();
    assert!(error.to_string().contains("column 4: found the end"));
}

#[test]
fn filters_are_joined_and_name_their_fields() {
    assert_eq!(Filter::any_label(vec![]), None);
    let labels = Filter::any_label(vec!["x".to_owned(), "e\u{301}".to_owned()]).unwrap();
    assert_eq!(labels, parse("labels IN [\"x\", \"\u{e9}\"]").unwrap());
    let filter = parse("b.c = 1 OR a = 1 AND b.c > 2").unwrap().and(labels);
    assert_eq!(
        filter.to_string(),
        "(b.c = 1 OR a = 1 AND b.c > 2) AND labels IN [\"x\", \"é\"]"
    );
    let paths: Vec<String> = filter.paths().map(FieldPath::to_string).collect();
    assert_eq!(paths, ["a", "b.c"]);
}

#[test]
fn limits_are_exact() {
    let wrong = |text: String| parse(&text).unwrap_err().to_string();
    let conditions = |count: usize| vec!["a = 1"; count].join(" AND ");
    assert!(parse(&conditions(64)).is_ok());
    assert_eq!(
        wrong(conditions(65)),
        "the filter is wrong at column 641: this is comparison 65; the maximum is 64; write IN for \
         many values of one field"
    );
    let lists = |count: usize| format!("a IN [1] OR a IN [{}]", vec!["1"; count - 1].join(","));
    assert!(parse(&lists(10_000)).is_ok());
    assert_eq!(
        wrong(lists(10_001)),
        "the filter is wrong at column 20017: the lists have more than 10000 values in all; write \
         fewer"
    );
    let nested = |levels: usize| format!("{}a=1{}", "(".repeat(levels), ")".repeat(levels));
    assert!(parse(&nested(32)).is_ok());
    assert_eq!(
        wrong(nested(33)),
        "the filter is wrong at column 33: this is level 33 of ( ) and NOT; the maximum is 32"
    );
    assert!(parse(&format!("{}a=1", "NOT ".repeat(32))).is_ok());
    let mixed = |levels| format!("{}a=1{} and b=1", "not(".repeat(levels), ")".repeat(levels));
    assert!(parse(&mixed(16)).is_ok());
    assert!(wrong(mixed(17)).contains("column 65: this is level 33"));
    // Levels that are closed do not count.
    assert!(parse(&format!("{0} AND {0}", nested(32))).is_ok());
    assert_eq!(
        wrong(format!("a = \"{}\"", "x".repeat(65_536))),
        "the filter has 65542 bytes; the maximum is 65536"
    );
    assert!(parse(&format!("a = \"{}\"", "x".repeat(65_530))).is_ok());
    assert_eq!(
        wrong(format!("a = \"{}\"", "\u{1}".repeat(20_000))),
        "the filter has 120006 bytes once numbers, escapes and spaces are written in full; the \
         maximum is 65536"
    );
}

#[test]
fn long_texts_of_anything_are_parsed_or_refused() {
    for piece in [
        "(",
        "((",
        ")",
        "NOT ",
        "a.",
        "a",
        "\"",
        "\"\"",
        "\"\\",
        "\\",
        "-",
        "1",
        "1:",
        "1.",
        "5-",
        "é",
        "a=1 and ",
        "a in [",
        "[1,",
        "=",
        "!",
        " ",
        "\u{1d160}",
        "x\u{301}",
        "'\\u0041'.",
        "1e9",
        "{",
    ] {
        for start in ["", "a = \"", "a IN [", "a IN [\"", "a = 1", "a = 0.", "("] {
            let count = (Filter::MAX_BYTES - start.len()) / piece.len();
            let text = format!("{start}{}", piece.repeat(count));
            if let Ok(filter) = parse(&text) {
                assert_eq!(parse(&filter.to_string()), Ok(filter));
            }
        }
    }
}

fn names() -> impl Strategy<Value = Name> {
    let name = prop_oneof![
        3 => "[a-z]{1,3}",
        1 => prop_oneof![Just("In"), Just("null"), Just("labels"), Just("id"), Just("5g")]
            .prop_map(str::to_owned),
        1 => any::<String>().prop_map(|name| name.chars().take(9).chain(['x']).collect()),
    ];
    let path = prop::collection::vec(name, 1..4)
        .prop_map(|names| Name::Field(FieldPath::new(names).unwrap()));
    let special = prop::sample::select(Name::SPECIAL.to_vec());
    prop_oneof![4 => path, 1 => special]
}

fn literals() -> impl Strategy<Value = Located<Literal>> {
    let time = -62_167_219_200_000_000_000..253_402_300_800_000_000_000i128;
    let literal = prop_oneof![
        any::<String>().prop_map(|text| Literal::text(&text)),
        (prop::num::f64::NORMAL | prop::num::f64::ZERO | prop::num::f64::SUBNORMAL)
            .prop_map(Literal::number),
        (-99f64..99.0).prop_map(|float| Literal::number(float.round())),
        any::<i64>().prop_map(|whole| Literal::Number(Decimal::Whole(whole.into()))),
        any::<u64>().prop_map(|whole| Literal::Number(Decimal::Whole(whole.into()))),
        any::<bool>().prop_map(Literal::Bool),
        time.prop_map(|time| Literal::Time(
            OffsetDateTime::from_unix_timestamp_nanos(time).unwrap()
        )),
    ];
    literal.prop_map(|literal| Located::new(literal, 1))
}

fn expressions() -> impl Strategy<Value = Expression> {
    let comparison = prop::sample::select(vec![
        Comparison::Equal,
        Comparison::Less,
        Comparison::AtMost,
        Comparison::Greater,
        Comparison::AtLeast,
    ]);
    let operator = prop_oneof![
        4 => (comparison, literals()).prop_map(|(comparison, value)| {
            Operator::Compare(comparison, value)
        }),
        2 => prop::collection::vec(literals(), 1..4).prop_map(Operator::In),
        1 => Just(Operator::Exists),
        1 => Just(Operator::Null),
        1 => any::<String>().prop_map(|text| match Literal::text(&text) {
            Literal::Text(text) => Operator::StartsWith(text),
            _ => Operator::Exists,
        }),
    ];
    let clause = (names(), operator).prop_map(|(name, operator)| {
        let name = Located::new(name, 1);
        Expression::Clause(Clause { name, operator })
    });
    clause.prop_recursive(4, 40, 4, |part| {
        prop_oneof![
            prop::collection::vec(part.clone(), 1..4).prop_map(Expression::all),
            prop::collection::vec(part.clone(), 1..4).prop_map(Expression::any),
            part.prop_map(|part| Expression::Not(Box::new(part))),
        ]
    })
}

proptest! {
    #[test]
    fn the_canonical_text_parses_back(expression in expressions()) {
        let filter = Filter(expression);
        let text = filter.to_string();
        let parsed = parse(&text);
        prop_assert_eq!(parsed.as_ref(), Ok(&filter), "{}", text);
        prop_assert_eq!(parsed.unwrap().to_string(), text);
    }

    #[test]
    fn any_text_is_parsed_or_refused_within_it(text in any::<String>()) {
        prop_assert!(is_sound(&text));
    }

    #[test]
    fn any_words_are_parsed_or_refused_within_them(words in prop::collection::vec(
        prop::sample::select(vec![
            "a", "b", "labels", "=", "!=", "<", "(", ")", "[", "]", ",", ".", "and", "or", "not",
            "in", "is", "null", "exists", "starts", "with", "true", "1", "-2.5", "\"x\"", "'é'",
            "2026-01-02T03:04:05Z", "5O", "\"", "&&",
        ]),
        0..12,
    ), space in prop::sample::select(vec!["", " ", "\n"])) {
        prop_assert!(is_sound(&words.join(space)));
    }
}

/// Returns true if a text is refused at a column within it, or its canonical text is equal.
fn is_sound(text: &str) -> bool {
    match parse(text) {
        Ok(filter) => parse(&filter.to_string()) == Ok(filter),
        Err(error) => (1..=text.chars().count() + 1).contains(&error.column()),
    }
}
