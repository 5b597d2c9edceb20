//! What settlement counts for its operators.

use crate::fates::{reserves, reserves_by, with_scaled_down_timeouts};
use crate::write_side::{WriteSide, until};
use metrics_exporter_prometheus::PrometheusBuilder;
use testbed::payments::{Call, Payments, Trouble};

/// The recorder is the process's, so other tests may be counted as well: only what is there is looked at.
#[tokio::test]
async fn settlement_tells_how_it_goes() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let figures = recorder.handle();
    metrics::set_global_recorder(recorder).unwrap();
    let says = async |line: &str| until(line, async || figures.render().contains(line)).await;

    let (test, payments) = (WriteSide::with_partitions(4).await, Payments::open().await);
    payments.refuses("user2", "no funds");
    let (app, product) = test
        .with_one_product(&with_scaled_down_timeouts(&payments))
        .await;
    reserves(&app, product, 10).await;
    reserves_by(&app, product, "user2", 10).await;
    test.until_all_have_their_fate().await;
    for outcome in ["paid", "refused"] {
        says(&format!("moa_payments_total{{outcome=\"{outcome}\"}} ")).await;
    }
    for fate in ["settled", "failed"] {
        says(&format!("moa_settlement_fates_total{{fate=\"{fate}\"}} ")).await;
    }
    says("moa_payment_circuit_open 0").await;

    payments.troubles(Call::Pay, Trouble::Fails);
    payments.troubles(Call::Cancel, Trouble::Fails);
    for _ in 0..5 {
        reserves(&app, product, 10).await;
    }
    says("moa_payments_total{outcome=\"unanswered\"} ").await;
    says("moa_payment_circuit_open 1").await;
    says("moa_open_invest 5").await;
    says("moa_open_invest_oldest_seconds ").await;
}
