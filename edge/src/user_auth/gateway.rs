//! A gateway that proves itself, by a secret or by a signature made with it.

use axum::http::Method;
use axum::http::request::Parts;
use chrono::Utc;
use domain::UserId;
use ring::digest::{SHA256, digest};
use ring::hmac;
use std::collections::HashSet;
use std::fmt;
use std::mem;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

use super::only;
use crate::{AuthFault, Problem, header};

/// How far a signature's time may be from ours, before and after, in seconds.
pub const SIGNATURE_LIFETIME_SECONDS: i64 = 60;
/// As long as a signature may be used: from as early as its time may be in the future to as late as it may be past.
const MEMORY_DURATION: Duration =
    Duration::from_secs(2 * SIGNATURE_LIFETIME_SECONDS.unsigned_abs());
/// Signatures of writes that are remembered for [`MEMORY_DURATION`]; 8,000 writes a second.
const MAX_REMEMBERED: usize = 1_000_000;
/// A secret is as long as a token of an operator, in characters.
const SECRET_CHARS: std::ops::RangeInclusive<usize> = 16..=256;
/// The old one and the new one, while a secret is being replaced.
const MAX_SECRETS: usize = 2;

/// What gateways prove themselves with. Does not show what the secrets are.
pub struct GatewaySecrets {
    secrets: Vec<Secret>,
    used: Mutex<UsedSignatures>,
}

struct Secret {
    digest: [u8; 32],
    key: hmac::Key,
}

/// No secrets for gateways. Says what would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be one or two secrets of 16 to 256 visible ASCII characters without commas, the new one and the old one"
)]
pub struct InvalidSecretError;

/// What a gateway signs, in hexadecimal HMAC-SHA256: lines with the version, the time in seconds since 1970, the method, path and query,
/// user and `Idempotency-Key`, which is empty where there is none. No line ends the last one.
pub fn signed_text(
    time: i64,
    method: &Method,
    target: &str,
    user: &str,
    idempotency_key: &str,
) -> String {
    format!("v1\n{time}\n{method}\n{target}\n{user}\n{idempotency_key}")
}

impl GatewaySecrets {
    /// Those in `secrets`.
    ///
    /// # Errors
    /// None, more than two, or one that could be guessed.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidSecretError> {
        let secrets: Vec<_> = secrets
            .into_iter()
            .map(Secret::new)
            .collect::<Result<_, _>>()?;
        let used = Mutex::new(UsedSignatures::new());
        (1..=MAX_SECRETS)
            .contains(&secrets.len())
            .then_some(Self { secrets, used })
            .ok_or(InvalidSecretError)
    }

    /// The request is from a gateway, which says that it is `user`'s.
    pub(super) fn verify(&self, parts: &Parts, user: &UserId) -> Result<(), Problem> {
        let (secret, signature) = (&header::GATEWAY_SECRET, &header::GATEWAY_SIGNATURE);
        match (
            parts.headers.contains_key(secret),
            parts.headers.contains_key(signature),
        ) {
            (true, false) => self
                .knows(only(&parts.headers, secret))
                .map_err(AuthFault::refuse),
            (false, true) => self.has_signed(only(&parts.headers, signature), parts, user),
            _ => Err(AuthFault::NotTheGateway.refuse()),
        }
    }

    /// All secrets are compared, by digests: the time it takes says nothing about any.
    fn knows(&self, secret: Option<&str>) -> Result<(), AuthFault> {
        let given = digest(&SHA256, secret.unwrap_or_default().as_bytes());
        let known = self
            .secrets
            .iter()
            .filter(|secret| secret.digest == given.as_ref())
            .count();
        if secret.is_some() && known > 0 {
            Ok(())
        } else {
            Err(AuthFault::NotTheGateway)
        }
    }

    fn has_signed(
        &self,
        signature: Option<&str>,
        parts: &Parts,
        user: &UserId,
    ) -> Result<(), Problem> {
        let signature = signature
            .and_then(Signature::read)
            .ok_or_else(|| AuthFault::NotTheGateway.refuse())?;
        let target = parts
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str());
        let key = only(&parts.headers, &header::IDEMPOTENCY_KEY).unwrap_or_default();
        let text = signed_text(signature.time, &parts.method, target, user.as_str(), key);
        let is_right =
            |secret: &&Secret| hmac::verify(&secret.key, text.as_bytes(), &signature.code).is_ok();
        if self.secrets.iter().filter(is_right).count() == 0 {
            return Err(AuthFault::NotTheGateway.refuse());
        }
        if (Utc::now().timestamp() - signature.time).abs() > SIGNATURE_LIFETIME_SECONDS {
            return Err(AuthFault::StaleSignature.refuse());
        }
        // What only reads may be repeated.
        if parts.method.is_safe() {
            Ok(())
        } else {
            self.use_up(&signature)
        }
    }

    fn use_up(&self, signature: &Signature) -> Result<(), Problem> {
        self.used
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .use_up(signature.code)
    }
}

