//! Consistency tokens: what an answer says of its state, and waiting for a state.

use crate::read_side::{LOG, PARTITIONS, ReadSide, settings, token};
use edge::{ConsistencyToken, LogIncarnation};
use futures::future::join_all;
use query_api::Settings;
use rstest::rstest;
use std::time::{Duration, Instant};
use testbed::http::refusal;
use tokio::sync::watch;
use uuid::Uuid;

const INVEST: &str = "/api/invest/log/00000000-0000-7000-8000-000000000001";
const SHORT_DELAY: Duration = Duration::from_millis(50);
const WAIT_TIMEOUT: Duration = Duration::from_secs(2);

/// The token and the word that a GET answers to these tokens, each sent in a header of its own.
async fn ask(api: &ReadSide, path: &str, tokens: &str) -> (Option<String>, Option<String>) {
    let tokens = tokens
        .split_whitespace()
        .map(|token| ("X-Consistency-Token", token));
    let headers: Vec<_> = tokens.chain([("X-USER-ID", "user4")]).collect();
    let answer = api.call("GET", path, &headers).await;
    let header = |name| answer.header(name).map(str::to_owned);
    (header("x-consistency-token"), header("x-consistency"))
}

#[rstest]
#[case("/api/product", "product_list")]
#[case("/api/product/7", "product_list")]
#[case("/api/product/my/invest", "holdings")]
#[case("/api/product/my/summary", "investor_summary")]
#[case("/api/invest/log", "invest_log")]
#[case("/api/invest/log?productId=1", "invest_log")]
#[case("/api/invest/log?cursor=", "invest_log")]
#[case("/api/product/my/invest?cursor=", "holdings")]
#[case(INVEST, "invest_log")]
#[tokio::test]
async fn every_get_says_the_state_of_its_read_model(#[case] path: &str, #[case] consumer: &str) {
    let api = ReadSide::new().await;
    for other in [
        "product_list",
        "holdings",
        "invest_log",
        "investor_summary",
        "settlement",
    ] {
        api.checkpoint(other, 0, 99).await;
    }
    api.sql("delete from checkpoints where partition = 0").await;
    assert_eq!(
        ask(&api, path, "").await,
        (Some(token([0; PARTITIONS])), None)
    );
    api.checkpoint(consumer, 3, 7).await;
    api.checkpoint(consumer, 1, 300).await;
    api.checkpoint("settlement", 0, 99).await;
    assert_eq!(
        ask(&api, path, "").await,
        (Some(token([0, 300, 0, 7])), None)
    );
}

#[tokio::test]
async fn what_is_reached_already_is_not_waited_for() {
    let api = ReadSide::new().await;
    api.checkpoint("product_list", 2, 5).await;
    let begun = Instant::now();
    let answered = ask(
        &api,
        "/api/product",
        &format!("{} {}", token([0, 0, 5, 0]), token([0, 0, 4, 0])),
    )
    .await;
    assert_eq!(
        answered,
        (Some(token([0, 0, 5, 0])), Some("reached".into()))
    );
    assert!(begun.elapsed() < WAIT_TIMEOUT);
}

/// 1. Several reads ask for what is not there yet, one of them for more. 2. The read model moves. 3. Those it satisfies
/// answer at once and show the new rows; the others wait on. 4. It moves again, and they answer too.
#[tokio::test]
async fn reads_wait_until_their_state_is_reached() {
    let api = ReadSide::new().await;
    let (first, second) = (token([1, 0, 0, 0]), token([0, 2, 0, 0]));
    let (both, reached) = (format!("{first} {second}"), Some("reached"));
    let move_on = async {
        tokio::time::sleep(SHORT_DELAY).await;
        api.checkpoint("product_list", 0, 1).await;
        tokio::time::sleep(SHORT_DELAY).await;
        api.checkpoint("product_list", 1, 2).await;
    };
    let of_both = ask(&api, "/api/product", &both);
    let of_first = join_all((0..20).map(|_| ask(&api, "/api/product", &first)));
    let of_second = join_all((0..20).map(|_| ask(&api, "/api/product/7", &second)));
    let (of_both, of_first, of_second, ()) = tokio::join!(of_both, of_first, of_second, move_on);
    let at_end = Some(token([1, 2, 0, 0]));
    assert_eq!(of_both, (at_end.clone(), reached.map(String::from)));
    assert!(
        of_first
            .iter()
            .all(|(shown, word)| shown != &Some(token([0; 4])) && word.as_deref() == reached)
    );
    assert!(
        of_second
            .iter()
            .all(|(shown, word)| shown == &at_end && word.as_deref() == reached)
    );
}

