//! Fields: members of payloads that filters can test. Finds a field's values in a payload, and
//! gives each value a word: a number whose order is that of the values.

use std::{fmt, ops::RangeInclusive, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::types::id::nfc;

/// The type of a field's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldType {
    /// Text of at most 512 bytes in Unicode NFC, compared by code points.
    Keyword,
    /// Whole numbers between −10¹⁸ and 10¹⁸.
    Integer,
    /// Numbers in double precision. Whole numbers that it cannot represent are not held.
    Number,
    /// True or false; false is less than true.
    Bool,
    /// RFC 3339 times of the years 0000 to 9999: to the nanosecond from 1700 to 2199, and to the
    /// microsecond before and after.
    Time,
}

/// The maximum length of a keyword in bytes.
pub const MAX_KEYWORD_BYTES: usize = 512;

impl FieldType {
    /// The name of the type, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            FieldType::Keyword => "keyword",
            FieldType::Integer => "integer",
            FieldType::Number => "number",
            FieldType::Bool => "bool",
            FieldType::Time => "time",
        }
    }
}

impl fmt::Display for FieldType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A declared field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// Its number, which no other field ever has.
    pub number: u32,
    /// The path of its member.
    pub path: FieldPath,
    /// The type of its values.
    #[serde(rename = "type")]
    pub kind: FieldType,
    /// True if the values of all images are held. Filters cannot use it before.
    pub built: bool,
}

/// One value of a field in a payload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FieldValue {
    /// The member is null.
    Null,
    /// The member exists, but the field's type does not hold its value exactly.
    NotHeld,
    /// The member is an empty array.
    Empty,
    /// A keyword, in NFC.
    Keyword(String),
    /// The word of a value of another type; see [`word`].
    Word(u64),
}

impl Field {
    /// The values of the field in a payload, ascending and without duplicates. An array has the
    /// values of all its elements. Empty if the payload has no such member.
    pub fn values(&self, payload: Option<&Value>) -> Vec<FieldValue> {
        let mut values = Vec::new();
        if let Some(payload) = payload {
            self.collect(payload, &self.path.0, &mut values);
        }
        values.sort_unstable();
        values.dedup();
        values
    }

    fn collect(&self, value: &Value, path: &[String], values: &mut Vec<FieldValue>) {
        match (value, path) {
            (Value::Array(elements), []) if elements.is_empty() => values.push(FieldValue::Empty),
            (Value::Array(elements), _) => {
                elements
                    .iter()
                    .for_each(|element| self.collect(element, path, values));
            }
            (_, []) => values.push(self.value(value)),
            (Value::Object(members), [name, rest @ ..]) => {
                if let Some(member) = members.get(name) {
                    self.collect(member, rest, values);
                }
            }
            _ => {}
        }
    }

    fn value(&self, value: &Value) -> FieldValue {
        let word = match (self.kind, value) {
            (_, Value::Null) => return FieldValue::Null,
            (FieldType::Keyword, Value::String(text)) => {
                let text = nfc(text);
                if text.len() <= MAX_KEYWORD_BYTES {
                    return FieldValue::Keyword(text.into_owned());
                }
                None
            }
            (FieldType::Integer, Value::Number(number)) => {
                let place = Place::of_integer(&Decimal::from(number));
                place.is_exact.then_some(place.word)
            }
            (FieldType::Number, Value::Number(number)) => {
                let place = Place::of_number(&Decimal::from(number));
                place.is_exact.then_some(place.word)
            }
            (FieldType::Bool, Value::Bool(value)) => Some(word::of_bool(*value)),
            (FieldType::Time, Value::String(text)) => parse_time(text).and_then(|time| {
                let place = Place::of_time(time);
                place.is_exact.then_some(place.word)
            }),
            _ => None,
        };
        word.map_or(FieldValue::NotHeld, FieldValue::Word)
    }
}

/// Parses an RFC 3339 time.
pub fn parse_time(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok()
}

/// A JSON number or the number of a literal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decimal {
    /// A whole number of 64 bits, with or without sign.
    Whole(i128),
    /// Any other number, finite.
    Float(f64),
}

impl From<&serde_json::Number> for Decimal {
    fn from(number: &serde_json::Number) -> Self {
        let whole = number.as_i64().map(i128::from);
        let whole = whole.or_else(|| number.as_u64().map(i128::from));
        match (whole, number.as_f64()) {
            (Some(whole), _) => Decimal::Whole(whole),
            (None, float) => Decimal::Float(float.unwrap_or_default()),
        }
    }
}