impl Secret {
    fn new(text: &str) -> Result<Self, InvalidSecretError> {
        let is_good =
            SECRET_CHARS.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        let sum = digest(&SHA256, text.as_bytes());
        let digest = sum.as_ref().try_into().map_err(|_| InvalidSecretError)?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes());
        if is_good {
            Ok(Self { digest, key })
        } else {
            Err(InvalidSecretError)
        }
    }
}

impl fmt::Debug for GatewaySecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} secrets)", self.secrets.len())
    }
}

/// `t=<seconds since 1970>,v1=<HMAC-SHA256 in hexadecimal>`.
struct Signature {
    time: i64,
    code: [u8; 32],
}

impl Signature {
    fn read(text: &str) -> Option<Self> {
        let (time, code) = text.strip_prefix("t=")?.split_once(",v1=")?;
        let time = time
            .parse()
            .ok()
            .filter(|_| time.bytes().all(|byte| byte.is_ascii_digit()))?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(code, &mut bytes).ok()?;
        Some(Self { time, code: bytes })
    }
}

/// Signatures of writes, so that nobody who has seen one can send it again. They are of this process: another one does not know them.
struct UsedSignatures {
    recent: HashSet<[u8; 32]>,
    older: HashSet<[u8; 32]>,
    turned_at: Instant,
}

impl UsedSignatures {
    fn new() -> Self {
        Self {
            recent: HashSet::new(),
            older: HashSet::new(),
            turned_at: Instant::now(),
        }
    }

