//! The grammar: NOT binds more strongly than AND, and AND more strongly than OR.

use winnow::{
    Parser,
    combinator::{alt, dispatch, empty, fail, opt, peek, preceded, separated},
    error::ErrMode,
    stream::{Stateful, Stream, TokenSlice},
    token::any,
};

use crate::types::{
    field::{Comparison, FieldPath},
    filter::{
        error::FilterError,
        expression::{Clause, Expression, Located, Name, Operator},
        hints,
        token::{Kind, Token, is_keyword, tokens},
        value::{Input, Parsed, Usage, list, refuse, symbol, value},
    },
    id::nfc,
};

/// The maximum number of levels of parentheses and NOT.
const MAX_LEVELS: usize = 32;
/// The maximum number of comparisons.
const MAX_COMPARISONS: usize = 64;

/// Parses a filter.
pub fn parse(text: &str) -> Result<Expression, FilterError> {
    let tokens = tokens(text);
    let mut input = Stateful {
        input: TokenSlice::new(&tokens),
        state: Usage::default(),
    };
    match tokens[..] {
        [_] => Err(FilterError::Empty),
        _ => whole.parse_next(&mut input).map_err(|error| match error {
            ErrMode::Cut(error) | ErrMode::Backtrack(error) => error,
            ErrMode::Incomplete(_) => FilterError::Empty,
        }),
    }
}

fn whole(input: &mut Input) -> Parsed<Expression> {
    let expression = disjunction(input)?;
    match input.peek_token().map(|token| &token.kind) {
        Some(Kind::End) => Ok(expression),
        _ => refuse(input, |token| hints::after(token, None)),
    }
}

fn disjunction(input: &mut Input) -> Parsed<Expression> {
    separated(1.., conjunction, symbol("or"))
        .map(Expression::any)
        .parse_next(input)
}

fn conjunction(input: &mut Input) -> Parsed<Expression> {
    separated(1.., operand, symbol("and"))
        .map(Expression::all)
        .parse_next(input)
}

fn operand(input: &mut Input) -> Parsed<Expression> {
    let token: &Token = peek(any).parse_next(input)?;
    let is_field = input.get(1).is_some_and(hints::continues_a_field);
    if token.is("(") {
        nested(group, input)
    } else if token.is("not") && !is_field {
        nested(negation, input)
    } else {
        clause(input)
    }
}

/// Runs a parser one level deeper.
fn nested<'t>(
    parser: fn(&mut Input<'t>) -> Parsed<Expression>,
    input: &mut Input<'t>,
) -> Parsed<Expression> {
    input.state.levels += 1;
    if input.state.levels > MAX_LEVELS {
        return refuse(input, |_| {
            format!(
                "this is level {} of ( ) and NOT; the maximum is {MAX_LEVELS}",
                MAX_LEVELS + 1
            )
        });
    }
    let expression = parser(input)?;
    input.state.levels -= 1;
    Ok(expression)
}

fn negation(input: &mut Input) -> Parsed<Expression> {
    preceded(symbol("not"), operand)
        .map(|part| Expression::Not(Box::new(part)))
        .parse_next(input)
}

fn group(input: &mut Input) -> Parsed<Expression> {
    let open = symbol("(").parse_next(input)?;
    let expression = disjunction(input)?;
    match opt(symbol(")")).parse_next(input)? {
        Some(_) => Ok(expression),
        None => refuse(input, |token| hints::after(token, Some(open.column))),
    }
}

/// A test of one field.
fn clause(input: &mut Input) -> Parsed<Expression> {
    let name = name(input)?;
    let is_negated = opt(symbol("not")).parse_next(input)?.is_some();
    let (is_complement, operator) = match phrase(&name.value, input) {
        Err(ErrMode::Backtrack(_)) if is_negated => {
            return refuse(input, |token| {
                hints::expected(
                    token,
                    "IN, EXISTS or STARTS WITH after NOT; write != for one value",
                )
            });
        }
        Err(ErrMode::Backtrack(_)) => comparison(&name.value, input)?,
        found => (false, found?),
    };
    let clause = Expression::Clause(Clause { name, operator });
    Ok(if is_negated || is_complement {
        Expression::Not(Box::new(clause))
    } else {
        clause
    })
}

