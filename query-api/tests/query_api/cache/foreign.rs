//! Counters of another log under our key: those of a copy of the database that cannot tell itself apart, or forged ones. What
//! is whole and within its bounds is compared with the log.

use super::system::{CachedSystem, ComesFrom as _, From, WRITER, state_of};
use rstest::rstest;

const SOMEBODY: &str = "0192d3a0-0000-7000-8000-00000000000b";
const PATHS: [&str; 2] = ["/api/product", "/api/product/2"];

async fn shown_from_redis() -> CachedSystem {
    let system = CachedSystem::marked().await;
    for path in PATHS {
        system.until_from(From::Redis, path).await;
    }
    system
}

/// A writer of states that the log does not have is never shown; our own is, once it has written again.
#[rstest]
#[case::further(&state_of(2, 99, 12).replace(WRITER, SOMEBODY))]
#[case::as_far(&state_of(1, 12, 12).replace(WRITER, SOMEBODY))]
#[tokio::test]
async fn a_copy_that_diverged_is_not_shown(#[case] state: &str) {
    let system = shown_from_redis().await;
    system.set(2, "2", "999:7:0");
    system.forge(2, "@state", state);
    let is_over = std::time::Instant::now() + std::time::Duration::from_secs(3);
    while std::time::Instant::now() < is_over {
        for path in PATHS {
            assert_eq!(
                system.cached.get(path).await.from(),
                From::Postgres,
                "{path}"
            );
        }
    }
    system.set(2, "2", "200:3:0");
    system.forge(2, "@state", &state_of(2, 12, 12));
    for path in PATHS {
        system.until_from(From::Redis, path).await;
    }
}

/// In the name of a trusted writer: shown until the next poll.
#[rstest]
#[case::ahead_of_the_log("99:12:")]
#[case::ahead_of_product_list(&state_of(2, 13, 12))]
#[case::of_another_event(&state_of(1, 12, 12))]
#[case::of_no_event("12:12:")]
#[tokio::test]
async fn a_writer_loses_trust(#[case] state: &str) {
    let system = shown_from_redis().await;
    let state = if state.ends_with(WRITER) {
        state.to_owned()
    } else {
        format!("{state}:{WRITER}")
    };
    system.forge(2, "@state", &state);
    for path in PATHS {
        system.until_from(From::Postgres, path).await;
    }
    // Its next state is verified first.
    system.forge(2, "@state", &state_of(2, 12, 12));
    for path in PATHS {
        system.until_from(From::Redis, path).await;
    }
}

/// Known by the key alone: another database has another one.
#[tokio::test]
async fn another_database_has_other_counters() {
    let system = shown_from_redis().await;
    let other = "create or replace function moa_database_id() returns text language sql as $$select 'other'$$";
    system.plain.sql(other).await;
    for path in PATHS {
        system.until_from(From::Postgres, path).await;
    }
}
