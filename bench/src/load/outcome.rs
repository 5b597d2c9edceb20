//! What became of the requests of a load.

use crate::http::Answer;
use crate::summary::Latencies;
use std::collections::BTreeMap;
use std::time::Duration;

/// What is before an answer's code.
const CODE: &[u8] = br#""code":""#;

/// The one 503 that says for certain that nothing happened.
const OVERLOADED: &str = "OVERLOADED";

/// How a request without an answer is counted.
const BROKEN: &str = "(connection broken)";

/// All answers of a load.
#[derive(Default)]
pub(crate) struct Answers {
    /// Of those that did what was asked.
    pub(crate) accepted: Latencies,
    /// Of the others that were answered.
    pub(crate) declined: Latencies,
    /// The others, by code.
    pub(crate) refused: BTreeMap<String, u64>,
    /// How many of the others may have happened all the same.
    pub(crate) unknown: u64,
    /// From the first request to the last answer.
    pub(crate) took: Duration,
}

impl Answers {
    /// Counts an answer; returns whether what was asked was done.
    pub(crate) fn count(&mut self, answer: Answer<'_>, latency: Duration) -> bool {
        if answer.is_acceptance() {
            self.accepted.add(latency);
            return true;
        }
        self.declined.add(latency);
        let code = code(answer.body).unwrap_or_else(|| format!("(status {})", answer.status()));
        self.unknown += u64::from(answer.status() >= 500 && code != OVERLOADED);
        *self.refused.entry(code).or_default() += 1;
        false
    }

    /// Counts a request that was not answered.
    pub(crate) fn count_broken(&mut self) {
        self.unknown += 1;
        *self.refused.entry(BROKEN.into()).or_default() += 1;
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.accepted.merge(other.accepted);
        self.declined.merge(other.declined);
        self.unknown += other.unknown;
        for (code, count) in other.refused {
            *self.refused.entry(code).or_default() += count;
        }
    }

    /// Answers of all kinds.
    pub(crate) fn requests(&self) -> u64 {
        self.accepted.count() as u64 + self.refused.values().sum::<u64>()
    }

    /// Accepted a second.
    pub(crate) fn rate(&self) -> f64 {
        self.accepted.count() as f64 / self.took.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

fn code(body: &[u8]) -> Option<String> {
    let after = body.windows(CODE.len()).position(|window| window == CODE)? + CODE.len();
    let code = body[after..].split(|byte| *byte == b'"').next()?;
    std::str::from_utf8(code).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &[u8], status: u16) -> (Vec<u8>, Vec<u8>) {
        (
            format!("HTTP/1.1 {status} X\r\n\r\n").into_bytes(),
            body.to_vec(),
        )
    }

    #[test]
    fn every_answer_that_is_not_an_acceptance_is_counted_by_its_code() {
        let mut answers = Answers::default();
        let given = [
            (
                answer(br#"{"result":true,"code":"01","message":null}"#, 200),
                true,
            ),
            (answer(br#"{"result":false,"code":"SOLD_OUT"}"#, 200), false),
            (
                answer(br#"{"result":false,"code":"OVERLOADED"}"#, 503),
                false,
            ),
            (
                answer(br#"{"result":false,"code":"OUTCOME_UNKNOWN"}"#, 503),
                false,
            ),
            (answer(b"gone", 502), false),
        ];
        for ((head, body), accepted) in given {
            assert_eq!(
                answers.count(
                    Answer {
                        head: &head,
                        body: &body
                    },
                    Duration::ZERO
                ),
                accepted
            );
        }
        answers.count_broken();
        let codes = [
            "(connection broken)",
            "(status 502)",
            "OUTCOME_UNKNOWN",
            "OVERLOADED",
            "SOLD_OUT",
        ];
        assert_eq!(
            answers.refused,
            codes.map(|code| (code.to_owned(), 1)).into()
        );
        assert_eq!((answers.unknown, answers.requests()), (3, 6));
    }
}
