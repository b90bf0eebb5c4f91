//! The values that fields are compared with.

use std::{
    fmt::{self, Write},
    hash::{Hash, Hasher},
    mem,
};

use time::{Duration, OffsetDateTime};
use winnow::{
    Parser, Result,
    ascii::{digit0, digit1},
    combinator::{alt, opt},
    error::EmptyError,
    token::one_of,
};

use crate::types::{field::Decimal, id::nfc};

/// A value in a filter.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// A text in NFC.
    Text(String),
    /// A number. It is [`Decimal::Whole`] if it is a whole number of 64 bits, however written.
    Number(Decimal),
    /// True or false.
    Bool(bool),
    /// A time that stands without quotes.
    Time(OffsetDateTime),
}

/// Numbers are finite, and 0 has no sign.
impl Eq for Literal {}

impl Hash for Literal {
    fn hash<H: Hasher>(&self, state: &mut H) {
        mem::discriminant(self).hash(state);
        match self {
            Literal::Text(text) => text.hash(state),
            Literal::Number(Decimal::Whole(whole)) => whole.hash(state),
            Literal::Number(Decimal::Float(float)) => float.to_bits().hash(state),
            Literal::Bool(value) => value.hash(state),
            Literal::Time(time) => time.hash(state),
        }
    }
}

impl Literal {
    /// Creates the literal of a text.
    pub fn text(text: &str) -> Self {
        Literal::Text(nfc(text).into_owned())
    }

    /// Creates the literal of a finite number.
    pub fn number(float: f64) -> Self {
        let whole = -9_223_372_036_854_775_808.0..18_446_744_073_709_551_616.0;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "it is whole and of 64 bits"
        )]
        Literal::Number(if float.fract() == 0.0 && whole.contains(&float) {
            Decimal::Whole(float as i128)
        } else {
            Decimal::Float(float)
        })
    }

    /// Parses a JSON number. `None` if it is none. It is infinite if it is too large.
    pub fn parse_number(text: &str) -> Option<Decimal> {
        json_number.parse(text).ok()?;
        let whole = text.parse().ok();
        let range = i128::from(i64::MIN)..=i128::from(u64::MAX);
        if let Some(whole) = whole.filter(|whole| range.contains(whole)) {
            return Some(Decimal::Whole(whole));
        }
        match Literal::number(text.parse().ok()?) {
            Literal::Number(number) => Some(number),
            _ => None,
        }
    }
}

/// A number as in JSON (RFC 8259, section 6).
fn json_number<'a>(input: &mut &'a str) -> Result<&'a str, EmptyError> {
    let whole = alt(("0".void(), (one_of('1'..='9'), digit0).void()));
    let exponent = (one_of(['e', 'E']), opt(one_of(['+', '-'])), digit1);
    (opt('-'), whole, opt(('.', digit1)), opt(exponent))
        .take()
        .parse_next(input)
}

/// Writes the canonical form, as in a filter.
impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Literal::Text(text) => write_text(text, f),
            Literal::Number(Decimal::Whole(whole)) => whole.fmt(f),
            // `Debug` writes large and small numbers with an exponent.
            Literal::Number(Decimal::Float(float)) => write!(f, "{float:?}"),
            Literal::Bool(value) => value.fmt(f),
            Literal::Time(time) => write_time(*time, f),
        }
    }
}

/// Writes a text in double quotes.
pub fn write_text(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}"),
            '\n' => f.write_str("\\n"),
            '\t' => f.write_str("\\t"),
            // Control characters are below U+00A0.
            c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c)),
            c => f.write_char(c),
        }?;
    }
    f.write_char('"')
}

/// Writes a time as in RFC 3339: in UTC, or in another zone if the year is outside 0000 to 9999 in
/// UTC.
fn write_time(time: OffsetDateTime, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    const FURTHEST: Duration = Duration::minutes(23 * 60 + 59);
    let nanoseconds = time.unix_timestamp_nanos();
    let zones = [
        (Duration::ZERO, "Z"),
        (FURTHEST, "+23:59"),
        (-FURTHEST, "-23:59"),
    ];
    for (offset, zone) in zones {
        let local = nanoseconds + offset.whole_nanoseconds();
        let Ok(local) = OffsetDateTime::from_unix_timestamp_nanos(local) else {
            continue;
        };
        if (0..=9999).contains(&local.year()) {
            let (date, clock) = (local.date(), local.time());
            write!(
                f,
                "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
                date.year(),
                u8::from(date.month()),
                date.day(),
                clock.hour(),
                clock.minute(),
                clock.second()
            )?;
            if clock.nanosecond() > 0 {
                let fraction = format!("{:09}", clock.nanosecond());
                write!(f, ".{}", fraction.trim_end_matches('0'))?;
            }
            return f.write_str(zone);
        }
    }
    // No parsed time is further out.
    Ok(())
}

/// The first 40 characters of a text, with "…" if there are more.
pub fn clip(text: &str) -> String {
    const MAX_CHARS: usize = 40;
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
