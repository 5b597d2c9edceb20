//! Whose a request is, in each mode; and everything that must not pass for it.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use edge::{CallerPolicy, GatewaySecrets, JwtRules, JwtVerifier, UserAuth, UserIdHeader};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use rstest::rstest;
use serde_json::{Value, json};
use std::sync::Arc;
use tower::ServiceExt as _;

use crate::answers::whole;

const ISSUER: &str = "https://idp.example/realms/moa";
const AUDIENCE: &str = "moa";
const SECRET: &str = "a-secret-of-the-gateway";

/// The user that the answer was for, or the refusal's status and message.
type Seen = Result<String, (StatusCode, String)>;

async fn ask(users: UserAuth, headers: &[(&str, &str)]) -> Seen {
    let (status, _, body) = answer(users, headers).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    match status {
        StatusCode::OK => Ok(body["data"].as_str().unwrap().to_owned()),
        refused => Err((refused, body["message"].as_str().unwrap().to_owned())),
    }
}

async fn answer(users: UserAuth, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, String) {
    let routes = Router::new().route(
        "/user",
        get(async |UserIdHeader(user)| edge::ok(user.as_str())),
    );
    let router = edge::with_middleware(
        routes,
        CallerPolicy {
            users,
            ..CallerPolicy::default()
        },
    );
    let request = headers
        .iter()
        .fold(Request::get("/user"), |request, (name, value)| {
            request.header(*name, *value)
        });
    whole(
        router
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap(),
    )
    .await
}

fn is_refused(seen: Seen, message: &str) {
    assert_eq!(
        seen,
        Err((StatusCode::UNAUTHORIZED, format!("{message} : ")))
    );
}

fn encoded(part: &Value) -> String {
    URL_SAFE_NO_PAD.encode(part.to_string())
}

/// An identity provider's key for signatures with Ed25519.
struct Provider {
    key: Ed25519KeyPair,
    id: &'static str,
}

