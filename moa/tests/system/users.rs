//! Who the users are and how often they may call, with real processes: the settings, the provider's keys, and what is refused.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use rstest::rstest;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

use crate::harness::{
    ApiClient, Journal, MoaProcess, OPERATOR, Start, TEST_TIMEOUT, client, within,
};
use crate::reference::{example, words};

const SECRET: &str = "a-secret-of-the-gateway";
const ISSUER: &str = "https://idp.example";

/// No database is there at all: it is not asked for.
fn nowhere(settings: &[(&str, &str)]) -> Start {
    let start = Start::serve().on("postgres://nobody@127.0.0.1:1/none");
    settings
        .iter()
        .fold(start, |start, (name, value)| start.env(name, value))
}

#[rstest]
#[case::no_mode(&[("MOA_USER_AUTH", "none")], "[possible values: header, header+secret, jwt]")]
#[case::no_secret(&[("MOA_USER_AUTH", "header+secret")], "set MOA_GATEWAY_SECRETS")]
#[case::weak_secret(&[("MOA_USER_AUTH", "header+secret"), ("MOA_GATEWAY_SECRETS", "canary9d41")], "MOA_GATEWAY_SECRETS must be one or two")]
#[case::secret_unused(&[("MOA_GATEWAY_SECRETS", SECRET)], "MOA_GATEWAY_SECRETS is for MOA_USER_AUTH=header+secret")]
#[case::no_keys(&[("MOA_USER_AUTH", "jwt"), ("MOA_JWT_ISSUER", "i"), ("MOA_JWT_AUDIENCE", "moa")], "--jwt-keys")]
#[case::no_issuer(&[("MOA_USER_AUTH", "jwt"), ("MOA_JWT_KEYS", "k"), ("MOA_JWT_AUDIENCE", "moa")], "--jwt-issuer")]
#[case::no_file(&[("MOA_USER_AUTH", "jwt"), ("MOA_JWT_KEYS", "/nowhere/keys.json"), ("MOA_JWT_ISSUER", "i"), ("MOA_JWT_AUDIENCE", "moa")], "cannot read MOA_JWT_KEYS /nowhere/keys.json")]
#[case::no_keys_in_it(&[("MOA_USER_AUTH", "jwt"), ("MOA_JWT_KEYS", "Cargo.toml"), ("MOA_JWT_ISSUER", "i"), ("MOA_JWT_AUDIENCE", "moa")], "no JWK set")]
#[case::other_scheme(&[("MOA_USER_AUTH", "jwt"), ("MOA_JWT_KEYS", "ftp://idp.example/jwks"), ("MOA_JWT_ISSUER", "i"), ("MOA_JWT_AUDIENCE", "moa")], "MOA_JWT_KEYS must be a file, or an https:// or http:// URL")]
#[case::rate(&[("MOA_LIMIT_WRITES_PER_USER", "10")], "must be a rate such as 10/s")]
#[case::proxy(&[("MOA_TRUSTED_PROXIES", "proxy.example")], "must be an address or a network")]
#[tokio::test]
async fn a_start_that_would_not_know_its_users_is_refused(
    #[case] settings: &[(&str, &str)],
    #[case] expected: &str,
) {
    let ended = nowhere(settings).end().await;
    let said = format!("{}{}", ended.out, ended.err);
    assert!(
        !ended.status.success() && said.contains(expected),
        "{expected:?} is not in {said}"
    );
    assert!(
        !said.contains(SECRET) && !said.contains("canary9d41"),
        "{said}"
    );
}

