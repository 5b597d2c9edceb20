//! What is not switched to: a read model that differs, and one that cannot be made.

use super::{are, generations, holdings_of_bob, invested, state_of};
use crate::harness::{TEST_TIMEOUT, TestApp, ask, within};

async fn tamper(app: &TestApp) {
    sqlx::query("update holdings set amount = amount + 100 where user_id = 'bob'")
        .execute(&app.pool)
        .await
        .unwrap();
}

/// Steps: equal; a live row is tampered with; the dry run finds it; a rebuild finds it and does not switch, nor does
/// `switch` without the operator's word; with it, it does; back again; and a rebuild with the word switches by itself.
#[tokio::test]
async fn what_differs_is_shown_and_not_switched_to_without_the_operators_word() {
    let (app, _) = invested().await;
    let diff = app.operator(&["projection", "diff", "holdings"]).await;
    assert_eq!(
        (
            diff.status.code(),
            diff.out.contains("  holdings: 6 rows\n")
        ),
        (Some(0), true),
        "{}{}",
        diff.out,
        diff.err
    );
    assert!(diff.out.starts_with("Equal at positions "), "{}", diff.out);
    assert_eq!(
        generations(&app, "holdings").await,
        are(&[(1, "RUNNING")]),
        "a dry run leaves nothing behind"
    );
    let good = holdings_of_bob(&app).await;
    tamper(&app).await;

    let diff = app.operator(&["projection", "diff", "holdings"]).await;
    assert_eq!(diff.status.code(), Some(1), "{}", diff.out);
    assert!(
        diff.out.contains("sum of amount: 212 live, 12 new\n"),
        "{}",
        diff.out
    );
    let shown = |out: &str, side: &str, amount: i64| {
        let mut lines = out
            .lines()
            .map(str::trim)
            .filter(|line| line.starts_with(side));
        lines.any(|line| line.contains(&format!(r#""amount":{amount}"#)))
    };
    assert!(
        shown(&diff.out, "live", 102) && shown(&diff.out, "new", 2),
        "{}",
        diff.out
    );
    assert!(
        diff.out.contains("\"user_id\":\"bob\"") && !diff.out.contains("\"ann\""),
        "{}",
        diff.out
    );
    assert!(
        diff.err.contains("`moa projection rebuild holdings`"),
        "{}",
        diff.err
    );

    let refused = app.operator(&["projection", "rebuild", "holdings"]).await;
    assert_eq!(refused.status.code(), Some(1), "{}", refused.out);
    assert!(
        shown(&refused.out, "live", 102) && shown(&refused.out, "new", 2),
        "{}",
        refused.out
    );
    for advice in [
        "`moa projection switch holdings --accept-differences`",
        "`moa projection drop holdings`",
    ] {
        assert!(refused.err.contains(advice), "{}", refused.err);
    }
    assert_eq!(
        holdings_of_bob(&app).await,
        good + 200,
        "the live one stays"
    );
    assert!(
        generations(&app, "holdings")
            .await
            .iter()
            .any(|(_, state)| state == "DIFFERENT")
    );
    let unsaid = app.operator(&["projection", "switch", "holdings"]).await;
    assert_eq!(
        (
            unsaid.status.code(),
            unsaid.err.contains("accept the differences")
        ),
        (Some(1), true),
        "{}",
        unsaid.err
    );

    let said = app
        .operator(&["projection", "switch", "holdings", "--accept-differences"])
        .await;
    assert_eq!(
        (said.status.code(), holdings_of_bob(&app).await),
        (Some(0), good),
        "{}",
        said.err
    );
    let back = app.operator(&["projection", "rollback", "holdings"]).await;
    assert_eq!(
        (back.status.code(), holdings_of_bob(&app).await),
        (Some(0), good + 200),
        "{}",
        back.err
    );
    let dropped = app.operator(&["projection", "drop", "holdings"]).await;
    assert!(dropped.status.success(), "{}", dropped.err);
    let accepted = app
        .operator(&["projection", "rebuild", "holdings", "--accept-differences"])
        .await;
    assert_eq!(
        (accepted.status.code(), holdings_of_bob(&app).await),
        (Some(0), good),
        "{}",
        accepted.err
    );
    assert!(
        accepted.out.starts_with("Different at positions "),
        "{}",
        accepted.out
    );
}

/// Steps: an event is made unreadable; a rebuild fails and names it; the live consumer, put back before it, cannot get past
/// it; the status names it and goes on being told.
#[tokio::test]
async fn an_event_that_cannot_be_read_is_named_by_a_rebuild_and_by_the_status() {
    let (app, products) = invested().await;
    let partition = products[0] % 4;
    let second = format!("partition = {partition} and position = 2");
    let spoilt = format!("update events set payload = '{{\"Nonsense\":{{}}}}' where {second}");
    let spoil = format!(
        "alter table events disable trigger all; {spoilt}; alter table events enable trigger all"
    );
    sqlx::raw_sql(&spoil).execute(&app.pool).await.unwrap();
    let id = format!("select event_id::text from events where {second}");
    let id: String = sqlx::query_scalar(&id).fetch_one(&app.pool).await.unwrap();
    let rebuilt = app.operator(&["projection", "rebuild", "holdings"]).await;
    let named = format!("partition {partition} position 2 (event {id})");
    assert_eq!(
        (rebuilt.status.code(), rebuilt.err.contains(&named)),
        (Some(1), true),
        "{}",
        rebuilt.err
    );

    let put_back = format!(
        "update checkpoints set position = 1, hash = (select hash from events where partition = {partition} and position = 1)
          where consumer = 'holdings' and partition = {partition}"
    );
    sqlx::query(&put_back).execute(&app.pool).await.unwrap();
    assert!(app.invest(ask("ann", products[0], 1)).await.is_accepted());
    let stuck = async || (state_of(&app, "holdings").await == "STUCK").then_some(());
    within(TEST_TIMEOUT, "the stuck consumer in the status", stuck).await;
    let status = app.operator(&["status"]).await;
    let said = format!("holdings is stuck at partition {partition} position 2: ");
    assert!(
        status.out.contains(&said) && status.out.contains(&id),
        "{}{}",
        status.out,
        status.err
    );
}