impl Provider {
    fn new(id: &'static str) -> Self {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self {
            key: Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap(),
            id,
        }
    }

    fn public(&self) -> Vec<u8> {
        self.key.public_key().as_ref().to_vec()
    }

    fn jwk(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.public());
        json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": self.id, "x": x})
    }

    fn header(&self) -> Value {
        json!({"alg": "EdDSA", "typ": "JWT", "kid": self.id})
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", encoded(header), encoded(claims));
        let signature = self.key.sign(message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn token(&self, claims: &Value) -> String {
        self.sign(&self.header(), claims)
    }
}

/// Seconds from now.
fn at(seconds: i64) -> i64 {
    chrono::Utc::now().timestamp() + seconds
}

fn claims() -> Value {
    json!({"iss": ISSUER, "aud": [AUDIENCE, "other"], "sub": "ann", "exp": at(300), "nbf": at(-10), "iat": at(-10)})
}

fn changed(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn verifier(keys: &[Value]) -> Arc<JwtVerifier> {
    verifier_of("sub", keys)
}

fn verifier_of(claim: &str, keys: &[Value]) -> Arc<JwtVerifier> {
    let rules = JwtRules {
        issuer: ISSUER.into(),
        audience: AUDIENCE.into(),
        user_claim: claim.into(),
    };
    let verifier = JwtVerifier::new(rules);
    verifier
        .replace_keys(json!({"keys": keys}).to_string().as_bytes())
        .unwrap();
    Arc::new(verifier)
}

async fn ask_with(verifier: &Arc<JwtVerifier>, token: &str) -> Seen {
    ask(
        UserAuth::Jwt(verifier.clone()),
        &[("authorization", &format!("Bearer {token}"))],
    )
    .await
}

#[tokio::test]
async fn a_good_token_names_the_user() {
    let provider = Provider::new("k1");
    let verifier = verifier(&[provider.jwk()]);
    assert_eq!(
        ask_with(&verifier, &provider.token(&claims())).await,
        Ok("ann".into())
    );
    assert_eq!(
        ask_with(&verifier, &provider.token(&changed("aud", json!(AUDIENCE)))).await,
        Ok("ann".into())
    );
    assert_eq!(
        ask_with(&verifier, &provider.token(&without("nbf"))).await,
        Ok("ann".into())
    );
    let within_leeway = changed("exp", json!(at(-10)));
    assert_eq!(
        ask_with(&verifier, &provider.token(&within_leeway)).await,
        Ok("ann".into())
    );
    let without_kid = provider.sign(&json!({"alg": "EdDSA"}), &claims());
    assert_eq!(
        ask_with(&verifier, &without_kid).await,
        Ok("ann".into()),
        "there is only one key"
    );
    let named = [
        (
            "authorization",
            &*format!("bearer {}", provider.token(&claims())),
        ),
        ("x-user-id", "ann"),
    ];
    assert_eq!(ask(UserAuth::Jwt(verifier), &named).await, Ok("ann".into()));
}

const NOT_ACCEPTED: &str = "Bearer token is not accepted, get one for this service";

#[rstest]
#[case::expired(changed("exp", json!(at(-60))), "Bearer token has expired, get a new one")]
#[case::not_yet_valid(changed("nbf", json!(at(60))), NOT_ACCEPTED)]
#[case::without_an_end(without("exp"), NOT_ACCEPTED)]
#[case::with_an_end_that_is_no_number(changed("exp", json!("never")), NOT_ACCEPTED)]
#[case::with_a_start_that_is_no_number(changed("nbf", json!("now")), NOT_ACCEPTED)]
#[case::of_another_issuer(changed("iss", json!("https://idp.example/realms/other")), NOT_ACCEPTED)]
#[case::of_no_issuer(without("iss"), NOT_ACCEPTED)]
#[case::for_another_audience(changed("aud", json!("other")), NOT_ACCEPTED)]
#[case::for_no_audience(without("aud"), NOT_ACCEPTED)]
#[case::of_nobody(without("sub"), NOT_ACCEPTED)]
#[case::of_a_number(changed("sub", json!(7)), NOT_ACCEPTED)]
#[case::of_no_user_id(changed("sub", json!("auth0|ann")), NOT_ACCEPTED)]
#[tokio::test]
async fn a_token_with_wrong_claims_is_refused(#[case] claims: Value, #[case] message: &str) {
    let provider = Provider::new("k1");
    is_refused(
        ask_with(&verifier(&[provider.jwk()]), &provider.token(&claims)).await,
        message,
    );
}

#[tokio::test]
async fn a_token_that_the_provider_has_not_signed_is_refused() {
    let (provider, attacker) = (Provider::new("k1"), Provider::new("k1"));
    let verifier = verifier(&[provider.jwk()]);
    let good = provider.token(&claims());
    let (message, signature) = good.rsplit_once('.').unwrap();
    let hs256 = |secret: &[u8]| {
        let message = format!(
            "{}.{}",
            encoded(&json!({"alg": "HS256", "kid": "k1"})),
            encoded(&claims())
        );
        let code = hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, secret),
            message.as_bytes(),
        );
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(code.as_ref()))
    };
    let header = |more: Value| {
        let mut header = provider.header();
        header
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        header
    };
    let with = |more: Value| provider.sign(&header(more), &claims());
    let other_claims = format!(
        "{}.{}.{signature}",
        encoded(&provider.header()),
        encoded(&changed("sub", json!("bob")))
    );
    for (attack, token) in [
        ("nonsense", "nonsense".to_owned()),
        ("two parts", message.to_owned()),
        ("no signature", format!("{message}.")),
        ("another key", attacker.token(&claims())),
        ("other claims", other_claims),
        (
            "alg none",
            format!(
                "{}.{}.",
                encoded(&json!({"alg": "none", "kid": "k1"})),
                encoded(&claims())
            ),
        ),
        ("alg None with the signature", with(json!({"alg": "None"}))),
        ("the public key as a secret", hs256(&provider.public())),
        (
            "the key's text as a secret",
            hs256(provider.jwk()["x"].as_str().unwrap().as_bytes()),
        ),
        (
            "the JWK as a secret",
            hs256(provider.jwk().to_string().as_bytes()),
        ),
        ("another algorithm", with(json!({"alg": "ES256"}))),
        ("an unknown key", with(json!({"kid": "k2"}))),
        (
            "the attacker's key in the header",
            attacker.sign(&header(json!({"jwk": attacker.jwk()})), &claims()),
        ),
        (
            "a place for keys in the header",
            attacker.sign(&header(json!({"jku": "http://evil.example"})), &claims()),
        ),
        (
            "an extension that must be understood",
            with(json!({"crit": ["exp"], "exp": 1})),
        ),
    ] {
        let seen = ask_with(&verifier, &token).await;
        assert_eq!(
            seen,
            Err((StatusCode::UNAUTHORIZED, format!("{NOT_ACCEPTED} : "))),
            "{attack}"
        );
    }
    assert_eq!(ask_with(&verifier, &good).await, Ok("ann".into()));
}

