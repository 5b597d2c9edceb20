//! The examples of a client in Python, TypeScript and Rust, run as their readers would: they tell the same story.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use testbed::TempFolder;
use tokio::process::Command;
use tokio::time::timeout;

use crate::harness::TestApp;

/// Generating and type-checking a client takes longest, on a busy machine.
const STORY_TIMEOUT: Duration = Duration::from_secs(180);

/// What a program printed, and its exit code.
struct Told {
    out: String,
    err: String,
    code: Option<i32>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

async fn run(app: &TestApp, command: &mut Command, args: &[&str]) -> Told {
    let (read, write) = (&app.processes[0].read, &app.processes[0].write);
    command
        .args(args)
        .env("MOA_READ_URL", read)
        .env("MOA_WRITE_URL", write)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let ended = timeout(STORY_TIMEOUT, command.output())
        .await
        .expect("it ends by itself")
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Told {
        out: text(ended.stdout),
        err: text(ended.stderr),
        code: ended.status.code(),
    }
}

/// 1. The first answer is lost, and the request sent again: the answer is the first one's, and there is one invest. Its program read it,
///    and followed it to its fate. 2. Asked for too much, and without an amount: it says why not.
async fn tells_the_story(first: impl Fn() -> Command, again: impl Fn() -> Command) {
    let app = TestApp::open().await;
    let product = app.open_product("scarce", 10).await.to_string();
    app.settled().await;
    let told = run(&app, &mut first(), &["ann", &product, "7", "--lose-answer"]).await;
    let is_told =
        told.code == Some(0) && told.err.starts_with("no answer (") && told.err.contains("hung up");
    assert!(is_told, "{}{}", told.out, told.err);
    let invests = app.api(0).get_as("ann", "/api/invest/log").await.data();
    assert_eq!(invests["totalCount"], 1);
    let id = invests["list"][0]["investId"].as_str().unwrap();
    let lines: Vec<_> = told.out.lines().collect();
    let [open, accepted, read, followed] = lines[..] else {
        panic!("{}", told.out)
    };
    assert_eq!(open, format!("open: {product} scarce, 0 of 10"));
    assert_eq!(accepted, format!("accepted: {id} replayed"));
    assert!(
        ["read: 7 in scarce, RESERVED", "read: 7 in scarce, SETTLED"].contains(&read),
        "{read}"
    );
    assert_eq!(followed, "followed: SETTLED");
    let reserved = "select count(*) from events where event_type = 'InvestReserved'";
    let reserved: i64 = sqlx::query_scalar(reserved)
        .fetch_one(&app.pool)
        .await
        .unwrap();
    assert_eq!(reserved, 1);

    let told = run(&app, &mut again(), &["ann", &product, "4"]).await;
    assert!(
        told.err
            .contains("refused: SOLD_OUT: Product is sold out : \n"),
        "{}",
        told.err
    );
    assert_eq!(
        (told.out.as_str(), told.code),
        (
            format!("open: {product} scarce, 7 of 10\n").as_str(),
            Some(1)
        )
    );
    let told = run(&app, &mut again(), &["ann", &product]).await;
    assert!(
        told.err.contains("say who, in what and how much"),
        "{}",
        told.err
    );
    assert_eq!((told.out.as_str(), told.code), ("", Some(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_in_python_tells_the_story() {
    let program = || {
        let mut python = Command::new("python3");
        python.arg(root().join("examples/invest.py"));
        python
    };
    tells_the_story(program, program).await;
}

/// Built beside this test, by whatever builds all of the crate's targets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_in_rust_tells_the_story() {
    let test = std::env::current_exe().unwrap();
    let program = test
        .parent()
        .unwrap()
        .with_file_name("examples")
        .join("invest");
    assert!(
        program.exists(),
        "cargo build --locked -p moa --example invest builds it"
    );
    let program = || Command::new(&program);
    tells_the_story(program, program).await;
}

/// A copy, so that nothing that is generated or installed lies among the sources.
fn copy_of_the_typescript_client() -> TempFolder {
    let folder = TempFolder::new("typescript");
    for name in [
        "package.json",
        "openapi-ts.config.js",
        "tsconfig.json",
        "story.ts",
    ] {
        std::fs::copy(
            root().join("examples/typescript").join(name),
            folder.join(name),
        )
        .unwrap();
    }
    let modules: PathBuf = root().join("target/typescript/node_modules");
    assert!(
        modules.exists(),
        "npm ci in target/typescript installs what it needs; make test does that"
    );
    std::os::unix::fs::symlink(modules, folder.join("node_modules")).unwrap();
    folder
}

/// Its client is generated from the documents of the Moa under test, and type-checked, first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_generated_client_in_typescript_tells_the_story() {
    let folder = copy_of_the_typescript_client();
    let generated = || {
        let mut npm = Command::new("npm");
        npm.args(["run", "--silent", "--no-update-notifier", "story", "--"])
            .current_dir(&folder);
        npm
    };
    let built = || {
        let mut node = Command::new("node");
        node.arg("build/story.js").current_dir(&folder);
        node
    };
    tells_the_story(generated, built).await;
}
