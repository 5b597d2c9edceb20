//! Moa, the program, as a library: its tests use it, and `main` only starts it.

mod admin;
pub mod audit;
mod database;
mod demo;
pub mod logging;
pub mod operator;
mod ops;
pub mod postgres;
pub mod replay;
pub mod serve;
pub mod settings;
mod token;
mod welcome;
