//! Events of an older version, in the log as the bytes they were written in: lifted wherever they are read, and never touched.

use chrono::{DateTime, SubsecRound as _, Utc};
use serde_json::{Value, json, value::RawValue};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::{
    history::{Event, events, hash},
    shop::{Shop, buy, confirmed, happened, product, settled, stock_becomes},
};

/// Cancels `order` as a server of the older version would have, which shares this database: with an event of version 1. Gives it as the log
/// then has it.
async fn cancel_as_of_old(shop: &Shop, order: &str, payload: &str) -> Event {
    let mut connection = PgConnection::connect_with(&shop.database.options).await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    let position: i64 =
        sqlx::query_scalar("update log_head set position = position + 1 returning position").fetch_one(&mut *transaction).await.unwrap();
    let stream = format!("order-{order}");
    let version: i64 = sqlx::query_scalar("select max(version) + 1 from events where stream_id = $1")
        .bind(&stream)
        .fetch_one(&mut *transaction)
        .await
        .unwrap();
    let (id, recorded_at): (Uuid, DateTime<Utc>) = (Uuid::now_v7(), Utc::now().trunc_subsecs(6));
    // Bytes that this version of the program would not write: spaces, and an order of its own.
    let meta = format!(r#"{{ "actor": "client", "causation_id": null, "command_id": "{id}", "correlation_id": "{id}" }}"#);
    let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
    let mut event = Event {
        position,
        stream,
        version,
        id,
        name: "OrderCancelled".to_owned(),
        schema_version: 1,
        recorded_at,
        data: raw(payload),
        meta: raw(&meta),
        hash: String::new(),
    };
    event.hash = hash(&event);
    let insert = "insert into events (position, stream_id, version, event_id, type, schema_version, payload, metadata, recorded_at, hash)
        values ($1, $2, $3, $4, 'OrderCancelled', 1, $5::text::json, $6::text::json, $7, decode($8, 'hex'))";
    sqlx::query(insert)
        .bind(event.position)
        .bind(&event.stream)
        .bind(event.version)
        .bind(event.id)
        .bind(payload)
        .bind(&meta)
        .bind(event.recorded_at)
        .bind(&event.hash)
        .execute(&mut *transaction)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    event
}

/// Asserts that clients still see the event as it was stored.
async fn assert_untouched(shop: &Shop, stored: &Event) {
    let of_stream = shop.get(&format!("/v1/streams/{}?from={}", stored.stream, stored.version)).await.expect(200);
    let of_log = shop.get(&format!("/v1/events?after={}&limit=1", stored.position - 1)).await.expect(200);
    for page in [of_stream, of_log] {
        let shown = &events(&page)[0];
        assert_eq!((shown.id, shown.schema_version, &shown.hash), (stored.id, 1, &stored.hash), "{page}");
        assert_eq!((shown.data.get(), shown.meta.get()), (stored.data.get(), stored.meta.get()), "{page}");
        assert_eq!(hash(shown), stored.hash, "the hash is that of what is shown");
    }
}

/// What the state, the resource and the read model's row say of an order's cancellation.
async fn said(shop: &Shop, stored: &Event) -> (Value, Value, Value) {
    let order = stored.stream.trim_start_matches("order-");
    let shown = shop.get_at(&format!("/v1/orders/{order}"), stored.position).await.expect(200);
    assert!(shown.state() == "cancelled" && shown.version() >= stored.version, "{shown}");
    let state = shop.get(&format!("/v1/streams/{}/state?version={}", stored.stream, stored.version)).await.expect(200);
    assert_eq!(state["state"]["stage"], "cancelled", "{state}");
    let mut connection = PgConnection::connect_with(&shop.database.options).await.unwrap();
    let row: String = sqlx::query_scalar("select document::text from read_model.orders where id = $1::uuid")
        .bind(Uuid::parse_str(order).unwrap())
        .fetch_one(&mut connection)
        .await
        .unwrap();
    let row: Value = serde_json::from_str(&row).unwrap();
    assert_eq!(row["cancellation"], shown["cancellation"]);
    let last = shown["timeline"].as_array().unwrap().iter().find(|entry| entry["status"] == "cancelled").unwrap()["reason"].clone();
    assert_eq!(state["state"]["cause"], shown["cancellation"]["cause"], "{state}");
    (shown["cancellation"].clone(), last, shown["payment"]["decline_code"].clone())
}

#[tokio::test]
async fn a_cancellation_of_version_1_is_lifted_to_state_read_model_and_answers_and_stays_as_it_is() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 10).await;
    let unpaid = async || buy(&shop, &[(&sku, 1)], "tok_down").await.expect(201).id();

    let payload = r#"{"reason" : "requested", "note": "zu teuer – sagt Ann", "decline_code": null, "was_confirmed": false, "lost": []}"#;
    let requested = cancel_as_of_old(&shop, &unpaid().await, payload).await;
    let (cancellation, reason, _) = said(&shop, &requested).await;
    assert_eq!(cancellation, json!({"cause": {"kind": "requested"}, "note": "zu teuer – sagt Ann"}));
    assert_eq!(reason, "requested: zu teuer – sagt Ann");

    let payload = r#"{"lost":[],"reason":"payment_declined","note":null,"decline_code":"no_funds","was_confirmed":false}"#;
    let declined = cancel_as_of_old(&shop, &unpaid().await, payload).await;
    let (cancellation, reason, decline_code) = said(&shop, &declined).await;
    assert_eq!(cancellation, json!({"cause": {"kind": "payment_declined", "decline_code": "no_funds"}, "note": null}));
    assert_eq!((reason, decline_code), (json!("payment_declined"), json!("no_funds")));

    let paid = confirmed(&shop, &[(&sku, 1)]).await;
    stock_becomes(&shop, &sku, 9, 0).await;
    let payload = format!(r#"{{"reason":"stock_lost","note":"{sku}","decline_code":null,"was_confirmed":true,"lost":["{sku}"]}}"#);
    let lost = cancel_as_of_old(&shop, &paid, &payload).await;
    let (cancellation, reason, _) = said(&shop, &lost).await;
    assert_eq!(cancellation, json!({"cause": {"kind": "stock_lost", "skus": [sku]}, "note": null}));
    assert_eq!(reason, format!("stock_lost: {sku}"));

    // The process managers took them as any other cancellation: what was held is free, what was paid goes back.
    stock_becomes(&shop, &sku, 10, 0).await;
    shop.until(&format!("/v1/orders/{paid}"), |order| order["payment"]["status"] == "refunded").await;
    for stored in [&requested, &declined, &lost] {
        let order = format!("/v1/{}", stored.stream.replacen("order-", "orders/", 1));
        shop.post(&format!("{order}/shipments"), json!({"carrier": "Post", "tracking_number": "1"}))
            .await
            .refused(409, "order_not_confirmed");
        assert_eq!(shop.post(&format!("{order}/cancel"), json!({"reason": "again"})).await.expect(200).state(), "cancelled");
        assert_untouched(&shop, stored).await;
    }
}

