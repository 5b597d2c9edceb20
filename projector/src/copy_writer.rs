//! The binary COPY format of PostgreSQL: a header; per row the number of fields, and each field's length and bytes; a trailer.
//! Rows are encoded in chunks, which are copied while the next ones are encoded.

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use uuid::Uuid;

/// A chunk of one table's rows is copied once it has so many bytes.
const CHUNK_BYTES: usize = 4 << 20;
/// Chunks that may wait to be copied.
const MAX_WAITING_CHUNKS: usize = 2;

const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const COPY_TRAILER: [u8; 2] = (-1_i16).to_be_bytes();
/// The epoch of PostgreSQL's times, 2000-01-01 00:00:00 UTC, in microseconds of Unix time.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

/// Encoded rows of one table, ready to be copied.
pub(crate) struct CopyChunk {
    /// The table's index among the read model's.
    pub(crate) table: usize,
    /// All the data of one COPY.
    pub(crate) data: Vec<u8>,
}

/// Encodes rows. One with a channel sends them in chunks, and blocks while [`MAX_WAITING_CHUNKS`] wait to be copied.
pub(crate) struct CopyWriter {
    buffers: Vec<Vec<u8>>,
    chunks: Option<mpsc::Sender<CopyChunk>>,
}

impl CopyWriter {
    /// A channel for the chunks of one or several writers.
    pub(crate) fn channel() -> (mpsc::Sender<CopyChunk>, mpsc::Receiver<CopyChunk>) {
        mpsc::channel(MAX_WAITING_CHUNKS)
    }

    /// A writer for so many tables, which sends its chunks to `chunks`.
    pub(crate) fn new(tables: usize, chunks: mpsc::Sender<CopyChunk>) -> Self {
        Self {
            buffers: vec![Vec::new(); tables],
            chunks: Some(chunks),
        }
    }

    /// A writer that keeps its rows: those of one step.
    pub(crate) fn of_step(tables: usize) -> Self {
        Self {
            buffers: vec![Vec::new(); tables],
            chunks: None,
        }
    }

    /// Adds a row to the table of this index, its fields in the order of the table's columns.
    pub(crate) fn row(&mut self, table: usize, fields: &[&dyn Field]) {
        let buffer = &mut self.buffers[table];
        if buffer.is_empty() {
            if self.chunks.is_some() {
                buffer.reserve(CHUNK_BYTES + CHUNK_BYTES / 8);
            }
            buffer.extend_from_slice(COPY_HEADER);
        }
        buffer.extend_from_slice(&(fields.len() as i16).to_be_bytes());
        for field in fields {
            field.put(buffer);
        }
        if buffer.len() >= CHUNK_BYTES && self.chunks.is_some() {
            self.send_chunk(table);
        }
    }

    /// Whether nobody copies the chunks any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.chunks.as_ref().is_some_and(mpsc::Sender::is_closed)
    }

    /// Sends the remaining rows.
    pub(crate) fn finish(mut self) {
        for table in 0..self.buffers.len() {
            self.send_chunk(table);
        }
    }

    /// The rows that were not sent, a chunk for each table that has some.
    pub(crate) fn into_chunks(mut self) -> Vec<CopyChunk> {
        (0..self.buffers.len())
            .filter_map(|table| self.chunk(table))
            .collect()
    }

    fn send_chunk(&mut self, table: usize) {
        if let (Some(chunk), Some(chunks)) = (self.chunk(table), &self.chunks) {
            // When nobody takes it the copying has failed, and reports that itself.
            chunks.blocking_send(chunk).ok();
        }
    }

    fn chunk(&mut self, table: usize) -> Option<CopyChunk> {
        let mut data = std::mem::take(&mut self.buffers[table]);
        data.extend_from_slice(&COPY_TRAILER);
        (data.len() > COPY_TRAILER.len()).then_some(CopyChunk { table, data })
    }
}

/// A value of a column.
pub(crate) trait Field {
    /// Writes its length and its bytes.
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
        put(
            buffer,
            &(self.timestamp_micros() - POSTGRES_EPOCH_US).to_be_bytes(),
        );
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
