//! The auditor's room, on a real log.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod access;
mod as_of;
mod event;
mod proof;
mod refusal;
mod timeline;
