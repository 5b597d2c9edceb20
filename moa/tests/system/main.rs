//! The whole system under test: real processes, real clients, and a checker that shares no code with them.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

mod checker;
mod harness;

mod acts;
mod admin;
mod alarms;
mod attacked;
mod backup;
mod complaints;
mod config;
mod console;
mod copied;
mod cursors;
mod deferred;
mod demo;
mod deployment;
mod doctor;
mod encrypted;
mod events;
mod examples;
mod expired;
mod exported;
mod faults;
mod fuzzed;
mod killed;
mod logs;
mod migrations;
mod outages;
mod outlets;
mod outsider;
mod planted;
mod projections;
mod race;
mod readiness;
mod rebuilds;
mod reference;
mod replayed;
mod replicas;
mod roles;
mod rush;
mod sealed;
mod seen;
mod services;
mod set_back;
mod settings;
mod silent;
mod streams;
mod terminal;
mod terminated;
mod terms;
mod timelines;
mod tokens;
#[cfg(feature = "otlp")]
mod traced;
mod trusted;
mod users;
mod web_page;
