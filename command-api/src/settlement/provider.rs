//! The payment provider: who is asked for payments.

use super::{Http, InvalidPaymentUrlError};
use chrono::TimeDelta;
use tls::Trust;

/// With `approve`, how long a claim of an open invest lasts: after it a sweep of any process claims the invest again. A processor mostly
/// needs milliseconds, and the aggregate refuses a second fate, so a shorter time would only cause needless work.
const VISIBILITY_TIMEOUT: TimeDelta = TimeDelta::seconds(5);

/// A payment provider. Clones are cheap.
#[derive(Clone, Debug)]
pub enum Provider {
    /// None: every payment is approved at once.
    Approve,
    /// A service that speaks the protocol of `docs/payment-provider.md`.
    Http(Http),
}

impl Provider {
    /// The provider below this URL, such as `http://payments:9000/v1`. It need not be there yet: settlement waits for it.
    /// Over `https` it is met if `trust` believes its certificate.
    pub fn http(url: &str, trust: &Trust) -> Result<Self, InvalidPaymentUrlError> {
        Http::at(url, trust).map(Self::Http)
    }

    /// The same with every time-out so many times shorter, for tests.
    #[doc(hidden)]
    pub fn http_with_scaled_down_timeouts(
        url: &str,
        times: u32,
    ) -> Result<Self, InvalidPaymentUrlError> {
        Http::with_scaled_down_timeouts(url, times).map(Self::Http)
    }

    /// How long a claim of an open invest lasts.
    pub(super) fn visibility_timeout(&self) -> TimeDelta {
        match self {
            Self::Approve => VISIBILITY_TIMEOUT,
            Self::Http(http) => http.timeouts().visibility_timeout(),
        }
    }
}
