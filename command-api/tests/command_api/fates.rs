//! Reservations and what becomes of them, as settlement's tests make and see them.

use crate::app::{AppSettings, TestApp, invest_command};
use crate::write_side::{WriteSide, soon, until};
use chrono::{DateTime, Utc};
use command_api::Provider;
use domain::{InvestId, ProductEvent, ProductId};
use event_log::RecordedEvent;
use futures::future::join_all;
use std::time::Duration;
use testbed::payments::Payments;

pub fn reserves_for(seconds: u64) -> AppSettings {
    AppSettings {
        reservation: Duration::from_secs(seconds),
        ..AppSettings::default()
    }
}

impl WriteSide {
    /// An instance that settles with this provider, and a product of 1,000 won.
    pub async fn with_one_product(&self, provider: &Provider) -> (TestApp, ProductId) {
        let app = self.app().await;
        let product = app.opens(1_000).await;
        app.settles_with(provider);
        (app, product)
    }

    pub async fn until_all_have_their_fate(&self) {
        until("every reservation has its fate", async || {
            let events = self.events().await;
            let fates = events
                .iter()
                .filter(|recorded| is_fate(&recorded.event))
                .count();
            fates == self.reservations().await.len()
        })
        .await;
        self.until_there_is_no("open_invest").await;
        self.everything_adds_up().await;
    }

    pub async fn fates(&self) -> Vec<RecordedEvent> {
        self.events()
            .await
            .into_iter()
            .filter(|recorded| is_fate(&recorded.event))
            .collect()
    }

    /// What became of the invests, in the log's envelope: `SETTLED` or `CODE : detail`.
    pub async fn became(&self) -> Vec<String> {
        let shown = |recorded: RecordedEvent| match recorded.event {
            ProductEvent::InvestFailed { code, detail, .. } => format!("{code} : {detail}"),
            _ => "SETTLED".to_owned(),
        };
        self.fates().await.into_iter().map(shown).collect()
    }

    /// Until all have their fate, and the ledger and the log tell the same.
    pub async fn until_all_have_their_fate_and_agree_with(&self, payments: &Payments) {
        self.until_all_have_their_fate().await;
        assert_eq!(payments.contradictions(&self.pool).await, [""; 0]);
    }

    /// Until the database's clock says so.
    pub async fn until_passed(&self, time: DateTime<Utc>) {
        self.until_there_is(&format!(
            "(select where clock_timestamp() > '{}') passed",
            time.to_rfc3339()
        ))
        .await;
    }

    /// As when whoever had taken them is given up.
    pub async fn makes_all_due(&self) -> u64 {
        self.execute("update open_invest set due_at = clock_timestamp()")
            .await
    }
}

fn is_fate(event: &ProductEvent) -> bool {
    matches!(
        event,
        ProductEvent::InvestSettled { .. } | ProductEvent::InvestFailed { .. }
    )
}

pub fn expires_at(reserved: &RecordedEvent) -> DateTime<Utc> {
    let ProductEvent::InvestReserved { expires_at, .. } = reserved.event else {
        panic!("{reserved:?}")
    };
    expires_at
}

pub async fn reserves(app: &TestApp, product: ProductId, amount: i64) -> InvestId {
    reserves_by(app, product, "user1", amount).await
}

pub async fn reserves_by(app: &TestApp, product: ProductId, user: &str, amount: i64) -> InvestId {
    let outcome = app
        .decides(invest_command(product, user, amount))
        .await
        .unwrap();
    assert_eq!(outcome.decision, Ok(()));
    outcome.invest_id.unwrap()
}

pub async fn reserves_many(app: &TestApp, product: ProductId, count: usize) {
    let envelope = |n| {
        app.processors
            .submit(invest_command(product, &format!("user{n}"), 1))
    };
    for outcome in soon(join_all((0..count).map(envelope))).await {
        assert_eq!(outcome.unwrap().decision, Ok(()));
    }
}

/// A provider in haste: every wait is five times shorter than usual, so a call has 600 ms.
pub fn with_scaled_down_timeouts(payments: &Payments) -> Provider {
    Provider::http_with_scaled_down_timeouts(&payments.url(), 5).unwrap()
}
