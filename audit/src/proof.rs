//! The proof of history where it needs the database: the sealer, the seals' table, verification of the live log, making
//! inclusion proofs. What is checked without Moa is the crate `proof`.

mod prove;
mod routes;
pub mod seal_store;
pub mod sealer;
mod stop_writes;
pub mod verify_live;

pub use prove::{ProveError, prove};
pub(crate) use routes::{Seals, routes};
pub use stop_writes::{CompareError, stop_writes_behind_seals};
pub use verify_live::ExternalSeals;
