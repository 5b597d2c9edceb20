//! What people see: tables fit a terminal of 80 columns, whatever is in them.

use reqwest::Method;
use serde_json::json;

use crate::harness::{Ended, Start, TEST_TIMEOUT, TestApp, ask, seconds_from, within};
use crate::sealed::KeyFolder;

const COLUMNS: u16 = 80;
/// The largest amount, in won.
const MAX_AMOUNT: i64 = 1_000_000_000_000;
/// What lists show on one page.
const ROWS: usize = 20;
/// The longest user id.
const USER_ID_BYTES: usize = 100;

/// Columns that a line takes: Korean letters take two.
fn columns(line: &str) -> usize {
    line.chars()
        .map(|c| {
            if ('\u{1100}'..='\u{115f}').contains(&c) || ('\u{ac00}'..='\u{d7a3}').contains(&c) {
                2
            } else {
                1
            }
        })
        .sum()
}

/// The lines of the table, from its first rule to its last; sentences below it are broken by the terminal.
fn table(ended: &Ended) -> Vec<&str> {
    assert!(ended.status.success(), "{}{}", ended.out, ended.err);
    let lines: Vec<_> = ended.out.lines().collect();
    let last = lines
        .iter()
        .rposition(|line| line.starts_with('─'))
        .unwrap_or_else(|| panic!("no table: {}", ended.out));
    lines[..=last].to_vec()
}

fn fits(ended: &Ended, command: &str) {
    let lines = table(ended);
    let wide: Vec<_> = lines
        .iter()
        .filter(|line| columns(line) > usize::from(COLUMNS))
        .collect();
    assert!(wide.is_empty(), "moa {command}: {wide:#?}");
    assert!(lines.len() > 4, "moa {command} shows no row: {}", ended.out);
}

/// Long names, large amounts, many rows of everything; the id of an invest.
async fn fill(app: &TestApp, user: &str) -> String {
    let title = "한강 다리 채권 ".repeat(40);
    for number in 0..ROWS {
        app.open_product(&format!("{}{number}", &title), MAX_AMOUNT)
            .await;
    }
    let product = app
        .open_product_with(
            &title,
            MAX_AMOUNT,
            json!({"minInvestAmount": MAX_AMOUNT / 2}),
        )
        .await;
    let invest = app
        .invest(ask(user, product, MAX_AMOUNT))
        .await
        .invest_id()
        .expect("it is accepted")
        .to_string();
    for _ in 0..ROWS {
        assert!(
            app.invest(ask(user, product, MAX_AMOUNT - 1))
                .await
                .is_refused("SOLD_OUT")
        );
    }
    app.api(0)
        .operate(
            Method::GET,
            &format!("/admin/audit/event?userId={user}"),
            None,
        )
        .await;
    let park = "insert into parked_deliveries (queue, reason, headers, body, bytes)
                select 'moa.' || gen_random_uuid() || '.investor_summary.63', repeat('its hash is not that of the log; ', 9),
                       '{}', '', 9223372036854775807
                  from generate_series(1, $1)";
    sqlx::query(park)
        .bind(i32::try_from(ROWS).unwrap())
        .execute(&app.pool)
        .await
        .unwrap();
    app.settled().await;
    invest
}

/// Steps: a Moa with 64 partitions that seals; products, an invest, refusals, acts, readings and parked deliveries; everything is
/// sealed; each list is printed on a terminal of 80 columns, with --wide, and into a pipe.
#[tokio::test]
async fn every_table_fits_a_terminal_of_eighty_columns() {
    let folder = KeyFolder::with_a_key().await;
    let app = TestApp::of(
        1,
        folder.sealing(Start::serve().with(&["--partitions", "64"])),
    )
    .await;
    let user = "u".repeat(USER_ID_BYTES);
    let invest = fill(&app, &user).await;
    let sealed = async || {
        app.operator(&["audit", "verify"])
            .await
            .out
            .contains("All of it is sealed")
            .then_some(())
    };
    within(TEST_TIMEOUT, "all is sealed", sealed).await;
    let (proof, public, seals, url) = (
        folder.file("proof"),
        folder.file("key.pub"),
        folder.file("seals"),
        app.url(),
    );
    assert!(
        app.operator(&["audit", "prove", &invest, "--out", &proof])
            .await
            .status
            .success()
    );
    let now = seconds_from(chrono::Utc::now(), 0);

    let by_admin = [
        "product list".to_owned(),
        "status".to_owned(),
        "projection list".to_owned(),
        "parked list".to_owned(),
        "audit events".to_owned(),
        format!("audit events --user {user} --order desc"),
        format!("audit products --at {now}"),
        format!("audit holdings --user {user} --at {now}"),
        format!("audit invest-log --user {user} --at {now}"),
        format!("audit summary --user {user} --at {now}"),
        "audit refusals".to_owned(),
        "audit acts".to_owned(),
        "audit access".to_owned(),
        "audit verify".to_owned(),
    ];
    let alone = [
        format!("audit check {proof} --public-key {public}"),
        format!("backup verify --database-url {url} --seals {seals} --public-key {public}"),
    ];
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let started = |line: &str| {
        let words = words(line);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        if by_admin.iter().any(|known| known == line) {
            app.command(&words)
        } else {
            Start::bare(&words)
        }
    };
    for line in by_admin.iter().chain(&alone) {
        fits(&started(line).on_terminal(COLUMNS).end().await, line);
        let (piped, wide) = (
            started(line).end().await,
            started(line)
                .with(&["--wide"])
                .on_terminal(COLUMNS)
                .end()
                .await,
        );
        assert_eq!(
            table(&piped)[1],
            table(&wide)[1],
            "moa {line}: both have every column"
        );
        assert!(
            table(&piped).len() <= table(&wide).len(),
            "moa {line}: each row is one line"
        );
    }
}

/// What was printed before a width was asked for, and what programs read.
#[tokio::test]
async fn a_pipe_gets_every_column_and_an_invests_id_whole() {
    let app = TestApp::open().await;
    let product = app.open_product("piped", 100).await;
    let invest = app
        .invest(ask("ann", product, 10))
        .await
        .invest_id()
        .unwrap()
        .to_string();
    app.settled().await;
    for command in [
        app.command(&["audit", "events"]),
        app.command(&["audit", "events"]).on_terminal(COLUMNS),
    ] {
        let ended = command.end().await;
        assert!(
            ended.out.lines().any(|line| line.contains(&invest)),
            "{}",
            ended.out
        );
    }
    let piped = app.operator(&["audit", "events"]).await;
    for head in ["PARTITION", "POSITION", "SEQUENCE", "CORRELATION"] {
        assert!(piped.out.contains(head), "{head}: {}", piped.out);
    }
    let json = app
        .command(&["product", "list", "--json"])
        .on_terminal(COLUMNS)
        .end()
        .await;
    let data: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(data["totalCount"], 1);
    let both = app.operator(&["product", "list", "--json", "--wide"]).await;
    assert_eq!(both.status.code(), Some(2), "{}", both.err);
}
