//! What the specs are written in.

mod deliver;
mod happen;
mod spec;
mod world;

pub use happen::{Happened, closed, failed, invest, opened, product, reserved, second, settled};
pub use spec::Spec;
pub use world::World;
