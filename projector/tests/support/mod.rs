//! The helpers of the specs.

mod deliver;
mod happen;
mod redis;
mod running;
mod spec;
mod test_app;

pub use happen::{
    Happened, cancelled, closed, failed, invest, opened, opened_with, product, refunded, reserved,
    second, settled, target_missed, withdrawn, withdrawn_settled,
};
pub use redis::{Hash, RedisCounters, plain};
pub use running::Running;
pub use spec::Spec;
pub use test_app::{TestApp, listening};
