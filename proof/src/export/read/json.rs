//! The columns of a line of NDJSON.

use super::super::format::COLUMNS;
use super::{Line, number};

/// What of a line is still to be read.
pub(super) struct Json<'a> {
    rest: &'a str,
    column: usize,
}

impl<'a> Json<'a> {
    pub(super) fn of(line: &'a str) -> Self {
        Self {
            rest: line,
            column: 0,
        }
    }

    /// Goes past the next column's name.
    #[inline]
    fn name(&mut self) -> Option<()> {
        let before = if self.column == 0 { "{\"" } else { ",\"" };
        let rest = self
            .rest
            .strip_prefix(before)?
            .strip_prefix(COLUMNS.get(self.column)?)?;
        self.rest = rest.strip_prefix("\":")?;
        self.column += 1;
        Some(())
    }

    /// What stands between the quotes of the next text, and whether some of it is escaped.
    #[inline]
    fn quoted(&mut self) -> Option<(&'a str, bool)> {
        self.name()?;
        let text = self.rest.strip_prefix('"')?;
        let (mut at, mut escaped) = (0, false);
        loop {
            match text.as_bytes().get(at)? {
                b'"' => break,
                b'\\' => (at, escaped) = (at + 2, true),
                ..b' ' => return None,
                _ => at += 1,
            }
        }
        self.rest = text.get(at + 1..)?;
        Some((text.get(..at)?, escaped))
    }
}

impl<'a> Line<'a> for Json<'a> {
    fn text(&mut self, scratch: &'a mut String) -> Option<&'a str> {
        match self.quoted()? {
            (text, false) => Some(text),
            (text, true) => unescaped(text, scratch),
        }
    }

    fn plain(&mut self) -> Option<&'a str> {
        self.quoted()
            .and_then(|(text, escaped)| (!escaped).then_some(text))
    }

    fn number(&mut self) -> Option<i64> {
        self.name()?;
        let (digits, rest) = self.rest.split_at(self.rest.find([',', '}'])?);
        self.rest = rest;
        number(digits)
    }

    fn end(&self) -> Option<()> {
        (self.rest == "}").then_some(())
    }
}

/// `text` without its escapes, of which each character has one form at most.
fn unescaped<'a>(mut text: &str, scratch: &'a mut String) -> Option<&'a str> {
    scratch.clear();
    while let Some((plain, escape)) = text.split_once('\\') {
        scratch.push_str(plain);
        let (character, length) = unescape(escape)?;
        scratch.push(character);
        text = escape.get(length..)?;
    }
    scratch.push_str(text);
    Some(scratch)
}

/// The character that an escape after its backslash is, and how long it is.
fn unescape(escape: &str) -> Option<(char, usize)> {
    let short = match escape.as_bytes().first()? {
        b'"' => '"',
        b'\\' => '\\',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return control(escape.get(1..5)?).map(|character| (character, 5)),
        _ => return None,
    };
    Some((short, 1))
}

/// A control character that has no shorter form, from four hex digits in lower case.
fn control(digits: &str) -> Option<char> {
    let character = u8::from_str_radix(digits, 16)
        .ok()
        .filter(|character| *character < b' ')?;
    let shorter = [8, 9, 10, 12, 13].contains(&character);
    (!shorter && digits == format!("{character:04x}")).then_some(char::from(character))
}
