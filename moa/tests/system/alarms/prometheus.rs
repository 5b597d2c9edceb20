//! A real Prometheus that scrapes real processes by the rules of `ops/alerts.yaml`.

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};
use testbed::TempFolder;
use tokio::process::{Child, Command};

use crate::harness::{MoaProcess, within};

pub const ALERTS: &str = include_str!("../../../../ops/alerts.yaml");
/// Scrapes and rules run each second, and a fault must first have lasted for one.
pub const ALARM_TIMEOUT: Duration = Duration::from_secs(60);
/// Beyond this many events behind the log an alarm rings, where the rules say 10,000.
pub const FEW_EVENTS: usize = 10;

/// What the rules say, and what a test can wait for: their own times and numbers are those of `ops/alerts.test.yaml`.
const IMPATIENT: [(&str, &str); 5] = [
    ("[5m]", "[6s]"),
    ("[10m]", "[6s]"),
    ("[1h]", "[6s]"),
    ("> 10000", "> 10"),
    ("oldest_seconds > 60", "oldest_seconds > 2"),
];

const CONFIG: &str = "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n\
                      rule_files: [alerts.yaml]\n\
                      scrape_configs:\n  - {job_name: moa, file_sd_configs: [{files: [targets.json]}]}\n";

/// Ends with the value.
pub struct Prometheus {
    url: String,
    folder: TempFolder,
    _process: Child,
}

/// Where `scripts/run-tests` puts the programs of Debian's package; else the one that is installed.
pub fn program(name: &str) -> PathBuf {
    let fetched = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../target/tools/prometheus/usr/bin"
    );
    let fetched = PathBuf::from(fetched).join(name);
    if fetched.exists() {
        fetched
    } else {
        name.into()
    }
}

fn impatient_rules() -> String {
    let line = |line: &str| match line.trim_start().starts_with("for: ") {
        true => "        for: 1s\n".to_owned(),
        false => {
            IMPATIENT
                .iter()
                .fold(line.to_owned(), |line, (patient, now)| {
                    line.replace(patient, now)
                })
                + "\n"
        }
    };
    ALERTS.lines().map(line).collect()
}

impl Prometheus {
    /// One that scrapes these, and has.
    pub async fn of(moas: &[MoaProcess]) -> Self {
        let folder = TempFolder::new("prometheus");
        std::fs::write(folder.join("alerts.yaml"), impatient_rules()).unwrap();
        std::fs::write(folder.join("prometheus.yaml"), CONFIG).unwrap();
        let address = format!("127.0.0.1:{}", testbed::free_port());
        let process = Command::new(program("prometheus"))
            .args([
                "--config.file=prometheus.yaml",
                "--storage.tsdb.path=data",
                "--log.level=error",
            ])
            .arg(format!("--web.listen-address={address}"))
            .current_dir(&folder)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("prometheus starts: install it, or let make test fetch it");
        let prometheus = Self {
            url: format!("http://{address}"),
            folder,
            _process: process,
        };
        prometheus.scrapes(moas).await;
        prometheus
    }

    /// From now on it scrapes these alone; returns when it has, so that every counter is known as it was before what comes.
    pub async fn scrapes(&self, moas: &[MoaProcess]) {
        let targets: Vec<_> = moas
            .iter()
            .map(|moa| moa.ops.trim_start_matches("http://"))
            .collect();
        let unfinished = self.folder.join("targets.unfinished");
        std::fs::write(&unfinished, json!([{ "targets": targets }]).to_string()).unwrap();
        std::fs::rename(unfinished, self.folder.join("targets.json")).unwrap();
        let wanted: BTreeSet<_> = targets.into_iter().map(str::to_owned).collect();
        let scraped = async || {
            let up = self.get("/api/v1/query?query=up==1").await?;
            let up = up["result"]
                .as_array()?
                .iter()
                .filter_map(|found| found["metric"]["instance"].as_str());
            (up.map(str::to_owned).collect::<BTreeSet<_>>() == wanted).then_some(())
        };
        within(ALARM_TIMEOUT, "every process is scraped", scraped).await;
    }

    pub async fn get(&self, path: &str) -> Option<Value> {
        let answer = reqwest::get(format!("{}{path}", self.url)).await.ok()?;
        answer
            .json::<Value>()
            .await
            .ok()
            .map(|body| body["data"].clone())
    }

    /// The rules that could not be evaluated, each with its error; `None` until all have been.
    pub async fn broken_rules(&self) -> Option<Vec<String>> {
        let rules = self.get("/api/v1/rules").await?["groups"][0]["rules"]
            .as_array()?
            .clone();
        let is_known = rules.iter().all(|rule| rule["health"] != "unknown");
        let broken = rules.iter().filter(|rule| rule["health"] != "ok");
        is_known.then(|| broken.map(ToString::to_string).collect())
    }

    /// Whether the query finds any series; `None` while it cannot be asked.
    pub async fn answers(&self, query: &str) -> Option<bool> {
        let asked = reqwest::Url::parse_with_params(
            &format!("{}/api/v1/query", self.url),
            [("query", query)],
        )
        .unwrap();
        let answer: Value = reqwest::get(asked).await.ok()?.json().await.ok()?;
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        Some(!answer["data"]["result"].as_array()?.is_empty())
    }

    async fn firing(&self) -> Option<BTreeSet<String>> {
        let alerts = self.get("/api/v1/alerts").await?["alerts"]
            .as_array()?
            .clone();
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        Some(
            firing
                .filter_map(|alert| alert["labels"]["alertname"].as_str().map(str::to_owned))
                .collect(),
        )
    }

    /// Until just these ring.
    pub async fn rings(&self, wanted: &[&str]) {
        let wanted: BTreeSet<_> = wanted.iter().map(ToString::to_string).collect();
        let (began, mut last) = (Instant::now(), None);
        while began.elapsed() < ALARM_TIMEOUT {
            last = self.firing().await;
            if last.as_ref() == Some(&wanted) {
                return println!("just {wanted:?} after {:?}", began.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("waited {ALARM_TIMEOUT:?} in vain until just {wanted:?} ring; last it was {last:?}");
    }

    pub async fn is_quiet(&self) {
        self.rings(&[]).await;
    }
}

/// No waiting time and no large number of the rules is left.
#[test]
fn nobody_waits_for_minutes_in_the_rules_as_they_are_tried() {
    let rules = impatient_rules();
    let ranges: Vec<_> = rules
        .split('[')
        .skip(1)
        .filter(|rest| !rest.starts_with("6s]"))
        .collect();
    assert_eq!(ranges, [""; 0]);
    for (patient, _) in IMPATIENT {
        assert!(ALERTS.contains(patient), "{patient} is in no rule any more");
        assert!(!rules.contains(patient), "{patient}");
    }
}
