//! What the admin listener answers instead of data, in the words of the command line.

use crate::table::text;
use serde_json::Value;
use std::fmt;

/// What begins the message of a request that cannot be: before its problems, with "; " between them.
const INVALID: &str = "Invalid value : ";
/// The fields of requests, by the flags that set them.
const FLAGS: [(&str, &str); 25] = [
    ("title", "--title"),
    ("totalInvestingAmount", "--total"),
    ("startedAt", "--starts"),
    ("finishedAt", "--finishes"),
    ("minInvestAmount", "--min-invest"),
    ("investAmountUnit", "--unit"),
    ("maxAmountPerUser", "--max-per-user"),
    ("targetAmount", "--target"),
    ("withdrawableUntil", "--withdrawable-until"),
    ("reason", "--reason"),
    ("productId", "the product's id"),
    ("page", "--page"),
    ("size", "--size"),
    ("at", "--at"),
    ("sequence", "--sequence"),
    ("type", "--type"),
    ("code", "--code"),
    ("cursor", "--cursor"),
    ("from", "--from"),
    ("to", "--to"),
    ("partition", "--partition"),
    ("limit", "--limit"),
    ("userId", "--user"),
    ("correlationId", "--correlation"),
    ("maxRate", "--max-rate"),
];

/// What the admin listener answered instead of data.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(super) code: String,
    message: String,
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code.as_str(), self.message.as_str()) {
            (code, "") => f.write_str(code),
            ("00", message) if message.starts_with(INVALID) => f.write_str(&with_flags(&message[INVALID.len()..])),
            ("401", _) => f.write_str(
                "the token is none of that Moa's: set MOA_OPERATOR_TOKEN, or MOA_AUDITOR_TOKEN for the audit, to one that is",
            ),
            ("404", "Not found") => f.write_str("there is none with this id"),
            ("404", _) => f.write_str("what answers there is not Moa's admin listener: set --admin-url to that one"),
            ("NOT_EXIST_PRODUCT", _) => f.write_str("there is no such product: `moa product list` shows all"),
            (code, message) => write!(f, "{code}: {message}"),
        }
    }
}

/// Each problem with the flag in the place of the field.
fn with_flags(problems: &str) -> String {
    let named = |problem: &str| {
        let (field, rest) = problem.split_once(' ')?;
        let (_, flag) = FLAGS.iter().find(|(name, _)| *name == field)?;
        Some(format!("{flag} {rest}"))
    };
    let problems = problems
        .split("; ")
        .map(|problem| named(problem).unwrap_or_else(|| problem.to_owned()));
    problems.collect::<Vec<_>>().join("; ")
}

/// The `data` of an answer that says yes.
///
/// # Errors
/// A [`Refusal`], of any other answer.
pub(crate) fn data(answer: Value) -> anyhow::Result<Value> {
    if answer["result"] == true {
        return Ok(answer["data"].clone());
    }
    let message = answer["message"]
        .as_str()
        .unwrap_or_default()
        .trim_end_matches(" : ")
        .to_owned();
    Err(Refusal {
        code: text(&answer["code"]),
        message,
    }
    .into())
}
