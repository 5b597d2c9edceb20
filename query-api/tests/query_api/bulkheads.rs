//! What users read of their own has a bounded share of the connections, and each user a smaller one.

use crate::held::Held;
use crate::read_side::{ReadSide, token};
use std::sync::Arc;
use testbed::{soon, until};
use tokio::task::JoinSet;

const CONNECTIONS: u32 = 6;
/// Of one user.
const SHARE_OF_ONE: i64 = 2;
/// Two thirds.
const SHARE_OF_ALL: i64 = 4;

const LARGE: &str = "/api/invest/log?size=1000";

/// A read side with six connections, and the invest log locked.
async fn held() -> Held {
    let plain = ReadSide::new().await;
    plain.product(1, 100, 30, ("-1 day", "1 day")).await;
    Held::reading(plain, "invest_log", CONNECTIONS).await
}

/// What others are answered meanwhile.
async fn others_are_answered(held: &Held) {
    for path in [
        "/api/product",
        "/api/product?size=1000&status=ONGOING",
        "/api/product/1",
    ] {
        assert_eq!(soon(held.api.get(path)).await.status, 200, "{path}");
    }
}

/// How many reads are answered with each status, once the lock is free.
async fn statuses(mut held: Held) -> Vec<u16> {
    held.answers()
        .await
        .iter()
        .map(|(_, answer)| answer.status)
        .collect()
}

/// 1. One user begins a hundred large reads, which are held. 2. Two of them have connections, and no more get any. 3. The product list,
/// and what another user reads, is answered. 4. The reads may go on, and the rest of them get their turns, or have waited too long.
#[tokio::test]
async fn one_users_large_reads_hold_two_connections_and_nobody_else_waits() {
    let mut held = held().await;
    held.reads("user4", LARGE, 100);
    held.until_waiting(SHARE_OF_ONE).await;
    others_are_answered(&held).await;
    for path in [
        "/api/product/my/invest?size=1000",
        "/api/product/my/summary",
    ] {
        assert_eq!(
            soon(held.api.get_as("user5", path)).await.status,
            200,
            "{path}"
        );
    }
    assert_eq!(held.waiting().await, SHARE_OF_ONE);
    let statuses = statuses(held).await;
    assert_eq!(statuses.len(), 100);
    assert!(
        statuses.iter().filter(|status| **status == 200).count() >= 2,
        "{statuses:?}"
    );
    assert!(
        statuses.iter().all(|status| [200, 429].contains(status)),
        "{statuses:?}"
    );
}

/// The same with fifty users: all together have two thirds.
#[tokio::test]
async fn all_users_together_leave_connections_for_the_products() {
    let mut held = held().await;
    for user in 0..50 {
        held.reads(&format!("user{user}"), LARGE, 2);
    }
    held.until_waiting(SHARE_OF_ALL).await;
    others_are_answered(&held).await;
    assert_eq!(held.waiting().await, SHARE_OF_ALL);
    let statuses = statuses(held).await;
    assert!(
        statuses.iter().filter(|status| **status == 200).count() >= 4,
        "{statuses:?}"
    );
    assert!(
        statuses
            .iter()
            .all(|status| [200, 429, 503].contains(status)),
        "{statuses:?}"
    );
}

/// A read that waits for its token has no turn meanwhile, so others of its user pass it by. On a slow machine it may have waited in vain by
/// then, so that is tried again.
#[tokio::test]
async fn who_waits_for_a_token_takes_no_turn() {
    let api = Arc::new(ReadSide::new().await);
    let never_reached = token([1, 0, 0, 0]);
    until("reads pass by those that wait for a token", async || {
        let mut waiting = JoinSet::new();
        for _ in 0..20 {
            let (api, token) = (api.clone(), never_reached.clone());
            waiting.spawn(async move {
                let headers = [
                    ("X-USER-ID", "user4"),
                    ("X-Consistency-Token", token.as_str()),
                ];
                api.call("GET", "/api/invest/log", &headers).await
            });
        }
        for _ in 0..5 {
            api.get_as("user4", "/api/invest/log").await;
        }
        waiting.try_join_next().is_none()
    })
    .await;
}

/// In order, for a bounded time; then 429, which says when to come again.
#[tokio::test]
async fn who_waits_in_vain_is_told_to_come_again() {
    let mut held = held().await;
    held.reads("user4", LARGE, 3);
    held.until_waiting(SHARE_OF_ONE).await;
    let (_, refused) = soon(held.reads.join_next()).await.unwrap().unwrap();
    refused.is_refused(
        429,
        "RATE_LIMITED",
        "Too many requests and not accepted, try again later : ",
    );
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(statuses(held).await, [200, 200]);
}
