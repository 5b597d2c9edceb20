//! The settings of who calls the public listeners, and how often.

use crate::secret::Secret;
use clap::{Args, ValueEnum};
use edge::{InvalidRateError, ProxyNetwork, Rate};
use std::path::PathBuf;
use std::str::FromStr;

/// Who the users are.
#[derive(Clone, Debug, Args)]
pub struct UserAuthSettings {
    /// Whose a request is: the header's, as a gateway sets it; the header's, of a gateway that knows a secret; or the bearer token's. On
    /// loopback `header` unless set, elsewhere to be set
    #[arg(long, env = "MOA_USER_AUTH")]
    pub user_auth: Option<UserAuthMode>,
    /// The gateway's secret, or the new and the old one with a comma between them
    #[arg(long, env = "MOA_GATEWAY_SECRETS", hide_env_values = true)]
    pub gateway_secrets: Option<Secret>,
    /// A file that holds the gateway's secret, or two
    #[arg(
        long,
        env = "MOA_GATEWAY_SECRETS_FILE",
        conflicts_with = "gateway_secrets"
    )]
    pub gateway_secrets_file: Option<PathBuf>,
    /// The identity provider's keys, a JWK set: a file, or a URL such as http://idp/jwks
    #[arg(long, env = "MOA_JWT_KEYS", required_if_eq("user_auth", "jwt"))]
    pub jwt_keys: Option<String>,
    /// What `iss` of a token must be
    #[arg(long, env = "MOA_JWT_ISSUER", required_if_eq("user_auth", "jwt"))]
    pub jwt_issuer: Option<String>,
    /// What `aud` of a token must be or have in it
    #[arg(long, env = "MOA_JWT_AUDIENCE", required_if_eq("user_auth", "jwt"))]
    pub jwt_audience: Option<String>,
    /// The claim of a token that is the user id
    #[arg(long, env = "MOA_JWT_USER_CLAIM", default_value = "sub")]
    pub jwt_user_claim: String,
    /// Addresses or networks of proxies whose X-Forwarded-For is believed, separated by commas
    #[arg(long, env = "MOA_TRUSTED_PROXIES", value_delimiter = ',')]
    pub trusted_proxies: Vec<ProxyNetwork>,
}

/// How it is known whose a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum UserAuthMode {
    /// X-USER-ID is believed.
    Header,
    /// X-USER-ID is believed of whoever knows the gateway's secret.
    #[value(name = "header+secret")]
    HeaderSecret,
    /// The bearer token names the user.
    Jwt,
}

/// How often the read side may be called.
#[derive(Clone, Copy, Debug, Args)]
pub struct ReadLimitSettings {
    /// Reads of one user, such as 50/s:100, at most 100 at once; or off
    #[arg(long, env = "MOA_LIMIT_READS_PER_USER")]
    pub limit_reads_per_user: Option<Limit>,
    /// Reads of one address
    #[arg(long, env = "MOA_LIMIT_READS_PER_ADDRESS")]
    pub limit_reads_per_address: Option<Limit>,
    /// Reads in all, of this process
    #[arg(long, env = "MOA_LIMIT_READS")]
    pub limit_reads: Option<Limit>,
}

/// How often the write side may be called.
#[derive(Clone, Copy, Debug, Args)]
pub struct WriteLimitSettings {
    /// Writes of one user, such as 10/s:20, at most 20 at once; or off
    #[arg(long, env = "MOA_LIMIT_WRITES_PER_USER")]
    pub limit_writes_per_user: Option<Limit>,
    /// Writes of one address
    #[arg(long, env = "MOA_LIMIT_WRITES_PER_ADDRESS")]
    pub limit_writes_per_address: Option<Limit>,
    /// Writes in all, of this process
    #[arg(long, env = "MOA_LIMIT_WRITES")]
    pub limit_writes: Option<Limit>,
}

/// A rate, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// As often as they like.
    Off,
    /// So often.
    Rate(Rate),
}

impl FromStr for Limit {
    type Err = InvalidRateError;

    fn from_str(text: &str) -> Result<Self, InvalidRateError> {
        if text == "off" {
            Ok(Self::Off)
        } else {
            text.parse().map(Self::Rate)
        }
    }
}

impl Limit {
    pub(crate) fn rate(self) -> Option<Rate> {
        match self {
            Self::Off => None,
            Self::Rate(rate) => Some(rate),
        }
    }
}
