//! Proof that history is what it was: seals, verification, inclusion proofs. `docs/proof-format.md` has the formats.
//!
//! What is checked without Moa is pure code: [`seal`], [`trust`], [`check`], [`merkle`], and [`inclusion::check`]. Rows and seals
//! go in, findings come out.

mod behind;
pub mod check;
pub mod columns;
pub mod file;
pub mod hex;
pub mod inclusion;
pub mod key;
pub mod live;
pub mod merkle;
pub mod report;
mod routes;
pub mod seal;
pub mod sealer;
pub mod store;
pub mod trust;

pub use behind::{CompareError, stop_writes_behind_seals};
pub use live::Outside;
pub(crate) use routes::routes;
