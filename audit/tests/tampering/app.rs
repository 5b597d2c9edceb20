//! A log that was written and sealed by Moa itself, in a database that may then be done anything to.

use audit::export;
use audit::proof::sealer::{Sealer, Sealing};
use chrono::{TimeDelta, Utc};
use connection_pool::Pool;
use domain::{Amount, InvestId, ProductEvent, ProductId, Title, UserId};
use event_log::{Appended, Batch, Log, Metadata, NewEvent, Writer};
use futures::TryStreamExt as _;
use proof::export::{Format, Header};
use proof::key::{SigningKey, VerifyingKey, create_key, public_path};
use proof::seal_chain::ValidSeals;
use proof::seals_file;
use sqlx::Executor as _;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use testbed::Database;
use uuid::Uuid;

use crate::rows::{self, Row};

pub const PARTITIONS: i32 = 3;
/// Products, of which each partition has three.
const PRODUCTS: i64 = 9;
/// Rounds of events, after each of which it is sealed; then one more that is not.
const ROUNDS: usize = 4;

pub struct SealedApp {
    pub pool: Pool,
    pub log: Log,
    pub folder: PathBuf,
    pub key: VerifyingKey,
    /// What only the sealer has.
    pub secret: SigningKey,
    /// As they were written.
    pub rows: Vec<Row>,
    /// What an auditor believes who has the seals.
    pub believed: ValidSeals,
    /// How far each partition is sealed.
    pub sealed: Vec<i64>,
    _database: Database,
}

impl SealedApp {
    pub async fn sealed() -> Self {
        let database = Database::fresh().await;
        let pool = database.pool().await;
        let log = Log::open(pool.clone(), PARTITIONS).await.unwrap();
        let folder = std::env::temp_dir().join(format!("moa-tampering-{}", Uuid::now_v7().simple()));
        std::fs::create_dir(&folder).unwrap();
        let key = create_key(&folder.join("key")).unwrap();
        let public = key.verifying_key();
        let sealing = Sealing { key: key.clone(), earlier: Vec::new(), file: Some(folder.join("seals.ndjson")) };
        let mut sealer = Sealer::begin(&log, &pool, &sealing).await.unwrap();
        let mut history = History::of(&log).await;
        for _ in 0..ROUNDS {
            history.goes_on().await;
            sealer.seal_once().await.unwrap();
        }
        let sealed = log.heads().await.unwrap();
        history.goes_on().await;
        // Who may change rows may take a constraint away.
        (&pool).execute("alter table events drop constraint events_stream").await.unwrap();
        let rows = rows::read(&pool).await;
        let seals = seals_file::read(&folder.join("seals.ndjson")).unwrap();
        let believed = ValidSeals::read(seals, &[public], Some(*log.identity())).unwrap();
        Self { pool, log, folder, key: public, secret: key, rows, believed, sealed, _database: database }
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
        let blocks: Vec<Vec<u8>> =
            export::export(self.pool.clone(), header, format).try_collect().await.expect("a whole export");
        std::fs::write(file, blocks.concat()).unwrap();
    }

    /// The rows of a partition, by position from 1.
    pub fn partition(&self, partition: i32) -> Vec<Row> {
        self.rows.iter().filter(|row| row.partition == partition).cloned().collect()
    }
}

impl Drop for SealedApp {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

/// Events of all kinds, through the log's own writer.
struct History {
    writers: Vec<Writer>,
    sequences: HashMap<i64, i64>,
}

impl History {
    async fn of(log: &Log) -> Self {
        let mut writers = Vec::new();
        for partition in log.partitions() {
            writers.push(Writer::open(log.clone(), partition).await.unwrap());
        }
        Self { writers, sequences: HashMap::new() }
    }

    /// Some 33 more in each partition, in three commits.
    async fn goes_on(&mut self) {
        for commit in 0..3 {
            for product in 1..=PRODUCTS {
                let events = happens(!self.sequences.contains_key(&product), product, commit);
                let events = events.into_iter().map(|event| self.next(product, event)).collect();
                let writer = &mut self.writers[(product % i64::from(PARTITIONS)) as usize];
                let at = writer.now();
                let appended = writer.append(Batch { events, keys: Vec::new() }, at).await.unwrap();
                assert!(matches!(appended, Appended::Committed(_)), "{appended:?}");
            }
        }
    }

    fn next(&mut self, product: i64, event: ProductEvent) -> NewEvent {
        let sequence = self.sequences.entry(product).or_insert(0);
        *sequence += 1;
        let traceparent = (*sequence % 3 == 0).then(|| format!("00-{:032x}-{sequence:016x}-01", product));
        let metadata = Metadata {
            correlation_id: format!("request \"{product}\" \\ {sequence}"),
            causation_id: (*sequence % 2 == 0).then(|| Uuid::now_v7().to_string()),
            traceparent,
        };
        NewEvent { product_id: ProductId::try_from(product).unwrap(), sequence: *sequence, event, metadata }
    }
}

fn happens(new: bool, product: i64, commit: i64) -> Vec<ProductEvent> {
    let (user_id, amount) = (user(product), |won: i64| Amount::try_from(won).unwrap());
    let (one, two) = (InvestId(Uuid::now_v7()), InvestId(Uuid::now_v7()));
    let expires_at = Utc::now() + TimeDelta::seconds(600);
    let reserved = |invest_id, won| ProductEvent::InvestReserved {
        invest_id,
        user_id: user_id.clone(),
        amount: amount(won),
        expires_at,
    };
    let mut events = vec![
        reserved(one, 1_000 + commit),
        ProductEvent::InvestSettled { invest_id: one, user_id: user_id.clone(), amount: amount(1_000 + commit) },
        reserved(two, 70_000 * product),
        ProductEvent::InvestFailed {
            invest_id: two,
            user_id: user_id.clone(),
            amount: amount(70_000 * product),
            code: "NO_MONEY".into(),
            detail: "\"카드\" refused \\ \u{1f4b8}\ttwice".into(),
        },
    ];
    if new {
        events.insert(0, opened(product));
    } else if commit == 2 && product % 4 == 0 {
        events.push(ProductEvent::ProductClosed {});
    }
    events
}

fn user(product: i64) -> UserId {
    UserId::try_from(format!("user{product}")).unwrap()
}

fn opened(product: i64) -> ProductEvent {
    ProductEvent::ProductOpened {
        product_id: ProductId::try_from(product).unwrap(),
        title: Title::try_from(format!("상품, \"{product}\" \\u0041")).unwrap(),
        total_investing_amount: Amount::try_from(1_000_000).unwrap(),
        started_at: "2026-01-01T00:00:00Z".parse().unwrap(),
        finished_at: "2027-01-01T00:00:00Z".parse().unwrap(),
    }
}
