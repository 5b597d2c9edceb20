//! Who is logged in. A session is in this process's memory alone, under the hash of the cookie's value: a restart logs everybody out.

use axum::extract::Request;
use axum::http::header::{COOKIE, HOST, HeaderMap};
use axum::http::request::Parts;
use edge::{Actor, ClientAddress, Correlation, Peer, Role};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// The name of a form's field with the session's secret.
pub(crate) const CSRF_FIELD: &str = "csrf";
/// What the name of the cookie begins with.
const COOKIE_NAME: &str = "moa-console";
/// Sessions at once; the one that was used least lately makes room for another.
const MAX_SESSIONS: usize = 1_000;
/// A session that is not used for so long ends. A page that is kept up to date uses it.
const SESSION_IDLE_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// So long after it began a session ends, used or not: the length of a shift.
const MAX_SESSION_DURATION: Duration = Duration::from_secs(12 * 60 * 60);

type Key = [u8; 32];

/// The sessions of a process.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<HashMap<Key, Session>>);

struct Session {
    token: Arc<str>,
    /// Sent with each form: a page of another site does not know it.
    csrf: Arc<str>,
    began_at: Instant,
    used_at: Instant,
    notice: Option<Notice>,
}

/// What came of a form, shown once.
#[derive(Clone, Debug)]
pub(crate) enum Notice {
    Done(String),
    Failed(String),
}

impl Sessions {
    /// Begins a session for the bearer of `token`; returns the cookie's value.
    pub(crate) fn begin(&self, token: &str) -> String {
        let (id, now) = (secret(), Instant::now());
        let session = Session {
            token: token.into(),
            csrf: secret().into(),
            began_at: now,
            used_at: now,
            notice: None,
        };
        let mut sessions = self.lock();
        sessions.retain(|_, session| session.is_current(now));
        if sessions.len() >= MAX_SESSIONS
            && let Some(oldest) = sessions
                .iter()
                .min_by_key(|(_, session)| session.used_at)
                .map(|(key, _)| *key)
        {
            sessions.remove(&oldest);
        }
        sessions.insert(key(&id), session);
        id
    }

    pub(crate) fn end(&self, key: &Key) {
        self.lock().remove(key);
    }

    /// Whether anybody is logged in.
    pub(crate) fn is_empty(&self) -> bool {
        let now = Instant::now();
        !self.lock().values().any(|session| session.is_current(now))
    }

    pub(crate) fn notify(&self, visitor: &Visitor, notice: Notice) {
        if let Some(session) = self.lock().get_mut(&visitor.key) {
            session.notice = Some(notice);
        }
    }

    pub(crate) fn take_notice(&self, visitor: &Visitor) -> Option<Notice> {
        self.lock().get_mut(&visitor.key)?.notice.take()
    }

