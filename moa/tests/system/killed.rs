//! `kill -9` under load, and a restart: whatever was answered is there.

use futures::future::join_all;
use serde_json::Value;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use uuid::Uuid;

use crate::checker::{Evidence, chain_is_whole};
use crate::harness::{
    ApiClient, Call, Journal, Load, Start, TEST_TIMEOUT, TestApp, client, signal, within,
};

const CLIENTS: usize = 32;
const KILL_ROUNDS: usize = 2;
const LARGE_TOTAL_WON: i64 = 1_000_000_000;
/// Acceptances before the kill.
const MIN_ACCEPTED: usize = 300;
/// How soon after its start a process must accept, with a short log and on a busy machine.
const FIRST_ACCEPT_TIMEOUT: Duration = Duration::from_secs(10);

async fn enough_are_accepted(journal: &Journal, enough: usize) {
    let accepted = async || (journal.count(Call::is_accepted) >= enough).then_some(());
    within(TEST_TIMEOUT, "acceptances", accepted).await;
}

/// Sends every request with a key that has no answer yet once more, with its key. Each gets an answer now.
async fn ask_again(journal: &Journal, api: &ApiClient) -> usize {
    let calls = journal.read();
    let answered: HashSet<_> = calls
        .iter()
        .filter(|call| call.is_accepted())
        .map(|call| &call.ask)
        .collect();
    let unanswered = calls
        .iter()
        .filter(|call| call.is_unknown() && call.ask.key.is_some());
    let unanswered: Vec<_> = unanswered
        .filter(|call| !answered.contains(&call.ask))
        .collect();
    let again = join_all(unanswered.iter().map(|call| api.invest(call.ask.clone()))).await;
    assert!(
        again.iter().all(Call::is_accepted),
        "{:?}",
        again.iter().find(|call| !call.is_accepted())
    );
    again.len()
}

/// Steps: load, half of it with keys; `kill -9` in the middle; the clients meet a dead process; a new one starts on the
/// same log; who has no answer and a key asks again; quiet; the checker. Again on the same log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_killed_under_load_has_lost_nothing_that_was_answered() {
    let mut app = TestApp::open().await;
    let products = [
        app.open_product("killed", LARGE_TOTAL_WON).await,
        app.open_product("killed too", LARGE_TOTAL_WON).await,
    ];
    for kill in 1..=KILL_ROUNDS {
        let load = Load::start(&app.apis(), CLIENTS, &products);
        let before = app.journal.count(Call::is_accepted);
        enough_are_accepted(&app.journal, before + MIN_ACCEPTED).await;
        app.processes.remove(0).killed().await;
        load.stop().await;

        let started = Instant::now();
        app.add_process().await;
        let again = ask_again(&app.journal, &app.api(0)).await;
        assert!(
            started.elapsed() < FIRST_ACCEPT_TIMEOUT,
            "{:?}",
            started.elapsed()
        );
        println!("kill {kill}: {again} unanswered requests asked again");
        Evidence::of(&app, &products, &["api0-client0".into()])
            .await
            .holds();
    }
    chain_is_whole(&app.pool).await;
}

/// A data folder of a private PostgreSQL; its server is stopped and the folder removed with the value.
pub struct DataFolder(PathBuf);

impl DataFolder {
    pub fn new() -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let path = std::env::temp_dir().join(format!("moa-app-{}", Uuid::now_v7().simple()));
        std::fs::create_dir(&path).unwrap();
        // PostgreSQL's account passes through when the tests run as root.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o711)).unwrap();
        Self(path)
    }

    pub fn start(&self) -> Start {
        Start::serve().with(&["--data-dir", &self.data()])
    }

    pub fn data(&self) -> String {
        self.0.join("data").to_str().unwrap().to_owned()
    }

    /// The server's pid, as its own file has it.
    pub fn postmaster(&self) -> Option<u32> {
        let file = std::fs::read_to_string(self.0.join("data/postgres/postmaster.pid")).ok()?;
        file.lines().next()?.trim().parse().ok()
    }

    /// The server and every process it has started.
    fn postgres(&self) -> Vec<u32> {
        let Some(postmaster) = self.postmaster() else {
            return Vec::new();
        };
        let listed = std::process::Command::new("ps")
            .args(["-o", "pid=", "--ppid", &postmaster.to_string()])
            .output();
        let children = String::from_utf8(listed.unwrap().stdout).unwrap();
        let children = children.split_whitespace().map(|pid| pid.parse().unwrap());
        std::iter::once(postmaster).chain(children).collect()
    }
}