#[tokio::test]
async fn without_a_token_nobody_is_anybody() {
    let provider = Provider::new("k1");
    let token = format!("Bearer {}", provider.token(&claims()));
    let users = || UserAuth::Jwt(verifier(&[provider.jwk()]));
    let missing = "Missing bearer token, send one in the Authorization header";
    for headers in [
        &[][..],
        &[("x-user-id", "ann")],
        &[("authorization", "")],
        &[("authorization", "Bearer")],
        &[("authorization", "Basic YW5uOmFubg==")],
        &[("authorization", &*token), ("authorization", &*token)],
        &[("x-gateway-secret", SECRET), ("x-user-id", "ann")],
    ] {
        is_refused(ask(users(), headers).await, missing);
    }
    let other = [("authorization", &*token), ("x-user-id", "bob")];
    is_refused(
        ask(users(), &other).await,
        "X-USER-ID is not the user of the bearer token, leave it out",
    );
    let two = [
        ("authorization", &*token),
        ("x-user-id", "ann"),
        ("x-user-id", "bob"),
    ];
    is_refused(
        ask(users(), &two).await,
        "X-USER-ID is not the user of the bearer token, leave it out",
    );
}

#[tokio::test]
async fn a_refusal_says_which_scheme_would_do() {
    let provider = Provider::new("k1");
    let users = UserAuth::Jwt(verifier(&[provider.jwk()]));
    let challenge = async |headers: &[(&str, &str)]| {
        let (_, answered, _) = answer(users.clone(), headers).await;
        answered["www-authenticate"].to_str().unwrap().to_owned()
    };
    assert_eq!(challenge(&[]).await, "Bearer");
    assert_eq!(
        challenge(&[("authorization", "Bearer x")]).await,
        r#"Bearer error="invalid_token""#
    );
}

#[tokio::test]
async fn keys_are_replaced_while_moa_runs() {
    let (old, new) = (Provider::new("old"), Provider::new("new"));
    let verifier = verifier(&[old.jwk()]);
    let asked = verifier.clone();
    let unknown = tokio::spawn(async move { asked.unknown_key().await });
    is_refused(
        ask_with(&verifier, &new.token(&claims())).await,
        NOT_ACCEPTED,
    );
    unknown.await.expect("a key that is not known is told");
    let both = json!({"keys": [old.jwk(), new.jwk()]}).to_string();
    assert_eq!(verifier.replace_keys(both.as_bytes()).unwrap(), 2);
    for provider in [&old, &new] {
        assert_eq!(
            ask_with(&verifier, &provider.token(&claims())).await,
            Ok("ann".into())
        );
    }
    let without_kid = new.sign(&json!({"alg": "EdDSA"}), &claims());
    is_refused(ask_with(&verifier, &without_kid).await, NOT_ACCEPTED);
    verifier
        .replace_keys(json!({"keys": [new.jwk()]}).to_string().as_bytes())
        .unwrap();
    is_refused(
        ask_with(&verifier, &old.token(&claims())).await,
        NOT_ACCEPTED,
    );
    for bad in [
        json!({"keys": []}),
        json!([]),
        json!({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "new"}]}),
    ] {
        assert!(
            verifier.replace_keys(bad.to_string().as_bytes()).is_err(),
            "{bad}"
        );
    }
    assert_eq!(
        ask_with(&verifier, &new.token(&claims())).await,
        Ok("ann".into()),
        "those before stay"
    );
}

