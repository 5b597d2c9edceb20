//! event_index: where in the log the events of a user, an invest and a request are, and those of the rare types.

use crate::support::{
    Running, Spec, TestApp, cancelled, closed, failed, opened, refunded, reserved, settled,
    target_missed, withdrawn_settled,
};
use domain::GiveBackReason;
use projector::EventIndexProjection;

/// The rows, without keys.
const PLACES: &str = "
    select format('%s/%s%s%s%s', partition, position, case when user_key is not null then ' of a user' end,
                  case when invest_key is not null then ' of an invest' end, ' ' || rare_type)
      from event_index order by partition, position";
pub const ROWS: &str = "
    select format('%s/%s user %s invest %s request %s %s', partition, position, user_key, invest_key, correlation_key,
                  rare_type)
      from event_index order by partition, position";
/// The same in SQL alone, from the log, as the migration describes it.
pub const FOLDED: &str = r#"
    select format('%s/%s user %s invest %s request %s %s', partition, position,
                  ('x' || encode(substr(sha256(convert_to(said.of_user, 'UTF8')), 1, 8), 'hex'))::bit(64)::bigint,
                  ('x' || encode(substr(uuid_send(said.of_invest), 1, 6)
                                 || substr(sha256(uuid_send(said.of_invest)), 1, 2), 'hex'))::bit(64)::bigint,
                  ('x' || encode(substr(sha256(convert_to(metadata ->> 'correlationId', 'UTF8')), 1, 8), 'hex'))
                      ::bit(64)::bigint,
                  nullif(nullif(event_type, 'InvestReserved'), 'InvestSettled'))
      from events
     cross join lateral (select payload -> event_type ->> 'userId' as of_user,
                                (payload -> event_type ->> 'investId')::uuid as of_invest) as said
     order by partition, position"#;

#[tokio::test]
async fn each_event_has_a_row_and_a_rare_one_its_type() {
    Spec::of(EventIndexProjection)
        .given([
            opened(1, "apples", 1_000),
            reserved(1, "kim", 1, 300),
            opened(2, "pears", 10),
        ])
        .given([
            settled(1, "kim", 1, 300),
            reserved(2, "lee", 1, 1),
            failed(2, "lee", 1, 1),
            closed(1),
        ])
        .given([
            withdrawn_settled(1, "kim", 1, 300),
            refunded(1, "kim", 1, 300, GiveBackReason::Withdrawn),
        ])
        .given([cancelled(1, "a reason"), target_missed(2, 9, 0)])
        .then(
            PLACES,
            [
                "0/1 ProductOpened",
                "0/2 ProductFailed",
                "1/1 ProductOpened",
                "1/2 of a user of an invest",
                "1/3 of a user of an invest",
                "1/4 of a user of an invest",
                "1/5 of a user of an invest InvestFailed",
                "1/6 ProductClosed",
                "1/7 of a user of an invest InvestWithdrawn",
                "1/8 of a user of an invest InvestRefunded",
                "1/9 ProductCancelled",
            ],
        )
        .holds()
        .await;
}

#[tokio::test]
async fn a_key_finds_what_is_of_the_same_value() {
    let of_kim = "
        select array_agg(partition || '/' || position order by partition, position)::text from event_index
         where user_key = ('x' || encode(substr(sha256('kim'), 1, 8), 'hex'))::bit(64)::bigint";
    let of_invest_1 = r"
        select array_agg(partition || '/' || position order by partition, position)::text from event_index
         where invest_key = ('x000000000000'
               || encode(substr(sha256('\x00000000000000000000000000000001'), 1, 2), 'hex'))::bit(64)::bigint";
    Spec::of(EventIndexProjection)
        .given([
            opened(1, "apples", 1_000),
            opened(2, "pears", 10),
            reserved(1, "kim", 1, 300),
        ])
        .given([
            reserved(2, "lee", 2, 1),
            settled(1, "kim", 1, 300),
            reserved(3, "kim", 2, 1),
        ])
        .then(of_kim, ["{0/3,1/2,1/3}"])
        .then(of_invest_1, ["{1/2,1/3}"])
        .holds()
        .await;
}

/// 1. A log has a history, and a database that knew nothing of this read model: neither rows nor a checkpoint.
/// 2. A projector that has it is started: it applies the log from the first event on.
/// 3. Later events are applied as usual.
#[tokio::test]
async fn on_a_log_with_history_it_fills_itself() {
    let mut app = TestApp::fresh().await;
    app.append(&[opened(1, "apples", 10), reserved(1, "kim", 1, 4)])
        .await;
    let running = Running::read_models(&app.log, &app.pool);
    app.until(PLACES, &["1/1 ProductOpened", "1/2 of a user of an invest"])
        .await;

    app.append(&[closed(1)]).await;

    app.until(
        PLACES,
        &[
            "1/1 ProductOpened",
            "1/2 of a user of an invest",
            "1/3 ProductClosed",
        ],
    )
    .await;
    assert_eq!(app.says(ROWS).await, app.says(FOLDED).await);
    running.stop().await;
}
