//! Generations of the real read models' tables on a real PostgreSQL, filled by plain SQL.

mod catalog;
mod comparing;
mod owned;
mod racing;
mod switching;
mod world;
