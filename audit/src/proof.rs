//! The proof of history where it needs the database: the sealer, the seals' table, verification of the live log, making
//! inclusion proofs. What is checked without Moa is the crate `proof`.

pub mod act_seal_store;
pub mod act_sealer;
mod external_seals;
mod prove;

mod routes;
pub mod seal_store;
pub mod sealer;
mod stop_writes;
mod verify_acts;
mod verify_backup;
mod verify_error;
pub mod verify_live;

pub use external_seals::ExternalSeals;
pub use prove::{ProveError, prove};
pub(crate) use routes::{ActSeals, Seals, routes};
pub use stop_writes::{CompareError, stop_writes_behind_seals};
pub use verify_acts::verify_acts;
pub use verify_backup::verify_backup;
pub use verify_error::VerifyError;
