//! Finds the fields of a filter among the declared ones, and checks its values against their types.

use std::ops::{Bound, RangeInclusive};

use crate::types::{
    field::{Comparison, Field, FieldType, Place, parse_time, word},
    filter::{
        condition::{Condition, Property, Test, TextTest},
        error::FilterError,
        expression::{Clause, Expression, Located, Name, Operator},
        literal::{Literal, clip},
        suggest,
    },
};

/// Resolves a filter.
pub fn expression(expression: &Expression, fields: &[Field]) -> Result<Condition, FilterError> {
    let resolve_all = |parts: &[Expression]| {
        let parts = parts.iter().map(|part| self::expression(part, fields));
        parts.collect::<Result<Vec<_>, _>>()
    };
    Ok(match expression {
        Expression::All(parts) => Condition::All(resolve_all(parts)?),
        Expression::Any(parts) => Condition::Any(resolve_all(parts)?),
        Expression::Not(part) => Condition::Not(Box::new(self::expression(part, fields)?)),
        Expression::Clause(clause) => {
            let target = Target::find(clause, fields)?;
            let test = target.test(&clause.operator)?;
            Condition::Has(target.property, test)
        }
    })
}

/// What a clause tests.
struct Target<'a> {
    name: &'a Located<Name>,
    property: Property,
    kind: Kind,
}

/// How values are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// As values of a field of this type.
    Field(FieldType),
    /// As texts that are not those of a field.
    Text,
    /// As milliseconds since 1970.
    Milliseconds,
}

impl<'a> Target<'a> {
    fn find(clause: &'a Clause, fields: &[Field]) -> Result<Self, FilterError> {
        let name = &clause.name;
        let column = name.column;
        let (property, kind) = match &name.value {
            Name::Labels => (Property::Labels, Kind::Text),
            Name::Id => (Property::Id, Kind::Text),
            Name::CreatedAt => (Property::CreatedAt, Kind::Milliseconds),
            Name::UpdatedAt => (Property::UpdatedAt, Kind::Milliseconds),
            Name::Field(path) => match fields.iter().find(|field| field.path == *path) {
                Some(field) if field.built => {
                    (Property::Field(field.number), Kind::Field(field.kind))
                }
                Some(_) => {
                    let path = path.clone();
                    return Err(FilterError::NotBuilt { column, path });
                }
                None => {
                    return Err(FilterError::Undeclared {
                        column,
                        path: path.clone(),
                        message: suggest::undeclared(path, &clause.operator, fields),
                    });
                }
            },
        };
        Ok(Target {
            name,
            property,
            kind,
        })
    }

    fn test(&self, operator: &Operator) -> Result<Test, FilterError> {
        match (operator, self.kind) {
            (Operator::Exists, _) => Ok(Test::Exists),
            (Operator::Null, Kind::Field(_)) => Ok(Test::Words(vec![word::NULL..=word::NULL])),
            (Operator::Null, _) => Err(self.never_null()),
            (Operator::StartsWith(prefix), Kind::Text | Kind::Field(FieldType::Keyword)) => {
                Ok(Test::Text(TextTest::Prefix(prefix.clone())))
            }
            (Operator::StartsWith(_), _) => Err(self.wrong(&format!(
                "{}; STARTS WITH is for keyword fields, labels and id; compare it with =, < or >",
                self.description()
            ))),
            (
                Operator::Compare(comparison, value),
                Kind::Text | Kind::Field(FieldType::Keyword),
            ) => {
                let text = self.text(value)?;
                Ok(Test::Text(compare_texts(*comparison, text)))
            }
            (Operator::Compare(comparison, value), _) => {
                let range = self.place(value)?.words(*comparison);
                Ok(Test::Words(merge(vec![range])))
            }
            (Operator::In(values), Kind::Text | Kind::Field(FieldType::Keyword)) => {
                let texts = values.iter().map(|value| self.text(value));
                let mut texts = texts.collect::<Result<Vec<_>, _>>()?;
                texts.sort_unstable();
                texts.dedup();
                Ok(Test::Text(TextTest::OneOf(texts)))
            }
            (Operator::In(values), _) => {
                let words = |value| Ok(self.place(value)?.words(Comparison::Equal));
                let ranges = values.iter().map(words).collect::<Result<Vec<_>, _>>()?;
                Ok(Test::Words(merge(ranges)))
            }
        }
    }

    fn text(&self, value: &Located<Literal>) -> Result<String, FilterError> {
        match &value.value {
            Literal::Text(text) => Ok(text.clone()),
            _ => Err(self.mismatch(value)),
        }
    }