/// What anybody on a network can reach does not believe anybody by oversight.
#[tokio::test]
async fn a_listener_beyond_loopback_starts_only_with_a_word_about_its_users() {
    let listen = [
        "--admin-listen",
        "127.0.0.1:0",
        "--command-listen",
        "127.0.0.1:0",
        "--query-listen",
        "0.0.0.0:0",
    ];
    let start = Start::bare(&["--no-demo"])
        .with(&listen)
        .env("MOA_OPERATOR_TOKEN", OPERATOR);
    let ended = start.on("postgres://nobody@127.0.0.1:1/none").end().await;
    let expected = "set MOA_USER_AUTH to jwt or header+secret, or to header if only a gateway";
    assert!(
        !ended.status.success() && ended.err.contains(expected),
        "{}",
        ended.err
    );
}

/// An identity provider whose keys can be changed; without any it is away.
struct Provider {
    url: String,
    keys: Keys,
    _serving: tokio_util::task::AbortOnDropHandle<()>,
}

type Keys = Arc<Mutex<Option<Value>>>;

impl Provider {
    async fn start() -> Self {
        let keys = Keys::default();
        let jwks = async |State(keys): State<Keys>| {
            let keys = keys.lock().unwrap().clone();
            keys.map(|keys| json!({"keys": keys}).to_string())
                .ok_or(StatusCode::SERVICE_UNAVAILABLE)
        };
        let router = Router::new()
            .route("/jwks", get(jwks))
            .with_state(keys.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            url,
            keys,
            _serving: tokio_util::task::AbortOnDropHandle::new(serving),
        }
    }

    fn has(&self, keys: &[&SigningKey]) {
        *self.keys.lock().unwrap() = Some(keys.iter().map(|key| key.jwk()).collect());
    }
}

struct SigningKey {
    id: &'static str,
    key: Ed25519KeyPair,
}

impl SigningKey {
    fn new(id: &'static str) -> Self {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self {
            id,
            key: Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap(),
        }
    }

    fn jwk(&self) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "kid": self.id, "x": URL_SAFE_NO_PAD.encode(self.key.public_key())})
    }

    fn token_of(&self, user: &str) -> String {
        let expires = chrono::Utc::now().timestamp() + 600;
        let claims = json!({"iss": ISSUER, "aud": "moa", "sub": user, "exp": expires});
        let parts = [json!({"alg": "EdDSA", "kid": self.id}), claims]
            .map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let message = parts.join(".");
        format!(
            "Bearer {message}.{}",
            URL_SAFE_NO_PAD.encode(self.key.sign(message.as_bytes()))
        )
    }
}

/// The status of a user's invest, and of the user's log.
async fn statuses(moa: &MoaProcess, headers: &[(&str, &str)]) -> (u16, u16) {
    let with = |request: reqwest::RequestBuilder| {
        headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        })
    };
    let body = json!({"productId": 3, "investAmount": 1}).to_string();
    let invest = with(
        client()
            .post(format!("{}/api/invest", moa.write))
            .header("content-type", "application/json"),
    )
    .body(body);
    let log = with(client().get(format!("{}/api/invest/log", moa.read)));
    let (invested, read) = (invest.send().await.unwrap(), log.send().await.unwrap());
    (invested.status().as_u16(), read.status().as_u16())
}

#[tokio::test]
async fn tokens_of_a_provider_name_the_users_of_both_sides() {
    let (provider, database) = (Provider::start().await, testbed::Database::fresh().await);
    let (first, second) = (SigningKey::new("first"), SigningKey::new("second"));
    let settings = [
        ("MOA_USER_AUTH", "jwt"),
        ("MOA_JWT_KEYS", &*provider.url),
        ("MOA_JWT_ISSUER", ISSUER),
        ("MOA_JWT_AUDIENCE", "moa"),
    ];
    let start = Start::serve_with_demo().on(database.url());
    let moa = settings
        .iter()
        .fold(start, |start, (name, value)| start.env(name, value))
        .open()
        .await;
    assert!(
        moa.said().contains("named by their bearer tokens"),
        "{}",
        moa.said()
    );
    let token = first.token_of("ann");
    assert_eq!(
        statuses(&moa, &[("authorization", &token)]).await,
        (503, 503),
        "the provider is away"
    );
    let unready = reqwest::get(format!("{}/readyz", moa.ops))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(unready.contains("user-keys"), "{unready}");
    provider.has(&[&first]);
    let accepted = async |token: &str| {
        (statuses(&moa, &[("authorization", token)]).await == (200, 200)).then_some(())
    };
    within(TEST_TIMEOUT, "the provider's keys", || accepted(&token)).await;
    assert_eq!(statuses(&moa, &[("x-user-id", "ann")]).await, (401, 401));
    let newer = second.token_of("ann");
    assert_eq!(
        statuses(&moa, &[("authorization", &newer)]).await,
        (401, 401)
    );
    provider.has(&[&second]);
    within(TEST_TIMEOUT, "the new key", || accepted(&newer)).await;
    assert_eq!(
        statuses(&moa, &[("authorization", &token)]).await,
        (401, 401),
        "the old key was taken back"
    );
    let ready = reqwest::get(format!("{}/readyz", moa.ops)).await.unwrap();
    assert_eq!(ready.status(), 200);
}

