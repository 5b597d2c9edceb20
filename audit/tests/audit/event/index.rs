//! What a wrong index can do, and what it cannot.

use super::app::{TestApp, scanned, user};
use super::{ORDERS, found};
use event_log::search::{Filter, user_key};

fn of(name: &str) -> Filter {
    Filter {
        user: Some(user(name)),
        ..Filter::default()
    }
}

async fn indexed() -> TestApp {
    let mut app = TestApp::with_partitions(2, 5).await;
    app.happens(400).await;
    app.index().await;
    app
}

/// Rows say that every event is of user1, and that there are events which there are not.
#[tokio::test]
async fn what_the_index_invents_is_not_shown() {
    let app = indexed().await;
    let key = user_key(&user("user1"));
    app.execute(&format!("update event_index set user_key = {key}"))
        .await;
    app.execute(&format!(
        "insert into event_index select partition, position + 100000, {key}, 1, 1 from event_index"
    ))
    .await;
    let all = app.events().await;
    for order in ORDERS {
        assert_eq!(
            found(&app, &of("user1"), order, 20).await,
            scanned(&all, &of("user1"), order)
        );
    }
}

/// What it hides stays hidden: a rebuild finds it out. So the scan above is made by other means than the index.
#[tokio::test]
async fn what_the_index_hides_is_not_found_by_it() {
    let app = indexed().await;
    let key = user_key(&user("user1"));
    assert!(
        app.execute(&format!("delete from event_index where user_key = {key}"))
            .await
            > 10
    );
    for order in ORDERS {
        assert_eq!(found(&app, &of("user1"), order, 20).await, []);
        let all = app.events().await;
        assert_eq!(
            found(&app, &of("user2"), order, 20).await,
            scanned(&all, &of("user2"), order)
        );
    }
}

#[tokio::test]
async fn an_index_of_other_code_counts_as_none() {
    let app = indexed().await;
    app.execute("delete from event_index; update checkpoints set code_version = 2")
        .await;
    let all = app.events().await;
    for order in ORDERS {
        assert_eq!(
            found(&app, &of("user1"), order, 20).await,
            scanned(&all, &of("user1"), order)
        );
    }
}

/// An event that this release cannot read stops the index there, and is found by what its columns say.
#[tokio::test]
async fn what_cannot_be_read_is_found_by_its_columns() {
    let app = indexed().await;
    app
        .execute(
            r#"insert into events
               select aggregate_type, '1', 100000, 'InvestFailed', '2.0.0', '{"InvestFailed": "?"}', metadata, partition,
                      position + 1, gen_random_uuid(), recorded_at, hash
                 from events where partition = 1 order by position desc limit 1"#,
        )
        .await;
    let heads = app.log.heads().await.unwrap();
    let last = (1, heads[1]);
    for filter in [
        Filter::default(),
        Filter {
            event_type: Some("InvestFailed".into()),
            ..Filter::default()
        },
        Filter {
            product: Some(super::product_id(1)),
            ..Filter::default()
        },
        Filter {
            partition: Some(1),
            ..Filter::default()
        },
    ] {
        for order in ORDERS {
            assert!(
                found(&app, &filter, order, 1_000).await.contains(&last),
                "{filter:?}"
            );
        }
    }
    for order in ORDERS {
        assert!(
            !found(&app, &of("user1"), order, 1_000)
                .await
                .contains(&last)
        );
    }
}
