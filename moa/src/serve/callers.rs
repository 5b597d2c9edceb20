//! Who the callers of the public listeners are, and how often each may call: from the settings, and by where the listeners are bound.

use super::jwt_keys::KeySource;
use super::stages::Stages;
use crate::ops::Ops;
use crate::secret;
use crate::settings::{
    Limit, PublicSettings, ReadLimitSettings, UserAuthMode, UserAuthSettings, WriteLimitSettings,
};
use anyhow::{Context, ensure};
use edge::{
    AllowedOrigin, CallerPolicy, GatewaySecrets, JwtRules, JwtVerifier, Rate, RateLimits, Rates,
    UserAuth,
};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

/// Limits where a listener is public and none are set: no person and no page needs more.
const PUBLIC_READS: Rates = Rates {
    per_user: Some(per_second(50, 100)),
    per_address: Some(per_second(1_000, 2_000)),
    in_all: Some(per_second(20_000, 20_000)),
};
/// The same of writes.
const PUBLIC_WRITES: Rates = Rates {
    per_user: Some(per_second(10, 20)),
    per_address: Some(per_second(200, 400)),
    in_all: Some(per_second(20_000, 20_000)),
};

/// Wrong tokens of operators and auditors, of each address.
const PUBLIC_GUESSES: Rate = Rate::per_hour(number(600), number(10));

const fn per_second(calls: u32, burst: u32) -> Rate {
    Rate::per_second(number(calls), number(burst))
}

const fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("a limit is at least 1")
}

/// What the settings say of callers, read and checked.
pub(super) struct Callers {
    users: UserAuth,
    keys: Option<KeySource>,
    is_public: bool,
    origins: Vec<AllowedOrigin>,
    proxies: Vec<edge::ProxyNetwork>,
    /// Whether callers come with addresses of their own, and not with that of a gateway.
    know_addresses: bool,
}

impl Callers {
    /// For listeners at these addresses.
    ///
    /// # Errors
    /// A listener is beyond loopback and nobody has said who the users are; a secret or key cannot be used.
    pub(super) fn open(
        settings: &PublicSettings,
        addresses: &[SocketAddr],
    ) -> anyhow::Result<Self> {
        let auth = &settings.users;
        let public = addresses.iter().find(|address| !is_loopback(address));
        let mode = match (auth.user_auth, public) {
            (Some(mode), _) => mode,
            (None, None) => UserAuthMode::Header,
            (None, Some(address)) => anyhow::bail!(
                "{address} is beyond loopback, and X-USER-ID would be believed from anybody: set MOA_USER_AUTH to jwt or header+secret, or \
                 to header if only a gateway that authenticates users can reach it (docs/users.md)"
            ),
        };
        let (users, keys) = users(mode, auth)?;
        let (origins, proxies) = (
            settings.allowed_origins.clone(),
            auth.trusted_proxies.clone(),
        );
        let know_addresses = mode == UserAuthMode::Jwt || !proxies.is_empty();
        Ok(Self {
            users,
            keys,
            is_public: public.is_some(),
            origins,
            proxies,
            know_addresses,
        })
    }

    /// Who the users are, for people.
    pub(super) fn describe(&self) -> &'static str {
        match (&self.users, self.is_public) {
            (UserAuth::Header, false) => "X-USER-ID is believed",
            (UserAuth::Header, true) => {
                "X-USER-ID is believed: nobody but a gateway that authenticates users may reach these ports"
            }
            (UserAuth::Gateway(_), _) => "X-USER-ID is believed of a gateway that knows the secret",
            (UserAuth::Jwt(_), _) => "named by their bearer tokens",
        }
    }

    /// Whether a request needs nothing but `X-USER-ID`.
    pub(super) fn believe_anybody(&self) -> bool {
        matches!(self.users, UserAuth::Header)
    }

    /// Keeps the identity provider's keys fresh, where there is one.
    pub(super) fn start(&mut self, stages: &Stages, ops: &Ops) {
        if self.believe_anybody() && self.is_public {
            tracing::warn!(
                "listening beyond loopback while X-USER-ID is believed: nobody but a gateway may reach these ports"
            );
        }
        let Some(keys) = self.keys.take() else { return };
        let clause = ops.clause("user-keys");
        stages.spawn_consumer("the refresh of users' keys", |shutdown| {
            keys.keep_fresh(clause, shutdown)
        });
    }

    /// For the read side.
    pub(super) fn of_reads(
        &self,
        address: SocketAddr,
        limits: &ReadLimitSettings,
    ) -> Arc<CallerPolicy> {
        let ReadLimitSettings {
            limit_reads_per_user,
            limit_reads_per_address,
            limit_reads,
        } = *limits;
        self.policy(
            address,
            [limit_reads_per_user, limit_reads_per_address, limit_reads],
            PUBLIC_READS,
        )
    }

    /// For the write side.
    pub(super) fn of_writes(
        &self,
        address: SocketAddr,
        limits: &WriteLimitSettings,
    ) -> Arc<CallerPolicy> {
        let WriteLimitSettings {
            limit_writes_per_user,
            limit_writes_per_address,
            limit_writes,
        } = *limits;
        self.policy(
            address,
            [
                limit_writes_per_user,
                limit_writes_per_address,
                limit_writes,
            ],
            PUBLIC_WRITES,
        )
    }

    fn policy(
        &self,
        address: SocketAddr,
        set: [Option<Limit>; 3],
        public: Rates,
    ) -> Arc<CallerPolicy> {
        let limits = RateLimits::new(rates(set, defaults(address, self.know_addresses, public)));
        let (users, proxies) = (self.users.clone(), self.proxies.clone());
        Arc::new(CallerPolicy {
            origins: self.origins_at(address),
            users,
            limits,
            proxies,
        })
    }

    /// The settings' origins; without any, on loopback, those of this machine, for whoever builds a page against it.
    fn origins_at(&self, address: SocketAddr) -> Vec<AllowedOrigin> {
        if self.origins.is_empty() && is_loopback(&address) {
            return vec![AllowedOrigin::loopback()];
        }
        self.origins.clone()
    }
}

