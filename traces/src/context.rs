//! Which trace and span something belongs to: the W3C `traceparent`, and what of it concerns spans that are recorded.

use std::fmt;

/// `00-<trace>-<parent>-<flags>`: where the dashes are, and where it ends.
const DASHES: [usize; 3] = [2, 35, 52];
const TRACEPARENT_CHARS: usize = 55;
/// The flag of a sampled trace, and the last digits of flags that have it.
const SAMPLED: u8 = 1;
const IS_SAMPLED_DIGITS: [char; 8] = ['1', '3', '5', '7', '9', 'b', 'd', 'f'];

/// A W3C `traceparent`, parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    context: SpanContext,
    is_sampled: bool,
}

/// A span of a sampled trace, by its ids: the parent of another. Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpanContext {
    /// 16 bytes.
    pub trace_id: u128,
    /// 8 bytes.
    pub span_id: u64,
}

impl TraceParent {
    /// `version-trace-parent-flags`: 2, 32, 16 and 2 lower-case hexadecimal digits; `None` for anything else, for version `ff`, and for
    /// ids of zeros.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let is_dash = |at: usize| DASHES.contains(&at);
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let is_shaped = |(at, byte): (usize, &u8)| {
            if is_dash(at) {
                *byte == b'-'
            } else {
                is_hex(*byte)
            }
        };
        if bytes.len() != TRACEPARENT_CHARS
            || !bytes.iter().enumerate().all(is_shaped)
            || text.starts_with("ff")
        {
            return None;
        }
        let trace_id = u128::from_str_radix(&text[3..35], 16)
            .ok()
            .filter(|id| *id != 0)?;
        let span_id = u64::from_str_radix(&text[36..52], 16)
            .ok()
            .filter(|id| *id != 0)?;
        let flags = u8::from_str_radix(&text[53..], 16).ok()?;
        Some(Self {
            context: SpanContext { trace_id, span_id },
            is_sampled: flags & SAMPLED == SAMPLED,
        })
    }

    pub(crate) fn context(&self) -> SpanContext {
        self.context
    }

    pub(crate) fn is_sampled(&self) -> bool {
        self.is_sampled
    }
}

impl SpanContext {
    /// The span that a stored `traceparent` names, if its trace is sampled and this process records spans. Allocates nothing.
    pub fn sampled(traceparent: Option<&str>) -> Option<Self> {
        crate::recorder()?;
        // Nearly all are not: that is seen by the last digit.
        let traceparent = traceparent.filter(|text| text.ends_with(IS_SAMPLED_DIGITS))?;
        TraceParent::parse(traceparent).map(|parent| parent.context)
    }

    /// A new span of the same trace.
    pub(crate) fn child(&self) -> Self {
        Self {
            trace_id: self.trace_id,
            span_id: random_span_id(),
        }
    }
}

/// As a `traceparent`, sampled.
impl fmt::Display for SpanContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-01", self.trace_id, self.span_id)
    }
}

/// Of a trace that begins here.
pub(crate) fn random_trace_id() -> u128 {
    // Of so many ids none is zero, which would mean that there is none.
    rand::random::<u128>().max(1)
}

pub(crate) fn random_span_id() -> u64 {
    rand::random::<u64>().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Some(true))]
    #[case("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", Some(false))]
    #[case("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03", Some(true))]
    #[case("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Some(true))]
    #[case("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None)]
    #[case("00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None)]
    #[case("00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None)]
    #[case("00-00000000000000000000000000000000-b7ad6b7169203331-01", None)]
    #[case("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", None)]
    #[case("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331", None)]
    #[case("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x", None)]
    #[case("00-0af7651916cd43dd8448eb211c80319cb-7ad6b7169203331-01", None)]
    #[case("00-0af7651916cd43dd8448eb211c80319-ｂ7ad6b7169203331-01", None)]
    #[case("", None)]
    fn a_good_traceparent_says_whether_its_trace_is_sampled(
        #[case] text: &str,
        #[case] sampled: Option<bool>,
    ) {
        assert_eq!(
            TraceParent::parse(text).map(|parent| parent.is_sampled()),
            sampled
        );
    }

    #[test]
    fn a_context_is_written_as_it_is_read() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-00ad6b7169203331-01";
        assert_eq!(
            TraceParent::parse(text).unwrap().context().to_string(),
            text
        );
    }

    #[test]
    fn nothing_is_sampled_where_nothing_is_recorded() {
        assert_eq!(
            SpanContext::sampled(Some(
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
            )),
            None
        );
    }
}
