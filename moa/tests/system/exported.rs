//! The log as a file, and its verification without Moa, as an auditor does it.

use std::path::Path;
use std::process::Stdio;
use testbed::TempFolder;
use tokio::process::Command;

use crate::harness::{Start, TEST_TIMEOUT, TestApp, ask, within};

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

/// What the second verifier says, and whether all is well.
async fn second_verifier(args: &[&str]) -> (bool, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    // Where `make test` puts what it needs.
    let path = std::env::var("PYTHONPATH")
        .unwrap_or_else(|_| root.join("target/python").display().to_string());
    let mut command = Command::new("python3");
    command
        .arg(root.join("examples/verify.py"))
        .args(args)
        .env("PYTHONPATH", path)
        .stdin(Stdio::null());
    let said = command.output().await.unwrap();
    (
        said.status.success(),
        String::from_utf8(said.stdout).unwrap() + &String::from_utf8_lossy(&said.stderr),
    )
}

/// Steps: invests are made and sealed; the log is exported, and verified with nothing but the file, the seals and the public
/// key; a proof of one is checked; a byte of the file is changed.
#[tokio::test]
async fn an_export_is_verified_without_moa_by_two_programs() {
    let folder = TempFolder::new("exported");
    let [key, public, seals, export, proof] =
        ["key", "key.pub", "seals", "log.ndjson", "proof.json"].map(|name| folder.file(name));
    assert!(
        Start::bare(&["audit", "key", &key])
            .end()
            .await
            .status
            .success()
    );
    let start = Start::serve()
        .env("MOA_SEAL_KEY_FILE", &key)
        .env("MOA_SEALS_FILE", &seals);
    let app = TestApp::of(1, start).await;
    let product = app.open_product("exported, \"1\"", 100).await;
    let invest = app
        .invest(ask("ann", product, 10))
        .await
        .invest_id()
        .unwrap()
        .to_string();
    app.settled().await;
    let proved = async || {
        let ended = app.operator(&["audit", "prove", &invest]).await;
        ended.out.contains("\"unsealed\": 0").then_some(ended.out)
    };
    std::fs::write(
        &proof,
        within(TEST_TIMEOUT, "all of it is sealed", proved).await,
    )
    .unwrap();

    let exported = app.operator(&["audit", "export", "--out", &export]).await;
    assert!(exported.status.success(), "{}", exported.err);
    let again = app.operator(&["audit", "export", "--out", &export]).await;
    assert!(
        !again.status.success() && again.err.contains("is there already"),
        "{}",
        again.err
    );
    assert!(
        app.operator(&["audit", "export", "--out", &export, "--force"])
            .await
            .status
            .success()
    );
    let link = folder.file("link");
    std::os::unix::fs::symlink("/dev/full", &link).unwrap();
    for device in ["/dev/full", &link] {
        let refused = app
            .operator(&["audit", "export", "--out", device, "--force"])
            .await;
        assert!(
            !refused.status.success() && refused.err.contains("which is not replaced"),
            "{}",
            refused.err
        );
    }
    std::fs::remove_file(&link).unwrap();
    let to_stdout = app.operator(&["audit", "export"]).await;
    assert!(
        to_stdout.out.ends_with("{\"end\":true,\"events\":3}\n"),
        "{}{}",
        to_stdout.out,
        to_stdout.err
    );
    assert_eq!(
        names(&folder),
        [
            "key",
            "key.pub",
            "log.ndjson",
            "proof.json",
            "seals",
            "seals.acts"
        ],
        "nothing half is left"
    );

    let with = ["--seals", &seals, "--public-key", &public];
    let first = [&["audit", "verify", "--export", &export][..], &with].concat();
    let second = [&["--export", &export][..], &with].concat();
    let whole = Start::bare(&first).end().await;
    assert!(
        whole.status.success() && whole.out.contains("The log is whole: 3 events"),
        "{}{}",
        whole.out,
        whole.err
    );
    let (well, said) = second_verifier(&second).await;
    assert!(well && said.contains("WHOLE: 3 events"), "{said}");
    let (well, said) = second_verifier(&["--proof", &proof, "--public-key", &public]).await;
    assert!(
        well && said.contains("PROVED") && said.contains("InvestSettled"),
        "{said}"
    );

    let other = folder.file("other");
    assert!(
        Start::bare(&["audit", "key", &other])
            .end()
            .await
            .status
            .success()
    );
    let (of_other, url) = (folder.file("other.pub"), app.url());
    for what in [["--export", &export], ["--database-url", &url]] {
        let wrong = [
            "audit",
            "verify",
            what[0],
            what[1],
            "--seals",
            &seals,
            "--public-key",
            &of_other,
        ];
        let ended = Start::bare(&wrong).end().await;
        assert_eq!(ended.status.code(), Some(1), "{}", ended.out);
        assert!(
            ended.err.contains("cannot be verified with this key") && !ended.err.contains("BROKEN"),
            "{}",
            ended.err
        );
    }
    let (well, said) = second_verifier(&[
        "--export",
        &export,
        "--seals",
        &seals,
        "--public-key",
        &of_other,
    ])
    .await;
    assert!(
        !well && said.contains("cannot be verified with this key") && !said.contains("BROKEN"),
        "{said}"
    );

    let text = std::fs::read_to_string(&export).unwrap();
    std::fs::write(
        &export,
        text.replacen("\\\"amount\\\":10", "\\\"amount\\\":90", 1),
    )
    .unwrap();
    let broken = Start::bare(&first).end().await;
    assert_eq!(broken.status.code(), Some(1));
    assert!(
        broken
            .err
            .contains("the log is BROKEN: partition 1 position 2"),
        "{}",
        broken.err
    );
    let (well, said) = second_verifier(&second).await;
    assert!(
        !well && said.contains("partition 1 position 2: CHANGED"),
        "{said}"
    );
}
