//! Says what would be right where the grammar found something else. Knows what other languages
//! write.

use crate::types::filter::{
    expression::Name,
    literal::clip,
    token::{Kind, Token, is_keyword},
};

/// Values of each type, as examples.
const VALUES: &str = r#""red", 50, true or 2026-01-31T12:00:00Z"#;

/// Says "found …, expected …".
pub fn expected(token: &Token, what: &str) -> String {
    match &token.kind {
        Kind::NotAText(error) => error.clone(),
        _ => format!("found {}, expected {what}", token.found()),
    }
}

/// A condition is missing at a token, which another one follows.
pub fn condition(token: &Token, next: Option<&Token>) -> String {
    let what = match token.kind {
        Kind::Symbol("!") => "NOT".to_owned(),
        Kind::Text(_) => "a field; a field's name in quotes stands in double quotes".to_owned(),
        Kind::Value(_) => "a field; write the field before its value, as in price < 50".to_owned(),
        Kind::NotAValue(_) => format!("a field; {}", quoted_name(token)),
        Kind::Word(word) if next.is_some_and(continues_a_field) => {
            format!("a field; a field with the name of a keyword stands in quotes: \"{word}\"")
        }
        _ => "a condition such as price < 50".to_owned(),
    };
    expected(token, &what)
}

fn quoted_name(token: &Token) -> String {
    format!(
        "a name that starts with a digit or - stands in double quotes: \"{}\"",
        clip(token.raw)
    )
}

/// Returns true if the token before it was meant as the name of a field.
pub fn continues_a_field(token: &Token) -> bool {
    matches!(
        token.kind,
        Kind::Symbol("." | "=" | "==" | "!=" | "<" | "<=" | ">" | ">=")
    )
}

/// A name is missing after a dot.
pub fn name(token: &Token) -> String {
    let what = match token.kind {
        Kind::Value(_) | Kind::NotAValue(_) => format!("a name; {}", quoted_name(token)),
        _ => "a name after the dot, as in size.width".to_owned(),
    };
    expected(token, &what)
}

/// An operator is missing after the name of a field.
pub fn operator(token: &Token, name: &Name) -> String {
    let name = name.to_string();
    let foreign = match token.kind {
        Kind::Word(word) => word.to_lowercase(),
        Kind::Symbol(symbol) => symbol.to_owned(),
        _ => String::new(),
    };
    let right = match foreign.as_str() {
        "==" | "===" | ":" | "eq" | "equals" => "write = for equality".to_owned(),
        "<>" | "!==" | "ne" | "!" => "write != for inequality".to_owned(),
        "=<" | "lte" | "le" => "write <=".to_owned(),
        "=>" | "gte" | "ge" => "write >=".to_owned(),
        "lt" => "write <".to_owned(),
        "gt" => "write >".to_owned(),
        "like" | "ilike" | "matches" | "regexp" | "~" | "=~" | "!~" | "ends" => {
            format!("there are no patterns; write {name} STARTS WITH \"…\" for the start of a text")
        }
        "contains" | "has" | "includes" | "any" => format!(
            "write {name} = \"…\", which is true if one of several values is equal; there is no \
             search within a text"
        ),
        "between" => format!("write {name} >= … AND {name} <= …"),
        "starts_with" | "startswith" | "prefix" => format!("write {name} STARTS WITH \"…\""),
        "nin" | "notin" => format!("write {name} NOT IN […]"),
        _ => {
            let what = format!(
                "an operator after the field '{name}': =, !=, <, <=, >, >=, IN, NOT IN, EXISTS, NOT \
                 EXISTS, IS NULL, IS NOT NULL, STARTS WITH or NOT STARTS WITH"
            );
            return expected(token, &what);
        }
    };
    format!("{} is not an operator; {right}", token.found())
}

/// A value is missing after the name of a field.
pub fn value(token: &Token, name: &Name) -> String {
    match &token.kind {
        Kind::NotAValue(error) => return error.clone(),
        Kind::Word(_) if token.is("null") => {
            return format!("null is not a value; write {name} IS NULL or {name} IS NOT NULL");
        }
        Kind::Word(word) if !is_keyword(word) => {
            let word = clip(word);
            return format!("found {word} without quotes; write a text in quotes: \"{word}\"");
        }
        Kind::Symbol(".") => {
            return "\".\" starts no number; write a digit before it, as in 0.5".to_owned();
        }
        Kind::Symbol("[" | "(") => {
            return format!(
                "found {}, expected one value; write {name} IN {}…{} for several",
                token.found(),
                token.raw,
                if token.raw == "[" { "]" } else { ")" }
            );
        }
        Kind::Symbol("“" | "”" | "„" | "‘" | "’" | "`" | "«") => {
            return format!(
                "{} is not a quote of this language; write a text in \"…\" or '…'",
                token.raw
            );
        }
        _ => {}
    }
    expected(token, &format!("a value such as {VALUES}"))
}

/// A whole condition is followed by something that cannot follow it. An open parenthesis is given
/// by its column.
pub fn after(token: &Token, open: Option<usize>) -> String {
    let right = match token.kind {
        Kind::Symbol("&&" | "&" | ",") => "write AND between conditions, or OR",
        Kind::Symbol("||" | "|") => "write OR between conditions",
        Kind::Symbol(")") => "it closes no parenthesis; remove it, or open one with (",
        _ => {
            let what = match open {
                Some(column) => {
                    format!("AND, OR or the ) that closes the parenthesis of column {column}")
                }
                None => "AND, OR or the end of the filter".to_owned(),
            };
            return expected(token, &what);
        }
    };
    format!("found {}; {right}", token.found())
}
