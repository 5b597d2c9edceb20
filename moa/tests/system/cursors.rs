//! Lists by cursor, while everything that can change under them changes.

use serde_json::Value;
use std::collections::BTreeSet;

use crate::harness::{ApiClient, TestApp, ask};

const PRODUCTS: usize = 12;
const LISTS: [(&str, &str); 2] = [
    ("/api/invest/log", "investId"),
    ("/api/product/my/invest", "productId"),
];

/// A page of ann's list, by cursor, and where the next one begins.
async fn page(api: &ApiClient, list: &str, cursor: &str) -> (Vec<Value>, Option<String>) {
    let answer = api
        .get_as("ann", &format!("{list}?size=5&cursor={cursor}"))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let data = answer.data();
    (
        data["list"].as_array().unwrap().clone(),
        data["nextCursor"].as_str().map(str::to_owned),
    )
}

fn ids<'a>(rows: &'a [Value], id: &'a str) -> impl Iterator<Item = String> + 'a {
    rows.iter().map(move |row| row[id].to_string())
}

/// 1. Ann has invests in twelve products. 2. Her lists are walked, each page at the other of two processes; before each she invests in
/// some of the same products again, which is settled meanwhile. 3. After the first page another generation is made and goes live.
#[tokio::test]
async fn a_walk_goes_on_at_another_process_and_in_another_generation_while_invests_arrive() {
    let app = TestApp::with_processes(2).await;
    let mut products = Vec::new();
    for number in 0..PRODUCTS {
        products.push(
            app.open_product(&format!("product {number}"), 1_000_000)
                .await,
        );
    }
    let mut again = products.iter().cycle();
    let mut invest = async |times| {
        for product in again.by_ref().take(times) {
            assert!(app.invest(ask("ann", *product, 1)).await.is_accepted());
        }
    };
    invest(3 * PRODUCTS).await;
    app.settled().await;
    let apis = app.apis();
    for ((list, id), read_model) in LISTS.into_iter().zip(["invest_log", "holdings"]) {
        let whole = apis[0]
            .get_as("ann", &format!("{list}?size=1000"))
            .await
            .data();
        let stood: BTreeSet<_> = ids(whole["list"].as_array().unwrap(), id).collect();
        let (mut walked, mut next) = page(&apis[0], list, "").await;
        let rebuilt = app.operator(&["projection", "rebuild", read_model]).await;
        assert_eq!(rebuilt.status.code(), Some(0), "{}", rebuilt.err);
        let mut pages = 1;
        while let Some(cursor) = next {
            invest(7).await;
            let (rows, following) = page(&apis[pages % 2], list, &cursor).await;
            walked.extend(rows);
            (pages, next) = (pages + 1, following);
        }
        let shown: BTreeSet<_> = ids(&walked, id).collect();
        assert_eq!(shown.len(), walked.len(), "{list} shows a row twice");
        assert!(
            stood.is_subset(&shown),
            "{list} leaves out {:?}",
            stood.difference(&shown)
        );
        assert!(pages > 2);
    }
}
