//! A payment provider as `docs/payment-provider.md` describes it, on loopback, with a ledger that is the truth about the
//! money, and with every kind of trouble. It shares no code with Moa.
//!
//! ```no_run
//! # async fn a_test(pool: connection_pool::Pool) {
//! use testbed::payments::{Call, Payments, Trouble};
//! let payments = Payments::open().await;
//! println!("moa serve --payment-provider http --payment-url {}", payments.url());
//! payments.troubles(Call::Pay, Trouble::DoneAndDropped);
//! // ... invests, and then:
//! payments.recovers();
//! // ... until every invest has its fate:
//! assert_eq!(payments.contradictions(&pool).await, [""; 0]);
//! # }
//! ```

mod check;
mod ledger;
mod server;
mod trouble;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::PgExecutor;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use uuid::Uuid;

pub use check::{Fate, contradictions};
pub use ledger::{Payment, State, Terms};
pub use trouble::Trouble;

use ledger::Ledger;
use trouble::Troubles;

/// How long the port that was closed may be held by somebody else before the test fails.
const PORT_TIMEOUT: Duration = Duration::from_secs(5);

/// The calls of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// `POST /payment`.
    Pay,
    /// `GET /payment/{id}`.
    Look,
    /// `POST /payment/{id}/cancel`.
    Cancel,
    /// `POST /payment/{id}/refund`.
    Refund,
}

/// The provider. It goes with its value.
#[derive(Debug)]
pub struct Payments {
    shared: Arc<Shared>,
    address: SocketAddr,
    /// What listens, while it does.
    listening: tokio::sync::Mutex<JoinSet<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    ledger: Mutex<Ledger>,
    troubles: Mutex<Troubles>,
    calls: AtomicUsize,
    under_way: AtomicUsize,
    most_at_once: AtomicUsize,
}

impl Payments {
    /// A provider on a free port of loopback that pays everything at once.
    pub async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared::default());
        let mut listening = JoinSet::new();
        listening.spawn(server::serve(listener, shared.clone()));
        Self {
            shared,
            address,
            listening: tokio::sync::Mutex::new(listening),
        }
    }

    /// Its URL, for `--payment-url`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on this user has no money; `reason` is told as it is.
    pub fn refuses(&self, user: &str, reason: &str) {
        self.shared
            .ledger()
            .refused
            .insert(user.to_owned(), reason.to_owned());
    }

    /// From now on this user's fresh payments are pending, and decided when they were looked at so often.
    pub fn pends(&self, user: &str, looks: u32) {
        self.shared.ledger().pending.insert(user.to_owned(), looks);
    }

    /// From now on every answer is given that much later.
    pub fn delays(&self, by: Duration) {
        self.shared.troubles().delay = by;
    }

    /// From now on every such call meets this trouble.
    pub fn troubles(&self, call: Call, trouble: Trouble) {
        self.shared.troubles().of.insert(call, trouble);
    }

    /// From now on every call about a payment of this user's meets this trouble. Others do not notice.
    pub fn troubles_user(&self, user: &str, trouble: Trouble) {
        self.shared
            .troubles()
            .of_user
            .insert(user.to_owned(), trouble);
    }

    /// From now on so many of a hundred calls meet some trouble or other, the same ones each time this is run.
    pub fn troubles_some(&self, percent: u64) {
        self.shared.troubles().percent = percent;
    }

    /// Loses every payment it has heard of, as it never should.
    pub fn forgets(&self) {
        self.shared.ledger().payments.clear();
    }

    /// From now on there is no trouble and no delay. Who is refused or pending stays so.
    pub fn recovers(&self) {
        *self.shared.troubles() = Troubles::default();
    }

    /// Nobody listens any more, and connections break; what it was doing may still be done. The ledger stays.
    pub async fn closes(&self) {
        self.listening.lock().await.shutdown().await;
    }

    /// Listens again, on the same port.
    pub async fn reopens(&self) {
        let bound = async {
            loop {
                match TcpListener::bind(self.address).await {
                    Ok(listener) => break listener,
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        let listener = tokio::time::timeout(PORT_TIMEOUT, bound)
            .await
            .expect("the provider's port is taken");
        self.listening
            .lock()
            .await
            .spawn(server::serve(listener, self.shared.clone()));
    }

    /// Everything it knows, by payment id.
    pub fn ledger(&self) -> BTreeMap<Uuid, Payment> {
        self.shared.ledger().payments.clone()
    }

    /// How many calls have come so far.
    pub fn calls(&self) -> usize {
        self.shared.calls.load(Ordering::SeqCst)
    }

    /// How many calls are under way: their callers still wait.
    pub fn under_way(&self) -> usize {
        self.shared.under_way.load(Ordering::SeqCst)
    }

    /// The most calls that were under way at a time, since this was asked last.
    pub fn most_at_once(&self) -> usize {
        self.shared.most_at_once.swap(
            self.shared.under_way.load(Ordering::SeqCst),
            Ordering::SeqCst,
        )
    }

    /// Where the ledger and the log in `pool`'s database contradict each other, a sentence each. To be asked when every
    /// invest has its fate: until then one may be paid and not yet settled.
    pub async fn contradictions(&self, database: impl PgExecutor<'_>) -> Vec<String> {
        contradictions(&self.ledger(), &check::fates(database).await)
    }
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn troubles(&self) -> MutexGuard<'_, Troubles> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
