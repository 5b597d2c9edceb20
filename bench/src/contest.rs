//! One contestant at a time under load: its servers, its database, its process; what it did, what it cost, and whether its sums
//! are right.

mod age;
mod arena;
mod base;
mod contestant;
mod cpu;
mod lag;
mod leftovers;
mod process;
mod quiet;
mod round;
mod servers;
mod sums;

pub(crate) use arena::Arena;
pub(crate) use base::BaseShape;
pub(crate) use contestant::{Contestant, Running};
pub(crate) use cpu::{CpuTimes, resident_bytes};
pub(crate) use lag::Lags;
pub(crate) use round::{Disk, Figures, Load, Pace, measure};
pub(crate) use servers::Servers;
