//! TLS to servers that show certificates which are right, expired, of another name, of another CA, or none.

mod broker_and_cache;
mod http_clients;
mod listeners;
mod postgres;

use crate::harness::{MoaProcess, TEST_TIMEOUT, within};

const STRANGER: &str = "no CA that is trusted issued it";

/// Waits until the process has logged this.
async fn says(moa: &MoaProcess, expected: &str) {
    let said = async || moa.logged().contains(expected).then_some(());
    let said = tokio::time::timeout(TEST_TIMEOUT, within(2 * TEST_TIMEOUT, expected, said)).await;
    assert!(said.is_ok(), "it does not say {expected}: {}", moa.logged());
}
