//! What auditors are answered, on a real log.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod access;
mod acts;
mod as_of;
mod asked;
mod event;
mod proof;
mod refusal;
mod timeline;
