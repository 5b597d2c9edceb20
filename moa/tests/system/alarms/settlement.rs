//! Faults of the payment provider.

use chrono::Utc;
use serde_json::json;
use testbed::payments::{Call, Payments, Trouble};

use super::prometheus::Prometheus;
use crate::harness::{Start, TestApp, ask, seconds_from};

/// More payments than settlement takes for trouble of their own.
const USERS: usize = 8;

/// Steps: the provider is away, and comes back; it settles what waited; it fails at refunds, and recovers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_the_payment_provider_ring_theirs() {
    let payments = Payments::open().await;
    let start = Start::serve()
        .env("MOA_PAYMENT_PROVIDER", "http")
        .env("MOA_PAYMENT_URL", &payments.url());
    let app = TestApp::of(1, start).await;
    let prometheus = Prometheus::of(&app.processes).await;
    let terms = json!({"withdrawableUntil": seconds_from(Utc::now(), 1_800)});
    let product = app.open_product_with("rings", 1_000, terms).await;
    prometheus.is_quiet().await;

    payments.closes().await;
    for user in 0..USERS {
        assert!(
            app.invest(ask(format!("user{user}"), product, 1))
                .await
                .is_accepted()
        );
    }
    prometheus
        .rings(&["MoaPaymentProviderAway", "MoaReservationsWait"])
        .await;
    payments.reopens().await;
    prometheus.is_quiet().await;
    app.settled().await;

    payments.troubles(Call::Refund, Trouble::Fails);
    let invest = app
        .invest(ask("ann", product, 1))
        .await
        .invest_id()
        .unwrap();
    app.settled().await;
    let path = format!("/api/invest/{invest}/withdraw");
    let withdrawn = app.api(0).post(&path, &[("X-USER-ID", "ann")], "").await;
    assert_eq!(withdrawn.code(), "01", "{}", withdrawn.body);
    prometheus.rings(&["MoaRefundsWait"]).await;
    payments.recovers();
    prometheus.is_quiet().await;
    app.settled().await;
}
