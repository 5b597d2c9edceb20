//! Read models rebuilt, compared, switched and dropped by operators, through the calls and through the commands.

mod at_once;
mod refused;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::time::timeout;

use crate::checker::Evidence;
use crate::harness::{
    AUDITOR, Answer, OPERATOR, Start, TEST_TIMEOUT, TestApp, View, ask, read_models, signal, within,
};

const USERS: [&str; 3] = ["ann", "bob", "cyd"];

/// An app with settled invests of each user in two products.
async fn invested() -> (TestApp, Vec<i64>) {
    invested_in(TestApp::open().await).await
}

async fn invested_in(app: TestApp) -> (TestApp, Vec<i64>) {
    let products = vec![
        app.open_product("first", 1_000).await,
        app.open_product("second", 1_000).await,
    ];
    for (amount, user) in (1..).zip(USERS) {
        for product in &products {
            assert!(app.invest(ask(user, *product, amount)).await.is_accepted());
        }
    }
    app.settled().await;
    (app, products)
}

async fn get(app: &TestApp, path: &str) -> Answer {
    app.api(0).operate(Method::GET, path, None).await
}

async fn post(app: &TestApp, path: &str) -> Answer {
    app.api(0).operate(Method::POST, path, None).await
}

/// The job that a 202 names, once it has ended.
async fn ended(app: &TestApp, answer: &Answer) -> Value {
    assert_eq!(
        (answer.status, answer.json()["status"].clone()),
        (202, json!(202)),
        "{}",
        answer.body
    );
    let path = format!("/admin/job/{}", answer.data()["jobId"]);
    let ended = async || Some(get(app, &path).await.data()).filter(|job| job["state"] != "RUNNING");
    within(TEST_TIMEOUT, "the end of the job", ended).await
}

/// Generation and state of each set of a read model's tables, by generation.
async fn generations(app: &TestApp, name: &str) -> Vec<(i64, String)> {
    let told = get(app, "/admin/projection").await.data();
    let of_it = told["list"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["name"] == name);
    of_it
        .map(|row| {
            (
                row["generation"].as_i64().unwrap(),
                row["state"].as_str().unwrap().to_owned(),
            )
        })
        .collect()
}

async fn state_of(app: &TestApp, name: &str) -> String {
    generations(app, name).await.remove(0).1
}

fn are(told: &[(i64, &str)]) -> Vec<(i64, String)> {
    told.iter()
        .map(|(generation, state)| (*generation, (*state).to_owned()))
        .collect()
}

/// Everything that clients see of the users.
async fn seen(app: &TestApp) -> Vec<String> {
    let mut seen = Vec::new();
    let of_user = [View::HoldingsOf, View::InvestsOf, View::SummaryOf];
    let views = USERS
        .iter()
        .flat_map(|user| of_user.map(|of| of((*user).into())));
    for view in views.chain([View::Products]) {
        seen.push(app.api(0).sight(view).await.body);
    }
    seen
}

/// As tampered, bob's holdings; and as they must be.
async fn holdings_of_bob(app: &TestApp) -> i64 {
    let sum = sqlx::query_scalar("select sum(amount)::bigint from holdings where user_id = 'bob'");
    sum.fetch_one(&app.pool).await.unwrap()
}

#[tokio::test]
async fn a_rebuild_makes_a_new_generation_live_and_a_rollback_the_one_before() {
    let (app, products) = invested().await;
    for name in read_models() {
        is_rebuilt_and_rolled_back(&app, &products, name).await;
    }
    Evidence::of(&app, &products, &USERS.map(String::from))
        .await
        .holds();
}

