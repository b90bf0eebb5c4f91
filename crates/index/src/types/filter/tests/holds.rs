//! Tests of the evaluation against one image, also against a second, naive one.

use std::cmp::Ordering;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::types::{filter::condition::Subject, id::ImageId};

fn holds_for(text: &str, payload: &Value, labels: &[String], created_at_ms: u64) -> bool {
    let id: ImageId = "cat".parse().unwrap();
    let subject = Subject {
        id: &id,
        labels,
        payload: Some(payload),
        created_at_ms,
        updated_at_ms: created_at_ms,
    };
    resolve(text).unwrap().holds(&fields(), &subject)
}

#[test]
fn conditions_hold_for_an_image() {
    let payload = json!({
        "brand": ["x", "e\u{301}"], "size": 5.0, "price": [null, 0.5], "sold": true,
        "made": "2026-01-02T03:04:05+01:00", "specs": [{"screen size": 5}, {}], "weight": {},
    });
    let labels = ["sale".to_owned()];
    let at_ms = 1_767_323_045_000;
    for (text, expected) in [
        ("brand = 'x'", true),
        ("brand != 'x'", false),
        ("brand = 'e\u{301}'", true),
        ("brand >= 'y'", true),
        ("brand > '\u{e9}'", false),
        ("brand STARTS WITH ''", true),
        ("brand NOT STARTS WITH 'y'", true),
        ("brand IN ['w', 'x']", true),
        ("size = 5", true),
        ("size > 4.5 AND size < 5.5", true),
        ("size IN [4, 6]", false),
        ("price IS NULL AND price = 0.5", true),
        ("price IS NOT NULL", false),
        ("size IS NULL", false),
        ("sold >= false AND sold > false AND NOT sold < true", true),
        ("made = 2026-01-02T02:04:05Z", true),
        ("made = '2026-01-02T02:04:05Z'", true),
        ("made < 2026-01-02T02:04:05.000000001Z", true),
        ("specs.\"screen size\" EXISTS", true),
        ("labels = 'sale'", true),
        ("labels EXISTS AND id EXISTS", true),
        ("labels NOT EXISTS", false),
        ("id STARTS WITH 'c'", true),
        ("created_at_ms = 1767323045000", true),
        ("created_at_ms > 1767323044999.5", true),
        ("updated_at_ms <= 2026-01-02T03:04:05Z", true),
        ("updated_at_ms < '2026-01-02T03:04:05.0001Z'", true),
        ("updated_at_ms = 2026-01-02T03:04:05.0001Z", false),
    ] {
        assert_eq!(
            holds_for(text, &payload, &labels, at_ms),
            expected,
            "{text}"
        );
    }
    for (text, expected) in [
        ("brand != 'x'", true),
        ("brand NOT EXISTS", true),
        ("price < 1 OR price >= 1", false),
        ("labels NOT EXISTS", true),
        ("created_at_ms < 5", true),
        ("created_at_ms >= 0", true),
        ("created_at_ms > 3", false),
    ] {
        assert_eq!(holds_for(text, &json!({}), &[], 0), expected, "{text}");
    }
}

#[test]
fn resolved_conditions_are_in_normal_form() {
    let test = |text: &str| match resolve(text).unwrap() {
        Condition::Has(_, test) => format!("{test:?}"),
        other => format!("{other:?}"),
    };
    for (text, expected) in [
        ("sold IN [true, false, true]", "Words([3..=4])"),
        ("size = 0.5", "Words([])"),
        (
            "size IN [1, 2, 9, 1]",
            "Words([9223372036854775809..=9223372036854775810, 9223372036854775817..=9223372036854775817])",
        ),
        ("brand IN ['y', 'x', 'y']", r#"Text(OneOf(["x", "y"]))"#),
        (
            "brand <= 'x'",
            r#"Text(Range { from: Unbounded, to: Included("x") })"#,
        ),
        ("brand IS NULL", "Words([0..=0])"),
        ("created_at_ms < 0", "Words([])"),
    ] {
        assert_eq!(test(text), expected, "{text}");
    }
}

/// A filter that is evaluated without the language.
#[derive(Clone, Debug)]
enum Naive {
    All(Vec<Naive>),
    Any(Vec<Naive>),
    Not(Box<Naive>),
    Has(&'static str, &'static str, Vec<Value>),
}

/// The members with values to compare them with; JSON texts of RFC 3339 are times.
const MEMBERS: [&str; 6] = ["brand", "size", "price", "sold", "made", "labels"];
const OPERATORS: [&str; 12] = [
    "=",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "IN",
    "NOT IN",
    "EXISTS",
    "NOT EXISTS",
    "IS NULL",
    "IS NOT NULL",
];

fn literals(member: &str) -> Vec<Value> {
    match member {
        "size" | "price" => [-2.0, -0.5, 0.0, 0.5, 1.0, 3.0].map(Value::from).to_vec(),
        "sold" => vec![json!(false), json!(true)],
        "made" => [
            "2026-01-02T03:04:05Z",
            "2026-01-02T03:04:05.5Z",
            "0001-01-01T00:00:00Z",
        ]
        .map(Value::from)
        .to_vec(),
        _ => ["", "x", "xy", "\u{e9}"].map(Value::from).to_vec(),
    }
}

fn clauses() -> impl Strategy<Value = Naive> {
    let member = prop::sample::select(MEMBERS.to_vec());
    (member, prop::sample::select(OPERATORS.to_vec())).prop_flat_map(|(member, operator)| {
        let operator = match operator {
            "IS NULL" | "IS NOT NULL" if member == "labels" => "EXISTS",
            operator => operator,
        };
        prop::collection::vec(prop::sample::select(literals(member)), 1..3)
            .prop_map(move |values| Naive::Has(member, operator, values))
    })
}

fn filters() -> impl Strategy<Value = Naive> {
    clauses().prop_recursive(3, 12, 3, |part| {
        prop_oneof![
            prop::collection::vec(part.clone(), 1..4).prop_map(Naive::All),
            prop::collection::vec(part.clone(), 1..4).prop_map(Naive::Any),
            part.prop_map(|part| Naive::Not(Box::new(part))),
        ]
    })
}

/// A payload whose members are often of the right type.
fn payloads() -> impl Strategy<Value = Value> {
    let pool = ["brand", "size", "sold", "made"].map(literals).concat();
    let member = |name: &'static str| {
        let value = prop_oneof![
            6 => prop::sample::select(literals(name)),
            1 => prop::sample::select(pool.clone()),
            1 => Just(Value::Null),
            1 => Just(json!({"x": 1})),
        ];
        let values = prop_oneof![
            2 => value.clone(),
            1 => prop::collection::vec(value, 0..4).prop_map(Value::from),
        ];
        prop::option::weighted(0.7, values).prop_map(move |value| (name, value))
    };
    let members: Vec<_> = MEMBERS[..5].iter().map(|name| member(name)).collect();
    members.prop_map(|members| {
        let members = members.into_iter();
        let members = members.filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Value::Object(members.collect())
    })
}

