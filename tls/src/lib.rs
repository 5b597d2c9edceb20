//! TLS in one place: the one provider of cryptography, whose certificates Moa believes and which it shows ([`Trust`]), and a sentence
//! for whoever must mend a certificate that was not believed ([`explain`]).
//!
//! A listener shows a [`ServerIdentity`], which follows its files. Clients of servers take a [`Trust`] and never make a configuration of rustls themselves.
//!
//! Words are in `docs/glossary.md`.

mod expiry;
mod explain;
mod identity;
mod pem;
mod pinned;
mod provider;
mod server;
mod trust;

pub use expiry::expires_at;
pub use explain::explain;
pub use identity::{Identity, IdentityError};
pub use pem::PemError;
pub use pinned::pinned_client_config;
pub use provider::install_provider;
pub use server::{IDENTITY_REFRESH_INTERVAL, ServerIdentity};
pub use trust::Trust;
