//! Says what to do about an undeclared field: use a declared one of nearly the same name, or
//! declare it.

use crate::types::{
    field::{Field, FieldPath, FieldType, parse_time},
    filter::{
        expression::{Name, Operator},
        literal::Literal,
    },
};

/// Says that a field is not declared, then what would be right.
pub fn undeclared(path: &FieldPath, operator: &Operator, fields: &[Field]) -> String {
    if let Some(special) = path.only_name().and_then(Name::special) {
        return format!(
            "'{special}' in quotes is a field of the payload, and none is declared; write \
             {special} without quotes"
        );
    }
    let special = Name::SPECIAL.into_iter();
    let declared = fields.iter().map(|field| Name::Field(field.path.clone()));
    let text = path.to_string();
    let nearest = declared
        .chain(special)
        .filter_map(|name| Some((distance(&text, &name.to_string())?, name)))
        .min_by_key(|(distance, _)| *distance);
    let url = percent_encode(&text);
    let declare = format!(
        "declare it with PUT /admin/fields/{url} {{\"type\": \"{}\"}}",
        guess(operator)
    );
    match nearest {
        Some((_, name)) => {
            format!("'{path}' is not a declared field; did you mean '{name}'? If not, {declare}")
        }
        None => format!("'{path}' is not a declared field; {declare}"),
    }
}

/// The type that a field has, given what it is compared with.
fn guess(operator: &Operator) -> FieldType {
    let literal = match operator {
        Operator::Compare(_, literal) => Some(literal),
        Operator::In(literals) => literals.first(),
        Operator::Exists | Operator::Null | Operator::StartsWith(_) => None,
    };
    match literal.map(|literal| &literal.value) {
        Some(Literal::Text(text)) if parse_time(text).is_some() => FieldType::Time,
        Some(Literal::Text(_)) | None => FieldType::Keyword,
        Some(Literal::Number(_)) => FieldType::Number,
        Some(Literal::Bool(_)) => FieldType::Bool,
        Some(Literal::Time(_)) => FieldType::Time,
    }
}

/// The number of characters to insert, remove or replace to make one text of the other, in any
/// case (Levenshtein 1966). `None` if it is more than a third of the longer one.
fn distance(a: &str, b: &str) -> Option<usize> {
    let (a, b) = (a.to_lowercase(), b.to_lowercase());
    let b: Vec<char> = b.chars().collect();
    let length = a.chars().count();
    let maximum = length.max(b.len()) / 3;
    if length.abs_diff(b.len()) > maximum {
        return None;
    }
    // The distances of the characters of `a` so far to each start of `b`.
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (at, c) in a.chars().enumerate() {
        let mut diagonal = at;
        row[0] = at + 1;
        for (column, other) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(c != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row.pop().filter(|distance| *distance <= maximum)
}

/// Encodes a text as one step of a URL's path (RFC 3986).
fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
