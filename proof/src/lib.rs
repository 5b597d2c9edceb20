//! Proof that history is what it was. `docs/proof-format.md` has the formats.
//!
//! Pure code: rows, seals and files go in, findings come out. It needs no database and no Moa, so an auditor can trust it
//! without trusting either.
//!
//! - [`seal`] is a signed statement about a segment of a partition; [`seal_chain`] says which seals are valid.
//! - [`chain_check`] compares a partition's rows with its hash chain and its seals; [`report`] is what it finds.
//! - [`inclusion`] proves that an invest's events are in the sealed log, with paths of a [`merkle`] tree.
//! - [`export`] writes the log as a file, and verifies such a file.
//! - [`act`] checks the record of operators' acts against [`act_seal`]s; [`act_seal_chain`] says which of those are valid.
//! - [`backup`] says whether a backup is a whole beginning of what was sealed.
//! - [`key`] reads and makes keys; [`seals_file`] is the file of seals outside the database.
//!
//! Words are in `docs/glossary.md`.

pub mod act;
pub mod act_seal;
pub mod act_seal_chain;
pub mod backup;
pub mod chain_check;
pub mod columns;
pub mod export;
pub mod hex;
pub mod inclusion;
pub mod key;
pub mod merkle;
pub mod position_range;
pub mod report;
pub mod seal;
pub mod seal_chain;
pub mod seals_file;
pub mod time;