    /// The token and the form's secret of a session that goes on; it has been used now.
    pub(crate) fn touch(&self, key: &Key) -> Option<(Arc<str>, Arc<str>)> {
        let (mut sessions, now) = (self.lock(), Instant::now());
        let session = sessions.get_mut(key)?;
        if !session.is_current(now) {
            sessions.remove(key);
            return None;
        }
        session.used_at = now;
        Some((session.token.clone(), session.csrf.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    fn is_current(&self, now: Instant) -> bool {
        now - self.used_at < SESSION_IDLE_TIMEOUT && now - self.began_at < MAX_SESSION_DURATION
    }
}

/// Somebody who is logged in, in one request.
#[derive(Clone)]
pub(crate) struct Visitor {
    pub(crate) actor: Actor,
    pub(crate) token: Arc<str>,
    pub(crate) csrf: Arc<str>,
    pub(crate) origin: Origin,
    pub(crate) key: Key,
}

impl Visitor {
    pub(crate) fn is_operator(&self) -> bool {
        self.actor.role() == Role::Operator
    }
}

/// Where a request of the console comes from: what the calls that it makes are recorded with.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(crate) address: Option<IpAddr>,
    peer: Option<Peer>,
    correlation: Option<Correlation>,
}

impl Origin {
    pub(crate) fn of(parts: &Parts) -> Self {
        let address = parts
            .extensions
            .get()
            .map(|ClientAddress(address)| *address);
        Self {
            address,
            peer: parts.extensions.get().copied(),
            correlation: parts.extensions.get().cloned(),
        }
    }

    /// The name of the request that a visitor sees.
    pub(crate) fn correlation_id(&self) -> &str {
        self.correlation.as_ref().map_or("", Correlation::id)
    }

    /// Has `request` count as one of the same origin.
    pub(crate) fn mark<B>(&self, request: &mut axum::http::Request<B>) {
        if let Some(address) = self.address {
            request.extensions_mut().insert(ClientAddress(address));
        }
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(peer);
        }
        if let Some(correlation) = &self.correlation {
            request.extensions_mut().insert(correlation.clone());
        }
    }
}

/// The name of the cookie of whoever asks by this `Host`. Browsers send cookies to all ports of a host: two consoles on one machine would log
/// each other out.
pub(crate) fn cookie_name(headers: &HeaderMap) -> String {
    let host = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    match host
        .rsplit_once(':')
        .filter(|(_, port)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
    {
        Some((_, port)) => format!("{COOKIE_NAME}-{port}"),
        None => COOKIE_NAME.into(),
    }
}

/// The value of the console's cookie. Where there are several, as another path or an attacker may set one, none counts.
pub(crate) fn cookie(headers: &HeaderMap) -> Option<&str> {
    let named = cookie_name(headers);
    let all = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|all| all.split(';'));
    let mut ours = all
        .filter_map(|one| one.trim().split_once('='))
        .filter(|(name, _)| *name == named);
    let (_, value) = ours.next()?;
    ours.next().is_none().then_some(value)
}

/// The key of the session in these headers, whoever it is of.
pub(crate) fn key_in(request: &Request) -> Option<Key> {
    cookie(request.headers()).map(key)
}

/// What secrets are compared by: the time it takes says nothing about where two differ.
pub(crate) fn key(secret: &str) -> Key {
    Sha256::digest(secret).into()
}

/// 244 random bits.
fn secret() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use rstest::rstest;

    #[rstest]
    #[case(&["moa-console=a"], Some("a"))]
    #[case(&["other=1; moa-console=a"], Some("a"))]
    #[case(&["other=1", "moa-console=a"], Some("a"))]
    #[case(&["moa-console=a; moa-console=b"], None)]
    #[case(&["xmoa-console=a"], None)]
    #[case(&["moa-console"], None)]
    #[case(&[], None)]
    fn one_cookie_counts(#[case] sent: &[&'static str], #[case] expected: Option<&str>) {
        let mut headers = HeaderMap::new();
        for value in sent {
            headers.append(COOKIE, HeaderValue::from_static(value));
        }
        assert_eq!(cookie(&headers), expected);
    }

    #[rstest]
    #[case("localhost:8082", "moa-console-8082")]
    #[case("[::1]:18082", "moa-console-18082")]
    #[case("admin.example", "moa-console")]
    #[case("[::1]", "moa-console")]
    #[case("admin.example:", "moa-console")]
    fn two_consoles_on_one_host_have_a_cookie_each(#[case] host: &'static str, #[case] name: &str) {
        let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static(host))]);
        assert_eq!(cookie_name(&headers), name);
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_ends_when_it_is_not_used_and_at_its_age() {
        let sessions = Sessions::default();
        let [idle, used] = [(); 2].map(|()| key(&sessions.begin("token")));
        let began = Instant::now();
        while began.elapsed() + SESSION_IDLE_TIMEOUT / 2 < MAX_SESSION_DURATION {
            tokio::time::advance(SESSION_IDLE_TIMEOUT / 2).await;
            assert!(
                sessions.touch(&used).is_some(),
                "after {:?}",
                began.elapsed()
            );
        }
        assert!(sessions.touch(&idle).is_none());
        tokio::time::advance(SESSION_IDLE_TIMEOUT / 2).await;
        assert!(sessions.touch(&used).is_none());
        assert!(sessions.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_least_used_session_makes_room() {
        let sessions = Sessions::default();
        let first = key(&sessions.begin("token"));
        let mut second = None;
        for _ in 1..MAX_SESSIONS {
            tokio::time::advance(Duration::from_millis(1)).await;
            second.get_or_insert(key(&sessions.begin("token")));
        }
        assert!(sessions.touch(&first).is_some());
        sessions.begin("token");
        assert!(sessions.touch(&first).is_some());
        assert!(sessions.touch(&second.unwrap()).is_none());
    }
}
