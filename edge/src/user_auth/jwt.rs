//! Bearer tokens of an identity provider: JSON Web Tokens (RFC 7519), signed with a key of its JWK set (RFC 7517).

use axum::http::{HeaderMap, header};
use domain::UserId;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::Notify;

use super::{named_user, only, signature_verifier};
use crate::{AuthFault, Problem, header as ours};

/// The most that a JWK set may be, in bytes.
pub const MAX_KEYS_BYTES: usize = 256 * 1024;
/// The most keys of a set that are used.
pub const MAX_KEYS: usize = 100;
/// How far the identity provider's clock may be from ours, in seconds.
const CLOCK_LEEWAY_SECONDS: u64 = 30;

/// Which tokens are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtRules {
    /// What `iss` must be.
    pub issuer: String,
    /// What `aud` must be or have in it.
    pub audience: String,
    /// The claim that is the user id.
    pub user_claim: String,
}

/// Verifies tokens with the keys that it was given last.
#[derive(Debug)]
pub struct JwtVerifier {
    rules: JwtRules,
    keys: RwLock<Arc<[Key]>>,
    unknown_key: Notify,
}

/// Not a set of keys, or none that tokens could be verified with.
#[derive(Debug, thiserror::Error)]
pub enum InvalidKeysError {
    /// It is no JWK set.
    #[error("no JWK set")]
    Malformed(#[source] serde_json::Error),
    /// It has no key for signatures of RS256, PS256, ES256, ES384 or EdDSA.
    #[error("no key for signatures of RS256, PS256, ES256, ES384 or EdDSA is in it")]
    NoUsableKey,
}

/// A public key and the one algorithm that it is for: what a token says of its algorithm decides nothing.
#[derive(Debug)]
struct Key {
    id: Option<String>,
    key: DecodingKey,
    validation: Validation,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

impl JwtVerifier {
    /// One that has no keys yet, and answers `OVERLOADED` until it is given some.
    pub fn new(rules: JwtRules) -> Self {
        signature_verifier::install();
        Self {
            rules,
            keys: RwLock::new([].into()),
            unknown_key: Notify::new(),
        }
    }

    /// Takes the keys of a JWK set instead of those before, and says how many. Keys that are for something else are left out.
    ///
    /// # Errors
    /// There are none; then those before stay.
    pub fn replace_keys(&self, set: &[u8]) -> Result<usize, InvalidKeysError> {
        let set: KeySet = serde_json::from_slice(set).map_err(InvalidKeysError::Malformed)?;
        // One by one: a provider may have keys that we do not understand.
        let jwks = set
            .keys
            .into_iter()
            .filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
        let keys: Arc<[Key]> = jwks
            .filter_map(|jwk| Key::of(&jwk, &self.rules))
            .take(MAX_KEYS)
            .collect();
        if keys.is_empty() {
            return Err(InvalidKeysError::NoUsableKey);
        }
        let number = keys.len();
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(number)
    }

    /// Returns when a token named a key that is not known: the provider may have a new one.
    pub async fn unknown_key(&self) {
        self.unknown_key.notified().await;
    }

    pub(super) fn user(&self, headers: &HeaderMap) -> Result<UserId, Problem> {
        let token = bearer(headers).ok_or_else(|| AuthFault::NoToken.refuse())?;
        let keys = self
            .keys
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if keys.is_empty() {
            return Err(Problem::Overloaded);
        }
        let user = self.verified(token, &keys).map_err(AuthFault::refuse)?;
        let is_other =
            headers.contains_key(ours::USER_ID) && named_user(headers).ok().as_ref() != Some(&user);
        if is_other {
            Err(AuthFault::OtherUser.refuse())
        } else {
            Ok(user)
        }
    }

    fn verified(&self, token: &str, keys: &[Key]) -> Result<UserId, AuthFault> {
        let id = decode_header(token).map_err(|_| AuthFault::BadToken)?.kid;
        let key = match &id {
            Some(_) => keys.iter().find(|key| key.id == id),
            None => keys.first().filter(|_| keys.len() == 1),
        };
        let key = key.ok_or_else(|| {
            self.unknown_key.notify_one();
            AuthFault::BadToken
        })?;
        let claims =
            decode::<Map<String, Value>>(token, &key.key, &key.validation).map_err(|error| {
                match error.kind() {
                    ErrorKind::ExpiredSignature => AuthFault::ExpiredToken,
                    _ => AuthFault::BadToken,
                }
            })?;
        let user = claims
            .claims
            .get(&self.rules.user_claim)
            .and_then(Value::as_str)
            .unwrap_or_default();
        UserId::try_from(user.to_owned()).map_err(|_| AuthFault::BadToken)
    }
}

impl Key {
    /// `None` for a key that is not for verifying one of our algorithms.
    fn of(jwk: &Jwk, rules: &JwtRules) -> Option<Self> {
        let is_for_signatures = matches!(
            jwk.common.public_key_use,
            None | Some(PublicKeyUse::Signature)
        );
        let algorithm = algorithm(jwk).filter(|_| is_for_signatures)?;
        let mut validation = Validation::new(algorithm);
        validation.leeway = CLOCK_LEEWAY_SECONDS;
        validation.validate_nbf = true;
        validation.set_issuer(&[&rules.issuer]);
        validation.set_audience(&[&rules.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        let key = DecodingKey::from_jwk(jwk).ok()?;
        Some(Self {
            id: jwk.common.key_id.clone(),
            key,
            validation,
        })
    }
}

/// What the key says that it is for, else the usual one of its kind.
fn algorithm(jwk: &Jwk) -> Option<Algorithm> {
    let (usual, other) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, Algorithm::PS256),
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, Algorithm::ES256)
        }
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => {
            (Algorithm::ES384, Algorithm::ES384)
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, Algorithm::EdDSA)
        }
        _ => return None,
    };
    let named = match jwk.common.key_algorithm {
        None => usual,
        Some(KeyAlgorithm::RS256) => Algorithm::RS256,
        Some(KeyAlgorithm::PS256) => Algorithm::PS256,
        Some(KeyAlgorithm::ES256) => Algorithm::ES256,
        Some(KeyAlgorithm::ES384) => Algorithm::ES384,
        Some(KeyAlgorithm::EdDSA) => Algorithm::EdDSA,
        Some(_) => return None,
    };
    [usual, other].contains(&named).then_some(named)
}

/// The token of the one `Authorization` header.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = only(headers, &header::AUTHORIZATION)?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}
