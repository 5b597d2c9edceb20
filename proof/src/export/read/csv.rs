//! The columns of a line of CSV. A record is a line here: one whose text has a line break cannot be read, and Moa writes none.

use super::super::format::needs_quotes;
use super::{Line, number};

/// What of a line is still to be read.
pub(super) struct Csv<'a> {
    /// `None` when nothing follows.
    rest: Option<&'a str>,
}

impl<'a> Csv<'a> {
    /// The columns of a line that has its carriage return.
    pub(super) fn of(line: &'a str) -> Option<Self> {
        line.strip_suffix('\r')
            .map(|line| Self { rest: Some(line) })
    }

    /// The next field without quotes around it, and whether it has quotes within, each twice.
    fn field(&mut self) -> Option<(&'a str, bool)> {
        let rest = self.rest?;
        let Some(quoted) = rest.strip_prefix('"') else {
            let (field, rest) = rest
                .split_once(',')
                .map_or((rest, None), |(field, rest)| (field, Some(rest)));
            self.rest = rest;
            return (!needs_quotes(field)).then_some((field, false));
        };
        let (mut at, mut doubled) = (0, false);
        loop {
            at += quoted.get(at..)?.find('"')?;
            if quoted.as_bytes().get(at + 1) != Some(&b'"') {
                break;
            }
            (at, doubled) = (at + 2, true);
        }
        let (field, rest) = (quoted.get(..at)?, quoted.get(at + 1..)?);
        self.rest = if rest.is_empty() {
            None
        } else {
            Some(rest.strip_prefix(',')?)
        };
        needs_quotes(field).then_some((field, doubled))
    }
}

impl<'a> Line<'a> for Csv<'a> {
    fn text(&mut self, scratch: &'a mut String) -> Option<&'a str> {
        match self.field()? {
            (text, false) => Some(text),
            (text, true) => {
                scratch.clear();
                text.split("\"\"").enumerate().for_each(|(part, text)| {
                    if part > 0 {
                        scratch.push('"');
                    }
                    scratch.push_str(text);
                });
                Some(scratch)
            }
        }
    }

    fn plain(&mut self) -> Option<&'a str> {
        self.field()
            .and_then(|(text, doubled)| (!doubled).then_some(text))
    }

    fn number(&mut self) -> Option<i64> {
        number(self.plain()?)
    }

    fn end(&self) -> Option<()> {
        self.rest.is_none().then_some(())
    }
}
