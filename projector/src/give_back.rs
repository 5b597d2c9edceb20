//! When what is given back leaves the sums: at once when it is withdrawn, else when it is refunded.

use domain::GiveBackReason;

/// Whether the invest stood until it was refunded, for the reason with this code. A withdrawn one stands no longer.
pub(crate) fn stood_until_refunded(code: &str) -> bool {
    code != GiveBackReason::Withdrawn.code()
}