async fn is_rebuilt_and_rolled_back(app: &TestApp, products: &[i64], name: &str) {
    let before = seen(app).await;
    let rebuilt = app.operator(&["projection", "rebuild", name]).await;
    assert_eq!(rebuilt.status.code(), Some(0), "{}", rebuilt.err);
    assert!(
        rebuilt.out.starts_with("Equal at positions "),
        "{}",
        rebuilt.out
    );
    assert!(
        rebuilt
            .out
            .ends_with(&format!("Generation 2 of {name} is live.\n")),
        "{}",
        rebuilt.out
    );
    assert_eq!(
        generations(app, name).await,
        are(&[(1, "PREVIOUS"), (2, "RUNNING")])
    );
    assert_eq!(seen(app).await, before);

    assert!(app.invest(ask("ann", products[0], 7)).await.is_accepted());
    app.settled().await;
    let after = seen(app).await;
    assert_ne!(after, before);
    let back = app.operator(&["projection", "rollback", name]).await;
    assert_eq!(
        (back.status.code(), back.out),
        (Some(0), format!("Generation 1 of {name} is live.\n")),
        "{}",
        back.err
    );
    assert_eq!(
        generations(app, name).await,
        are(&[(1, "RUNNING"), (2, "PREVIOUS")])
    );
    assert_eq!(seen(app).await, after, "the one before has followed");

    let dropped = app.operator(&["projection", "drop", name]).await;
    assert_eq!(
        dropped.out,
        format!("Dropped 1 of {name}: generation 2 (PREVIOUS).\n"),
        "{}",
        dropped.err
    );
    let nothing = app.operator(&["projection", "drop", name]).await;
    assert_eq!(
        nothing.out,
        format!("There was no standby of {name}.\n"),
        "{}",
        nothing.err
    );
    let again = ended(
        app,
        &post(app, &format!("/admin/projection/{name}/rebuild")).await,
    )
    .await;
    assert_eq!(
        (&again["state"], &again["generation"]),
        (&json!("DONE"), &json!(3)),
        "numbers are never given twice"
    );
    assert!(app.invest(ask("bob", products[1], 5)).await.is_accepted());
    app.settled().await;
}

#[tokio::test]
async fn a_rebuild_that_is_not_to_switch_stands_ready_until_it_is_told_to() {
    let (app, _) = invested().await;
    let job = ended(
        &app,
        &post(
            &app,
            "/admin/projection/holdings/rebuild?switch=false&maxRate=1000000",
        )
        .await,
    )
    .await;
    for (key, value) in [
        ("kind", json!("REBUILD")),
        ("projection", json!("holdings")),
        ("generation", json!(2)),
        ("codeVersion", json!(1)),
        ("state", json!("DONE")),
        ("maxRate", json!(1_000_000)),
        ("switches", json!(false)),
        ("acceptDifferences", json!(false)),
        ("problem", json!(null)),
    ] {
        assert_eq!(job[key], value, "{key} of {job}");
    }
    assert_eq!(
        (&job["done"], &job["outcome"]["equal"]),
        (&job["total"], &json!(true)),
        "{job}"
    );
    assert!(
        ["askedAt", "movedAt", "endedAt"]
            .iter()
            .all(|at| job[*at].is_string()),
        "{job}"
    );
    assert_eq!(
        generations(&app, "holdings").await,
        are(&[(1, "RUNNING"), (2, "READY")])
    );

    let another = app.operator(&["projection", "rebuild", "holdings"]).await;
    let said = "moa: 409: generation 2 of it is there already (READY): switch to it, or drop it\n";
    assert_eq!(
        (another.status.code(), another.err.as_str()),
        (Some(1), said)
    );
    let switched = post(&app, "/admin/projection/holdings/switch").await;
    assert_eq!(
        (switched.status, switched.data()),
        (200, json!({"generation": 2})),
        "{}",
        switched.body
    );
    assert_eq!(
        generations(&app, "holdings").await,
        are(&[(1, "PREVIOUS"), (2, "RUNNING")])
    );
    let again = post(&app, "/admin/projection/holdings/switch").await;
    assert_eq!(
        (again.status, again.code().as_str()),
        (409, "409"),
        "{}",
        again.body
    );
    for (path, listed) in [("/admin/job", true), ("/admin/job/1", false)] {
        let told = get(&app, path).await.data();
        let told = if listed {
            told["list"][0].clone()
        } else {
            told
        };
        assert_eq!(told, job, "{path}");
    }
}

