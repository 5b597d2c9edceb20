//! Five hundred clients at once for the last hundred units of a product.

use futures::future::join_all;
use std::sync::Arc;
use tokio::sync::Barrier;

use crate::checker::{Evidence, chain_is_whole};
use crate::harness::{ApiClient, Ask, Call, Outcome, Sighting, TestApp, View, ask};

const CLIENTS: usize = 500;
const ROUNDS: usize = 20;
const TOTAL: i64 = 1_000;
/// What is left of a product when the clients come.
const LAST: i64 = 100;
/// How often a client comes again that was told "overloaded".
const MAX_ATTEMPTS: usize = 5;
/// Reads while the clients invest.
const READS_PER_CLIENT: usize = 5;
/// Users whose reads are checked after a round, another group in each.
const USERS_SEEN: usize = 5;
/// Requests at once when nothing hangs on it.
const MAX_CONCURRENT_READS: usize = 50;

/// What client `number` of a round asks for: 1 to 7, every third with a key.
fn asked(round: usize, number: usize, product: i64) -> Ask {
    let amount = 1 + (number * 5 + round) as i64 % 7;
    let ask = ask(format!("user{number}"), product, amount);
    if number.is_multiple_of(3) {
        ask.with_key(format!("round{round}"))
    } else {
        ask
    }
}

/// Comes again when told "overloaded", as that answer says.
async fn insist(api: &ApiClient, ask: Ask) -> Call {
    let mut call = api.invest(ask.clone()).await;
    for _ in 1..MAX_ATTEMPTS {
        if !call.is_refused("OVERLOADED") {
            break;
        }
        call = api.invest(ask.clone()).await;
    }
    call
}

/// Steps: a product is opened and filled but for the last hundred; all clients wait at a barrier, spread over the
/// processes; they ask at once, while somebody reads; all have their answers; quiet; the checker.
async fn round(app: &TestApp, round: usize) {
    let product = app.open_product(&format!("round {round}"), TOTAL).await;
    assert!(
        app.invest(ask("filler", product, TOTAL - LAST))
            .await
            .is_accepted()
    );
    let (apis, barrier) = (app.apis(), Arc::new(Barrier::new(CLIENTS)));
    let clients = (0..CLIENTS).map(|number| {
        let (api, barrier) = (apis[number % apis.len()].clone(), barrier.clone());
        tokio::spawn(async move {
            barrier.wait().await;
            insist(&api, asked(round, number, product)).await
        })
    });
    let clients: Vec<_> = clients.collect();
    let looks = looks(&apis, product).await;
    let calls: Vec<_> = join_all(clients)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let users: Vec<_> = (0..USERS_SEEN)
        .map(|at| format!("user{}", round * USERS_SEEN + at))
        .collect();
    let mut evidence = Evidence::of(app, &[product], &users).await;
    evidence.sightings.extend(looks);
    evidence.holds();
    is_filled_or_truthfully_refused(&calls);
}

async fn looks(apis: &[ApiClient], product: i64) -> Vec<Sighting> {
    let mut seen = Vec::new();
    for look in 0..READS_PER_CLIENT {
        let api = &apis[look % apis.len()];
        seen.push(api.sight(View::Product(product)).await);
        seen.push(api.sight(View::Products).await);
        seen.push(api.sight(View::InvestsOf(format!("user{look}"))).await);
    }
    seen
}

fn is_filled_or_truthfully_refused(calls: &[Call]) {
    let refused = calls.iter().filter(|call| call.is_refused("SOLD_OUT"));
    let accepted: Vec<_> = calls.iter().filter(|call| call.is_accepted()).collect();
    assert_eq!(
        accepted.len() + refused.clone().count(),
        CLIENTS,
        "{:?}",
        odd(calls)
    );
    let left = LAST - accepted.iter().map(|call| call.ask.amount).sum::<i64>();
    let least_refused = refused
        .map(|call| call.ask.amount)
        .min()
        .expect("not all fit");
    // Nothing is ever given back here, so who was refused would not fit now either.
    assert!(
        (0..least_refused).contains(&left),
        "{left} are left and {least_refused} was refused"
    );
}

fn odd(calls: &[Call]) -> Option<&Call> {
    calls
        .iter()
        .find(|call| !call.is_accepted() && !call.is_refused("SOLD_OUT"))
}

/// Every request with a key, sent again through `api`, gets the answer that it got; "overloaded" was none.
async fn repeats_get_the_same_answers(app: &TestApp, api: &ApiClient) {
    let answered =
        |call: &Call| call.ask.key.is_some() && !call.replayed && !call.is_refused("OVERLOADED");
    let first: Vec<_> = app.journal.read().into_iter().filter(answered).collect();
    assert!(first.len() >= CLIENTS / 3 * ROUNDS);
    for some in first.chunks(MAX_CONCURRENT_READS).step_by(4) {
        let repeats = join_all(some.iter().map(|call| api.invest(call.ask.clone()))).await;
        for (first, repeat) in some.iter().zip(&repeats) {
            assert_eq!(
                (&repeat.outcome, repeat.replayed),
                (&first.outcome, true),
                "{:?}",
                first.ask
            );
        }
    }
}

/// The same key for something else, by the user it belongs to and by another.
async fn a_key_is_good_for_one_request_of_one_user(app: &TestApp) {
    let journal = app.journal.read();
    let mut keyed = journal
        .iter()
        .filter(|call| call.ask.key.is_some() && call.is_accepted());
    let used = keyed.next().unwrap().ask.clone();
    let product = app.open_product("another", TOTAL).await;
    let other_amount = app
        .invest(Ask {
            amount: used.amount + 1,
            ..used.clone()
        })
        .await;
    let other_product = app
        .invest(Ask {
            product,
            ..used.clone()
        })
        .await;
    for reused in [other_amount, other_product] {
        assert!(reused.is_refused("IDEMPOTENCY_KEY_REUSED"), "{reused:?}");
    }
    let other_user = app
        .invest(Ask {
            user: "somebody-else".into(),
            product,
            ..used
        })
        .await;
    assert!(matches!(other_user.outcome, Outcome::Accepted { .. }) && !other_user.replayed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_clients_at_once_for_the_last_hundred_units() {
    let mut app = TestApp::open().await;
    for number in 0..ROUNDS {
        round(&app, number).await;
    }
    repeats_get_the_same_answers(&app, &app.api(0)).await;
    app.processes.remove(0).killed().await;
    app.add_process().await;
    repeats_get_the_same_answers(&app, &app.api(0)).await;
    a_key_is_good_for_one_request_of_one_user(&app).await;
    Evidence::of(&app, &[], &[]).await.holds();
    chain_is_whole(&app.pool).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_clients_at_once_over_two_processes() {
    let mut app = TestApp::with_processes(2).await;
    for number in 0..ROUNDS {
        round(&app, number).await;
    }
    for api in app.apis() {
        repeats_get_the_same_answers(&app, &api).await;
    }
    app.processes.remove(0).killed().await;
    app.add_process().await;
    repeats_get_the_same_answers(&app, &app.api(1)).await;
    a_key_is_good_for_one_request_of_one_user(&app).await;
    Evidence::of(&app, &[], &[]).await.holds();
    chain_is_whole(&app.pool).await;
}
