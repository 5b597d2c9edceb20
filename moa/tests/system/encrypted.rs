//! TLS to servers that show certificates which are right, expired, of another name, of another CA, or none.

mod broker_and_cache;
mod postgres;