/// Steps: a rebuild is asked for that takes its time; a second one, by call and by command, is told; whoever waits for
/// the first is interrupted; it goes on; it is dropped.
#[tokio::test]
async fn a_second_rebuild_is_told_and_an_interrupted_wait_leaves_the_first_going() {
    let (app, _) = invested().await;
    let waiting = app
        .command(&["projection", "rebuild", "holdings", "--max-rate", "1"])
        .begin();
    let running = async || {
        Some(get(&app, "/admin/job").await.data()["list"][0].clone()).filter(|job| !job.is_null())
    };
    within(TEST_TIMEOUT, "the job", running).await;
    let told = post(&app, "/admin/projection/holdings/rebuild").await;
    let said = "job 1 of it is running: wait for it, or drop it";
    let expected = json!({"result": false, "code": "409", "message": format!("{said} : "), "data": null, "status": 409});
    assert_eq!((told.status, told.json()), (409, expected));
    let second = app.operator(&["projection", "rebuild", "holdings"]).await;
    assert_eq!(
        (second.status.code(), second.err),
        (Some(1), format!("moa: 409: {said}\n"))
    );
    assert_eq!(
        get(&app, "/admin/projection/holdings/diff").await.status,
        409
    );
    let elsewhere = ended(
        &app,
        &post(&app, "/admin/projection/invest_log/rebuild").await,
    )
    .await;
    assert_eq!(
        elsewhere["state"], "DONE",
        "another read model is not held up: {elsewhere}"
    );

    signal("INT", waiting.id().unwrap());
    let waited = waiting.wait_with_output().await.unwrap();
    let said = String::from_utf8(waited.stderr).unwrap();
    assert_eq!(waited.status.code(), Some(1), "{said}");
    assert!(said.contains("job 1 goes on"), "{said}");
    assert_eq!(get(&app, "/admin/job/1").await.data()["state"], "RUNNING");
    let listed = app.operator(&["projection", "list"]).await;
    assert!(
        listed.out.contains("BUILDING") && listed.out.contains("Job 1, REBUILD of holdings"),
        "{}",
        listed.out
    );

    let dropped = app.operator(&["projection", "drop", "holdings"]).await;
    assert_eq!(
        dropped.out, "Dropped 1 of holdings: generation 2 (BUILDING).\n",
        "{}",
        dropped.err
    );
    let job = get(&app, "/admin/job/1").await.data();
    assert_eq!(
        (&job["state"], &job["problem"]),
        (&json!("FAILED"), &json!("dropped"))
    );
    assert_eq!(generations(&app, "holdings").await, are(&[(1, "RUNNING")]));
}

