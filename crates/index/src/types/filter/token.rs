//! Splits a text into tokens: words, values and symbols. Never fails: a malformed token says what
//! is wrong with it, so that the grammar can refuse an earlier one first.

use winnow::{
    Parser, Result,
    combinator::{alt, dispatch, empty, fail, opt, peek, preceded},
    error::EmptyError,
    token::{any, one_of, take_till, take_while},
};

use crate::types::{
    field::{Decimal, FieldPath, parse_time},
    filter::literal::{Literal, clip},
};

/// A piece of a filter's text.
#[derive(Clone, Debug)]
pub struct Token<'a> {
    /// The column in which it starts, in characters from 1; of a malformed text, the column of the
    /// error.
    pub column: usize,
    /// The token as written; empty at the end.
    pub raw: &'a str,
    /// What it is.
    pub kind: Kind<'a>,
}

/// The kinds of tokens.
#[derive(Clone, Debug)]
pub enum Kind<'a> {
    /// A name without quotes or a keyword.
    Word(&'a str),
    /// A text in quotes, without its escapes; also a name if the quotes are double.
    Text(String),
    /// A number or a time.
    Value(Literal),
    /// Starts as a number or a time does, but is neither; with what would be right.
    NotAValue(String),
    /// A text in quotes that is malformed; with what would be right.
    NotAText(String),
    /// An operator, a bracket or any other character.
    Symbol(&'a str),
    /// The end of the filter.
    End,
}

/// Names that stand in quotes if they are the first or only name of a field's path.
const KEYWORDS: [&str; 11] = [
    "and", "or", "not", "in", "exists", "is", "null", "starts", "with", "true", "false",
];

/// Returns true if a name is a keyword, in any case.
pub fn is_keyword(name: &str) -> bool {
    let mut keywords = KEYWORDS.iter();
    keywords.any(|keyword| name.eq_ignore_ascii_case(keyword))
}

impl Token<'_> {
    /// Returns true if it is this symbol, or this keyword in any case.
    pub fn is(&self, what: &str) -> bool {
        match self.kind {
            Kind::Word(word) => word.eq_ignore_ascii_case(what),
            Kind::Symbol(symbol) => symbol == what,
            _ => false,
        }
    }

    /// Names the token in an error.
    pub fn found(&self) -> String {
        match self.kind {
            Kind::End => "the end".to_owned(),
            Kind::Text(_) => clip(self.raw),
            _ => format!("\"{}\"", clip(self.raw)),
        }
    }
}

/// Splits a text into tokens, the last of which is [`Kind::End`].
pub fn tokens(text: &str) -> Vec<Token<'_>> {
    let (mut rest, mut column, mut tokens) = (text, 1, Vec::new());
    loop {
        let space: Result<&str, EmptyError> =
            take_while(0.., char::is_whitespace).parse_next(&mut rest);
        column += space.unwrap_or_default().chars().count();
        let Ok(((kind, offset), raw)) = token.with_taken().parse_next(&mut rest) else {
            break;
        };
        tokens.push(Token {
            column: column + offset,
            raw,
            kind,
        });
        column += raw.chars().count();
    }
    tokens.push(Token {
        column,
        raw: "",
        kind: Kind::End,
    });
    tokens
}

/// A token, and the offset in characters of what is wrong with it.
fn token<'a>(input: &mut &'a str) -> Result<(Kind<'a>, usize), EmptyError> {
    let at_start = |kind| (kind, 0);
    dispatch! { peek(any);
        '"' | '\'' => text,
        c if is_value_start(c) => value.map(at_start),
        c if FieldPath::is_bare_char(c) =>
            take_while(1.., FieldPath::is_bare_char).map(Kind::Word).map(at_start),
        _ => symbol.map(Kind::Symbol).map(at_start),
    }
    .parse_next(input)
}

fn is_value_start(c: char) -> bool {
    c.is_numeric() || matches!(c, '-' | '+')
}

fn symbol<'a>(input: &mut &'a str) -> Result<&'a str, EmptyError> {
    let is_operator = |c| matches!(c, '=' | '!' | '<' | '>' | '&' | '|' | '~');
    alt((take_while(1.., is_operator), any.take())).parse_next(input)
}

