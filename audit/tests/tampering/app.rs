//! A log that was written and sealed by Moa itself, in a database that may then be done anything to.

use audit::export;
use audit::proof::sealer::{Sealer, Sealing};
use chrono::Utc;
use domain::{InvestId, ProductEvent};
use event_log::{Log, Metadata, NewEvent, RawEvent};
use futures::TryStreamExt as _;
use proof::export::{Format, Header};
use proof::key::{SigningKey, VerifyingKey, create_key, public_path};
use proof::seal_chain::ValidSeals;
use proof::seals_file;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use testbed::events::{History, opened_as, reserved_by, settled_by};
use testbed::values::{product, user, won};
use testbed::{TempFolder, TestLog};
use uuid::Uuid;

use crate::rows;

pub const PARTITIONS: i32 = 3;
/// Products, of which each partition has three.
const PRODUCTS: i64 = 9;
/// Rounds of events, after each of which it is sealed; then one more that is not.
const ROUNDS: usize = 4;

pub struct SealedApp {
    test_log: TestLog,
    pub folder: TempFolder,
    pub key: VerifyingKey,
    /// What only the sealer has.
    pub secret: SigningKey,
    /// As they were written.
    pub rows: Vec<RawEvent>,
    /// What an auditor believes who has the seals.
    pub believed: ValidSeals,
    /// How far each partition is sealed.
    pub sealed: Vec<i64>,
}

impl Deref for SealedApp {
    type Target = TestLog;

    fn deref(&self) -> &TestLog {
        &self.test_log
    }
}

impl SealedApp {
    pub async fn sealed() -> Self {
        let (test_log, folder) = (
            TestLog::with_partitions(PARTITIONS).await,
            TempFolder::new("tampering"),
        );
        let TestLog { log, pool, .. } = &test_log;
        let key = create_key(&folder.join("key")).unwrap();
        let public = key.verifying_key();
        let sealing = Sealing {
            key: key.clone(),
            earlier: Vec::new(),
            file: Some(folder.join("seals.ndjson")),
        };
        let mut sealer = Sealer::begin(log, pool, &sealing).await.unwrap();
        let mut history = History::of(log).await;
        for _ in 0..ROUNDS {
            goes_on(&mut history).await;
            sealer.seal_once().await.unwrap();
        }
        let sealed = log.heads().await.unwrap();
        goes_on(&mut history).await;
        // Who may change rows may take a constraint away.
        test_log
            .execute("alter table events drop constraint events_stream")
            .await;
        let rows = rows::read(log).await;
        let seals = seals_file::read(&folder.join("seals.ndjson")).unwrap();
        let believed = ValidSeals::read(seals, &[public], Some(*log.identity())).unwrap();
        Self {
            test_log,
            folder,
            key: public,
            secret: key,
            rows,
            believed,
            sealed,
        }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub fn seals(&self) -> PathBuf {
        self.file("seals.ndjson")
    }

    pub fn public_key(&self) -> PathBuf {
        public_path(&self.file("key"))
    }

    /// Exports what is in the database now.
    pub async fn export(&self, format: Format, file: &Path) {
        let heads = Log::heads_of(&self.pool, PARTITIONS).await.unwrap();
        let header = Header::of(*self.log.identity(), heads, None, Utc::now());
        let blocks: Vec<Vec<u8>> = export::export(self.pool.clone(), header, format)
            .try_collect()
            .await
            .expect("a whole export");
        std::fs::write(file, blocks.concat()).unwrap();
    }

    /// The rows of a partition, by position from 1.
    pub fn partition(&self, partition: i32) -> Vec<RawEvent> {
        self.rows
            .iter()
            .filter(|row| row.partition == partition)
            .cloned()
            .collect()
    }
}

/// Some 33 events more in each partition, of all kinds, in three commits for each product.
async fn goes_on(history: &mut History) {
    for commit in 0..3 {
        for id in 1..=PRODUCTS {
            let events = happens(history.sequence(id) == 0, id, commit);
            let events = events
                .into_iter()
                .map(|event| next(history, id, event))
                .collect();
            history.append(None, events).await;
        }
    }
}

fn next(history: &mut History, id: i64, event: ProductEvent) -> NewEvent {
    let sequence = history.sequence(id) + 1;
    let metadata = Metadata {
        correlation_id: format!("request \"{id}\" \\ {sequence}"),
        causation_id: (sequence % 2 == 0).then(|| Uuid::now_v7().to_string()),
        traceparent: (sequence % 3 == 0).then(|| format!("00-{id:032x}-{sequence:016x}-01")),
        actor: (sequence % 5 == 1).then(|| "ann".into()),
        actor_role: (sequence % 5 == 1).then(|| "OPERATOR".into()),
    };
    history.next(product(id), event, metadata)
}

fn happens(new: bool, product: i64, commit: i64) -> Vec<ProductEvent> {
    let (name, user_id) = (format!("user{product}"), user(&format!("user{product}")));
    let (one, two) = (InvestId(Uuid::now_v7()), InvestId(Uuid::now_v7()));
    let mut events = vec![
        reserved_by(&name, one, 1_000 + commit),
        settled_by(&name, one, 1_000 + commit),
        reserved_by(&name, two, 70_000 * product),
        ProductEvent::InvestFailed {
            invest_id: two,
            user_id,
            amount: won(70_000 * product),
            code: "NO_MONEY".into(),
            detail: "\"카드\" refused \\ \u{1f4b8}\ttwice".into(),
        },
    ];
    if new {
        events.insert(
            0,
            opened_as(product, &format!("상품, \"{product}\" \\u0041")),
        );
    } else if commit == 2 && product % 4 == 0 {
        events.push(ProductEvent::ProductClosed {});
    }
    events
}
