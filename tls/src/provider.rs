//! The provider of cryptography.

use rustls::crypto::ring;

/// Makes ring the provider of every TLS connection of this process; does nothing when there is one already. To be called before
/// anything speaks TLS: clients that find no provider panic, and so do those that find two.
pub fn install_provider() {
    // An error says that there is one, which only this function installs.
    ring::default_provider().install_default().ok();
}