/// Words: numbers whose order is that of the values of one type.
pub mod word {
    use std::ops::RangeInclusive;

    /// The word of images whose member is null.
    pub const NULL: u64 = 0;
    /// The word of images with a value that the field does not hold.
    pub const NOT_HELD: u64 = 1;
    /// The word of images whose member is an empty array.
    pub const EMPTY: u64 = 2;
    /// The words of values.
    pub const VALUES: RangeInclusive<u64> = 3..=u64::MAX;

    /// The word of false or true.
    pub fn of_bool(value: bool) -> u64 {
        VALUES.start() + u64::from(value)
    }

    /// The word of a time in milliseconds since 1970: their number. The first three milliseconds
    /// of 1970 share the word of the fourth.
    pub fn of_milliseconds(milliseconds: u64) -> u64 {
        milliseconds.max(*VALUES.start())
    }

    /// The word of the keyword with a number.
    pub fn of_keyword(number: u32) -> u64 {
        VALUES.start() + u64::from(number)
    }

    /// The number of the keyword with a word; `None` if it is not the word of a keyword.
    pub fn keyword(word: u64) -> Option<u32> {
        u32::try_from(word.checked_sub(*VALUES.start())?).ok()
    }
}

/// Where a value lies among the words of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The greatest word of a value that is not above it; below [`word::VALUES`] if there is none.
    pub word: u64,
    /// True if that word is the value's own.
    pub is_exact: bool,
}

/// How a value is compared with another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    Greater,
    /// `>=`
    AtLeast,
}

/// Whole numbers up to this are integers; see [`FieldType::Integer`].
const MAX_INTEGER: i128 = 1_000_000_000_000_000_000;
/// The word of the integer 0.
const ZERO: i128 = 1 << 63;
/// The bit of the sign in the words of numbers.
const SIGN: u64 = 1 << 63;

impl Place {
    /// The place of a value below all words.
    const BELOW: Place = Place {
        word: *word::VALUES.start() - 1,
        is_exact: false,
    };

    /// The words that compare so with this value: those whose value is equal to it, less, and so
    /// on. Empty if there are none.
    pub fn words(self, comparison: Comparison) -> RangeInclusive<u64> {
        let Place { word, is_exact } = self;
        let (first, last) = word::VALUES.into_inner();
        match comparison {
            Comparison::Equal if is_exact => word..=word,
            Comparison::Equal => empty(),
            Comparison::Less if is_exact => first..=word - 1,
            Comparison::Less | Comparison::AtMost => first..=word,
            Comparison::AtLeast if is_exact => word..=last,
            Comparison::AtLeast | Comparison::Greater => match word.checked_add(1) {
                Some(next) => next..=last,
                None => empty(),
            },
        }
    }

    /// The place of a number among integers.
    pub fn of_integer(number: &Decimal) -> Self {
        let (floor, is_whole) = number.floor();
        if floor < -MAX_INTEGER {
            return Place::BELOW;
        }
        let integer = floor.min(MAX_INTEGER);
        Place {
            word: u64::try_from(integer + ZERO).unwrap_or(u64::MAX),
            is_exact: is_whole && integer == floor,
        }
    }

