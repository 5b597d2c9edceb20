//! The rules: each command's way through and every refusal, each rule's boundary as a table; then random histories
//! against a plain model.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod boundaries;
mod commands;
mod give_back;
mod random;
mod support;
mod terms;
mod values;