#[tokio::test]
async fn a_gateway_proves_itself_by_its_secret_or_a_signature_that_is_good_once() {
    let database = testbed::Database::fresh().await;
    let start = Start::serve_with_demo()
        .on(database.url())
        .env("MOA_USER_AUTH", "header+secret");
    let moa = start
        .env(
            "MOA_GATEWAY_SECRETS",
            &format!("a-new-secret-of-the-gateway,{SECRET}"),
        )
        .open()
        .await;
    let ann = ("x-user-id", "ann");
    assert_eq!(statuses(&moa, &[ann]).await, (401, 401));
    assert_eq!(
        statuses(&moa, &[ann, ("x-gateway-secret", "a-secret-of-somebody")]).await,
        (401, 401)
    );
    assert_eq!(
        statuses(&moa, &[ann, ("x-gateway-secret", SECRET)]).await,
        (200, 200)
    );
    let time = chrono::Utc::now().timestamp();
    let text = edge::signed_text(time, &Method::POST, "/api/invest", "ann", "");
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = format!(
        "t={time},v1={}",
        hex::encode(hmac::sign(&key, text.as_bytes()))
    );
    let signed = [ann, ("x-gateway-signature", &*signature)];
    assert_eq!(
        statuses(&moa, &signed).await,
        (200, 401),
        "it is for one request"
    );
    assert_eq!(statuses(&moa, &signed).await, (401, 401), "and once");
    assert_eq!(
        statuses(&moa, &[("x-user-id", "bob"), signed[1]]).await,
        (401, 401),
        "and for one user"
    );
}

#[tokio::test]
async fn calls_are_limited_as_the_settings_say() {
    let database = testbed::Database::fresh().await;
    let start = Start::serve_with_demo()
        .on(database.url())
        .env("MOA_LIMIT_WRITES_PER_USER", "1/h:2");
    let moa = start
        .env("MOA_LIMIT_READS_PER_ADDRESS", "1/h:3")
        .env("MOA_LIMIT_TOKEN_GUESSES", "1/h:2")
        .open()
        .await;
    let ann = [("x-user-id", "ann")];
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(statuses(&moa, &ann).await);
    }
    assert_eq!(seen, [(200, 200), (200, 200), (429, 200), (429, 429)]);
    assert_eq!(statuses(&moa, &[("x-user-id", "bob")]).await, (200, 429));
    let admin = async |token: &str| {
        client()
            .get(format!("{}/admin/product", moa.admin))
            .bearer_auth(token)
            .send()
            .await
            .unwrap()
    };
    let mut guessed = Vec::new();
    for token in [
        OPERATOR,
        "a-guess-of-somebody",
        "another-guess-of-his",
        OPERATOR,
    ] {
        guessed.push(admin(token).await.status().as_u16());
    }
    assert_eq!(
        guessed,
        [200, 401, 401, 429],
        "nobody learns which guess is right"
    );
    let metrics = reqwest::get(format!("{}/metrics", moa.ops))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    for counted in [
        "limit=\"user\"} 2",
        "limit=\"address\"} 2",
        "limit=\"token guesses\"} 1",
    ] {
        assert!(
            metrics.contains(&format!("moa_http_requests_limited_total{{{counted}")),
            "{counted}"
        );
    }
}