    /// The place of a number among those in double precision.
    pub fn of_number(number: &Decimal) -> Self {
        match *number {
            Decimal::Float(float) => Place {
                word: float_word(float),
                is_exact: true,
            },
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                reason = "a number of 65 bits is within the range, and its rounding is corrected"
            )]
            Decimal::Whole(whole) => {
                let float = whole as f64;
                let rounded = float as i128;
                let word = float_word(float);
                Place {
                    word: if rounded > whole { word - 1 } else { word },
                    is_exact: rounded == whole,
                }
            }
        }
    }

    /// The place of a time among times.
    pub fn of_time(time: OffsetDateTime) -> Self {
        let nanoseconds = time.unix_timestamp_nanos();
        // Before 1700 and from 2200 on, a word is a microsecond.
        let (word, is_exact) = if nanoseconds < NANOSECONDS_FROM {
            let since = nanoseconds - YEAR_0;
            (since.div_euclid(1000), since.rem_euclid(1000) == 0)
        } else if nanoseconds < NANOSECONDS_UNTIL {
            (FINE_WORDS + (nanoseconds - NANOSECONDS_FROM), true)
        } else {
            let since = nanoseconds - NANOSECONDS_UNTIL;
            let fine = NANOSECONDS_UNTIL - NANOSECONDS_FROM;
            let word = FINE_WORDS + fine + since.div_euclid(1000);
            (word, since.rem_euclid(1000) == 0)
        };
        match u64::try_from(word + i128::from(*word::VALUES.start())) {
            Ok(word) if word >= *word::VALUES.start() => Place { word, is_exact },
            Ok(_) => Place::BELOW,
            Err(_) if word < 0 => Place::BELOW,
            Err(_) => Place {
                word: u64::MAX,
                is_exact: false,
            },
        }
    }

    /// The place of a number among whole milliseconds since 1970; see [`word::of_milliseconds`].
    pub fn of_milliseconds(number: &Decimal) -> Self {
        let (floor, is_whole) = number.floor();
        match u64::try_from(floor) {
            Ok(milliseconds) => Place {
                word: word::of_milliseconds(milliseconds),
                is_exact: is_whole,
            },
            Err(_) if floor < 0 => Place::BELOW,
            Err(_) => Place {
                word: u64::MAX,
                is_exact: false,
            },
        }
    }

    /// The place of a time among whole milliseconds since 1970.
    pub fn of_time_in_milliseconds(time: OffsetDateTime) -> Self {
        let nanoseconds = time.unix_timestamp_nanos();
        let milliseconds = Decimal::Whole(nanoseconds.div_euclid(1_000_000));
        let place = Place::of_milliseconds(&milliseconds);
        Place {
            is_exact: place.is_exact && nanoseconds.rem_euclid(1_000_000) == 0,
            ..place
        }
    }
}

/// 0000-01-01, 1700-01-01 and 2200-01-01 in nanoseconds since 1970.
const YEAR_0: i128 = -62_167_219_200 * 1_000_000_000;
const NANOSECONDS_FROM: i128 = -8_520_336_000 * 1_000_000_000;
const NANOSECONDS_UNTIL: i128 = 7_258_118_400 * 1_000_000_000;
/// The number of microseconds from the year 0 to 1700.
const FINE_WORDS: i128 = (NANOSECONDS_FROM - YEAR_0) / 1000;

#[expect(clippy::reversed_empty_ranges, reason = "it is meant to be empty")]
fn empty() -> RangeInclusive<u64> {
    1..=0
}

fn float_word(float: f64) -> u64 {
    // Adding 0 turns −0 into 0.
    let bits = (float + 0.0).to_bits();
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

impl Decimal {
    /// The greatest whole number that is not above it, and true if it is that number. Capped far
    /// beyond 64 bits.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::float_cmp,
        reason = "`as` caps it; a whole number is equal to its floor"
    )]
    fn floor(&self) -> (i128, bool) {
        match *self {
            Decimal::Whole(whole) => (whole, true),
            Decimal::Float(float) => (float.floor() as i128, float.floor() == float),
        }
    }
}

/// The path of a payload's member: the names of its objects' members, outermost first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct FieldPath(Vec<String>);

/// A text that is not the path of a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{found}' is not the path of a field: {rule}")]
pub struct InvalidPath {
    /// The first 40 characters of the text.
    found: String,
    /// The broken rule.
    rule: String,
}

impl FieldPath {
    /// The maximum number of names in a path.
    const MAX_NAMES: usize = 16;
    /// The maximum length of a path in bytes.
    const MAX_BYTES: usize = 256;

    /// Creates the path of some names.
    ///
    /// # Errors
    /// [`InvalidPath`] if it is empty, too long, or has an empty name.
    pub fn new(names: Vec<String>) -> Result<Self, InvalidPath> {
        let path = FieldPath(names);
        let text = path.to_string();
        let rule = if path.0.is_empty() || path.0.iter().any(String::is_empty) {
            "a name in it is empty; write names separated by dots, such as size.width".to_owned()
        } else if path.0.len() > Self::MAX_NAMES {
            let names = path.0.len();
            format!("it has {names} names; the maximum is {}", Self::MAX_NAMES)
        } else if text.len() > Self::MAX_BYTES {
            format!(
                "it has {} bytes; the maximum is {}",
                text.len(),
                Self::MAX_BYTES
            )
        } else {
            return Ok(path);
        };
        Err(InvalidPath {
            found: text.chars().take(40).collect(),
            rule,
        })
    }