    fn use_up(&mut self, code: [u8; 32]) -> Result<(), Problem> {
        let age = self.turned_at.elapsed();
        if age >= MEMORY_DURATION {
            self.older = mem::take(&mut self.recent);
            self.turned_at = Instant::now();
        }
        if age >= 2 * MEMORY_DURATION {
            self.older = HashSet::new();
        }
        if self.older.contains(&code) || self.recent.contains(&code) {
            return Err(AuthFault::UsedSignature.refuse());
        }
        if self.recent.len() >= MAX_REMEMBERED {
            return Err(Problem::Overloaded);
        }
        self.recent.insert(code);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;
    use rstest::rstest;

    const SECRET: &str = "a-secret-of-the-gateway";
    const OLD_SECRET: &str = "the-secret-before-it-000";

    fn secrets() -> GatewaySecrets {
        GatewaySecrets::new([SECRET, OLD_SECRET]).unwrap()
    }

    fn ann() -> UserId {
        UserId::try_from("ann".to_owned()).unwrap()
    }

    /// A request for "ann" with these headers.
    fn request(method: Method, target: &str, headers: &[(&str, &str)]) -> Parts {
        let request = Request::builder().method(method).uri(target);
        let request = headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        });
        request.body(()).unwrap().into_parts().0
    }

    fn signature(secret: &str, time: i64, text: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        format!(
            "t={time},v1={}",
            hex::encode(hmac::sign(&key, text.as_bytes()))
        )
    }

    /// What the gateway would send `late` seconds ago for Ann's invest.
    fn signed(secret: &str, late: i64) -> String {
        let time = Utc::now().timestamp() - late;
        signature(
            secret,
            time,
            &signed_text(time, &Method::POST, "/api/invest?a=b", "ann", "k1"),
        )
    }

    fn refused(given: Result<(), Problem>) -> AuthFault {
        match given {
            Err(Problem::Unauthenticated(fault)) => fault,
            other => panic!("{other:?}"),
        }
    }

    fn invest(signature: &str) -> Parts {
        request(
            Method::POST,
            "/api/invest?a=b",
            &[
                ("idempotency-key", "k1"),
                ("x-gateway-signature", signature),
            ],
        )
    }

    #[rstest]
    fn whoever_knows_the_new_or_the_old_secret_is_the_gateway(
        #[values(SECRET, OLD_SECRET)] secret: &str,
    ) {
        let given = request(Method::POST, "/api/invest", &[("x-gateway-secret", secret)]);
        assert!(secrets().verify(&given, &ann()).is_ok());
        assert!(
            secrets()
                .verify(&invest(&signed(secret, 0)), &ann())
                .is_ok()
        );
        assert!(
            secrets()
                .verify(
                    &invest(&signed(secret, SIGNATURE_LIFETIME_SECONDS - 5)),
                    &ann()
                )
                .is_ok()
        );
        assert!(
            secrets()
                .verify(
                    &invest(&signed(secret, 5 - SIGNATURE_LIFETIME_SECONDS)),
                    &ann()
                )
                .is_ok()
        );
    }

    #[rstest]
    #[case::none(&[])]
    #[case::empty(&[("x-gateway-secret", "")])]
    #[case::wrong(&[("x-gateway-secret", "a-secret-of-the-gatewaz")])]
    #[case::a_part(&[("x-gateway-secret", "a-secret-of-the-gatewa")])]
    #[case::twice(&[("x-gateway-secret", SECRET), ("x-gateway-secret", SECRET)])]
    #[case::as_a_bearer(&[("authorization", "Bearer a-secret-of-the-gateway")])]
    #[case::both(&[("x-gateway-secret", SECRET), ("x-gateway-signature", "t=1,v1=00")])]
    #[case::no_signature(&[("x-gateway-signature", SECRET)])]
    #[case::short(&[("x-gateway-signature", "t=1,v1=00")])]
    #[case::no_time(&[("x-gateway-signature", "v1=0000000000000000000000000000000000000000000000000000000000000000")])]
    fn anybody_else_is_not(#[case] headers: &[(&str, &str)]) {
        let given = request(Method::POST, "/api/invest", headers);
        assert_eq!(
            refused(secrets().verify(&given, &ann())),
            AuthFault::NotTheGateway
        );
    }

    #[test]
    fn a_signature_is_of_one_request_at_one_time() {
        let secrets = secrets();
        let signature = signed(SECRET, 0);
        let bob = UserId::try_from("bob".to_owned()).unwrap();
        assert_eq!(
            refused(secrets.verify(&invest(&signature), &bob)),
            AuthFault::NotTheGateway
        );
        let headers = [
            ("idempotency-key", "k1"),
            ("x-gateway-signature", &*signature),
        ];
        for (method, target) in [
            (Method::POST, "/api/invest"),
            (Method::POST, "/api/invest?a=c"),
            (Method::GET, "/api/invest?a=b"),
        ] {
            let given = request(method, target, &headers);
            assert_eq!(
                refused(secrets.verify(&given, &ann())),
                AuthFault::NotTheGateway,
                "{target}"
            );
        }
        let other_key = [("idempotency-key", "k2"), headers[1]];
        let given = request(Method::POST, "/api/invest?a=b", &other_key);
        assert_eq!(
            refused(secrets.verify(&given, &ann())),
            AuthFault::NotTheGateway
        );
        for late in [
            SIGNATURE_LIFETIME_SECONDS + 5,
            -SIGNATURE_LIFETIME_SECONDS - 5,
        ] {
            assert_eq!(
                refused(secrets.verify(&invest(&signed(SECRET, late)), &ann())),
                AuthFault::StaleSignature
            );
        }
        assert_eq!(
            refused(secrets.verify(&invest(&signed("another-secret-000", 0)), &ann())),
            AuthFault::NotTheGateway
        );
        assert!(
            secrets.verify(&invest(&signature), &ann()).is_ok(),
            "none of these has used it up"
        );
    }

    #[test]
    fn a_write_that_is_sent_again_is_refused_and_a_read_is_not() {
        let secrets = secrets();
        let signature = signed(SECRET, 0);
        assert!(secrets.verify(&invest(&signature), &ann()).is_ok());
        assert_eq!(
            refused(secrets.verify(&invest(&signature), &ann())),
            AuthFault::UsedSignature
        );
        let time = Utc::now().timestamp();
        let signature = super::tests::signature(
            SECRET,
            time,
            &signed_text(time, &Method::GET, "/api/invest/log", "ann", ""),
        );
        for _ in 0..2 {
            let read = request(
                Method::GET,
                "/api/invest/log",
                &[("x-gateway-signature", &*signature)],
            );
            assert!(secrets.verify(&read, &ann()).is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_signature_is_remembered_as_long_as_it_may_be_used() {
        let mut used = UsedSignatures::new();
        let code = |number: u8| [number; 32];
        assert!(used.use_up(code(1)).is_ok());
        tokio::time::advance(MEMORY_DURATION - Duration::from_secs(1)).await;
        assert!(used.use_up(code(2)).is_ok());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(used.use_up(code(3)).is_ok());
        assert!(
            [code(1), code(2), code(3)]
                .into_iter()
                .all(|code| used.use_up(code).is_err())
        );
        tokio::time::advance(2 * MEMORY_DURATION).await;
        assert!(used.use_up(code(4)).is_ok());
        assert_eq!((used.recent.len(), used.older.len()), (1, 0));
    }

    #[rstest]
    #[case(&[], false)]
    #[case(&["short"], false)]
    #[case(&[SECRET], true)]
    #[case(&[SECRET, OLD_SECRET], true)]
    #[case(&[SECRET, OLD_SECRET, "a-third-secret-0000"], false)]
    #[case(&["a secret with blanks"], false)]
    fn secrets_are_one_or_two_and_long(#[case] given: &[&str], #[case] good: bool) {
        assert_eq!(GatewaySecrets::new(given.iter().copied()).is_ok(), good);
    }
}