/// A key of RFC 8037, appendix A.2.
const A_KEY: &str =
    r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

#[tokio::test]
async fn who_is_nobody_or_calls_too_often_is_answered_as_the_document_says() {
    let (folder, database) = (
        testbed::TempFolder::new("users"),
        testbed::Database::fresh().await,
    );
    std::fs::write(folder.join("keys.json"), A_KEY).unwrap();
    let start = Start::serve()
        .on(database.url())
        .env("MOA_USER_AUTH", "jwt")
        .env("MOA_JWT_KEYS", &folder.file("keys.json"));
    let start = start
        .env("MOA_JWT_ISSUER", ISSUER)
        .env("MOA_JWT_AUDIENCE", "moa");
    let moa = start
        .env("MOA_LIMIT_READS", "1/h:2")
        .env("MOA_LIMIT_WRITES", "1/h:2")
        .open()
        .await;
    for (url, path) in [
        (&moa.write, "/api/invest"),
        (&moa.read, "/api/product/my/summary"),
    ] {
        let answer = async |path: &str| {
            let post = path == "/api/invest";
            let request = if post {
                client().post(format!("{url}{path}"))
            } else {
                client().get(format!("{url}{path}"))
            };
            request.send().await.unwrap().json::<Value>().await.unwrap()
        };
        let document = answer("/openapi.json").await;
        let call = &document["paths"][path][if path == "/api/invest" { "post" } else { "get" }];
        assert_eq!(
            words(&answer(path).await),
            words(example(call, 401, "401")),
            "{path}"
        );
        assert_eq!(
            words(&answer(path).await),
            words(example(call, 429, "RATE_LIMITED")),
            "{path}"
        );
    }
}

/// A user who is refused again and again is told so, before the rows that are stored with his keys fill the database.
#[tokio::test]
async fn refusals_that_are_stored_with_keys_have_a_budget() {
    let database = testbed::Database::fresh().await;
    let moa = Start::serve_with_demo().on(database.url()).open().await;
    let api = ApiClient::of(0, &moa, client(), Journal::default());
    let invest_in = async |product: i64, user: &str, key: String| {
        let body = json!({"productId": product, "investAmount": 1}).to_string();
        let headers = [
            ("X-USER-ID", user),
            ("Idempotency-Key", &*key),
            ("Content-Type", "application/json"),
        ];
        api.post("/api/invest", &headers, &body).await.json()["code"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let invest = async |user: &str, key: String| invest_in(1, user, key).await;
    assert_eq!(invest_in(3, "ann", "accepted".into()).await, "01");
    for number in 0..100 {
        assert_eq!(invest("ann", format!("k{number}")).await, "FINISHED");
    }
    // One more may have come free meanwhile.
    let mut codes = Vec::new();
    for number in 100..103 {
        codes.push(invest("ann", format!("k{number}")).await);
    }
    assert_eq!(codes.last().unwrap(), "RATE_LIMITED", "{codes:?}");
    assert_eq!(invest("bob", "k1".into()).await, "FINISHED");
    assert_eq!(
        invest("ann", "k0".into()).await,
        "FINISHED",
        "what is stored is given again"
    );
    assert_eq!(invest_in(3, "ann", "accepted".into()).await, "01");
    assert_eq!(
        invest_in(3, "ann", "another".into()).await,
        "01",
        "an accepted invest is no refusal"
    );
    let pool = database.pool().await;
    let kept: i64 =
        sqlx::query_scalar("select count(*) from idempotency_keys where user_id = 'ann'")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert!(
        (102..105).contains(&kept),
        "{kept}: two of them were accepted"
    );
}