/// A number or a time, with all that adjoins it.
fn value<'a>(input: &mut &'a str) -> Result<Kind<'a>, EmptyError> {
    let raw = take_while(1.., |c| {
        FieldPath::is_bare_char(c) || matches!(c, '.' | ':' | '+')
    });
    let classify = |raw: &str| match (Literal::parse_number(raw), parse_time(raw)) {
        (Some(Decimal::Float(float)), _) if float.is_infinite() => Kind::NotAValue(format!(
            "the number {} is too large; the maximum is {:?}",
            clip(raw),
            f64::MAX
        )),
        (Some(number), _) => Kind::Value(Literal::Number(number)),
        (None, Some(time)) => Kind::Value(Literal::Time(time)),
        (None, None) if is_like_a_date(raw) => Kind::NotAValue(format!(
            "\"{}\" is not a time; write date, time and zone, as in 2026-01-31T12:00:00Z",
            clip(raw)
        )),
        (None, None) => Kind::NotAValue(format!(
            "\"{}\" is not a number; write a number such as 50, -0.5 or 1e3, or a text in quotes",
            clip(raw)
        )),
    };
    raw.map(classify).parse_next(input)
}

fn is_like_a_date(raw: &str) -> bool {
    let digits = raw.find(|c: char| !c.is_ascii_digit());
    digits.is_some_and(|end| end == 4 && raw[end..].starts_with('-')) || raw.contains(':')
}

/// A text in quotes. If it is malformed, it takes all of the input.
fn text<'a>(input: &mut &'a str) -> Result<(Kind<'a>, usize), EmptyError> {
    let all = *input;
    let quote = one_of(['"', '\'']).parse_next(input)?;
    let mut text = String::new();
    let (offset, error) = loop {
        let plain: &str = take_till(0.., [quote, '\\']).parse_next(input)?;
        text.push_str(plain);
        // Where the next character is, in bytes.
        let at = all.len() - input.len();
        match opt(any).parse_next(input)? {
            Some('\\') if !input.is_empty() => match opt(escape).parse_next(input)? {
                Some(c) => text.push(c),
                None => break (all[..at].chars().count(), wrong_escape(&all[at..])),
            },
            Some(c) if c == quote => return Ok((Kind::Text(text), 0)),
            _ => {
                let error = format!("the text that starts here is not closed; end it with {quote}");
                break (0, error);
            }
        }
    };
    *input = &input[input.len()..];
    Ok((Kind::NotAText(error), offset))
}

/// Says what is wrong with the escape at the start of a text.
fn wrong_escape(text: &str) -> String {
    let start: String = text.chars().take(2).collect();
    let rule = if start == "\\u" {
        "is not followed by the four hexadecimal digits of a character, as in \\u00e9"
    } else {
        "is not an escape"
    };
    format!("\"{start}\" {rule}; write \\\\ for a backslash")
}

/// What follows a backslash: the escapes of JSON, and a single quote.
fn escape(input: &mut &str) -> Result<char, EmptyError> {
    dispatch! { any;
        c @ ('"' | '\'' | '\\' | '/') => empty.value(c),
        'n' => empty.value('\n'),
        't' => empty.value('\t'),
        'r' => empty.value('\r'),
        'b' => empty.value('\u{8}'),
        'f' => empty.value('\u{c}'),
        'u' => alt((pair, unit.verify_map(|unit| char::from_u32(unit.into())))),
        _ => fail,
    }
    .parse_next(input)
}

/// Four hexadecimal digits.
fn unit(input: &mut &str) -> Result<u16, EmptyError> {
    take_while(4..=4, |c: char| c.is_ascii_hexdigit())
        .try_map(|digits| u16::from_str_radix(digits, 16))
        .parse_next(input)
}

/// Two units of UTF-16 that make one character.
fn pair(input: &mut &str) -> Result<char, EmptyError> {
    (unit, preceded("\\u", unit))
        .verify_map(|(high, low)| {
            let mut decoded = char::decode_utf16([high, low]);
            match (decoded.next(), decoded.next()) {
                (Some(Ok(c)), None) => Some(c),
                _ => None,
            }
        })
        .parse_next(input)
}
