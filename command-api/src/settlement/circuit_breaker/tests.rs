use super::*;
use rstest::rstest;
use uuid::Uuid;

fn circuit() -> (Arc<CircuitBreaker>, Instant) {
    (
        Arc::new(CircuitBreaker::new(&Timeouts::DEFAULT)),
        Instant::now(),
    )
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn payment(n: u128) -> InvestId {
    InvestId(Uuid::from_u128(n))
}

fn silent(into_trouble: Option<InvestId>) -> Failure {
    Failure {
        into_trouble,
        provider: ProviderState::Silent,
        why: "silent".to_owned(),
    }
}

/// First calls about these payments, one after another, without an answer.
fn unanswered(
    circuit: &Arc<CircuitBreaker>,
    payments: impl IntoIterator<Item = u128>,
    now: Instant,
) {
    for n in payments {
        circuit
            .try_acquire(Purpose::FirstCall, now)
            .unwrap()
            .unanswered(now, silent(Some(payment(n))));
    }
}

fn answered(circuit: &Arc<CircuitBreaker>, now: Instant) {
    circuit
        .try_acquire(Purpose::FirstCall, now)
        .unwrap()
        .answered(now);
}

fn opened() -> (Arc<CircuitBreaker>, Instant) {
    let (circuit, now) = circuit();
    unanswered(&circuit, 0..5, now);
    assert!(circuit.is_open());
    (circuit, now)
}

#[test]
fn it_opens_after_five_different_payments_in_a_row() {
    let (circuit, now) = circuit();
    unanswered(&circuit, 0..4, now);
    answered(&circuit, now);
    let later = now + seconds(1);
    unanswered(&circuit, 0..4, later);
    assert!(!circuit.is_open());
    unanswered(&circuit, [4], later);
    assert!(circuit.is_open());
    assert!(circuit.try_acquire(Purpose::FirstCall, later).is_none());
}

#[test]
fn one_payment_never_opens_it_however_often_it_is_tried() {
    let (circuit, now) = circuit();
    unanswered(&circuit, [0, 1, 2, 3].repeat(1_000), now);
    assert!(!circuit.is_open());
}

#[test]
fn payments_that_were_in_trouble_before_have_no_say() {
    let (circuit, now) = circuit();
    for _ in 0..1_000 {
        circuit
            .try_acquire(Purpose::Retry, now)
            .unwrap()
            .unanswered(now, silent(None));
    }
    assert!(!circuit.is_open());
}

/// 1. Something was answered, and five payments are not, within the second after.
/// 2. The second is over, and still nothing was answered: the next failure opens it, whosever it is.
#[rstest]
#[case(Some(payment(9)))]
#[case(None)]
fn an_answer_keeps_it_closed_for_a_second(#[case] next: Option<InvestId>) {
    let (circuit, now) = circuit();
    answered(&circuit, now);
    let soon = now + Duration::from_millis(999);
    unanswered(&circuit, 0..100, soon);
    assert!(!circuit.is_open());
    let later = now + seconds(1);
    circuit
        .try_acquire(Purpose::Retry, later)
        .unwrap()
        .unanswered(later, silent(next));
    assert!(circuit.is_open());
}

#[rstest]
fn then_one_at_a_time_is_tried_and_an_answer_closes_it(
    #[values(Purpose::FirstCall, Purpose::Retry)] purpose: Purpose,
) {
    let (circuit, now) = opened();
    assert!(
        circuit
            .try_acquire(purpose, now + Duration::from_millis(999))
            .is_none()
    );
    let later = now + seconds(1);
    let probe = circuit.try_acquire(purpose, later).unwrap();
    for other in [Purpose::FirstCall, Purpose::Retry, Purpose::FollowUp] {
        assert!(
            circuit.try_acquire(other, later + seconds(60)).is_none(),
            "{other:?}"
        );
    }
    probe.answered(later);
    assert!(!circuit.is_open());
    unanswered(&circuit, 0..4, later);
    assert!(circuit.try_acquire(Purpose::FollowUp, later).is_some());
}

#[test]
fn what_follows_up_is_never_a_probe() {
    let (circuit, now) = opened();
    assert!(
        circuit
            .try_acquire(Purpose::FollowUp, now + seconds(60))
            .is_none()
    );
}

#[test]
fn each_retry_without_an_answer_doubles_the_pause_up_to_thirty_seconds() {
    let (circuit, mut now) = opened();
    for lasts in [1, 2, 4, 8, 16, 30, 30] {
        assert!(
            circuit
                .try_acquire(
                    Purpose::Retry,
                    now + seconds(lasts) - Duration::from_millis(1)
                )
                .is_none()
        );
        now += seconds(lasts);
        circuit
            .try_acquire(Purpose::Retry, now)
            .unwrap()
            .unanswered(now, silent(None));
    }
}

/// First calls are tried a second after the last probe began, for as long as it takes.
#[test]
fn first_calls_keep_their_pace_whatever_the_retries_do() {
    let (circuit, mut now) = opened();
    for n in 0..100 {
        now += seconds(1);
        let probe = circuit.try_acquire(Purpose::FirstCall, now).unwrap();
        assert!(circuit.try_acquire(Purpose::Retry, now).is_none());
        let ends = now + Duration::from_millis(900);
        probe.unanswered(ends, silent(Some(payment(n))));
        assert!(circuit.try_acquire(Purpose::FirstCall, ends).is_none());
    }
}

/// While something comes back, new reservations have their first calls at a brisker pace; a payment in trouble has not.
#[test]
fn a_provider_that_only_fails_is_tried_more_often_with_first_calls() {
    let (circuit, mut now) = opened();
    now += seconds(1);
    for n in 0..10 {
        let failing = Failure {
            into_trouble: Some(payment(n)),
            provider: ProviderState::Failing,
            why: "failing".to_owned(),
        };
        circuit
            .try_acquire(Purpose::FirstCall, now)
            .unwrap()
            .unanswered(now, failing);
        assert!(
            circuit
                .try_acquire(Purpose::FirstCall, now + Duration::from_millis(49))
                .is_none()
        );
        now += Duration::from_millis(50);
        assert_eq!(circuit.next_first_call(), Some(now));
    }
    circuit
        .try_acquire(Purpose::FirstCall, now)
        .unwrap()
        .unanswered(now, silent(None));
    assert_eq!(circuit.next_first_call(), Some(now + seconds(1)));
}

#[test]
fn a_retry_is_owed_until_it_is_tried_or_there_is_none() {
    let (circuit, now) = opened();
    assert!(!circuit.is_retry_due(now));
    let later = now + seconds(1);
    assert!(circuit.is_retry_due(later));
    circuit.no_retry_is_due(later);
    assert!(!circuit.is_retry_due(later));
    assert!(circuit.is_retry_due(later + seconds(1)));
}

#[test]
fn a_probe_that_was_given_up_makes_room_for_another() {
    let (circuit, now) = opened();
    let later = now + seconds(1);
    drop(circuit.try_acquire(Purpose::FirstCall, later).unwrap());
    assert!(circuit.try_acquire(Purpose::Retry, later).is_some());
}

/// 1. Calls are under way while it is closed.
/// 2. It opens; what those say now changes nothing, nor while one is tried.
#[test]
fn calls_of_before_it_opened_have_no_say() {
    let (circuit, now) = circuit();
    let [answered, unanswered_late, dropped] =
        [(); 3].map(|()| circuit.try_acquire(Purpose::FollowUp, now).unwrap());
    unanswered(&circuit, 0..5, now);
    answered.answered(now);
    assert!(circuit.try_acquire(Purpose::FirstCall, now).is_none());
    let later = now + seconds(1);
    let probe = circuit.try_acquire(Purpose::FirstCall, later).unwrap();
    unanswered_late.unanswered(later, silent(Some(payment(9))));
    drop(dropped);
    assert!(
        circuit
            .try_acquire(Purpose::FirstCall, later + seconds(1))
            .is_none()
    );
    probe.answered(later);
    assert!(!circuit.is_open());
}
