//! Writes log events to standard error, each on one line: control characters in values are escaped.

use std::{
    borrow::Cow,
    io::{self, Write},
};

pub(crate) struct LineWriter;

impl Write for LineWriter {
    /// Writes one event. The subscriber passes each event in one call.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        io::stderr().write_all(escape(&text).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Escapes line breaks and other control characters, except the line break at the end and the
/// escape character of colours. The subscriber has escaped that character in values.
fn escape(event: &str) -> Cow<'_, str> {
    let (text, end) = match event.strip_suffix('\n') {
        Some(text) => (text, "\n"),
        None => (event, ""),
    };
    let is_escaped = |c: char| c.is_control() && !['\t', '\x1b'].contains(&c);
    if !text.contains(is_escaped) {
        return event.into();
    }
    let mut line = String::with_capacity(event.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => line += "\\n",
            '\r' => line += "\\r",
            c if is_escaped(c) => line += &format!("\\u{:04x}", u32::from(c)),
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
            assert_eq!(escape(event), written);
        }
    }
}
