//! A log with some history, a key, and a folder for files of seals.

use audit::proof::ExternalSeals;
use audit::proof::sealer::{SealError, Sealer, Sealing};
use audit::proof::verify_live::verify_live;
use domain::{InvestId, ProductEvent};
use event_log::{Partition, Position};
use proof::key::{SigningKey, VerifyingKey};
use proof::report::{BadPosition, Report};
use std::ops::Deref;
use std::path::PathBuf;
use testbed::events::{self, commit, new_event, opened};
use testbed::values::product;
use testbed::{TempFolder, TestLog};
use uuid::Uuid;

pub const PARTITIONS: i32 = 2;

pub struct TestApp {
    test_log: TestLog,
    folder: TempFolder,
}

impl Deref for TestApp {
    type Target = TestLog;

    fn deref(&self) -> &TestLog {
        &self.test_log
    }
}

/// The key of every test.
pub fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

pub fn public() -> Vec<VerifyingKey> {
    vec![key().verifying_key()]
}

impl TestApp {
    /// With no events yet.
    pub async fn empty() -> Self {
        Self {
            test_log: TestLog::with_partitions(PARTITIONS).await,
            folder: TempFolder::new("seals"),
        }
    }

    /// With products 2 to 5, two in each partition, and then twenty reservations in each.
    pub async fn with_history() -> Self {
        let app = Self::empty().await;
        for product in 2..=5 {
            app.append(vec![(product, 1, opened(product))]).await;
        }
        app.invests(1..=20).await;
        app
    }

    /// With all of that history sealed.
    pub async fn sealed() -> Self {
        let app = Self::with_history().await;
        app.seal("seals").await;
        app
    }

    /// Reserves for each number in products 2 to 5.
    pub async fn invests(&self, numbers: std::ops::RangeInclusive<i64>) {
        for product in 2..=5 {
            let events = numbers
                .clone()
                .map(|number| (product, number + 1, reserved(product, number)));
            self.append(events.collect()).await;
        }
    }

    /// Appends events of one partition.
    pub async fn append(&self, events: Vec<(i64, i64, ProductEvent)>) {
        let partition = self.log.partition_of(product(events[0].0));
        let events = events
            .into_iter()
            .map(|(id, sequence, event)| new_event(product(id), sequence, event));
        commit(&mut self.writer_of(partition).await, events.collect()).await;
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub fn sealing(&self, file: &str) -> Sealing {
        Sealing {
            key: key(),
            earlier: vec![],
            file: Some(self.file(file)),
        }
    }

    /// A sealer with the file of that name, as it begins.
    pub async fn sealer(&self, file: &str) -> Result<Sealer, SealError> {
        Sealer::begin(&self.log, &self.pool, &self.sealing(file)).await
    }

    /// Seals all there is, into the file of that name too.
    pub async fn seal(&self, file: &str) -> usize {
        self.sealer(file)
            .await
            .unwrap()
            .seal_once_and_release()
            .await
            .unwrap()
    }

    pub fn lines(&self, file: &str) -> Vec<String> {
        std::fs::read_to_string(self.file(file))
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    pub async fn verified(&self, file: &str) -> Report {
        let outside = ExternalSeals {
            file: Some(self.file(file)),
            keys: public(),
        };
        verify_live(&self.pool, Some(&outside)).await.unwrap()
    }
}

/// What was found in `partition`.
pub fn bad(report: &Report, partition: Partition) -> Option<&BadPosition> {
    report
        .partitions
        .iter()
        .find(|found| found.partition == partition)?
        .bad
        .as_ref()
}

/// Another amount at position 9 of partition 0, without another hash.
pub const AMOUNT: &str = "update events set payload = regexp_replace(payload::text, '\"amount\":[0-9]+', '\"amount\":777')::json where partition = 0 and position = 9";

/// Everything from `first` on hashed again, by the log's own rule as `docs/log-format.md` has it, by somebody without the key.
pub fn rehashed(partition: Partition, first: Position) -> String {
    format!(
        "do $$
         declare
             row events;
             before bytea;
         begin
             select coalesce((select e.hash from events e where e.partition = {partition} and e.position = {first} - 1),
                             sha256(convert_to('moa-log-1', 'UTF8') || uuid_send(log_id) || int8send(partitions)
                                    || int8send({partition})))
               into before from log_identity;
             for row in select * from events e where e.partition = {partition} and e.position >= {first} order by e.position loop
                 select sha256(before || string_agg(int8send(length(c.bytes)) || c.bytes, ''::bytea order by c.place))
                   into before
                   from unnest(array[
                      convert_to(row.aggregate_type, 'UTF8'), convert_to(row.aggregate_id, 'UTF8'), int8send(row.sequence),
                      convert_to(row.event_type, 'UTF8'), convert_to(row.event_version, 'UTF8'),
                      convert_to(row.payload::text, 'UTF8'), convert_to(row.metadata::text, 'UTF8'),
                      int8send(row.partition), int8send(row.position), uuid_send(row.event_id),
                      int8send((extract(epoch from row.recorded_at) * 1000000)::bigint)]) with ordinality as c (bytes, place);
                 update events e set hash = before where e.partition = row.partition and e.position = row.position;
             end loop;
         end $$"
    )
}

/// The same id for the same product and number.
pub fn invest(product: i64, number: i64) -> InvestId {
    InvestId(Uuid::from_u128(
        0x0199_1f5e_7c3a_7b60_9a52_0000_0000_0000 + (product as u128) * 1_000 + number as u128,
    ))
}

pub fn reserved(product: i64, number: i64) -> ProductEvent {
    events::reserved_by(&format!("user{number}"), invest(product, number), number)
}

pub fn settled(product: i64, number: i64) -> ProductEvent {
    events::settled_by(&format!("user{number}"), invest(product, number), number)
}
