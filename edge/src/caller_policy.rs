//! How a listener treats its callers.

use axum::extract::Request;
use std::sync::Arc;

use crate::client_address::{ClientAddress, ProxyNetwork};
use crate::{AllowedOrigin, Peer, Problem, RateLimits, Rates, UserAuth};

/// Which pages may call, who the callers are, and how often each may call.
#[derive(Debug)]
pub struct CallerPolicy {
    /// The origins that browsers may call from; none means no CORS headers.
    pub origins: Vec<AllowedOrigin>,
    /// How it is known whose a request is.
    pub users: UserAuth,
    /// How often each may call.
    pub limits: RateLimits,
    /// Whose `X-Forwarded-For` is believed.
    pub proxies: Vec<ProxyNetwork>,
}

impl Default for CallerPolicy {
    /// No origins, no limits, no proxies, and `X-USER-ID` is believed.
    fn default() -> Self {
        let limits = RateLimits::new(Rates::default());
        Self {
            origins: Vec::new(),
            users: UserAuth::default(),
            limits,
            proxies: Vec::new(),
        }
    }
}

impl CallerPolicy {
    /// The default, for pages of these origins.
    pub fn for_origins(origins: Vec<AllowedOrigin>) -> Self {
        Self {
            origins,
            ..Self::default()
        }
    }

    /// Counts the request, and leaves in it what its handler may ask for.
    pub(crate) fn admit(self: &Arc<Self>, request: &mut Request) -> Result<(), Problem> {
        let peer = request.extensions().get::<Peer>().copied();
        let address = peer.map(|peer| ClientAddress::of(peer, request.headers(), &self.proxies));
        // Whoever asks how the process is has his reasons for asking often.
        if !matches!(request.uri().path(), "/livez" | "/readyz") {
            self.limits
                .admit(address.map(|address| address.0))
                .map_err(Problem::OverRate)?;
        }
        if let Some(address) = address {
            request.extensions_mut().insert(address);
        }
        request.extensions_mut().insert(self.clone());
        Ok(())
    }
}
