//! Whatever is done to a log, its export or its seals: three verifiers find it, at the same place. They are the one in the
//! database, the one of exports, and `examples/verify.py`, which shares nothing with the other two.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod app;
mod exports;
mod files;
mod found;
mod over_http;
mod proofs;
mod rows;
mod seals;
mod tamperings;
mod unsealed;
