//! The address that a request comes from, also through proxies.

use axum::http::HeaderMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// The bits of an IPv6 address that name a network: whoever has one address has all of its network.
const IPV6_NETWORK_BITS: u32 = 64;
const FORWARDED_FOR: &str = "x-forwarded-for";

/// Who is at the other end of a request's connection: an extension of every request that came over one. Behind a proxy it is
/// the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// Whom the limits of one address count: an extension of every request that came over a connection. It is an IPv4 address, or the network
/// of 64 bits of an IPv6 one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

impl ClientAddress {
    /// The client of `peer`'s connection: the peer itself, or whom it forwards for, where it is one of `proxies`.
    ///
    /// `X-Forwarded-For` is read from its end, as each proxy adds whom it was called by; what stands before the last address that is no proxy's
    /// may be anything that a client wrote.
    pub(crate) fn of(peer: Peer, headers: &HeaderMap, proxies: &[ProxyNetwork]) -> Self {
        let mut address = peer.0.ip().to_canonical();
        let is_proxy = |address: IpAddr| proxies.iter().any(|proxies| proxies.0.contains(&address));
        if proxies.is_empty() || !is_proxy(address) {
            return Self(network(address));
        }
        let named = headers
            .get_all(FORWARDED_FOR)
            .iter()
            .rev()
            .flat_map(|value| value.to_str().unwrap_or_default().rsplit(','));
        for named in named {
            let Some(before) = address_in(named.trim()) else {
                break;
            };
            address = before.to_canonical();
            if !is_proxy(address) {
                break;
            }
        }
        Self(network(address))
    }
}

/// Some proxies add the port.
fn address_in(text: &str) -> Option<IpAddr> {
    text.parse()
        .or_else(|_| text.parse().map(|both: SocketAddr| both.ip()))
        .ok()
}

/// One address counts as its network.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let host_bits = u128::BITS - IPV6_NETWORK_BITS;
            IpAddr::V6(Ipv6Addr::from_bits(
                address.to_bits() >> host_bits << host_bits,
            ))
        }
    }
}

/// Addresses of proxies that tell the truth about whom they forward for: one, or a network as `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyNetwork(ipnet::IpNet);

/// Not addresses. Says what would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an address or a network such as 10.0.0.7 or 10.0.0.0/8")]
pub struct InvalidNetworkError;

impl FromStr for ProxyNetwork {
    type Err = InvalidNetworkError;

    fn from_str(text: &str) -> Result<Self, InvalidNetworkError> {
        let one = text.parse::<IpAddr>().map(ipnet::IpNet::from);
        one.or_else(|_| text.parse())
            .map(Self)
            .map_err(|_| InvalidNetworkError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use rstest::rstest;

    #[rstest]
    #[case::not_from_a_proxy("203.0.113.9", &["198.51.100.1"], "203.0.113.9")]
    #[case::nothing_said("10.0.0.7", &[], "10.0.0.7")]
    #[case::one_proxy("10.0.0.7", &["198.51.100.1"], "198.51.100.1")]
    #[case::two_proxies("10.0.0.7", &["198.51.100.1, 10.0.0.8"], "198.51.100.1")]
    #[case::two_headers("10.0.0.7", &["198.51.100.1", "10.0.0.8"], "198.51.100.1")]
    #[case::made_up_by_the_client("10.0.0.7", &["192.0.2.1, 198.51.100.1"], "198.51.100.1")]
    #[case::made_up_as_a_proxy("10.0.0.7", &["192.0.2.1, 10.9.9.9, 198.51.100.1"], "198.51.100.1")]
    #[case::nonsense("10.0.0.7", &["198.51.100.1, unknown"], "10.0.0.7")]
    #[case::nonsense_before("10.0.0.7", &["unknown, 10.0.0.8"], "10.0.0.8")]
    #[case::with_a_port("10.0.0.7", &["198.51.100.1:4711"], "198.51.100.1")]
    #[case::mapped("::ffff:10.0.0.7", &["::ffff:198.51.100.1"], "198.51.100.1")]
    #[case::a_network("10.0.0.7", &["2001:db8::1:2:3:4"], "2001:db8::")]
    fn the_client_is_the_last_that_is_no_proxy(
        #[case] peer: IpAddr,
        #[case] forwarded: &[&str],
        #[case] client: IpAddr,
    ) {
        let proxies = ["10.0.0.0/8".parse().unwrap()];
        let named = forwarded
            .iter()
            .map(|value| (FORWARDED_FOR, HeaderValue::from_str(value).unwrap()));
        let mut headers = HeaderMap::new();
        named.for_each(|(name, value)| {
            headers.append(name, value);
        });
        assert_eq!(
            ClientAddress::of(Peer((peer, 1).into()), &headers, &proxies).0,
            client
        );
        assert_eq!(
            ClientAddress::of(Peer((peer, 1).into()), &headers, &[]).0,
            network(peer),
            "nobody is a proxy"
        );
    }

    #[rstest]
    #[case("10.0.0.1", "10.0.0.1", true)]
    #[case("10.0.0.1", "10.0.0.2", false)]
    #[case("10.0.0.1", "::ffff:10.0.0.1", true)]
    #[case("2001:db8::1", "2001:db8::ffff:1", true)]
    #[case("2001:db8::1", "2001:db8:0:1::1", false)]
    fn one_caller_is_one_ipv4_address_or_one_ipv6_network(
        #[case] one: IpAddr,
        #[case] two: IpAddr,
        #[case] same: bool,
    ) {
        assert_eq!(network(one) == network(two), same);
    }

    #[rstest]
    #[case("10.0.0.7", true)]
    #[case("10.0.0.0/8", true)]
    #[case("2001:db8::/32", true)]
    #[case("10.0.0.0/33", false)]
    #[case("proxy.example", false)]
    #[case("*", false)]
    #[case("", false)]
    fn proxies_are_addresses_or_networks(#[case] text: &str, #[case] good: bool) {
        assert_eq!(text.parse::<ProxyNetwork>().is_ok(), good);
    }
}