/// How many wrong tokens of one address the admin listener looks at: none are counted on loopback, unless it is set.
pub(super) fn max_guesses(admin: SocketAddr, set: Option<Limit>) -> Option<Rate> {
    let default = (!is_loopback(&admin)).then_some(PUBLIC_GUESSES);
    set.map_or(default, Limit::rate)
}

/// On loopback none; behind a gateway all have its address, so none of addresses.
fn defaults(address: SocketAddr, know_addresses: bool, public: Rates) -> Rates {
    match (is_loopback(&address), know_addresses) {
        (true, _) => Rates::default(),
        (false, true) => public,
        (false, false) => Rates {
            per_address: None,
            ..public
        },
    }
}

fn rates([per_user, per_address, in_all]: [Option<Limit>; 3], defaults: Rates) -> Rates {
    let rate = |set: Option<Limit>, default| set.map_or(default, Limit::rate);
    Rates {
        per_user: rate(per_user, defaults.per_user),
        per_address: rate(per_address, defaults.per_address),
        in_all: rate(in_all, defaults.in_all),
    }
}

fn users(
    mode: UserAuthMode,
    settings: &UserAuthSettings,
) -> anyhow::Result<(UserAuth, Option<KeySource>)> {
    let has_secrets = settings.gateway_secrets.is_some() || settings.gateway_secrets_file.is_some();
    ensure!(
        mode == UserAuthMode::HeaderSecret || !has_secrets,
        "MOA_GATEWAY_SECRETS is for MOA_USER_AUTH=header+secret"
    );
    ensure!(
        mode == UserAuthMode::Jwt || settings.jwt_keys.is_none(),
        "MOA_JWT_KEYS is for MOA_USER_AUTH=jwt"
    );
    match mode {
        UserAuthMode::Header => Ok((UserAuth::Header, None)),
        UserAuthMode::HeaderSecret => Ok((UserAuth::Gateway(Arc::new(gateway(settings)?)), None)),
        UserAuthMode::Jwt => {
            let verifier = Arc::new(JwtVerifier::new(rules(settings)?));
            let keys = KeySource::open(
                settings.jwt_keys.as_deref().unwrap_or_default(),
                verifier.clone(),
            )?;
            Ok((UserAuth::Jwt(verifier), Some(keys)))
        }
    }
}

fn gateway(settings: &UserAuthSettings) -> anyhow::Result<GatewaySecrets> {
    let (text, file) = (
        settings.gateway_secrets.as_ref(),
        settings.gateway_secrets_file.as_deref(),
    );
    let text = secret::text("MOA_GATEWAY_SECRETS", text, file)?
        .context("set MOA_GATEWAY_SECRETS or MOA_GATEWAY_SECRETS_FILE to the gateway's secret")?;
    let secrets = text
        .reveal()
        .split([',', '\n'])
        .map(str::trim)
        .filter(|secret| !secret.is_empty());
    GatewaySecrets::new(secrets).map_err(|error| anyhow::anyhow!("MOA_GATEWAY_SECRETS {error}"))
}

fn rules(settings: &UserAuthSettings) -> anyhow::Result<JwtRules> {
    Ok(JwtRules {
        issuer: settings.jwt_issuer.clone().context("set MOA_JWT_ISSUER")?,
        audience: settings
            .jwt_audience
            .clone()
            .context("set MOA_JWT_AUDIENCE")?,
        user_claim: settings.jwt_user_claim.clone(),
    })
}

fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_off_on_loopback_and_sane_elsewhere_unless_they_are_set() {
        let at = |address: &str, know| defaults(address.parse().unwrap(), know, PUBLIC_WRITES);
        assert_eq!(at("127.0.0.1:8081", true), Rates::default());
        assert_eq!(at("[::1]:8081", true), Rates::default());
        assert_eq!(at("0.0.0.0:8081", true), PUBLIC_WRITES);
        assert_eq!(
            at("0.0.0.0:8081", false),
            Rates {
                per_address: None,
                ..PUBLIC_WRITES
            }
        );
        let set = [Some("1/m".parse().unwrap()), Some(Limit::Off), None];
        let expected = Rates {
            per_user: "1/m".parse().ok(),
            per_address: None,
            in_all: PUBLIC_WRITES.in_all,
        };
        assert_eq!(rates(set, PUBLIC_WRITES), expected);
    }
}
