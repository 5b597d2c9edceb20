//! The provider keeps its own protocol, whatever trouble it is given; and its check against a log can fail.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::collections::BTreeMap;
use std::time::Duration;

use testbed::payments::{Call, Fate, Payment, Payments, State, Terms, Trouble, contradictions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

const ID: Uuid = Uuid::from_u128(7);

/// The status and the body that came before the connection closed; `None` when nothing came in half a second.
async fn told(payments: &Payments, request: &str, body: &str) -> Option<String> {
    let address = payments.url().replace("http://", "");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let request = format!(
        "{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut told = Vec::new();
    // An answer may end in a broken connection: what came until then counts.
    let _ = tokio::time::timeout(Duration::from_millis(500), stream.read_to_end(&mut told)).await;
    let told = String::from_utf8(told).unwrap();
    let (head, body) = told.split_once("\r\n\r\n")?;
    Some(format!("{} {body}", head.split(' ').nth(1)?))
}

async fn pays(payments: &Payments, user: &str) -> Option<String> {
    let body = format!(r#"{{"paymentId":"{ID}","productId":1,"userId":"{user}","amount":10}}"#);
    told(payments, "POST /payment", &body).await
}

async fn looks(payments: &Payments) -> Option<String> {
    told(payments, &format!("GET /payment/{ID}"), "").await
}

async fn cancels(payments: &Payments) -> Option<String> {
    told(payments, &format!("POST /payment/{ID}/cancel"), "").await
}

async fn refunds(payments: &Payments) -> Option<String> {
    told(payments, &format!("POST /payment/{ID}/refund"), "").await
}

fn says(status: u16, state: &str) -> Option<String> {
    Some(format!(
        r#"{status} {{"paymentId":"{ID}","state":"{state}"}}"#
    ))
}

#[tokio::test]
async fn it_debits_once_however_often_it_is_asked() {
    let payments = Payments::open().await;
    assert_eq!(pays(&payments, "user1").await, says(200, "PAID"));
    assert_eq!(pays(&payments, "user1").await, says(200, "PAID"));
    assert_eq!(looks(&payments).await, says(200, "PAID"));
    assert_eq!(cancels(&payments).await, says(200, "PAID"));
    assert_eq!(
        pays(&payments, "another").await.unwrap().split(' ').next(),
        Some("409")
    );
    let paid = &payments.ledger()[&ID];
    assert_eq!((paid.debits, &paid.state), (1, &State::Paid));
    assert_eq!(
        paid.calls,
        [Call::Pay, Call::Pay, Call::Look, Call::Cancel, Call::Pay]
    );
}

#[tokio::test]
async fn what_is_cancelled_is_never_paid() {
    let payments = Payments::open().await;
    assert!(looks(&payments).await.unwrap().starts_with("404 "));
    assert_eq!(cancels(&payments).await, says(200, "CANCELLED"));
    assert_eq!(cancels(&payments).await, says(200, "CANCELLED"));
    assert!(pays(&payments, "user1").await.unwrap().contains("REFUSED"));
    assert_eq!(payments.ledger()[&ID].debits, 0);
}

#[tokio::test]
async fn what_is_refunded_is_given_back_once_and_never_paid_again() {
    let payments = Payments::open().await;
    pays(&payments, "user1").await.unwrap();
    assert_eq!(refunds(&payments).await, says(200, "REFUNDED"));
    assert_eq!(refunds(&payments).await, says(200, "REFUNDED"));
    assert_eq!(pays(&payments, "user1").await, says(200, "REFUNDED"));
    assert_eq!(cancels(&payments).await, says(200, "REFUNDED"));
    let payment = &payments.ledger()[&ID];
    assert_eq!((payment.debits, payment.refunds), (1, 1));
}

#[tokio::test]
async fn a_refund_of_what_was_never_paid_makes_it_never() {
    let payments = Payments::open().await;
    assert_eq!(refunds(&payments).await, says(200, "CANCELLED"));
    assert!(pays(&payments, "user1").await.unwrap().contains("REFUSED"));
    assert_eq!(
        (
            payments.ledger()[&ID].debits,
            payments.ledger()[&ID].refunds
        ),
        (0, 0)
    );
}

#[tokio::test]
async fn what_is_pending_is_decided_when_it_was_looked_at_so_often() {
    let payments = Payments::open().await;
    payments.pends("user1", 2);
    assert_eq!(pays(&payments, "user1").await, says(202, "PENDING"));
    assert_eq!(looks(&payments).await, says(202, "PENDING"));
    assert_eq!(payments.ledger()[&ID].debits, 0);
    assert_eq!(looks(&payments).await, says(200, "PAID"));
    assert_eq!(payments.ledger()[&ID].debits, 1);
}

#[tokio::test]
async fn what_a_trouble_says_it_does_it_does() {
    for (trouble, starts) in [
        (Trouble::Silent, None),
        (Trouble::DoneAndSilent, None),
        (Trouble::DoneAndDropped, None),
        (Trouble::Fails, Some("500 ")),
        (Trouble::DoneAndFails, Some("500 ")),
        (Trouble::Moved, Some("302 ")),
        (Trouble::DoneAndGarbled, Some("200 <html>")),
        (Trouble::DoneAndCut, Some("200 ")),
        (Trouble::DoneAndEndless, Some("200 ")),
        (
            Trouble::DoneForAnother,
            Some("200 {\"paymentId\":\"00000000-0000-0000-0000-000000000000\""),
        ),
    ] {
        let payments = Payments::open().await;
        payments.troubles(Call::Pay, trouble);
        let told = pays(&payments, "user1").await;
        assert_eq!(told.is_some(), starts.is_some(), "{trouble:?}: {told:?}");
        assert!(
            told.unwrap_or_default()
                .starts_with(starts.unwrap_or_default()),
            "{trouble:?}"
        );
        assert_eq!(
            payments.ledger()[&ID].debits,
            u32::from(trouble.is_done()),
            "{trouble:?}"
        );
        payments.recovers();
        assert_eq!(
            pays(&payments, "user1").await,
            says(200, "PAID"),
            "{trouble:?}"
        );
        assert_eq!(payments.ledger()[&ID].debits, 1, "{trouble:?}");
    }
}

#[tokio::test]
async fn it_closes_and_reopens_with_its_ledger() {
    let payments = Payments::open().await;
    pays(&payments, "user1").await.unwrap();
    payments.closes().await;
    let address = payments.url().replace("http://", "");
    assert!(TcpStream::connect(address).await.is_err());
    payments.reopens().await;
    assert_eq!(looks(&payments).await, says(200, "PAID"));
}

fn paid(debits: u32, amount: i64) -> Payment {
    let terms = Some(Terms {
        product_id: 1,
        user_id: "user1".to_owned(),
        amount,
    });
    Payment {
        terms,
        debits,
        refunds: 0,
        state: State::Paid,
        calls: vec![],
        correlation_id: None,
        traceparent: None,
    }
}

fn fate(settled: bool) -> Fate {
    Fate {
        invest_id: ID,
        product_id: 1,
        user_id: "user1".to_owned(),
        amount: 10,
        settled,
    }
}

#[test]
fn a_ledger_and_a_log_that_agree_do() {
    assert_eq!(
        contradictions(&BTreeMap::from([(ID, paid(1, 10))]), &[fate(true)]),
        [""; 0]
    );
    assert_eq!(
        contradictions(&BTreeMap::from([(ID, paid(0, 10))]), &[fate(false)]),
        [""; 0]
    );
    assert_eq!(contradictions(&BTreeMap::new(), &[fate(false)]), [""; 0]);
}

#[test]
fn a_planted_contradiction_is_found() {
    let found = |ledger: &[(Uuid, Payment)], fates: &[Fate]| {
        contradictions(&ledger.iter().cloned().collect(), fates)
    };
    assert_eq!(
        found(&[], &[fate(true)]),
        [format!("{ID} is settled and 0 debits stand")]
    );
    assert_eq!(
        found(&[(ID, paid(2, 10))], &[fate(true)]),
        [format!("{ID} is settled and 2 debits stand")]
    );
    assert_eq!(
        found(&[(ID, paid(1, 10))], &[fate(false)]),
        [format!("{ID} is failed and 1 debits stand")]
    );
    assert_eq!(
        found(&[(ID, paid(1, 10))], &[]),
        [format!("{ID} is paid and has no fate")]
    );
    assert_eq!(found(&[(ID, paid(1, 11))], &[fate(true)]).len(), 1);
    assert_eq!(
        found(&[(ID, paid(1, 10))], &[fate(true), fate(true)]),
        [format!("{ID} has two fates")]
    );
    let refunded = |debits, refunds| Payment {
        refunds,
        ..paid(debits, 10)
    };
    assert_eq!(found(&[(ID, refunded(1, 1))], &[fate(false)]), [""; 0]);
    assert_eq!(
        found(&[(ID, refunded(1, 1))], &[fate(true)]),
        [format!("{ID} is settled and 0 debits stand")]
    );
    assert_eq!(
        found(&[(ID, refunded(1, 2))], &[fate(false)]),
        [format!("{ID} was refunded more often than debited")]
    );
}
