//! The write side as a whole: processors, settlement and the routes over HTTP, on a real PostgreSQL, a fresh database for each test.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod app;
mod audit;
mod bodies;
mod call;
mod clock;
mod cold_products;
mod ended;
mod fates;
mod figures;
mod idempotency;
mod idempotency_races;
mod instances;
mod lost_answers;
mod lost_tail;
mod open_invest;
mod overload;
mod payment_fairness;
mod payment_provider_away;
mod payment_troubles;
mod payments;
mod personal_data;
mod processor;
mod products;
mod recorded;
mod recorded_calls;
mod recorded_drops;
mod refusals;
mod settlement;
mod silent;
mod snapshots;
mod window;
mod withdraw;
mod write_side;
