//! Parses the fields of a body strictly, and reports every problem at once.

use serde_json::value::RawValue;
use std::fmt::Display;

use crate::field_problem::plain_integer;
use crate::{FieldProblem, Problem};

/// The fields of a [`JsonObject`](crate::JsonObject). Each getter gives the value or remembers what was wrong; unknown
/// fields are ignored.
///
/// ```
/// # use domain::{Amount, ProductId};
/// # use edge::{JsonObject, Problem};
/// fn parse(body: &JsonObject) -> Result<(ProductId, Amount), Problem> {
///     let mut fields = body.fields();
///     let product_id = fields.int("productId", ProductId::try_from);
///     let amount = fields.int("investAmount", Amount::try_from);
///     let (Some(product_id), Some(amount)) = (product_id, amount) else { return Err(fields.refuse()) };
///     Ok((product_id, amount))
/// }
/// ```
#[derive(Debug)]
pub struct Fields<'a> {
    members: &'a [(String, Box<RawValue>)],
    problems: Vec<FieldProblem>,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(members: &'a [(String, Box<RawValue>)]) -> Self {
        Self {
            members,
            problems: Vec::new(),
        }
    }

    /// A JSON integer written plainly (`100`, not `1e2`, `100.0`, `"100"` or `-0`), then parsed. The error's words follow
    /// the field's name: "must be a whole number from 1".
    pub fn int<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(i64) -> Result<T, E>,
    ) -> Option<T> {
        self.field(name, |raw| {
            plain_integer(raw)
                .map_err(String::from)
                .and_then(|n| parse(n).map_err(words))
        })
    }

    /// A JSON string without NUL, then parsed. The error's words follow the field's name.
    pub fn text<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(String) -> Result<T, E>,
    ) -> Option<T> {
        self.field(name, |raw| {
            string(raw).and_then(|text| parse(text).map_err(words))
        })
    }

    /// The same where the field may be missing or null: `Some(None)`.
    pub fn optional_int<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(i64) -> Result<T, E>,
    ) -> Option<Option<T>> {
        if self.has(name) {
            self.int(name, parse).map(Some)
        } else {
            Some(None)
        }
    }

    /// Whether the field is there, with a value other than null.
    pub fn has(&self, name: &str) -> bool {
        self.members
            .iter()
            .any(|(member, raw)| member == name && raw.get() != "null")
    }

    /// Remembers something wrong that only the fields together show.
    pub fn wrong(&mut self, name: &'static str, wrong: impl Display) {
        self.problems
            .push(FieldProblem::new(name, wrong.to_string()));
    }

    /// Everything that was wrong. To be called when a getter gave `None`.
    pub fn refuse(self) -> Problem {
        Problem::Invalid(self.problems)
    }

    fn field<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let read = self.only(name).and_then(|raw| {
            let read = parse(raw);
            read.map_err(|wrong| FieldProblem::new(name, wrong).given(raw))
        });
        read.map_err(|problem| self.problems.push(problem)).ok()
    }

    fn only(&self, name: &'static str) -> Result<&'a str, FieldProblem> {
        let mut named = self.members.iter().filter(|(member, _)| member == name);
        match (named.next(), named.next()) {
            (Some((_, raw)), None) => Ok(raw.get()),
            (None, _) => Err(FieldProblem::new(name, "is missing")),
            (Some(_), Some(_)) => Err(FieldProblem::new(name, "is repeated")),
        }
    }
}

fn words(error: impl Display) -> String {
    error.to_string()
}

fn string(raw: &str) -> Result<String, String> {
    let text: String = serde_json::from_str(raw).map_err(|_| "must be a string")?;
    // PostgreSQL's text cannot hold it; see that nobody finds out later.
    if text.contains('\0') {
        Err("must not contain NUL".into())
    } else {
        Ok(text)
    }
}
