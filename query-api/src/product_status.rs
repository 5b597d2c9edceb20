//! The status of a product at a time, as clients, operators and auditors see it.

use chrono::{DateTime, Utc};

/// What a product's status depends on.
#[derive(Clone, Copy, Debug)]
pub struct ProductState {
    /// The operator has cancelled it.
    pub cancelled: bool,
    /// It has missed its target.
    pub failed: bool,
    /// The operator has closed it.
    pub closed: bool,
    /// The first instant at which it takes invests.
    pub started_at: DateTime<Utc>,
    /// The first instant at which it takes none any more.
    pub finished_at: DateTime<Utc>,
    /// Whole won in all.
    pub total_amount: i64,
    /// Whole won that are reserved or settled.
    pub current_amount: i64,
}

/// `CANCELLED`, `FAILED`, `CLOSED`, `UPCOMING`, `FINISHED`, `COMPLETE` or `ONGOING`: the first of them that holds at `now`.
pub fn product_status(product: ProductState, now: DateTime<Utc>) -> &'static str {
    if product.cancelled {
        "CANCELLED"
    } else if product.failed {
        "FAILED"
    } else if product.closed {
        "CLOSED"
    } else if now < product.started_at {
        "UPCOMING"
    } else if now >= product.finished_at {
        "FINISHED"
    } else if product.current_amount >= product.total_amount {
        "COMPLETE"
    } else {
        "ONGOING"
    }
}

/// Every status, as `?status=` names them.
pub(crate) const STATUSES: [&str; 7] = [
    "UPCOMING",
    "ONGOING",
    "COMPLETE",
    "FINISHED",
    "CLOSED",
    "CANCELLED",
    "FAILED",
];
/// Those of a product that takes invests, or will, and whose window is not over: an index finds them.
const LIVE_STATUSES: [&str; 3] = ["UPCOMING", "ONGOING", "COMPLETE"];

/// The statuses that a list is to show, each once, in the order of [`STATUSES`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct StatusFilter(Vec<&'static str>);

impl StatusFilter {
    /// Parses a list such as `UPCOMING,FINISHED`. The error's words follow the parameter's name.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let asked: Vec<&str> = text.split(',').collect();
        if asked.iter().any(|word| !STATUSES.contains(word)) {
            return Err(format!("must be a list of {}", STATUSES.join(", ")));
        }
        Ok(Self(
            STATUSES
                .into_iter()
                .filter(|status| asked.contains(status))
                .collect(),
        ))
    }

    pub(crate) fn words(&self) -> &[&'static str] {
        &self.0
    }

    /// Whether only products are asked for that an index finds.
    pub(crate) fn is_live(&self) -> bool {
        self.0.iter().all(|status| LIVE_STATUSES.contains(status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;
    use rstest::rstest;

    #[rstest]
    #[case(false, -1, 0, "UPCOMING")]
    #[case(false, -1, 100, "UPCOMING")]
    #[case(false, 0, 0, "ONGOING")]
    #[case(false, 0, 99, "ONGOING")]
    #[case(false, 0, 100, "COMPLETE")]
    #[case(false, 9, 100, "COMPLETE")]
    #[case(false, 10, 99, "FINISHED")]
    #[case(false, 10, 100, "FINISHED")]
    #[case(true, -1, 0, "CLOSED")]
    #[case(true, 0, 100, "CLOSED")]
    #[case(true, 10, 100, "CLOSED")]
    fn the_first_that_holds_counts(
        #[case] closed: bool,
        #[case] now: i64,
        #[case] current_amount: i64,
        #[case] status: &str,
    ) {
        let at = |second| DateTime::UNIX_EPOCH + TimeDelta::seconds(second);
        let (started_at, finished_at) = (at(0), at(10));
        let (cancelled, failed, total_amount) = (false, false, 100);
        let product = ProductState {
            cancelled,
            failed,
            closed,
            started_at,
            finished_at,
            total_amount,
            current_amount,
        };
        assert_eq!(product_status(product, at(now)), status);
        assert_eq!(
            product_status(
                ProductState {
                    failed: true,
                    ..product
                },
                at(now)
            ),
            "FAILED"
        );
        assert_eq!(
            product_status(
                ProductState {
                    cancelled: true,
                    ..product
                },
                at(now)
            ),
            "CANCELLED"
        );
    }

    #[rstest]
    #[case("FINISHED,UPCOMING,FINISHED", Ok(&["UPCOMING", "FINISHED"][..]))]
    #[case("COMPLETE", Ok(&["COMPLETE"][..]))]
    #[case("", Err(()))]
    #[case("ONGOING,", Err(()))]
    #[case("ongoing", Err(()))]
    #[case("ONGOING, UPCOMING", Err(()))]
    fn a_filter_is_a_list_of_statuses(#[case] text: &str, #[case] parsed: Result<&[&str], ()>) {
        let filter = StatusFilter::parse(text);
        assert_eq!(
            filter.as_ref().map(StatusFilter::words).map_err(drop),
            parsed
        );
        let is_live = filter.map(|filter| filter.is_live());
        assert_eq!(is_live.unwrap_or(true), !text.contains("FINISHED"));
    }
}
