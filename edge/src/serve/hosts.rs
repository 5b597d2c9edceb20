//! The host names that a listener answers to.

use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri, Version, header};
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::{FieldProblem, Problem};

/// A name that the operators' listener, and any listener bound to loopback, answers to beside its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedHost(String);

/// Not the name of a host. Says what would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be the name of a host such as admin.example or 10.0.0.7, without scheme, port and path"
)]
pub struct InvalidHostError;

impl FromStr for AllowedHost {
    type Err = InvalidHostError;

    fn from_str(text: &str) -> Result<Self, InvalidHostError> {
        let authority: Authority = text.parse().map_err(|_| InvalidHostError)?;
        let bare = authority.host() == text && !text.is_empty() && !text.contains('*');
        if bare {
            Ok(Self(normalized(text)))
        } else {
            Err(InvalidHostError)
        }
    }
}

/// Which hosts a request may name.
#[derive(Clone, Debug)]
pub(super) enum HostRule {
    /// Any: the listener is for the public, under whatever names it has.
    Any,
    /// The listener's own names, so that no page of another site can reach it by a name that it lets point here (DNS
    /// rebinding): `localhost`, loopback addresses, the address that was connected to, and the names that were set.
    OwnNames {
        /// Whether the listener is bound to all addresses. Then any address is its own, as an address cannot be rebound.
        any_address: bool,
        /// The names that were set.
        allowed: Vec<AllowedHost>,
    },
}

impl HostRule {
    /// Refuses a request whose `Host` is missing (in HTTP/1.1), repeated or malformed with 400, and one for another host
    /// with 421.
    pub(super) fn check(
        &self,
        version: Version,
        uri: &Uri,
        headers: &HeaderMap,
        local: Option<SocketAddr>,
    ) -> Result<(), Problem> {
        let mut values = headers.get_all(header::HOST).iter();
        let host = match (values.next(), values.next()) {
            (Some(only), None) => only.to_str().map_err(|_| malformed())?,
            (None, None) if version < Version::HTTP_11 => return Ok(()),
            (None, _) => return Err(invalid("is missing")),
            (Some(_), Some(_)) => return Err(invalid("must be given once")),
        };
        if !is_well_formed(host) {
            return Err(malformed());
        }
        match self {
            Self::Any => Ok(()),
            Self::OwnNames { .. } => {
                let named = [Some(host), uri.authority().map(Authority::as_str)];
                let own = named
                    .into_iter()
                    .flatten()
                    .all(|named| self.is_own(named, local));
                if own { Ok(()) } else { Err(Problem::WrongHost) }
            }
        }
    }

    fn is_own(&self, named: &str, local: Option<SocketAddr>) -> bool {
        let Self::OwnNames {
            any_address,
            allowed,
        } = self
        else {
            return true;
        };
        let Ok(authority) = named.parse::<Authority>() else {
            return false;
        };
        let host = normalized(authority.host());
        if let Ok(address) = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>()
        {
            let address = address.to_canonical();
            let connected_to = local.is_some_and(|local| local.ip().to_canonical() == address);
            if *any_address || address.is_loopback() || connected_to {
                return true;
            }
        }
        host == "localhost" || allowed.iter().any(|allowed| allowed.0 == host)
    }
}