impl Drop for DataFolder {
    fn drop(&mut self) {
        if let Some(pid) = self
            .postmaster()
            .filter(|pid| Path::new(&format!("/proc/{pid}")).exists())
        {
            signal("QUIT", pid);
        }
        let start = Instant::now();
        while std::fs::remove_dir_all(&self.0).is_err() && start.elapsed() < TEST_TIMEOUT {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

async fn is_settled(api: &ApiClient, call: &Call) -> Option<()> {
    let invest = call.invest_id().unwrap();
    let answer = api
        .get_as(&call.ask.user, &format!("/api/invest/log/{invest}"))
        .await;
    let data = answer.data();
    let (amount, product) = (call.ask.amount, call.ask.product);
    (data["state"] == "SETTLED" && data["investAmount"] == amount && data["productId"] == product)
        .then_some(())
}

/// Steps: a Moa with a private PostgreSQL, under load; `kill -9` of Moa, of the server and of all its backends; a new
/// Moa on the same folder; every invest that was answered is there and gets its fate, and who has no answer and a key
/// asks again and gets one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_killed_under_load_has_lost_nothing_that_was_answered() {
    let (folder, journal) = (DataFolder::new(), Journal::default());
    let moa = folder.start().open().await;
    let api = ApiClient::of(0, &moa, client(), journal.clone());
    let body = serde_json::json!({"title": "all killed", "totalInvestingAmount": LARGE_TOTAL_WON,
                                  "startedAt": "2020-01-01T00:00:00", "finishedAt": "2100-01-01T00:00:00"});
    let opened = api
        .operate(reqwest::Method::POST, "/admin/product", Some(&body))
        .await;
    let product = opened.data()["productId"].as_i64().unwrap();
    let load = Load::start(&[api], CLIENTS, &[product]);
    enough_are_accepted(&journal, MIN_ACCEPTED).await;
    let postgres = folder.postgres();
    moa.signal("KILL");
    // Some backends may be gone by themselves already.
    postgres
        .iter()
        .filter(|pid| Path::new(&format!("/proc/{pid}")).exists())
        .for_each(|pid| kill_if_there(*pid));
    moa.ended(TEST_TIMEOUT).await;
    load.stop().await;

    let moa = folder.start().open().await;
    let api = ApiClient::of(0, &moa, client(), journal.clone());
    let again = ask_again(&journal, &api).await;
    println!("{again} unanswered requests asked again");
    for call in journal.read().iter().filter(|call| call.is_accepted()) {
        within(TEST_TIMEOUT, "every answered invest", || {
            is_settled(&api, call)
        })
        .await;
    }
    every_won_is_accounted_for(&api, &journal, product).await;
    assert!(moa.stopped(TEST_TIMEOUT).await.status.success());
    assert_eq!(folder.postmaster(), None, "its server is stopped with it");
}

/// Steps: a Moa starts; its private server comes up; SIGTERM, before Moa has opened. It ends with success, and the server
/// with it.
#[tokio::test]
async fn a_stop_in_the_middle_of_the_start_leaves_no_server_behind() {
    let folder = DataFolder::new();
    let mut moa = folder.start().begin();
    within(TEST_TIMEOUT, "the server", async || folder.postmaster()).await;
    signal("TERM", moa.id().expect("it runs"));
    let ended = tokio::time::timeout(TEST_TIMEOUT, moa.wait())
        .await
        .expect("it ends")
        .unwrap();
    assert!(ended.success(), "{ended}");
    assert_eq!(folder.postmaster(), None, "its server is stopped with it");
}

/// What is taken of the product is what was accepted and at most what nobody was told of.
async fn every_won_is_accounted_for(api: &ApiClient, journal: &Journal, product: i64) {
    let shown: Value = api.get(&format!("/api/product/{product}")).await.data();
    let taken = shown["currentInvestingAmount"].as_i64().unwrap() as usize;
    let mut invests: Vec<_> = journal.read().iter().filter_map(Call::invest_id).collect();
    invests.sort_unstable();
    invests.dedup();
    let untold = journal.count(|call| call.is_unknown() && call.ask.key.is_none());
    assert!(
        (invests.len()..=invests.len() + untold).contains(&taken),
        "{taken} of {} and {untold}",
        invests.len()
    );
}

fn kill_if_there(pid: u32) {
    std::process::Command::new("kill")
        .args(["-KILL", &pid.to_string()])
        .output()
        .unwrap();
}