    /// The place of a value among the words of the target, which has words.
    fn place(&self, value: &Located<Literal>) -> Result<Place, FilterError> {
        let time = match &value.value {
            Literal::Time(time) => Some(*time),
            Literal::Text(text) => parse_time(text),
            Literal::Number(_) | Literal::Bool(_) => None,
        };
        let place = match (self.kind, &value.value) {
            (Kind::Field(FieldType::Integer), Literal::Number(number)) => {
                Some(Place::of_integer(number))
            }
            (Kind::Field(FieldType::Number), Literal::Number(number)) => {
                Some(Place::of_number(number))
            }
            (Kind::Field(FieldType::Bool), Literal::Bool(value)) => Some(Place {
                word: word::of_bool(*value),
                is_exact: true,
            }),
            (Kind::Field(FieldType::Time), _) => time.map(Place::of_time),
            (Kind::Milliseconds, Literal::Number(number)) => Some(Place::of_milliseconds(number)),
            (Kind::Milliseconds, _) => time.map(Place::of_time_in_milliseconds),
            _ => None,
        };
        place.ok_or_else(|| self.mismatch(value))
    }

    fn wrong(&self, message: &str) -> FilterError {
        FilterError::wrong(self.name.column, message)
    }

    fn never_null(&self) -> FilterError {
        let name = &self.name.value;
        self.wrong(&match name {
            Name::Labels => "labels are never null; write labels NOT EXISTS for images without \
                             labels, or labels EXISTS for those with labels"
                .to_owned(),
            _ => format!("{name} is never null, since every image has one; remove the condition"),
        })
    }

    /// Says which type the target has.
    fn description(&self) -> String {
        match (&self.name.value, self.kind) {
            (Name::Field(path), Kind::Field(kind)) => {
                let article = if kind == FieldType::Integer {
                    "an"
                } else {
                    "a"
                };
                format!("'{path}' is {article} {kind} field")
            }
            (Name::Labels, _) => "labels are texts".to_owned(),
            (name, Kind::Milliseconds) => format!("{name} is a time"),
            (name, _) => format!("{name} is a text"),
        }
    }

    /// Refuses a value of another type.
    fn mismatch(&self, value: &Located<Literal>) -> FilterError {
        let pronoun = match self.name.value {
            Name::Labels => "them",
            _ => "it",
        };
        let written = match &value.value {
            Literal::Number(_) | Literal::Bool(_) => format!("\"{}\"", value.value),
            Literal::Text(_) | Literal::Time(_) => "\"red\"".to_owned(),
        };
        const TIME: &str = "a time such as 2026-01-31T12:00:00Z";
        let right = match self.kind {
            Kind::Field(FieldType::Keyword) | Kind::Text => {
                format!("a text such as {written}")
            }
            Kind::Field(FieldType::Integer | FieldType::Number) => "a number".to_owned(),
            Kind::Field(FieldType::Bool) => "true or false".to_owned(),
            Kind::Field(FieldType::Time) => TIME.to_owned(),
            Kind::Milliseconds => format!("milliseconds since 1970 or {TIME}"),
        };
        let given = match &value.value {
            Literal::Text(text) => format!("the text {}", Literal::Text(clip(text))),
            Literal::Number(_) => format!("the number {}", value.value),
            Literal::Bool(_) => value.value.to_string(),
            Literal::Time(_) => format!("the time {}", value.value),
        };
        let description = self.description();
        FilterError::wrong(
            value.column,
            format!("{description}; compare {pronoun} with {right}, not with {given}"),
        )
    }
}

fn compare_texts(comparison: Comparison, text: String) -> TextTest {
    let (from, to) = match comparison {
        Comparison::Equal => return TextTest::OneOf(vec![text]),
        Comparison::Less => (Bound::Unbounded, Bound::Excluded(text)),
        Comparison::AtMost => (Bound::Unbounded, Bound::Included(text)),
        Comparison::Greater => (Bound::Excluded(text), Bound::Unbounded),
        Comparison::AtLeast => (Bound::Included(text), Bound::Unbounded),
    };
    TextTest::Range { from, to }
}

/// Sorts ranges, removes empty ones, and joins those that overlap or adjoin.
fn merge(mut ranges: Vec<RangeInclusive<u64>>) -> Vec<RangeInclusive<u64>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_unstable_by_key(|range| *range.start());
    let mut merged: Vec<RangeInclusive<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if *range.start() <= last.end().saturating_add(1) => {
                let end = *last.end().max(range.end());
                *last = *last.start()..=end;
            }
            _ => merged.push(range),
        }
    }
    merged
}
