//! Seals, the sealer, verification and proofs, on a real log.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod acts;
mod app;
mod backup;
mod broken_chain;
mod calls;
mod proofs;
mod resume_markers;
mod sealing;
mod set_back;
mod tampering;
