//! A parsed filter whose fields are not resolved yet, and its canonical text.

use std::{
    fmt,
    hash::{Hash, Hasher},
};

use crate::types::{
    field::{Comparison, FieldPath},
    filter::{
        literal::{Literal, write_text},
        token::is_keyword,
    },
};

/// A value with its place in the text. Values are equal wherever they are.
#[derive(Clone, Debug)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Its column, in characters from 1.
    pub column: usize,
}

impl<T> Located<T> {
    /// Puts a value in a column.
    pub fn new(value: T, column: usize) -> Self {
        Located { value, column }
    }
}

impl<T: PartialEq> PartialEq for Located<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Located<T> {}

impl<T: Hash> Hash for Located<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.value.hash(state);
    }
}

/// A parsed filter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Expression {
    /// Two or more expressions joined by AND, none of them of this kind.
    All(Vec<Expression>),
    /// Two or more expressions joined by OR, none of them of this kind.
    Any(Vec<Expression>),
    /// The complement, also that of an operator such as `!=` or `NOT IN`.
    Not(Box<Expression>),
    /// A test of one field.
    Clause(Clause),
}

/// A test of one field.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Clause {
    /// The field.
    pub name: Located<Name>,
    /// The operator with its values.
    pub operator: Operator,
}

/// The name of what a filter can test.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Name {
    /// A member of the payload.
    Field(FieldPath),
    /// The labels.
    Labels,
    /// The id.
    Id,
    /// The time of creation.
    CreatedAt,
    /// The time of the last change.
    UpdatedAt,
}

/// An operator with its values.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// `=`, `<`, `<=`, `>` or `>=`
    Compare(Comparison, Located<Literal>),
    /// `IN`
    In(Vec<Located<Literal>>),
    /// `EXISTS`
    Exists,
    /// `IS NULL`
    Null,
    /// `STARTS WITH`
    StartsWith(String),
}

impl Expression {
    /// Joins one or more expressions by AND.
    pub fn all(parts: Vec<Expression>) -> Self {
        Self::join(parts, Expression::All, |part| match part {
            Expression::All(parts) => Ok(parts),
            part => Err(part),
        })
    }

    /// Joins one or more expressions by OR.
    pub fn any(parts: Vec<Expression>) -> Self {
        Self::join(parts, Expression::Any, |part| match part {
            Expression::Any(parts) => Ok(parts),
            part => Err(part),
        })
    }

    /// Joins expressions, replacing each that is of the same kind by its parts.
    fn join(
        parts: Vec<Expression>,
        kind: fn(Vec<Expression>) -> Expression,
        split: fn(Expression) -> Result<Vec<Expression>, Expression>,
    ) -> Self {
        let mut joined = Vec::with_capacity(parts.len());
        for part in parts {
            match split(part) {
                Ok(parts) => joined.extend(parts),
                Err(part) => joined.push(part),
            }
        }
        match joined.pop() {
            Some(only) if joined.is_empty() => only,
            last => {
                joined.extend(last);
                kind(joined)
            }
        }
    }

    /// Calls a function with each clause.
    pub fn visit<'a>(&'a self, visitor: &mut impl FnMut(&'a Clause)) {
        match self {
            Expression::All(parts) | Expression::Any(parts) => {
                parts.iter().for_each(|part| part.visit(visitor));
            }
            Expression::Not(part) => part.visit(visitor),
            Expression::Clause(clause) => visitor(clause),
        }
    }
}

impl Name {
    /// The names that do not stand for a member of the payload.
    pub const SPECIAL: [Name; 4] = [Name::Labels, Name::Id, Name::CreatedAt, Name::UpdatedAt];

    /// Returns the special field that has this name.
    pub fn special(name: &str) -> Option<Name> {
        let mut names = Self::SPECIAL.into_iter();
        names.find(|special| special.to_string() == name)
    }
}

/// Writes the name as in a filter.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = match self {
            Name::Labels => return f.write_str("labels"),
            Name::Id => return f.write_str("id"),
            Name::CreatedAt => return f.write_str("created_at_ms"),
            Name::UpdatedAt => return f.write_str("updated_at_ms"),
            Name::Field(path) => path,
        };
        let names = path.names();
        for (at, name) in names.iter().enumerate() {
            let is_reserved = at == 0 && is_keyword(name);
            let is_special = names.len() == 1 && Name::special(name).is_some();
            f.write_str(if at > 0 { "." } else { "" })?;
            if FieldPath::is_bare(name) && !is_reserved && !is_special {
                f.write_str(name)?;
            } else {
                write_text(name, f)?;
            }
        }
        Ok(())
    }
}

/// Writes the canonical text.
impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expression::All(parts) => join(parts, " AND ", f),
            Expression::Any(parts) => join(parts, " OR ", f),
            Expression::Not(part) => match &**part {
                Expression::All(_) | Expression::Any(_) => write!(f, "NOT ({part})"),
                Expression::Clause(Clause { name, operator }) => match operator {
                    Operator::Compare(Comparison::Equal, literal) => {
                        write!(f, "{} != {}", name.value, literal.value)
                    }
                    Operator::Compare(..) => write!(f, "NOT {part}"),
                    Operator::Null => write!(f, "{} IS NOT NULL", name.value),
                    Operator::In(_) | Operator::Exists | Operator::StartsWith(_) => {
                        write!(f, "{} NOT {operator}", name.value)
                    }
                },
                Expression::Not(_) => write!(f, "NOT {part}"),
            },
            Expression::Clause(clause) => write!(f, "{} {}", clause.name.value, clause.operator),
        }
    }
}

fn join(parts: &[Expression], word: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (at, part) in parts.iter().enumerate() {
        f.write_str(if at > 0 { word } else { "" })?;
        match part {
            Expression::Any(_) => write!(f, "({part})")?,
            _ => write!(f, "{part}")?,
        }
    }
    Ok(())
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operator::Compare(comparison, literal) => {
                let symbol = match comparison {
                    Comparison::Equal => "=",
                    Comparison::Less => "<",
                    Comparison::AtMost => "<=",
                    Comparison::Greater => ">",
                    Comparison::AtLeast => ">=",
                };
                write!(f, "{symbol} {}", literal.value)
            }
            Operator::In(literals) => {
                f.write_str("IN [")?;
                for (at, literal) in literals.iter().enumerate() {
                    f.write_str(if at > 0 { ", " } else { "" })?;
                    write!(f, "{}", literal.value)?;
                }
                f.write_str("]")
            }
            Operator::Exists => f.write_str("EXISTS"),
            Operator::Null => f.write_str("IS NULL"),
            Operator::StartsWith(prefix) => {
                f.write_str("STARTS WITH ")?;
                write_text(prefix, f)
            }
        }
    }
}
