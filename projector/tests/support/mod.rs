//! The helpers of the specs.

mod deliver;
mod happen;
mod redis;
mod spec;
mod world;

pub use happen::{Happened, closed, failed, invest, opened, product, reserved, second, settled};
pub use redis::{Hash, Shown, plain};
pub use spec::Spec;
pub use world::{World, listening};
