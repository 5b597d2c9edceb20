//! Old shapes are read as today's; the stored bytes stay.

use crate::by_hand::failed_in_the_old_shape;
use crate::support::*;
use domain::ProductEvent;

#[tokio::test]
async fn an_invest_failed_of_the_first_version_is_read_in_todays_shape() {
    let test = TestLog::with_events(2).await;
    failed_in_the_old_shape(invest(2), 1, "NO_MONEY : the card was refused")
        .write(&test)
        .await;

    let failed = ProductEvent::InvestFailed {
        invest_id: invest(2),
        user_id: user("user1"),
        amount: won(1),
        code: "NO_MONEY".into(),
        detail: "the card was refused".into(),
    };
    assert_eq!(test.log.read_after(0, 2, 9).await.unwrap()[0].event, failed);
    assert_eq!(
        test.log.read_stream(product(1), 2, 9).await.unwrap()[0].event,
        failed
    );

    let loaded = test.log.load_product(product(1)).await.unwrap();
    assert_eq!((loaded.sequence, loaded.product.reserved()), (3, 0));
    assert_eq!(test.log.verify(0).await.unwrap().position, 3);
    assert_eq!(
        test.count("events where payload::text like '%\"reason\":\"NO_MONEY : %'")
            .await,
        1
    );
}

#[tokio::test]
async fn a_writer_goes_on_behind_an_old_event() {
    let (test, mut writer) = with_writer(2).await;
    failed_in_the_old_shape(invest(2), 1, "NO_MONEY")
        .write(&test)
        .await;
    assert_eq!(
        acquire_append_lock(&mut writer).await[0].event.version(),
        "2.0.0"
    );
    commit(&mut writer, vec![new_event(product(1), 4, reserved(4, 4))]).await;
    assert_eq!(test.log.verify(0).await.unwrap().position, 4);
}