#[tokio::test]
async fn until_there_are_keys_callers_are_asked_to_come_back() {
    let rules = JwtRules {
        issuer: ISSUER.into(),
        audience: AUDIENCE.into(),
        user_claim: "sub".into(),
    };
    let (provider, users) = (
        Provider::new("k1"),
        UserAuth::Jwt(Arc::new(JwtVerifier::new(rules))),
    );
    let token = format!("Bearer {}", provider.token(&claims()));
    let (status, headers, _) = answer(users, &[("authorization", &token)]).await;
    assert_eq!(
        (status, headers["retry-after"].as_bytes()),
        (StatusCode::SERVICE_UNAVAILABLE, &b"1"[..])
    );
}

#[tokio::test]
async fn a_named_claim_may_be_the_user() {
    let provider = Provider::new("k1");
    let verifier = verifier_of("moa_user", &[provider.jwk()]);
    assert_eq!(
        ask_with(
            &verifier,
            &provider.token(&changed("moa_user", json!("bob")))
        )
        .await,
        Ok("bob".into())
    );
    is_refused(
        ask_with(&verifier, &provider.token(&claims())).await,
        NOT_ACCEPTED,
    );
}

#[tokio::test]
async fn a_key_on_the_curve_p_256_is_for_es256_alone() {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random)
        .unwrap();
    let point = key.public_key().as_ref();
    let (x, y) = (
        URL_SAFE_NO_PAD.encode(&point[1..33]),
        URL_SAFE_NO_PAD.encode(&point[33..]),
    );
    let verifier = verifier(&[json!({"kty": "EC", "crv": "P-256", "kid": "k1", "x": x, "y": y})]);
    let token = |algorithm: &str| {
        let message = format!(
            "{}.{}",
            encoded(&json!({"alg": algorithm, "kid": "k1"})),
            encoded(&claims())
        );
        let signature = key.sign(&random, message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    };
    assert_eq!(ask_with(&verifier, &token("ES256")).await, Ok("ann".into()));
    is_refused(ask_with(&verifier, &token("ES384")).await, NOT_ACCEPTED);
    is_refused(ask_with(&verifier, &token("RS256")).await, NOT_ACCEPTED);
}

#[tokio::test]
async fn only_the_gateway_may_say_who_the_user_is() {
    let users = || UserAuth::Gateway(Arc::new(GatewaySecrets::new([SECRET]).unwrap()));
    let of_ann = |secret: &'static str| [("x-gateway-secret", secret), ("x-user-id", "ann")];
    assert_eq!(ask(users(), &of_ann(SECRET)).await, Ok("ann".into()));
    let refused = "Not from the gateway, send X-Gateway-Secret or X-Gateway-Signature";
    is_refused(ask(users(), &of_ann("a-secret-of-somebody")).await, refused);
    is_refused(ask(users(), &[("x-user-id", "ann")]).await, refused);
    let (status, message) = ask(users(), &[("x-gateway-secret", SECRET)])
        .await
        .unwrap_err();
    assert_eq!(
        (status, message.as_str()),
        (StatusCode::BAD_REQUEST, "Missing X-USER-ID header value : ")
    );
}
