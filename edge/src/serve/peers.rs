//! How many connections each address has.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// The bits of an IPv6 address that name a network: whoever has one address has all of its network.
const IPV6_NETWORK_BITS: u32 = 64;

/// Connections by their peer's address, an IPv6 address by its network of 64 bits.
#[derive(Clone, Default)]
pub(super) struct Peers(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One connection among those of its peer, until it is dropped.
pub(super) struct PeerPlace {
    peers: Peers,
    peer: IpAddr,
}

impl Peers {
    /// Counts a connection of `peer`; `None` when it has `limit` already.
    pub(super) fn admit(&self, peer: IpAddr, limit: usize) -> Option<PeerPlace> {
        let peer = network(peer.to_canonical());
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(peer).or_default();
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(PeerPlace { peers: self.clone(), peer })
    }
}

impl Drop for PeerPlace {
    fn drop(&mut self) {
        let mut counts = self.peers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.peer);
            }
        }
    }
}

fn network(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V4(_) => peer,
        IpAddr::V6(address) => {
            let host_bits = u128::BITS - IPV6_NETWORK_BITS;
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> host_bits << host_bits))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("10.0.0.1", "10.0.0.1", true)]
    #[case("10.0.0.1", "10.0.0.2", false)]
    #[case("10.0.0.1", "::ffff:10.0.0.1", true)]
    #[case("2001:db8::1", "2001:db8::ffff:1", true)]
    #[case("2001:db8::1", "2001:db8:0:1::1", false)]
    fn one_peer_is_one_ipv4_address_or_one_ipv6_network(#[case] one: IpAddr, #[case] two: IpAddr, #[case] same: bool) {
        let peers = Peers::default();
        let first = peers.admit(one, 1);
        assert!(first.is_some());
        assert_eq!(peers.admit(two, 1).is_none(), same);
        drop(first);
        assert!(peers.admit(one, 1).is_some(), "a place that was given back is free");
        assert!(peers.0.lock().unwrap().is_empty(), "who has no connection takes no memory");
    }
}
