//! The log as a file that can be verified without Moa; `docs/proof-format.md` has the format.
//!
//! - [`Format`], [`Header`]: what is written. Who writes it reads the log: crate `audit`.
//! - [`verify`]: checking a file with seals and public keys alone.

mod blocks;
mod format;
mod parsed_block;
mod read;
mod verify;

pub use format::{Format, Header};
pub use verify::{ExportError, verify, verify_against};