/// In lower case and without the dot that a full name may end with.
fn normalized(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// Whether this can be a host with or without a port. An empty one is allowed where a target has no host.
fn is_well_formed(host: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(&byte);
    host.bytes().all(allowed)
}

fn invalid(wrong: &str) -> Problem {
    Problem::invalid(FieldProblem::new("Host", wrong))
}

fn malformed() -> Problem {
    invalid("must be the name of one host")
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use rstest::rstest;

    fn check(rule: &HostRule, hosts: &[&str], version: Version, uri: &str) -> u16 {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, HeaderValue::from_str(host).unwrap());
        }
        let local = Some("10.0.0.7:8082".parse().unwrap());
        match rule.check(version, &uri.parse().unwrap(), &headers, local) {
            Ok(()) => 200,
            Err(problem) => axum::response::IntoResponse::into_response(problem)
                .status()
                .as_u16(),
        }
    }

    fn own_names(any_address: bool) -> HostRule {
        HostRule::OwnNames {
            any_address,
            allowed: vec!["Admin.Example".parse().unwrap()],
        }
    }

    #[rstest]
    #[case(&["moa.example"], Version::HTTP_11, 200)]
    #[case(&["moa.example:8080"], Version::HTTP_11, 200)]
    #[case(&["[::1]:8080"], Version::HTTP_11, 200)]
    #[case(&[""], Version::HTTP_11, 200)]
    #[case(&[], Version::HTTP_11, 400)]
    #[case(&[], Version::HTTP_10, 200)]
    #[case(&["a", "a"], Version::HTTP_11, 400)]
    #[case(&["a", "b"], Version::HTTP_10, 400)]
    #[case(&["a,b"], Version::HTTP_11, 400)]
    #[case(&["a b"], Version::HTTP_11, 400)]
    #[case(&["user@a"], Version::HTTP_11, 400)]
    #[case(&["a/b"], Version::HTTP_11, 400)]
    fn a_request_names_one_host(
        #[case] hosts: &[&str],
        #[case] version: Version,
        #[case] status: u16,
    ) {
        assert_eq!(check(&HostRule::Any, hosts, version, "/"), status);
    }

    #[rstest]
    #[case("localhost", 200)]
    #[case("LOCALHOST:8082", 200)]
    #[case("localhost.:1", 200)]
    #[case("127.0.0.1:8082", 200)]
    #[case("[::1]:8082", 200)]
    #[case("10.0.0.7", 200)]
    #[case("10.0.0.7:9", 200)]
    #[case("admin.example", 200)]
    #[case("ADMIN.example.:8082", 200)]
    #[case("10.0.0.8:8082", 421)]
    #[case("evil.example", 421)]
    #[case("localhost.evil.example", 421)]
    #[case("127.0.0.1.evil.example", 421)]
    #[case("admin.example.evil.example", 421)]
    #[case("", 421)]
    fn a_private_listener_answers_to_its_own_names(#[case] host: &str, #[case] status: u16) {
        assert_eq!(
            check(&own_names(false), &[host], Version::HTTP_11, "/"),
            status
        );
    }

    #[rstest]
    #[case("10.0.0.8:8082", 200)]
    #[case("evil.example", 421)]
    fn one_that_is_bound_to_all_addresses_answers_to_any_address(
        #[case] host: &str,
        #[case] status: u16,
    ) {
        assert_eq!(
            check(&own_names(true), &[host], Version::HTTP_11, "/"),
            status
        );
    }

    #[test]
    fn a_whole_target_counts_as_well_as_the_header() {
        let rule = own_names(false);
        assert_eq!(
            check(
                &rule,
                &["localhost"],
                Version::HTTP_11,
                "http://evil.example/"
            ),
            421
        );
        assert_eq!(
            check(
                &rule,
                &["evil.example"],
                Version::HTTP_11,
                "http://localhost/"
            ),
            421
        );
        assert_eq!(
            check(&rule, &["localhost"], Version::HTTP_11, "http://localhost/"),
            200
        );
    }

    #[rstest]
    #[case("admin-1", true)]
    #[case("10.0.0.7", true)]
    #[case("[::1]", true)]
    #[case("", false)]
    #[case("*", false)]
    #[case("*.example", false)]
    #[case("admin:8082", false)]
    #[case("http://admin", false)]
    #[case("admin/", false)]
    fn a_name_is_bare(#[case] text: &str, #[case] good: bool) {
        assert_eq!(text.parse::<AllowedHost>().is_ok(), good);
    }
}