    /// Returns true if a name needs no quotes in a path: it has only letters, digits, `_`, `-`,
    /// `$` and `@`, and does not start with a digit or `-`.
    pub fn is_bare(name: &str) -> bool {
        name.chars().all(Self::is_bare_char)
            && name
                .chars()
                .next()
                .is_some_and(|first| !first.is_numeric() && first != '-')
    }

    /// Returns true if a name with this character may need no quotes.
    pub fn is_bare_char(c: char) -> bool {
        c.is_alphanumeric() || matches!(c, '_' | '-' | '$' | '@')
    }

    /// The names, outermost first.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// The only name of the path, if it has one name.
    pub fn only_name(&self) -> Option<&str> {
        match &self.0[..] {
            [name] => Some(name),
            _ => None,
        }
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, name) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(".")?;
            }
            if Self::is_bare(name) {
                f.write_str(name)?;
            } else {
                write!(f, "\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))?;
            }
        }
        Ok(())
    }
}

impl FromStr for FieldPath {
    type Err = InvalidPath;

    /// Parses names separated by dots. A name with other characters than letters, digits, `_`,
    /// `-`, `$` and `@` stands in double quotes.
    fn from_str(text: &str) -> Result<Self, InvalidPath> {
        let refused = |rule: &str| InvalidPath {
            found: text.chars().take(40).collect(),
            rule: rule.to_owned(),
        };
        if text.len() > 4 * Self::MAX_BYTES {
            return Err(refused("it is too long; the maximum is 256 bytes"));
        }
        let (mut names, mut chars) = (Vec::new(), text.chars().peekable());
        loop {
            let mut name = String::new();
            if chars.next_if_eq(&'"').is_some() {
                loop {
                    match chars.next() {
                        Some('"') => break,
                        Some('\\') => name.extend(chars.next()),
                        Some(c) => name.push(c),
                        None => return Err(refused("a double quote is not closed")),
                    }
                }
            } else {
                while let Some(c) = chars.next_if(|&c| Self::is_bare_char(c)) {
                    name.push(c);
                }
                if !name.is_empty() && !Self::is_bare(&name) {
                    return Err(refused(
                        "a name that starts with a digit or - must stand in double quotes",
                    ));
                }
            }
            names.push(name);
            match chars.next() {
                Some('.') => {}
                None => return FieldPath::new(names),
                Some(_) => {
                    return Err(refused(
                        "a name with other characters than letters, digits, _, -, $ and @ must \
                         stand in double quotes",
                    ));
                }
            }
        }
    }
}

impl From<FieldPath> for String {
    fn from(path: FieldPath) -> Self {
        path.to_string()
    }
}

impl TryFrom<String> for FieldPath {
    type Error = InvalidPath;

    fn try_from(text: String) -> Result<Self, InvalidPath> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn field(path: &str, kind: FieldType) -> Field {
        Field {
            number: 1,
            path: path.parse().unwrap(),
            kind,
            built: true,
        }
    }

