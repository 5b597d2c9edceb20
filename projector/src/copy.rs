//! Rows on their way into tables in bulk: PostgreSQL's binary COPY format, as its documentation of COPY describes it
//! ("Binary Format": a header, then per row a count of fields and each field's length and bytes, then a trailer).

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use uuid::Uuid;

/// Bytes of one table's rows that are copied in one go.
const FULL: usize = 4 << 20;
/// Goes that may wait to be copied.
const WAITING: usize = 2;

const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();
/// Of PostgreSQL's times: 2000-01-01 00:00:00 UTC, in microseconds of Unix time.
const EPOCH: i64 = 946_684_800_000_000;

/// Rows of one table, ready to be copied.
pub(crate) struct Rows {
    /// Which of the read model's tables.
    pub(crate) table: usize,
    /// The whole of a COPY's data.
    pub(crate) data: Vec<u8>,
}

/// Takes rows and passes them on when they are many. Blocks while many wait to be copied.
pub(crate) struct Copy {
    buffers: Vec<Vec<u8>>,
    full: mpsc::Sender<Rows>,
}

impl Copy {
    /// For so many tables; what is ready comes out of the other end.
    pub(crate) fn new(tables: usize) -> (Self, mpsc::Receiver<Rows>) {
        let (full, ready) = Self::channel();
        (Self::into(tables, full), ready)
    }

    /// What is ready of several goes in at one end, and comes out of the other.
    pub(crate) fn channel() -> (mpsc::Sender<Rows>, mpsc::Receiver<Rows>) {
        mpsc::channel(WAITING)
    }

    /// For so many tables; what is ready goes into `full`.
    pub(crate) fn into(tables: usize, full: mpsc::Sender<Rows>) -> Self {
        Self { buffers: vec![Vec::new(); tables], full }
    }

    /// Adds a row to the table of that number, its fields in the order of the table's columns.
    pub(crate) fn row(&mut self, table: usize, fields: &[&dyn Field]) {
        let buffer = &mut self.buffers[table];
        if buffer.is_empty() {
            buffer.reserve(FULL + FULL / 8);
            buffer.extend_from_slice(HEADER);
        }
        buffer.extend_from_slice(&(fields.len() as i16).to_be_bytes());
        for field in fields {
            field.put(buffer);
        }
        if buffer.len() >= FULL {
            self.pass_on(table);
        }
    }

    /// Nobody takes rows any more.
    pub(crate) fn is_given_up(&self) -> bool {
        self.full.is_closed()
    }

    /// Passes on what is left.
    pub(crate) fn finish(mut self) {
        for table in 0..self.buffers.len() {
            if !self.buffers[table].is_empty() {
                self.pass_on(table);
            }
        }
    }

    fn pass_on(&mut self, table: usize) {
        let mut data = std::mem::take(&mut self.buffers[table]);
        data.extend_from_slice(&TRAILER);
        // Nobody to take it any more: the copying has failed, and says so itself.
        self.full.blocking_send(Rows { table, data }).ok();
    }
}

/// A value of a column.
pub(crate) trait Field {
    /// Its length and its bytes.
    fn put(&self, buffer: &mut Vec<u8>);
}

fn put(buffer: &mut Vec<u8>, bytes: &[u8]) {
    buffer.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
    buffer.extend_from_slice(bytes);
}

impl Field for &str {
    fn put(&self, buffer: &mut Vec<u8>) {
        put(buffer, self.as_bytes());
    }
}

impl Field for String {
    fn put(&self, buffer: &mut Vec<u8>) {
        put(buffer, self.as_bytes());
    }
}

impl Field for i32 {
    fn put(&self, buffer: &mut Vec<u8>) {
        put(buffer, &self.to_be_bytes());
    }
}

impl Field for i64 {
    fn put(&self, buffer: &mut Vec<u8>) {
        put(buffer, &self.to_be_bytes());
    }
}

impl Field for bool {
    fn put(&self, buffer: &mut Vec<u8>) {
        put(buffer, &[u8::from(*self)]);
    }
}

impl Field for Uuid {
    fn put(&self, buffer: &mut Vec<u8>) {
        put(buffer, self.as_bytes());
    }
}

impl Field for DateTime<Utc> {
    fn put(&self, buffer: &mut Vec<u8>) {
        put(buffer, &(self.timestamp_micros() - EPOCH).to_be_bytes());
    }
}

impl<T: Field> Field for Option<T> {
    fn put(&self, buffer: &mut Vec<u8>) {
        match self {
            Some(value) => value.put(buffer),
            None => buffer.extend_from_slice(&(-1_i32).to_be_bytes()),
        }
    }
}