/// An operator that NOT can precede.
fn phrase(name: &Name, input: &mut Input) -> Parsed<Operator> {
    let list = |input: &mut Input| list(name, input);
    alt((
        symbol("exists").map(|_| Operator::Exists),
        preceded(symbol("in"), list).map(Operator::In),
        preceded(symbol("starts"), prefix).map(Operator::StartsWith),
    ))
    .parse_next(input)
}

/// An operator that NOT cannot precede, and true if it stands for the complement.
fn comparison(name: &Name, input: &mut Input) -> Parsed<(bool, Operator)> {
    if opt(symbol("is")).parse_next(input)?.is_some() {
        let is_negated = opt(symbol("not")).parse_next(input)?.is_some();
        return match opt(symbol("null")).parse_next(input)? {
            Some(_) => Ok((is_negated, Operator::Null)),
            None => refuse(input, |token| {
                hints::expected(token, "IS NULL or IS NOT NULL")
            }),
        };
    }
    let mut symbols = dispatch! { any.map(|token: &Token| token.raw);
        "=" => empty.value((false, Comparison::Equal)),
        "!=" => empty.value((true, Comparison::Equal)),
        "<" => empty.value((false, Comparison::Less)),
        "<=" => empty.value((false, Comparison::AtMost)),
        ">" => empty.value((false, Comparison::Greater)),
        ">=" => empty.value((false, Comparison::AtLeast)),
        _ => fail,
    };
    match opt(symbols.by_ref()).parse_next(input)? {
        Some((is_complement, comparison)) => {
            let value = value(name, input)?;
            Ok((is_complement, Operator::Compare(comparison, value)))
        }
        None => refuse(input, |token| hints::operator(token, name)),
    }
}

/// What follows STARTS.
fn prefix(input: &mut Input) -> Parsed<String> {
    if opt(symbol("with")).parse_next(input)?.is_none() {
        return refuse(input, |token| hints::expected(token, "WITH after STARTS"));
    }
    let token: &Token = peek(any).parse_next(input)?;
    match &token.kind {
        Kind::Text(text) => {
            input.next_token();
            Ok(nfc(text).into_owned())
        }
        _ => refuse(input, |token| {
            hints::expected(token, r#"the start of a text in quotes, such as "re""#)
        }),
    }
}

/// The name of a field.
fn name(input: &mut Input) -> Parsed<Located<Name>> {
    let first: &Token = peek(any).parse_next(input)?;
    let next = input.get(1);
    let special = match first.kind {
        Kind::Word(word) if !next.is_some_and(|next| next.is(".")) => Name::special(word),
        _ => None,
    };
    let is_name = match first.kind {
        Kind::Word(word) => !is_keyword(word),
        Kind::Text(_) => first.raw.starts_with('"'),
        _ => false,
    };
    if !is_name {
        return refuse(input, |token| hints::condition(token, next));
    }
    input.state.comparisons += 1;
    if input.state.comparisons > MAX_COMPARISONS {
        return refuse(input, |_| {
            format!(
                "this is comparison {}; the maximum is {MAX_COMPARISONS}; write IN for many \
                 values of one field",
                MAX_COMPARISONS + 1
            )
        });
    }
    let names = separated(1.., part, symbol(".")).parse_next(input)?;
    let name =
        match special {
            Some(special) => special,
            None => Name::Field(FieldPath::new(names).map_err(|error| {
                ErrMode::Cut(FilterError::wrong(first.column, error.to_string()))
            })?),
        };
    Ok(Located::new(name, first.column))
}

/// One name of a path.
fn part(input: &mut Input) -> Parsed<String> {
    let token: &Token = peek(any).parse_next(input)?;
    let name = match &token.kind {
        Kind::Word(name) => (*name).to_owned(),
        Kind::Text(name) if token.raw.starts_with('"') => name.clone(),
        _ => return refuse(input, hints::name),
    };
    input.next_token();
    Ok(name)
}