/// The one that polls for all may go away: the next one polls on.
#[tokio::test]
async fn a_reader_that_leaves_takes_nobodys_wait_along() {
    let api = ReadSide::new().await;
    let asked = token([1, 0, 0, 0]);
    let leaves = tokio::time::timeout(SHORT_DELAY, ask(&api, "/api/product", &asked));
    let stays = async {
        tokio::task::yield_now().await;
        ask(&api, "/api/product", &asked).await
    };
    let moves = async {
        tokio::time::sleep(2 * SHORT_DELAY).await;
        api.checkpoint("product_list", 0, 1).await;
    };
    let (left, stayed, ()) = tokio::join!(leaves, stays, moves);
    assert!(left.is_err());
    assert_eq!(stayed.1.as_deref(), Some("reached"));
}

#[tokio::test]
async fn what_is_not_reached_in_time_is_said_so() {
    let api = ReadSide::new().await;
    api.checkpoint("holdings", 0, 1).await;
    let begun = Instant::now();
    let answered = ask(&api, "/api/product/my/invest", &token([2, 0, 0, 0])).await;
    assert_eq!(
        answered,
        (Some(token([1, 0, 0, 0])), Some("timeout".into()))
    );
    assert!(begun.elapsed() >= WAIT_TIMEOUT && begun.elapsed() < 2 * WAIT_TIMEOUT);
}

#[rstest]
#[case::malformed("x".into(), "malformed: send one as it was given, or leave it out")]
#[case::empty("".into(), "malformed: send one as it was given, or leave it out")]
#[case::trailing(format!("{}AA", token([1; PARTITIONS])), "malformed: send one as it was given, or leave it out")]
#[case::other_log(
    ConsistencyToken::new(LogIncarnation::first(Uuid::from_u128(9)), vec![1; PARTITIONS]).to_string(),
    "of another log: leave it out"
)]
#[case::other_partitions(ConsistencyToken::new(LogIncarnation::first(LOG), vec![1]).to_string(), "of another log: leave it out")]
#[tokio::test]
async fn a_token_that_is_not_ours_is_refused(#[case] sent: String, #[case] told: &str) {
    let api = ReadSide::without_database();
    let mine = [
        "/api/product/my/invest",
        "/api/product/my/summary",
        "/api/invest/log",
        INVEST,
    ];
    for path in ["/api/product", "/api/product/7"].into_iter().chain(mine) {
        let answer = api
            .call(
                "GET",
                path,
                &[("X-USER-ID", "user4"), ("X-Consistency-Token", &sent)],
            )
            .await;
        let told = refusal(
            400,
            "00",
            &format!("Invalid value : X-Consistency-Token is {told}"),
        );
        assert_eq!((answer.status, answer.body), (400, told));
    }
}

/// The log lost events meanwhile: a token, or a stream's last event, from before is refused at once, and answers have new ones.
#[tokio::test]
async fn a_token_of_another_incarnation_is_refused_and_answers_have_one_of_this() {
    let api = ReadSide::new().await;
    let (incarnations, incarnation) = watch::channel(1);
    let api = api.with_settings(Settings {
        incarnation,
        ..settings(api.pool.clone())
    });
    let before = api
        .get("/api/product")
        .await
        .header("x-consistency-token")
        .unwrap()
        .to_owned();
    incarnations.send_replace(1_764_400_000_123);
    let message = "The log lost events since this token was given, read again without it : ";
    let outdated = (400, refusal(400, "TOKEN_OUTDATED", message));
    let of_user = [
        ("X-USER-ID", "user4"),
        ("X-Consistency-Token", before.as_str()),
    ];
    for path in [
        "/api/product",
        "/api/product/7",
        "/api/product/my/invest",
        "/api/product/my/summary",
        "/api/invest/log",
        INVEST,
    ] {
        let answer = api.call("GET", path, &of_user).await;
        assert_eq!((answer.status, answer.body), outdated, "{path}");
    }
    for path in ["/api/product/stream", "/api/invest/log/stream"] {
        let asked = [("X-USER-ID", "user4"), ("Last-Event-ID", before.as_str())];
        let answer = api.call("GET", path, &asked).await;
        assert_eq!((answer.status, answer.body), outdated, "{path}");
    }
    let now = api
        .get("/api/product")
        .await
        .header("x-consistency-token")
        .unwrap()
        .to_owned();
    let answer = api
        .call("GET", "/api/product", &[("X-Consistency-Token", &now)])
        .await;
    assert_eq!(
        (answer.status, answer.header("x-consistency")),
        (200, Some("reached"))
    );
}
