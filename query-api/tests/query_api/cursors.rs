//! Lists by cursor: what the pages show, each row once, whatever is written meanwhile.

use crate::read_side::{LOG, ReadSide, settings, token};
use query_api::Settings;
use rstest::rstest;
use serde_json::Value;
use std::collections::BTreeSet;
use testbed::Random;
use testbed::http::{Answer, refusal};
use uuid::Uuid;

const INVESTS: &str = "/api/invest/log?";
const INVESTS_IN_2: &str = "/api/invest/log?productId=2&";
const HOLDINGS: &str = "/api/product/my/invest?";
const LISTS: [&str; 3] = [INVESTS, INVESTS_IN_2, HOLDINGS];
const ROWS: i64 = 60;
const FOREIGN: &str = "must be the nextCursor of an answer to the same call, user and filter; leave it empty to begin";

/// Sixty invests of user4 in three products, up to four at the same moment, sixty holdings, and one of each of user5.
async fn seeded() -> ReadSide {
    let api = ReadSide::new().await;
    api.sql("insert into invest_log_product select n, 'product' || n, 0 from generate_series(0, 3) as n").await;
    for number in 1..=ROWS {
        api.reserved("user4", number, number / 4).await;
    }
    api.reserved("user5", ROWS + 1, 7).await;
    api.sql("insert into invest_log_user select user_id, product_id, 0, count(*) from invest_log group by 1, 2").await;
    api.sql("insert into holdings_product select n, 'product' || n, 100 from generate_series(1, 999) as n").await;
    for number in 1..=ROWS {
        api.settled("user4", number, number * 7 % ROWS).await;
    }
    api.settled("user5", 1, 0).await;
    api.sql("insert into holdings_count select user_id, 0, count(*) from holdings group by 1")
        .await;
    api
}

impl ReadSide {
    /// A new invest of the user, requested so many seconds after the first.
    async fn reserved(&self, user: &str, number: i64, seconds: i64) {
        let sql = "insert into invest_log values (md5('invest ' || $2)::uuid, $2 % 3 + 1, $1, 10, 'RESERVED', null, null, 10, 10,
                       timestamptz '2026-01-01Z' + $3 * interval '1 s', '2026-01-02Z')";
        sqlx::query(sql)
            .bind(user)
            .bind(number)
            .bind(seconds)
            .execute(&self.pool)
            .await
            .unwrap();
    }

    /// An invest of the user in a product is settled, so many seconds after the first was: a new holding, or one that moves.
    async fn settled(&self, user: &str, product: i64, seconds: i64) {
        let sql = "insert into holdings values ($1, $2, 10, timestamptz '2026-01-01Z' + $3 * interval '1 s')
                   on conflict (user_id, product_id) do update set invest_date = excluded.invest_date";
        sqlx::query(sql)
            .bind(user)
            .bind(product)
            .bind(seconds)
            .execute(&self.pool)
            .await
            .unwrap();
    }

    /// One page of user4's list, by cursor, with where the next begins.
    async fn page(&self, list: &str, cursor: &str, size: usize) -> (Vec<Value>, Option<String>) {
        let data = self
            .get_as("user4", &format!("{list}cursor={cursor}&size={size}"))
            .await
            .json()["data"]
            .take();
        (
            data["list"].as_array().unwrap().clone(),
            data["nextCursor"].as_str().map(str::to_owned),
        )
    }

    /// User4's whole list, by cursor, and what `meanwhile` does after each page.
    async fn walk(&self, list: &str, size: usize, mut meanwhile: impl AsyncFnMut()) -> Vec<Value> {
        let (mut walked, mut next) = self.page(list, "", size).await;
        while let Some(cursor) = next {
            meanwhile().await;
            let (page, following) = self.page(list, &cursor, size).await;
            assert!(
                following.is_none() || page.len() == size,
                "only the last page is short"
            );
            walked.extend(page);
            next = following;
        }
        walked
    }

    /// The same list in one page, by number.
    async fn whole(&self, list: &str) -> Vec<Value> {
        self.get_as("user4", &format!("{list}size=1000"))
            .await
            .json()["data"]["list"]
            .as_array()
            .unwrap()
            .clone()
    }
}

