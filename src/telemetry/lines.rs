//! Standard error as the log is written to it: each event is one line, whatever its values say.
//! Knows characters; neither events nor their form.

use std::{
    borrow::Cow,
    io::{self, Write},
};

/// Writes events.
pub(crate) struct Lines;

impl Write for Lines {
    /// Writes an event, which comes in one piece.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        io::stderr().write_all(line(&text).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// An event with its line breaks and control characters escaped, but for the break at its end and what colours it. What colours values was
/// escaped before.
fn line(event: &str) -> Cow<'_, str> {
    let (text, end) = match event.strip_suffix('\n') {
        Some(text) => (text, "\n"),
        None => (event, ""),
    };
    let forges = |c: char| c.is_control() && !['\t', '\x1b'].contains(&c);
    if !text.contains(forges) {
        return event.into();
    }
    let mut line = String::with_capacity(event.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => line += "\\n",
            '\r' => line += "\\r",
            c if forges(c) => line += &format!("\\u{:04x}", u32::from(c)),
            c => line.push(c),
        }
    }
    (line + end).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        for (event, written) in [
            ("a job failed\n", "a job failed\n"),
            ("\x1b[31mERROR\x1b[0m a\tb\n", "\x1b[31mERROR\x1b[0m a\tb\n"),
            ("'a\n2026 ERROR b'\r\n", "'a\\n2026 ERROR b'\\r\n"),
            ("{\"label\":\"\u{9b}2J\"}\n", "{\"label\":\"\\u009b2J\"}\n"),
        ] {
            assert_eq!(line(event), written);
        }
    }
}