#[tokio::test]
async fn an_unknown_read_model_or_job_is_not_found_and_a_bad_parameter_is_named() {
    let app = TestApp::open().await;
    for what in ["rebuild", "switch", "rollback", "pause", "resume", "drop"] {
        let answer = post(&app, &format!("/admin/projection/nonsense/{what}")).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (404, "404"),
            "{what}"
        );
        let said = app.operator(&["projection", what, "nonsense"]).await;
        let expected = "moa: there is no read model nonsense: see `moa projection list`\n";
        assert_eq!(
            (said.status.code(), said.err.as_str()),
            (Some(1), expected),
            "{what}"
        );
    }
    // It is a projection, and no read model.
    assert_eq!(
        post(&app, "/admin/projection/open_invest/rebuild")
            .await
            .status,
        404
    );
    for path in [
        "/admin/projection/nonsense/diff",
        "/admin/job/1",
        "/admin/job/x",
    ] {
        assert_eq!(get(&app, path).await.status, 404, "{path}");
    }
    for (query, named) in [
        ("rebuild?switch=no", "switch must be true or false"),
        (
            "rebuild?acceptDifferences=1",
            "acceptDifferences must be true or false",
        ),
        (
            "rebuild?maxRate=0",
            "maxRate must be a whole number from 1 to 2147483647",
        ),
        (
            "rebuild?maxRate=2147483648",
            "maxRate must be a whole number from 1 to 2147483647",
        ),
        ("rebuild?maxRate=1.5", "maxRate must be a whole number"),
        (
            "switch?acceptDifferences=yes",
            "acceptDifferences must be true or false",
        ),
    ] {
        let answer = post(&app, &format!("/admin/projection/holdings/{query}")).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "00"),
            "{query}"
        );
        assert!(
            answer.json()["message"].as_str().unwrap().contains(named),
            "{}",
            answer.body
        );
    }
    for what in ["switch", "rollback"] {
        let answer = post(&app, &format!("/admin/projection/holdings/{what}")).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (409, "409"),
            "{what}: {}",
            answer.body
        );
    }
    assert_eq!(get(&app, "/admin/job").await.data()["totalCount"], 0);
}

