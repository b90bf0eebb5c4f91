//! Tests of the filter language.
//!
//! - `errors`: the messages
//! - `parsing`: what a text means, limits and canonical texts
//! - `holds`: evaluation, against a second one

use crate::types::{
    field::{Field, FieldType},
    filter::{Filter, condition::Condition, error::FilterError},
};

mod errors;
mod holds;
mod parsing;

/// Some declared fields, numbered from 1. The last one is not built.
fn fields() -> Vec<Field> {
    let fields = [
        ("brand", FieldType::Keyword),
        ("size", FieldType::Integer),
        ("price", FieldType::Number),
        ("sold", FieldType::Bool),
        ("made", FieldType::Time),
        ("specs.\"screen size\"", FieldType::Number),
        ("weight", FieldType::Number),
    ];
    let field = |(number, (path, kind)): (u32, (&str, FieldType))| Field {
        number,
        path: path.parse().unwrap(),
        kind,
        built: path != "weight",
    };
    (1..).zip(fields).map(field).collect()
}

fn resolve(text: &str) -> Result<Condition, FilterError> {
    text.parse::<Filter>()?.resolve(&fields())
}
