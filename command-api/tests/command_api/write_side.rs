//! A database of the test's own, and the instances of the write side on it.

use crate::app::{AppSettings, TestApp};
use domain::{ProductEvent, ProductId};
use event_log::RecordedEvent;
use sqlx::postgres::PgConnectOptions;
use std::ops::Deref;
use testbed::TestLog;
pub use testbed::{soon, until};

/// Its handle on the log is the test's own, which shares nothing with the instances but the database.
pub struct WriteSide(TestLog);

impl Deref for WriteSide {
    type Target = TestLog;

    fn deref(&self) -> &TestLog {
        &self.0
    }
}

impl WriteSide {
    /// All products share a processor.
    pub async fn with_one_partition() -> Self {
        Self::with_partitions(1).await
    }

    pub async fn with_partitions(partitions: i32) -> Self {
        Self(TestLog::with_partitions(partitions).await)
    }

    /// With one instance.
    pub async fn with_app(partitions: i32) -> (Self, TestApp) {
        let test = Self::with_partitions(partitions).await;
        let app = test.app().await;
        (test, app)
    }

    /// With one instance, and a product of so many won that it has opened.
    pub async fn with_product(partitions: i32, total: i64) -> (Self, TestApp, ProductId) {
        let (test, app) = Self::with_app(partitions).await;
        let product = app.opens(total).await;
        (test, app, product)
    }

    /// An instance on this database.
    pub async fn app(&self) -> TestApp {
        self.app_with(AppSettings::default()).await
    }

    pub async fn app_with(&self, settings: AppSettings) -> TestApp {
        TestApp::start(self.options(), self.log.identity().partitions, settings).await
    }

    /// An instance that sees this database through other options, such as a proxy's.
    pub async fn app_at(&self, options: PgConnectOptions) -> TestApp {
        TestApp::start(
            options,
            self.log.identity().partitions,
            AppSettings::default(),
        )
        .await
    }

    pub async fn events_of(&self, product: ProductId) -> Vec<RecordedEvent> {
        self.log.read_stream(product, 0, 1_000_000).await.unwrap()
    }

    pub async fn reservations(&self) -> Vec<RecordedEvent> {
        let mut events = self.events().await;
        events.retain(|recorded| matches!(recorded.event, ProductEvent::InvestReserved { .. }));
        events
    }
}
