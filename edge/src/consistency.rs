//! Consistency tokens: the positions of the log that an answer shows.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fmt;
use uuid::Uuid;

use crate::{FieldProblem, Problem, header};

/// The version of tokens of a log's first incarnation, and of later ones, which name theirs.
const VERSION: u8 = 1;
const VERSION_WITH_INCARNATION: u8 = 2;
const FIRST_INCARNATION: i64 = 1;
const UUID_BYTES: usize = 16;
/// An `i64` that is not negative has 63 bits, seven in a byte.
const MAX_VARINT_BYTES: u32 = 9;

/// A log, and which of its histories: where a log lost events and an operator accepted that, another incarnation of it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogIncarnation {
    /// The log.
    pub log_id: Uuid,
    /// 1 for a log that lost nothing; more for each later one.
    pub incarnation: i64,
}

impl LogIncarnation {
    /// A log that lost nothing.
    pub const fn first(log_id: Uuid) -> Self {
        Self {
            log_id,
            incarnation: FIRST_INCARNATION,
        }
    }
}

/// A log and a position in each of its partitions; 0 says nothing of a partition. Opaque to clients: base64url without
/// padding of version, log id, incarnation unless it is the first, partition count, and the positions; numbers as canonical LEB128.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsistencyToken {
    log: LogIncarnation,
    positions: Vec<i64>,
}

impl ConsistencyToken {
    /// `positions` by partition, at most 255 of them, none negative.
    pub fn new(log: LogIncarnation, positions: Vec<i64>) -> Self {
        Self { log, positions }
    }

    /// The position in each partition.
    pub fn positions(&self) -> &[i64] {
        &self.positions
    }