/// What tells the rows of a list apart.
fn ids(rows: &[Value]) -> Vec<String> {
    let id = |row: &Value| {
        if row["investId"].is_string() {
            &row["investId"]
        } else {
            &row["productId"]
        }
        .to_string()
    };
    rows.iter().map(id).collect()
}

fn set(rows: &[Value]) -> BTreeSet<String> {
    BTreeSet::from_iter(ids(rows))
}

#[rstest]
#[case(1)]
#[case(7)]
#[case(20)]
#[case(59)]
#[case(60)]
#[case(1_000)]
#[tokio::test]
async fn a_walk_shows_what_the_pages_show(#[case] size: usize) {
    let api = seeded().await;
    for list in LISTS {
        let mut expected = api.whole(list).await;
        if list == HOLDINGS {
            expected.sort_by_key(|row| -row["productId"].as_i64().unwrap());
        }
        assert!(expected.len() >= 20, "{list}");
        assert_eq!(api.walk(list, size, async || {}).await, expected, "{list}");
    }
}

/// The seed's shape has nothing more, and nobody gets it who did not ask.
#[tokio::test]
async fn only_who_sends_a_cursor_is_told_the_next() {
    let api = seeded().await;
    for list in LISTS {
        let plain = api.get_as("user4", &format!("{list}size=2")).await;
        let (page, next) = api.page(list, "", 2).await;
        let ordered = list != HOLDINGS;
        if ordered {
            let next = format!(r#","nextCursor":"{}"}},"status":200}}"#, next.unwrap());
            let body = plain.body.replace(r#"},"status":200}"#, &next);
            let asked = api.get_as("user4", &format!("{list}cursor=&size=2")).await;
            assert_eq!(asked.body, body, "{list}");
        }
        assert!(!plain.body.contains("nextCursor"), "{list}");
        assert_eq!(page.len(), 2);
        let nothing = api.get_as("user6", &format!("{list}cursor=")).await;
        let empty = r#""data":{"totalCount":0,"list":[],"nextCursor":null}"#;
        assert!(nothing.body.contains(empty), "{list}: {}", nothing.body);
    }
}

/// New invests come before and after the walk's place, as they do from several partitions; some of the same moment. Holdings are settled
/// again, given back, and new.
#[tokio::test]
async fn whatever_is_written_meanwhile_no_row_comes_twice_and_none_is_left_out() {
    let mut random = Random::from_env("MOA_CURSOR_SEED");
    let seed = random.seed;
    let api = seeded().await;
    let (mut number, mut given_back) = (1_000, BTreeSet::new());
    for list in LISTS.repeat(2) {
        // Written to between the first pages only, or a walk of small pages would never end.
        let (size, mut writes) = (random.within(1, 9), 20_usize);
        let before = api.whole(list).await;
        let walked = api
            .walk(list, size, async || {
                if writes == 0 {
                    return;
                }
                writes -= 1;
                for _ in 0..random.within(0, 4) {
                    number += 1;
                    api.reserved("user4", number, random.within(0, 30) as i64).await;
                    api.settled("user4", random.within(1, 999) as i64, number).await;
                    let gone = random.within(1, ROWS as usize);
                    given_back.insert(gone.to_string());
                    let sql = format!("delete from holdings where user_id = 'user4' and product_id = {gone}");
                    api.sql(&sql).await;
                }
                api.sql("update invest_log set state = 'SETTLED', updated_at = now() where random() < 0.1").await;
            })
            .await;
        assert_eq!(
            set(&walked).len(),
            walked.len(),
            "seed {seed}: {list} shows a row twice"
        );
        let stood: Vec<_> = ids(&before)
            .into_iter()
            .filter(|id| !given_back.contains(id))
            .collect();
        let shown = set(&walked);
        let left_out: Vec<_> = stood.iter().filter(|id| !shown.contains(*id)).collect();
        assert!(
            left_out.is_empty(),
            "seed {seed}: {list} leaves out {left_out:?}"
        );
        if list != HOLDINGS {
            let old = BTreeSet::from_iter(&stood);
            let walked: Vec<_> = ids(&walked)
                .into_iter()
                .filter(|id| old.contains(id))
                .collect();
            assert_eq!(
                walked, stood,
                "seed {seed}: {list} is in another order than its pages"
            );
        }
    }
}

/// By its user at its call, at whichever process and generation.
#[tokio::test]
async fn a_cursor_is_good_at_another_process_and_after_its_row_is_gone() {
    let api = seeded().await;
    let other = api.with_settings(settings(api.pool.clone()));
    for list in LISTS {
        let (_, next) = api.page(list, "", 5).await;
        let next = next.unwrap();
        let expected = api.page(list, &next, 9).await;
        for table in ["invest_log", "holdings"] {
            // Another table of the same name, as after a switch.
            api.sql(&format!("create table other as table {table}"))
                .await;
            api.sql(&format!("alter table {table} rename to before"))
                .await;
            api.sql(&format!("alter table other rename to {table}"))
                .await;
            api.sql("drop table before").await;
        }
        assert_eq!(other.page(list, &next, 9).await, expected, "{list}");
        let offset = format!("{list}cursor={next}&size=9&times=offset");
        assert_eq!(
            other.get_as("user4", &offset).await.status,
            200,
            "times may be shown in another way"
        );
    }
    let (_, next) = api.page(HOLDINGS, "", 5).await;
    let expected = api.page(HOLDINGS, next.as_ref().unwrap(), 9).await;
    api.sql("delete from holdings where product_id >= 56").await;
    assert_eq!(api.page(HOLDINGS, &next.unwrap(), 9).await, expected);
}

async fn is_foreign(api: &ReadSide, user: &str, list: &str, cursor: &str) {
    let answer: Answer = api.get_as(user, &format!("{list}cursor={cursor}")).await;
    let shown: String = cursor.chars().take(40).collect();
    let shown = if shown == cursor {
        shown
    } else {
        format!("{shown}…")
    };
    let told = refusal(
        400,
        "00",
        &format!("Invalid value : cursor {FOREIGN}, was {shown}"),
    );
    assert_eq!((answer.status, answer.body), (400, told), "{user} {list}");
}

#[tokio::test]
async fn a_cursor_of_another_list_is_refused() {
    let api = seeded().await;
    let other_log = api.with_settings(Settings {
        log_id: Uuid::from_u128(LOG.as_u128() + 1),
        ..settings(api.pool.clone())
    });
    for list in LISTS {
        let next = api.page(list, "", 5).await.1.unwrap();
        is_foreign(&api, "user5", list, &next).await;
        is_foreign(&other_log, "user4", list, &next).await;
        for other in [
            INVESTS,
            INVESTS_IN_2,
            "/api/invest/log?productId=1&",
            HOLDINGS,
        ] {
            if other != list {
                is_foreign(&api, "user4", other, &next).await;
            }
        }
        is_foreign(&api, "user4", list, &next[1..]).await;
        is_foreign(&api, "user4", list, &format!("{next}AA")).await;
    }
}

#[tokio::test]
async fn a_page_by_cursor_waits_for_a_token_as_any_other() {
    let api = seeded().await;
    for (list, consumer) in [(INVESTS, "invest_log"), (HOLDINGS, "holdings")] {
        let next = api.page(list, "", 5).await.1.unwrap();
        let (path, asked) = (format!("{list}cursor={next}"), token([0, 8, 0, 0]));
        let headers = [
            ("X-USER-ID", "user4"),
            ("X-Consistency-Token", asked.as_str()),
        ];
        let asking = api.call("GET", &path, &headers);
        let (answer, ()) = tokio::join!(asking, api.checkpoint(consumer, 1, 8));
        assert_eq!(
            (answer.status, answer.header("x-consistency")),
            (200, Some("reached")),
            "{list}"
        );
        assert_eq!(answer.consistency_token(), asked);
        assert_eq!(answer.header("cache-control"), Some("private, no-store"));
    }
}