#[tokio::test]
async fn what_is_cancelled_now_is_written_in_version_2_and_says_the_same() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 10).await;
    let order = buy(&shop, &[(&sku, 1)], "tok_down").await.expect(201).id();
    let payload = r#"{"reason":"requested","note":"too dear","decline_code":null,"was_confirmed":false,"lost":[]}"#;
    let old = cancel_as_of_old(&shop, &order, payload).await;
    let order = buy(&shop, &[(&sku, 1)], "tok_down").await.expect(201).id();
    let answer = shop.post(&format!("/v1/orders/{order}/cancel"), json!({"reason": "too dear"})).await.expect(200);
    let stream = shop.get(&format!("/v1/streams/order-{order}?from={}", answer.version())).await.expect(200);
    let new = events(&stream).remove(0);
    assert_eq!((new.name.as_str(), new.schema_version, &new.hash), ("OrderCancelled", 2, &hash(&new)));
    let data: Value = serde_json::from_str(new.data.get()).unwrap();
    assert_eq!(data, json!({"cause": {"kind": "requested"}, "note": "too dear", "was_confirmed": false}));
    assert_eq!(said(&shop, &new).await, said(&shop, &old).await);
    assert_eq!(answer["cancellation"], said(&shop, &new).await.0, "the answer of the write says it too");
    let declined = buy(&shop, &[(&sku, 1)], "tok_declined").await.expect(201).id();
    let shown = settled(&shop, &declined).await;
    let cause = &happened(&shop, &format!("order-{declined}")).await.pop().unwrap().1["cause"];
    assert_eq!((&shown["cancellation"]["cause"], &cause["kind"]), (cause, &json!("payment_declined")));
    assert_eq!(shown["payment"]["decline_code"], cause["decline_code"]);
}