#[tokio::test]
async fn an_auditor_looks_and_makes_no_work() {
    let app = TestApp::open().await;
    let audit = async |method, path: &str| {
        app.api(0)
            .admin_with(method, path, Some(AUDITOR), |it| it)
            .await
    };
    for what in ["rebuild", "switch", "rollback", "pause", "resume", "drop"] {
        let answer = audit(Method::POST, &format!("/admin/projection/holdings/{what}")).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (403, "403"),
            "{what}"
        );
    }
    for method in [Method::GET, Method::HEAD] {
        assert_eq!(
            audit(method, "/admin/projection/holdings/diff")
                .await
                .status,
            403
        );
    }
    assert_eq!(get(&app, "/admin/job").await.data()["totalCount"], 0);
    let job = ended(&app, &get(&app, "/admin/projection/holdings/diff").await).await;
    assert_eq!(
        (&job["state"], &job["kind"]),
        (&json!("DONE"), &json!("DIFF"))
    );
    for path in ["/admin/projection", "/admin/job", "/admin/job/1"] {
        assert_eq!(audit(Method::GET, path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn a_paused_read_model_stands_still_until_it_is_resumed() {
    let (app, products) = invested().await;
    let paused = app.operator(&["projection", "pause", "holdings"]).await;
    assert_eq!(
        paused.out, "holdings is paused until `moa projection resume holdings`.\n",
        "{}",
        paused.err
    );
    assert_eq!(state_of(&app, "holdings").await, "PAUSED");
    let before = holdings_of_bob(&app).await;
    assert!(app.invest(ask("bob", products[0], 50)).await.is_accepted());
    let log_shows_it = async || {
        let list = app.api(0).get_as("bob", "/api/invest/log").await.data()["list"].clone();
        list.as_array()
            .unwrap()
            .iter()
            .any(|row| row["investAmount"] == 50 && row["state"] == "SETTLED")
            .then_some(())
    };
    within(
        TEST_TIMEOUT,
        "the settlement in the invest log",
        log_shows_it,
    )
    .await;
    assert_eq!(holdings_of_bob(&app).await, before);
    let told = get(&app, "/admin/projection").await.data();
    let holdings = told["list"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["name"] == "holdings")
        .unwrap()
        .clone();
    assert!(holdings["lagEvents"].as_i64().unwrap() >= 2, "{holdings}");

    let resumed = app.operator(&["projection", "resume", "holdings"]).await;
    assert_eq!(resumed.out, "holdings is resumed.\n", "{}", resumed.err);
    app.settled().await;
    assert_eq!(
        (
            holdings_of_bob(&app).await,
            state_of(&app, "holdings").await
        ),
        (before + 50, "RUNNING".into())
    );
}

#[tokio::test]
async fn rows_of_code_that_this_release_does_not_know_are_left_alone_and_told() {
    let (app, products) = invested().await;
    let other = "update checkpoints set code_version = 99 where consumer = 'holdings'";
    sqlx::query(other).execute(&app.pool).await.unwrap();
    let before = holdings_of_bob(&app).await;
    assert!(app.invest(ask("bob", products[0], 50)).await.is_accepted());
    let told = get(&app, "/admin/projection").await.data();
    let holdings = told["list"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["name"] == "holdings")
        .unwrap()
        .clone();
    assert_eq!(
        (&holdings["state"], &holdings["version"]),
        (&json!("OTHER_VERSION"), &json!(99))
    );
    assert_eq!(holdings_of_bob(&app).await, before);
}

#[tokio::test]
async fn as_json_every_line_is_the_job_and_the_last_one_has_ended() {
    let (app, _) = invested().await;
    for command in ["rebuild", "diff"] {
        let name = if command == "diff" {
            "invest_log"
        } else {
            "product_list"
        };
        let ended = app.operator(&["projection", command, name, "--json"]).await;
        assert_eq!(ended.status.code(), Some(0), "{}", ended.err);
        let lines: Vec<Value> = ended
            .out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let (last, before) = lines.split_last().unwrap();
        assert_eq!(
            (&last["state"], &last["outcome"]["equal"]),
            (&json!("DONE"), &json!(true)),
            "{last}"
        );
        assert!(
            before.iter().all(|job| job["state"] == "RUNNING"),
            "{before:?}"
        );
        assert!(
            lines
                .iter()
                .all(|job| job["jobId"] == last["jobId"] && job["projection"] == name)
        );
    }
    let detached = app
        .operator(&["projection", "rebuild", "holdings", "--detach", "--json"])
        .await;
    assert_eq!(detached.out, "{\"jobId\":3}\n", "{}", detached.err);
    let listed = app.operator(&["projection", "list", "--json"]).await;
    let listed: Value = serde_json::from_str(&listed.out).unwrap();
    assert!(
        listed["list"]
            .as_array()
            .unwrap()
            .iter()
            .any(|row| row["state"] == "PREVIOUS"),
        "{listed}"
    );
}

/// Steps: a slow rebuild is followed; the only process is killed; the follower says that it cannot reach it; another
/// process takes its address, and the job where it was; the follower goes on to its end.
#[tokio::test]
async fn who_follows_a_job_bears_that_moa_is_started_again() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let listen = [
        "--query-listen",
        "127.0.0.1:0",
        "--command-listen",
        "127.0.0.1:0",
        "--admin-listen",
        &free,
    ];
    let start = Start::bare(&listen)
        .with(&["--no-demo"])
        .env("MOA_OPERATOR_TOKEN", OPERATOR);
    let (mut app, _) = invested_in(TestApp::of(1, start).await).await;
    let mut following = app
        .command(&["projection", "rebuild", "holdings", "--max-rate", "4"])
        .begin();
    let mut lines = BufReader::new(following.stderr.take().unwrap()).lines();
    let mut said = async |what: &str| {
        let said = async {
            while !lines
                .next_line()
                .await
                .unwrap()
                .expect("it goes on")
                .contains(what)
            {}
        };
        timeout(TEST_TIMEOUT, said)
            .await
            .unwrap_or_else(|_| panic!("it does not say {what}"));
    };
    said("FOLDING").await;
    app.processes.remove(0).killed().await;
    said("cannot reach Moa").await;
    app.add_process().await;
    let followed = timeout(TEST_TIMEOUT, following.wait_with_output())
        .await
        .expect("it ends")
        .unwrap();
    let out = String::from_utf8(followed.stdout).unwrap();
    assert!(
        followed.status.success() && out.ends_with("Generation 2 of holdings is live.\n"),
        "{out}"
    );
}
