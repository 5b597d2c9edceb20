//! Seals, the sealer, verification and proofs, on a real log.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod bookmarks;
mod broken_chain;
mod calls;
mod house;
mod proofs;
mod sealing;
mod set_back;
mod tampering;
