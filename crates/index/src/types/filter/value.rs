//! Parses values and lists of values, and the basic parsers of the grammar.

use winnow::{
    ModalResult, Parser,
    combinator::{cut_err, peek, separated},
    error::{ErrMode, ParserError},
    stream::{Stateful, Stream, TokenSlice},
    token::any,
};

use crate::types::filter::{
    error::FilterError,
    expression::{Located, Name},
    hints,
    literal::Literal,
    token::{Kind, Token},
};

/// The maximum number of values in all lists of a filter.
pub const MAX_VALUES: usize = 10_000;

/// The tokens that are left, and what those before used of the limits.
pub type Input<'t> = Stateful<TokenSlice<'t, Token<'t>>, Usage>;

/// What a filter used of its limits.
#[derive(Debug, Default)]
pub struct Usage {
    /// The open levels of parentheses and NOT.
    pub levels: usize,
    /// The comparisons.
    pub comparisons: usize,
    /// The values in lists.
    pub values: usize,
}

/// The result of a parser.
pub type Parsed<T> = ModalResult<T, FilterError>;

impl<'t> ParserError<Input<'t>> for FilterError {
    type Inner = Self;

    /// The error of a parser that another one can replace. It is not shown.
    fn from_input(input: &Input<'t>) -> Self {
        let column = input.peek_token().map_or(1, |token| token.column);
        FilterError::wrong(column, String::new())
    }

    fn into_inner(self) -> Result<Self, Self> {
        Ok(self)
    }
}

/// Parses a keyword, in any case, or a symbol.
pub fn symbol<'t>(what: &str) -> impl Parser<Input<'t>, &'t Token<'t>, ErrMode<FilterError>> {
    any.verify(move |token: &&Token| token.is(what))
}

/// Refuses the next token.
pub fn refuse<T>(input: &Input, message: impl FnOnce(&Token) -> String) -> Parsed<T> {
    let error = match input.peek_token() {
        Some(token) => FilterError::wrong(token.column, message(token)),
        // The last token is the end, which no parser takes.
        None => FilterError::from_input(input),
    };
    Err(ErrMode::Cut(error))
}

/// Parses a value that a field is compared with.
pub fn value(name: &Name, input: &mut Input) -> Parsed<Located<Literal>> {
    let token: &Token = peek(any).parse_next(input)?;
    let literal = match &token.kind {
        Kind::Text(text) => Literal::text(text),
        Kind::Value(literal) => literal.clone(),
        Kind::Word(_) if token.is("true") => Literal::Bool(true),
        Kind::Word(_) if token.is("false") => Literal::Bool(false),
        _ => return refuse(input, |token| hints::value(token, name)),
    };
    input.next_token();
    Ok(Located::new(literal, token.column))
}

/// Parses a list of values in brackets or parentheses.
pub fn list(name: &Name, input: &mut Input) -> Parsed<Vec<Located<Literal>>> {
    const EXAMPLE: &str = r#"a list such as ["red", "blue"]"#;
    let open: &Token = peek(any).parse_next(input)?;
    let close = match open.kind {
        Kind::Symbol("[") => "]",
        Kind::Symbol("(") => ")",
        _ => return refuse(input, |token| hints::expected(token, EXAMPLE)),
    };
    input.next_token();
    if peek(symbol(close)).parse_next(input).is_ok() {
        let empty = |_: &Token| format!("the list is empty; write {EXAMPLE}");
        return refuse(input, empty);
    }
    let counted = |input: &mut Input| {
        input.state.values += 1;
        if input.state.values > MAX_VALUES {
            return refuse(input, |_| {
                format!("the lists have more than {MAX_VALUES} values in all; write fewer")
            });
        }
        value(name, input)
    };
    let values = separated(1.., cut_err(counted), symbol(",")).parse_next(input)?;
    if symbol(close).parse_next(input).is_err() {
        let what = format!("a comma or {close}");
        return refuse(input, |token| hints::expected(token, &what));
    }
    Ok(values)
}
