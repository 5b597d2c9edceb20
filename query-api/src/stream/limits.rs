//! How many may listen: in all, of one user, and of one address.

use edge::{ClientAddress, Place, Places, Problem};
use std::net::IpAddr;

/// Streams that a process serves at once, of both kinds together: three fifths of its connections, so that reads have the rest.
pub const MAX_STREAMS: usize = 6_000;
/// Streams of one address. Behind a proxy all come from the proxy's.
pub const MAX_STREAMS_PER_PEER: usize = 5_000;
/// Streams of one user: tabs and devices.
pub const MAX_STREAMS_PER_USER: usize = 10;

/// How many streams a process serves at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamLimits {
    /// In all.
    pub all: usize,
    /// Of one address.
    pub per_peer: usize,
    /// Of one user, as far as requests name one.
    pub per_user: usize,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            all: MAX_STREAMS,
            per_peer: MAX_STREAMS_PER_PEER,
            per_user: MAX_STREAMS_PER_USER,
        }
    }
}

impl StreamLimits {
    /// The same for a listener of so many connections: streams take three fifths of them at most, and one address half.
    #[must_use]
    pub fn within(self, connections: usize) -> Self {
        Self {
            all: self.all.min(connections * 3 / 5),
            per_peer: self.per_peer.min(connections / 2),
            ..self
        }
    }
}

/// Who listens now.
#[derive(Clone)]
pub(super) struct Admission {
    limits: StreamLimits,
    all: Places<()>,
    peers: Places<IpAddr>,
    users: Places<String>,
}

/// A listener's place; free again when it is dropped.
pub(super) struct Permit {
    _all: Place<()>,
    _peer: Option<Place<IpAddr>>,
    _user: Option<Place<String>>,
}

impl Admission {
    pub(super) fn new(limits: StreamLimits) -> Self {
        Self {
            limits,
            all: Places::default(),
            peers: Places::default(),
            users: Places::default(),
        }
    }

    /// A place for one more listener. Too many of one user or address are refused with [`Problem::RateLimited`], too many in all
    /// with [`Problem::Overloaded`].
    pub(super) fn admit(
        &self,
        address: Option<ClientAddress>,
        user: Option<&str>,
    ) -> Result<Permit, Problem> {
        let StreamLimits {
            all,
            per_peer,
            per_user,
        } = self.limits;
        let of_user = user.map(|user| {
            self.users
                .admit(user.to_owned(), per_user)
                .ok_or_else(|| refused("user"))
        });
        let of_peer = address.map(|address| {
            self.peers
                .admit(address.0, per_peer)
                .ok_or_else(|| refused("peer"))
        });
        let (_user, _peer) = (of_user.transpose()?, of_peer.transpose()?);
        let _all = self.all.admit((), all).ok_or_else(|| refused("all"))?;
        Ok(Permit { _all, _peer, _user })
    }
}

fn refused(whose: &'static str) -> Problem {
    metrics::counter!("moa_streams_refused_total", "limit" => whose).increment(1);
    if whose == "all" {
        Problem::Overloaded
    } else {
        Problem::RateLimited
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_leave_connections_for_reads() {
        let all = StreamLimits::default();
        assert_eq!(all.within(edge::MAX_CONNECTIONS), all);
        assert_eq!(
            all.within(336),
            StreamLimits {
                all: 201,
                per_peer: 168,
                ..all
            }
        );
    }
}