    #[test]
    fn values_are_found_by_path_and_in_arrays() {
        let payload = json!({
            "brand": "x", "sizes": [{"eu": 40}, {"eu": 41}, {"us": 7}, {"eu": null}, {"eu": []}],
            "a b": {"c.d": true}, "mixed": [1, "one", 1.5, 1.0],
        });
        let values = |path, kind| field(path, kind).values(Some(&payload));
        assert_eq!(
            values("brand", FieldType::Keyword),
            [FieldValue::Keyword("x".to_owned())]
        );
        assert_eq!(values("brand", FieldType::Integer), [FieldValue::NotHeld]);
        assert_eq!(values("brand.name", FieldType::Keyword), []);
        let word = |number: i128| FieldValue::Word(u64::try_from(ZERO + number).unwrap());
        assert_eq!(
            values("sizes.eu", FieldType::Integer),
            [FieldValue::Null, FieldValue::Empty, word(40), word(41)]
        );
        let truth = FieldValue::Word(word::of_bool(true));
        assert_eq!(values(r#""a b"."c.d""#, FieldType::Bool), [truth]);
        let mixed = [FieldValue::NotHeld, word(1)];
        assert_eq!(values("mixed", FieldType::Integer), mixed);
        assert_eq!(field("brand", FieldType::Keyword).values(None), []);
    }

    #[test]
    fn a_value_that_a_type_does_not_hold_exactly_is_not_held() {
        let held = |kind, value: Value| {
            let found = field("a", kind).values(Some(&json!({ "a": value })));
            matches!(found[..], [FieldValue::Word(_) | FieldValue::Keyword(_)])
        };
        for (kind, value, expected) in [
            (FieldType::Number, json!(9_007_199_254_740_992_u64), true),
            (FieldType::Number, json!(9_007_199_254_740_993_u64), false),
            (FieldType::Number, json!(u64::MAX), false),
            (FieldType::Number, json!(0.1), true),
            (FieldType::Integer, json!(-7.0), true),
            (FieldType::Integer, json!(7.5), false),
            (FieldType::Integer, json!(u64::MAX), false),
            (FieldType::Integer, json!("7"), false),
            (FieldType::Bool, json!(1), false),
            (FieldType::Time, json!("2026-01-02T03:04:05Z"), true),
            (FieldType::Time, json!("9999-12-31T23:59:59.999999Z"), true),
            (
                FieldType::Time,
                json!("9999-12-31T23:59:59.9999999Z"),
                false,
            ),
            (FieldType::Time, json!("2026-01-02"), false),
            (FieldType::Keyword, json!("x".repeat(512)), true),
            (FieldType::Keyword, json!("x".repeat(513)), false),
        ] {
            assert_eq!(held(kind, value.clone()), expected, "{kind} {value}");
        }
    }

    #[test]
    fn paths_read_back() {
        for text in [
            "price",
            "a.b.c",
            r#""a.b".c"#,
            r#""""#,
            "größe",
            r#""2x"."#,
            "a..b",
            "2x",
        ] {
            match text.parse::<FieldPath>() {
                Ok(path) => assert_eq!(path.to_string().parse(), Ok(path), "{text}"),
                Err(error) => assert!(!["price", "a.b.c", "größe"].contains(&text), "{error}"),
            }
        }
        assert!(r#""a\"b""#.parse::<FieldPath>().is_ok());
        assert!(vec!["a"; 17].join(".").parse::<FieldPath>().is_err());
    }

    proptest! {
        #[test]
        fn words_are_ordered_as_integers(a in -MAX_INTEGER..=MAX_INTEGER, b in -MAX_INTEGER..=MAX_INTEGER) {
            let word = |a| Place::of_integer(&Decimal::Whole(a)).word;
            prop_assert_eq!(word(a).cmp(&word(b)), a.cmp(&b));
        }

        #[test]
        fn words_are_ordered_as_numbers(a in proptest::num::f64::NORMAL | proptest::num::f64::ZERO, b in proptest::num::f64::NORMAL) {
            let word = |a| Place::of_number(&Decimal::Float(a)).word;
            prop_assert_eq!(Some(word(a).cmp(&word(b))), a.partial_cmp(&b));
        }

        #[test]
        fn words_are_ordered_as_times(a in YEAR_0..253_402_300_799_000_000_000i128, b in 0i128..4000) {
            let place = |at| Place::of_time(OffsetDateTime::from_unix_timestamp_nanos(at).unwrap());
            let (earlier, later) = (place(a), place(a + b));
            prop_assert!(earlier.word <= later.word);
            if earlier.is_exact && later.is_exact && b > 0 {
                prop_assert!(earlier.word < later.word);
            }
        }

        #[test]
        fn whole_numbers_are_compared_exactly_with_floats(whole in any::<u64>(), near in -3i32..3) {
            #[expect(clippy::cast_precision_loss, reason = "the test takes a number near it")]
            let float = whole as f64 * (1.0 + f64::from(near) * f64::EPSILON);
            let of_whole = Place::of_number(&Decimal::Whole(whole.into()));
            let word = Place::of_number(&Decimal::Float(float)).word;
            #[expect(clippy::cast_possible_truncation, reason = "it is within 65 bits")]
            let expected = (float as i128).cmp(&i128::from(whole));
            prop_assert_eq!(of_whole.words(Comparison::Less).contains(&word), expected.is_lt());
            prop_assert_eq!(of_whole.words(Comparison::AtLeast).contains(&word), expected.is_ge());
            prop_assert_eq!(of_whole.words(Comparison::Equal).contains(&word), expected.is_eq());
        }
    }
}
