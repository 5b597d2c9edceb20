//! Limits of how often: each user, each address and all together may call a listener.
//!
//! Users and addresses have token buckets. What one of them is refused is refused before anything is done for it.

mod rate;
mod token_buckets;

pub use rate::{InvalidRateError, Rate};
pub use token_buckets::{Exhausted, TokenBuckets};

use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, HeaderValue};
use domain::UserId;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::header;
use crate::rate_limited_log::RateLimitedLog;

/// How often each may call; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Each user, where a call is a user's.
    pub per_user: Option<Rate>,
    /// Each address, an IPv6 address being its network of 64 bits.
    pub per_address: Option<Rate>,
    /// All together.
    pub in_all: Option<Rate>,
}

/// The limits of one listener.
#[derive(Debug)]
pub struct RateLimits {
    per_user: Option<TokenBuckets>,
    per_address: Option<TokenBuckets>,
    in_all: Option<TokenBuckets>,
    addresses: Mutex<RateLimitedLog>,
}

/// More than a limit allows. What the answer says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverRate {
    /// Whose calls are counted together: `user`, `address` or `all`.
    pub whose: &'static str,
    /// The limit.
    pub rate: Rate,
    /// How long until one more call is allowed.
    pub wait: Duration,
}

impl OverRate {
    /// In the form of draft-ietf-httpapi-ratelimit-headers-10, and `Retry-After`; in whole seconds, rounded up.
    pub(crate) fn headers(self) -> HeaderMap {
        let wait = seconds(self.wait);
        let policy = format!(
            "\"{}\";q={};w={}",
            self.whose,
            self.rate.burst(),
            seconds(self.rate.window())
        );
        let left = format!("\"{}\";r=0;t={wait}", self.whose);
        let values = [
            (header::RATE_LIMIT_POLICY, policy),
            (header::RATE_LIMIT, left),
            (RETRY_AFTER, wait.to_string()),
        ];
        values
            .into_iter()
            .filter_map(|(name, value)| Some((name, HeaderValue::try_from(value).ok()?)))
            .collect()
    }
}

/// At least one.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0 || duration.is_zero())
}

impl RateLimits {
    /// Limits with full buckets.
    pub fn new(rates: Rates) -> Self {
        let Rates {
            per_user,
            per_address,
            in_all,
        } = rates;
        let buckets = |rate: Option<Rate>| rate.map(TokenBuckets::new);
        Self {
            per_user: buckets(per_user),
            per_address: buckets(per_address),
            in_all: buckets(in_all),
            addresses: Mutex::default(),
        }
    }

    /// One more call from `address`, as far as it is known.
    pub(crate) fn admit(&self, address: Option<IpAddr>) -> Result<(), OverRate> {
        if let (Some(buckets), Some(address)) = (&self.per_address, address) {
            take("address", buckets, &address).inspect_err(|_| self.log_address(address))?;
        }
        self.in_all
            .as_ref()
            .map_or(Ok(()), |buckets| take("all", buckets, &()))
    }

    /// One more call of `user`.
    pub(crate) fn admit_user(&self, user: &UserId) -> Result<(), OverRate> {
        self.per_user
            .as_ref()
            .map_or(Ok(()), |buckets| take("user", buckets, &user.as_str()))
    }

    fn log_address(&self, address: IpAddr) {
        let mut log = self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(times) = log.occurred() {
            tracing::warn!(
                %address,
                times,
                "calls refused: this address calls more often than its limit allows; if it is a proxy, name it in MOA_TRUSTED_PROXIES"
            );
        }
    }
}

fn take(
    whose: &'static str,
    buckets: &TokenBuckets,
    key: &impl std::hash::Hash,
) -> Result<(), OverRate> {
    buckets.take(key).map_err(|Exhausted { wait }| {
        metrics::counter!("moa_http_requests_limited_total", "limit" => whose).increment(1);
        OverRate {
            whose,
            rate: buckets.rate(),
            wait,
        }
    })
}
