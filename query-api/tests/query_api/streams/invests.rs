//! The stream of a user's invests.

use super::*;

/// An invest of a user's, a second after the one with the number before.
async fn invest(api: &ReadSide, number: i64, user: &str) {
    let insert = "insert into invest_log values ($1, 2, $2, 10, 'RESERVED', null, null, 10, 10,
                  timestamptz '2021-09-26T18:57:00Z' + $3 * interval '1 second', '2021-09-26T18:57:00Z')";
    let id = Uuid::from_u128(u128::try_from(number).unwrap());
    let insert = sqlx::query(insert)
        .bind(id)
        .bind(user)
        .bind(i32::try_from(number).unwrap());
    insert.execute(&api.pool).await.unwrap();
    api.checkpoint("invest_log", 2, number).await;
}

#[tokio::test]
async fn a_user_is_sent_what_becomes_of_their_invests_and_nobody_elses() {
    let api = ReadSide::new().await;
    api.sql("insert into invest_log_product values (2, 'product1', 60)")
        .await;
    for (number, user) in (1..).zip(["user4", "user5", "user4"]) {
        invest(&api, number, user).await;
    }
    let served = Served::of(&api).await;
    let [four, five] = [("X-USER-ID", "user4"), ("X-USER-ID", "user5")];
    let (mut listener, mut other) = (
        served.listen(INVESTS, &[four]).await,
        served.listen(INVESTS, &[five]).await,
    );
    let state = |event: &SseEvent| {
        assert_eq!(event.name, "invest");
        let number = Uuid::parse_str(event.data["investId"].as_str().unwrap())
            .unwrap()
            .as_u128();
        (number, event.data["state"].as_str().unwrap().to_owned())
    };
    for number in [1, 3] {
        assert_eq!(
            state(&listener.next().await.unwrap()),
            (number, "RESERVED".into())
        );
    }
    assert_eq!(state(&other.next().await.unwrap()), (2, "RESERVED".into()));
    api.sql("update invest_log set state = 'SETTLED' where user_id = 'user4' and invest_id = '00000000-0000-0000-0000-000000000001'").await;
    api.checkpoint("invest_log", 2, 4).await;
    let event = listener.next().await.unwrap();
    assert_eq!(
        (state(&event), event.id.clone()),
        ((1, "SETTLED".into()), token([0, 0, 4, 0]))
    );
    let path = "/api/invest/log/00000000-0000-0000-0000-000000000001";
    assert_eq!(event.data, api.get_as("user4", path).await.json()["data"]);
    // 1. The user is away. 2. A new invest. 3. The user resumes, and is sent it, with what may have changed.
    drop(listener);
    invest(&api, 5, "user4").await;
    let mut again = served
        .listen(INVESTS, &[four, ("Last-Event-ID", &event.id)])
        .await;
    let resumed = again
        .until(|data| {
            data["investId"]
                .as_str()
                .is_some_and(|id| id.ends_with('5'))
        })
        .await;
    assert!(
        resumed.iter().all(|event| state(event).0 != 2),
        "another user's"
    );
    invest(&api, 6, "user5").await;
    assert_eq!(state(&other.next().await.unwrap()).0, 6);
}

/// A listener with the last id is sent nothing again.
#[tokio::test]
async fn who_has_seen_all_invests_is_sent_new_ones_only() {
    let api = ReadSide::new().await;
    api.sql("insert into invest_log_product values (2, 'product1', 60)")
        .await;
    invest(&api, 1, "user4").await;
    let served = Served::of(&api).await;
    let user = ("X-USER-ID", "user4");
    let id = served
        .listen(INVESTS, &[user])
        .await
        .next()
        .await
        .unwrap()
        .id;
    let mut again = served
        .listen(INVESTS, &[user, ("Last-Event-ID", &id)])
        .await;
    invest(&api, 2, "user4").await;
    assert!(
        again.next().await.unwrap().data["investId"]
            .as_str()
            .unwrap()
            .ends_with('2')
    );
}