    /// The value of an `X-Consistency-Token` header.
    pub fn header_value(&self) -> HeaderValue {
        // base64url is always a good header value.
        HeaderValue::try_from(self.to_string()).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// What all `X-Consistency-Token` headers together ask of `log` with `partitions` partitions; `None`
    /// when there are none. One that is malformed or of another log is refused with [`Problem::Invalid`], one of another incarnation with
    /// [`Problem::TokenOutdated`].
    pub fn asked(
        headers: &HeaderMap,
        log: LogIncarnation,
        partitions: usize,
    ) -> Result<Option<Self>, Problem> {
        Self::named(
            (&header::CONSISTENCY_TOKEN, "X-Consistency-Token"),
            headers,
            log,
            partitions,
        )
    }

    /// The same of `Last-Event-ID`: the events of a stream have tokens as their ids.
    pub fn last_event(
        headers: &HeaderMap,
        log: LogIncarnation,
        partitions: usize,
    ) -> Result<Option<Self>, Problem> {
        Self::named(
            (&header::LAST_EVENT_ID, "Last-Event-ID"),
            headers,
            log,
            partitions,
        )
    }

    fn named(
        (header, name): (&HeaderName, &'static str),
        headers: &HeaderMap,
        log: LogIncarnation,
        partitions: usize,
    ) -> Result<Option<Self>, Problem> {
        let refuse = |wrong: &str| Problem::invalid(FieldProblem::new(name, wrong));
        let malformed = || refuse("is malformed: send one as it was given, or leave it out");
        let mut asked: Option<Self> = None;
        for value in headers.get_all(header) {
            let tokens = value.to_str().map_err(|_| malformed())?;
            // On its way a proxy may have joined several headers into one.
            for text in tokens.split(',') {
                let token = Self::decode(text.trim()).ok_or_else(malformed)?;
                if token.log.log_id != log.log_id || token.positions.len() != partitions {
                    return Err(refuse("is of another log: leave it out"));
                }
                if token.log.incarnation != log.incarnation {
                    return Err(Problem::TokenOutdated);
                }
                asked = Some(asked.map_or(token.clone(), |before| before.merged(&token)));
            }
        }
        Ok(asked)
    }

    /// Whether a reader at `positions` has seen everything that this token has.
    pub fn is_reached_by(&self, positions: &[i64]) -> bool {
        let at = |partition: usize| positions.get(partition).copied().unwrap_or(0);
        self.positions
            .iter()
            .enumerate()
            .all(|(partition, &position)| at(partition) >= position)
    }

    /// What this token and another, of the same log, ask for together.
    #[must_use]
    pub fn merged(mut self, other: &Self) -> Self {
        for (mine, &theirs) in self.positions.iter_mut().zip(&other.positions) {
            *mine = theirs.max(*mine);
        }
        self
    }

    fn decode(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (&version, rest) = bytes.split_first()?;
        let (log_id, mut rest) = rest.split_first_chunk::<UUID_BYTES>()?;
        let incarnation = match version {
            VERSION => FIRST_INCARNATION,
            VERSION_WITH_INCARNATION => {
                take_varint(&mut rest).filter(|incarnation| *incarnation > FIRST_INCARNATION)?
            }
            _ => return None,
        };
        let (&count, mut rest) = rest.split_first()?;
        let mut positions = Vec::with_capacity(count.into());
        for _ in 0..count {
            positions.push(take_varint(&mut rest)?);
        }
        let log = LogIncarnation {
            log_id: Uuid::from_bytes(*log_id),
            incarnation,
        };
        rest.is_empty().then(|| Self::new(log, positions))
    }
}

impl fmt::Display for ConsistencyToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LogIncarnation {
            log_id,
            incarnation,
        } = self.log;
        let is_first = incarnation == FIRST_INCARNATION;
        let mut bytes = vec![if is_first {
            VERSION
        } else {
            VERSION_WITH_INCARNATION
        }];
        bytes.extend(log_id.as_bytes());
        if !is_first {
            put_varint(
                &mut bytes,
                u64::try_from(incarnation).map_err(|_| fmt::Error)?,
            );
        }
        bytes.push(u8::try_from(self.positions.len()).map_err(|_| fmt::Error)?);
        for &position in &self.positions {
            put_varint(&mut bytes, u64::try_from(position).map_err(|_| fmt::Error)?);
        }
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// The next varint; `None` when cut off, longer than needed, or past an `i64`.
fn take_varint(bytes: &mut &[u8]) -> Option<i64> {
    let mut value = 0_i64;
    for place in 0..MAX_VARINT_BYTES {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= i64::from(byte & 0x7f) << (7 * place);
        if byte < 0x80 {
            let canonical = byte != 0 || place == 0;
            return canonical.then_some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const LOG_ID: Uuid = Uuid::from_u128(7);
    const LOG: LogIncarnation = LogIncarnation::first(LOG_ID);
    const LATER: LogIncarnation = LogIncarnation {
        log_id: LOG_ID,
        incarnation: 1_764_400_000_123,
    };

    fn asked(values: &[&str], partitions: usize) -> Result<Option<ConsistencyToken>, Problem> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(
                header::CONSISTENCY_TOKEN,
                HeaderValue::from_str(value).unwrap(),
            );
        }
        ConsistencyToken::asked(&headers, LOG, partitions)
    }

    fn raw(bytes: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode([&[VERSION], LOG_ID.as_bytes().as_slice(), bytes].concat())
    }

    #[rstest]
    #[case(vec![])]
    #[case(vec![0])]
    #[case(vec![0, 1, 127, 128, 16_384, i64::MAX])]
    #[case(vec![9; 64])]
    fn a_token_comes_back_as_it_went(#[case] positions: Vec<i64>) {
        let token = ConsistencyToken::new(LOG, positions.clone());
        assert_eq!(
            asked(&[&token.to_string()], positions.len()).unwrap(),
            Some(token)
        );
    }

    #[rstest]
    #[case::empty("".into())]
    #[case::not_base64("#".into())]
    #[case::padded(format!("{}=", raw(&[1, 5])))]
    #[case::no_positions(raw(&[]))]
    #[case::cut_off(raw(&[2, 5]))]
    #[case::trailing(raw(&[1, 5, 5]))]
    #[case::unfinished_varint(raw(&[1, 0x80]))]
    #[case::overlong_varint(raw(&[1, 0x80, 0]))]
    #[case::past_i64(raw(&[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]))]
    #[case::other_partitions(raw(&[2, 5, 5]))]
    #[case::other_log(ConsistencyToken::new(LogIncarnation { log_id: Uuid::from_u128(8), ..LOG }, vec![5]).to_string())]
    #[case::other_version(URL_SAFE_NO_PAD.encode([&[3], LOG_ID.as_bytes().as_slice(), &[1, 5]].concat()))]
    #[case::first_incarnation_named(URL_SAFE_NO_PAD.encode([&[2], LOG_ID.as_bytes().as_slice(), &[1, 1, 5]].concat()))]
    #[case::one_bad_of_two(format!("{},x", raw(&[1, 5])))]
    fn garbage_is_refused_by_name(#[case] text: String) {
        let Err(Problem::Invalid(problems)) = asked(&[&text], 1) else {
            panic!("{text} was taken")
        };
        assert!(
            problems[0]
                .to_string()
                .starts_with("X-Consistency-Token is ")
        );
    }

    #[test]
    fn a_token_is_good_in_its_own_incarnation_only() {
        let headers = |token: &ConsistencyToken| {
            HeaderMap::from_iter([(header::CONSISTENCY_TOKEN, token.header_value())])
        };
        for (own, other) in [
            (LOG, LATER),
            (LATER, LOG),
            (
                LATER,
                LogIncarnation {
                    incarnation: LATER.incarnation + 1,
                    ..LATER
                },
            ),
        ] {
            let token = ConsistencyToken::new(own, vec![5]);
            assert_eq!(
                ConsistencyToken::asked(&headers(&token), own, 1).unwrap(),
                Some(token.clone())
            );
            let refused = ConsistencyToken::asked(&headers(&token), other, 1);
            assert!(
                matches!(refused, Err(Problem::TokenOutdated)),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn the_id_of_a_streams_last_event_is_a_token_too() {
        let token = ConsistencyToken::new(LOG, vec![5]);
        let headers = HeaderMap::from_iter([(header::LAST_EVENT_ID, token.header_value())]);
        assert_eq!(
            ConsistencyToken::last_event(&headers, LOG, 1).unwrap(),
            Some(token)
        );
        assert_eq!(ConsistencyToken::asked(&headers, LOG, 1).unwrap(), None);
        let headers =
            HeaderMap::from_iter([(header::LAST_EVENT_ID, HeaderValue::from_static("7"))]);
        let Err(Problem::Invalid(problems)) = ConsistencyToken::last_event(&headers, LOG, 1) else {
            panic!("taken")
        };
        assert!(
            problems[0]
                .to_string()
                .starts_with("Last-Event-ID is malformed")
        );
    }

    #[rstest]
    #[case(&[5, 5], true)]
    #[case(&[6, 5], true)]
    #[case(&[6, 4], false)]
    #[case(&[5], false)]
    fn reached_means_every_partition(#[case] stands: &[i64], #[case] reached: bool) {
        assert_eq!(
            ConsistencyToken::new(LOG, vec![5, 5]).is_reached_by(stands),
            reached
        );
    }

    #[test]
    fn several_tokens_ask_for_the_furthest_of_each_partition() {
        let [a, b, c] = [raw(&[2, 1, 8]), raw(&[2, 3, 2]), raw(&[2, 2, 2])];
        let merged = asked(&[&format!("{a}, {b}"), &c], 2).unwrap().unwrap();
        assert_eq!(merged.positions(), [3, 8]);
        assert_eq!(asked(&[], 2).unwrap(), None);
    }
}
