//! Moa, the program, as a library: its tests use it, and `main` only starts it.
//!
//! Words are in `docs/glossary.md`.

// What the reader of standard output or standard error does must not end whoever prints: see `output` and `logging`.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod admin;
pub mod audit;
pub mod backup;
pub mod complaint;
pub mod config;
mod database;
mod demo;
pub mod doctor;
pub mod environment;
pub mod logging;
pub mod operator;
mod ops;
pub mod otlp;
mod output;
pub mod postgres;
pub mod replay;
pub mod secret;
mod secret_file;
pub mod serve;
pub mod settings;
pub mod shell;
mod table;
pub mod token;
pub mod trust;
