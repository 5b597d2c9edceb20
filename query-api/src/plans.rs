//! The plans of pages: each reads its own rows through an index, by cursor however far back it is.

use sqlx::Execute as _;
use sqlx::Row as _;
use uuid::Uuid;

use crate::consistency::Select;
use crate::cursor::Slice;
use crate::holdings::{self, HeldProduct};
use crate::invest_log::{self, InvestKey};
use crate::page_batcher::select_pages;

const SIZE: i64 = 20;

/// One user with 5,000 invests and as many holdings, among 3,000 users with three of each.
const HISTORY: &str = "
    insert into invest_log
    select md5('invest ' || n)::uuid, n % 5 + 1, case when n <= 5000 then 'ann' else 'user' || n % 3000 end, 10, 'SETTLED', null, null, 10, 10,
           timestamptz '2026-01-01Z' + n * interval '1 s', '2026-01-02Z'
    from generate_series(1, 14000) as n;
    insert into holdings
    select case when n <= 5000 then 'ann' else 'user' || n % 3000 end, n, 10, timestamptz '2026-01-01Z' + n * interval '1 s'
    from generate_series(1, 14000) as n;
    analyze invest_log, holdings";

/// The plan that every later execution has, run once with these values. `types` are those of the statement's parameters.
async fn plan(
    pool: &connection_pool::Pool,
    select: Select<'_>,
    types: &str,
    values: &str,
) -> Vec<String> {
    let mut connection = pool.acquire().await.unwrap();
    let prepare = format!("prepare page ({types}) as {}", select.sql());
    for sql in ["set plan_cache_mode = force_generic_plan", &prepare] {
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    }
    let explain =
        format!("explain (analyze, costs off, timing off, summary off) execute page ({values})");
    let lines = sqlx::raw_sql(&explain)
        .fetch_all(&mut connection)
        .await
        .unwrap();
    sqlx::raw_sql("deallocate page")
        .execute(&mut connection)
        .await
        .unwrap();
    lines.iter().map(|line| line.get(0)).collect()
}

/// Asserts that the rows come from `index`, in its order, `rows` of them, found by `condition`.
fn reads(plan: &[String], index: &str, rows: i64, condition: &str) {
    let scan = plan
        .iter()
        .position(|line| line.contains(index))
        .unwrap_or_else(|| panic!("{plan:#?}"));
    assert!(
        plan[scan].contains("Index Scan") && plan[scan].contains(&format!("rows={rows} loops=1")),
        "{plan:#?}"
    );
    assert!(
        plan[scan + 1].contains("Index Cond") && plan[scan + 1].contains(condition),
        "{plan:#?}"
    );
    assert!(
        plan.iter().all(|line| !line.contains("Rows Removed")),
        "{plan:#?}"
    );
}

#[tokio::test]
async fn a_page_far_back_reads_as_many_rows_as_the_first_one() {
    let database = testbed::Database::fresh().await;
    let pool = database.pool().await;
    let mut values = vec!["null, 21, null".to_owned()];
    values.extend(
        ["2026-01-01 01:00:00Z", "2026-01-01 00:01:00Z"]
            .map(|at| format!("'{at}', 21, '{}'", Uuid::max())),
    );
    for is_filled in [false, true] {
        if is_filled {
            sqlx::raw_sql(HISTORY)
                .execute(&mut pool.acquire().await.unwrap())
                .await
                .unwrap();
        }
        let rows = if is_filled { SIZE + 1 } else { 0 };
        for values in &values {
            let after = Slice::After(None::<InvestKey>, SIZE);
            let (types, bound) = (
                "int, text, timestamptz, bigint, uuid",
                format!("4, 'ann', {values}"),
            );
            let all = plan(
                &pool,
                invest_log::select(4, "ann", None, &after),
                types,
                &bound,
            )
            .await;
            reads(
                &all,
                "invest_log_latest_first",
                rows,
                "ROW(requested_at, invest_id) < ROW(",
            );
            let (types, bound) = (format!("{types}, bigint"), format!("{bound}, 2"));
            let some = plan(
                &pool,
                invest_log::select(4, "ann", Some(2), &after),
                &types,
                &bound,
            )
            .await;
            let expected = if values.contains("00:01:00Z") {
                rows.min(12)
            } else {
                rows
            };
            reads(
                &some,
                "invest_log_of_product",
                expected,
                "ROW(requested_at, invest_id) < ROW(",
            );
        }
        for after in ["null", "3000", "22"] {
            let (slice, bound) = (
                Slice::After(None::<HeldProduct>, SIZE),
                format!("4, 'ann', {after}, 21"),
            );
            let held = plan(
                &pool,
                holdings::select(4, "ann", &slice),
                "int, text, bigint, bigint",
                &bound,
            )
            .await;
            reads(&held, "holdings_pkey", rows, "product_id < COALESCE($3");
        }
    }
}

#[tokio::test]
async fn pages_of_users_are_read_through_indexes() {
    let database = testbed::Database::fresh().await;
    let pool = database.pool().await;
    sqlx::raw_sql(HISTORY)
        .execute(&mut pool.acquire().await.unwrap())
        .await
        .unwrap();
    let types = "int, text[], bigint[], bigint[]";
    for (skipped, read) in [(0, SIZE), (80, 100)] {
        let page = select_pages(invest_log::PAGES, 4, &[]);
        let all = plan(
            &pool,
            page,
            types,
            &format!("4, '{{ann}}', '{{{skipped}}}', '{{{SIZE}}}'"),
        )
        .await;
        reads(
            &all,
            "invest_log_latest_first",
            read,
            "user_id = asked.user_id",
        );
        let page = select_pages(holdings::PAGES, 4, &[]);
        let all = plan(
            &pool,
            page,
            types,
            &format!("4, '{{ann}}', '{{{skipped}}}', '{{{SIZE}}}'"),
        )
        .await;
        reads(
            &all,
            "holdings_latest_first",
            read,
            "user_id = asked.user_id",
        );
    }
}
