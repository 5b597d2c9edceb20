//! Who is asked for the payments.

use super::{Http, InvalidPaymentUrl};
use chrono::TimeDelta;

/// How long whoever has an open invest may take with `approve`, before it is due for another; so long what was handed
/// over waits when its process is gone. A desk mostly needs milliseconds, and a second fate is refused, so sooner would
/// only be waste.
const TAKEN_FOR: TimeDelta = TimeDelta::seconds(5);

/// Who is asked for the payments. Clones are cheap.
#[derive(Clone, Debug)]
pub enum Provider {
    /// Nobody: every payment is made at once.
    Approve,
    /// A service that speaks the protocol of `docs/payment-provider.md`.
    Http(Http),
}

impl Provider {
    /// The provider below this URL, such as `http://payments:9000/v1`. It is not asked for anything yet, and need not be
    /// there: settlement waits for it.
    pub fn http(url: &str) -> Result<Self, InvalidPaymentUrl> {
        Http::at(url).map(Self::Http)
    }

    /// The same with every wait that many times shorter: for tests of what takes long.
    #[doc(hidden)]
    pub fn http_in_haste(url: &str, times: u32) -> Result<Self, InvalidPaymentUrl> {
        Http::in_haste(url, times).map(Self::Http)
    }

    /// How long whoever has taken an open invest may take with it, before it is due for another.
    pub(super) fn taken_for(&self) -> TimeDelta {
        match self {
            Self::Approve => TAKEN_FOR,
            Self::Http(http) => http.waits().taken_for(),
        }
    }
}