impl Naive {
    fn text(&self) -> String {
        let join = |parts: &[Naive], word: &str| {
            let parts: Vec<String> = parts
                .iter()
                .map(|part| format!("({})", part.text()))
                .collect();
            parts.join(word)
        };
        match self {
            Naive::All(parts) => join(parts, " and "),
            Naive::Any(parts) => join(parts, " OR "),
            Naive::Not(part) => format!("NOT ({})", part.text()),
            Naive::Has(member, operator, values) => match *operator {
                "IN" | "NOT IN" => format!("{member} {operator} {}", json!(values)),
                _ if operator.contains(char::is_alphabetic) => format!("{member} {operator}"),
                _ => format!("{member} {operator} {}", values[0]),
            },
        }
    }

    fn holds(&self, payload: &Value, labels: &[String]) -> bool {
        let (member, operator, literals) = match self {
            Naive::All(parts) => return parts.iter().all(|part| part.holds(payload, labels)),
            Naive::Any(parts) => return parts.iter().any(|part| part.holds(payload, labels)),
            Naive::Not(part) => return !part.holds(payload, labels),
            Naive::Has(member, operator, values) => (*member, *operator, values),
        };
        let member_value = match member {
            "labels" if labels.is_empty() => None,
            "labels" => Some(json!(labels)),
            _ => payload.get(member).cloned(),
        };
        let values = match &member_value {
            Some(Value::Array(values)) => values.clone(),
            Some(value) => vec![value.clone()],
            None => vec![],
        };
        let any = |accepts: fn(Ordering) -> bool| {
            let orders = |literal: &Value| {
                let mut orders = values
                    .iter()
                    .filter_map(|value| order(member, value, literal));
                orders.any(accepts)
            };
            match operator {
                "IN" | "NOT IN" => literals.iter().any(orders),
                _ => orders(&literals[0]),
            }
        };
        match operator {
            "=" | "IN" => any(Ordering::is_eq),
            "!=" | "NOT IN" => !any(Ordering::is_eq),
            "<" => any(Ordering::is_lt),
            "<=" => any(Ordering::is_le),
            ">" => any(Ordering::is_gt),
            ">=" => any(Ordering::is_ge),
            "EXISTS" => member_value.is_some(),
            "NOT EXISTS" => member_value.is_none(),
            "IS NULL" => values.iter().any(Value::is_null),
            _ => !values.iter().any(Value::is_null),
        }
    }
}

/// The order of a payload's value and a literal; `None` if the value is not of the member's type.
fn order(member: &str, value: &Value, literal: &Value) -> Option<Ordering> {
    match (member, value, literal) {
        ("size", Value::Number(value), _) if value.as_f64()?.fract() != 0.0 => None,
        ("size" | "price", Value::Number(value), Value::Number(literal)) => {
            value.as_f64()?.partial_cmp(&literal.as_f64()?)
        }
        ("sold", Value::Bool(value), Value::Bool(literal)) => Some(value.cmp(literal)),
        // The times of the pool are in the order of their texts without zone.
        ("made", Value::String(value), Value::String(literal)) if value.ends_with('Z') => Some(
            value
                .trim_end_matches('Z')
                .cmp(literal.trim_end_matches('Z')),
        ),
        ("brand" | "labels", Value::String(value), Value::String(literal)) => {
            Some(value.chars().cmp(literal.chars()))
        }
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn conditions_hold_as_a_second_evaluation_says(
        filter in filters(),
        payload in payloads(),
        labels in prop::collection::btree_set(prop::sample::select(vec!["x", "xy", "a"]), 0..3),
    ) {
        let labels: Vec<String> = labels.into_iter().map(str::to_owned).collect();
        let text = filter.text();
        prop_assert_eq!(
            holds_for(&text, &payload, &labels, 5),
            filter.holds(&payload, &labels),
            "{} {}", text, payload
        );
    }
}
