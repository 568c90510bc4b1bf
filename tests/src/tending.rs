//! Work of operators on the consumers of the log, over HTTP and at the command line: done, and recorded with who did it.

use serde_json::{Value, json};

use crate::{
    client::Client,
    parked::{append_unknown, parked, projections},
    shop::{Shop, confirmed, product},
};

/// Requests to a consumer: (type, data, actor) of its events.
async fn asked(client: &Client, consumer: &str) -> Vec<(String, Value, String)> {
    let path = format!("/v1/streams/projection-{consumer}");
    if client.get(&path).await.status == 404 {
        return Vec::new();
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    client.all(&path).await.iter().map(|event| (text(&event["type"]), event["data"].clone(), text(&event["meta"]["actor"]))).collect()
}

#[tokio::test]
async fn what_is_asked_for_over_http_is_done_and_recorded_with_its_actor() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 10).await;
    let stream = format!("order-{}", confirmed(&shop, &[(&sku, 1)]).await);
    let nobody = shop.with_bearer(None);
    append_unknown(&shop, &stream).await;
    let bad = shop.all(&format!("/v1/streams/{stream}")).await.pop().expect("an event")["position"].as_i64().expect("a position");
    shop.until("/v1/projections", |progress| ["orders", "sales"].iter().all(|name| parked(&progress.body, name) == [&stream])).await;

    let refused = shop.post("/v1/projections/orders/retry", json!({"stream": stream})).await.refused(409, "still_parked");
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains("OrderEaten")), "{refused}");
    nobody.post("/v1/projections/sales/retry", json!({})).await.refused(409, "still_parked");
    let skip = json!({"stream": stream, "reason": "written by hand"});
    let skipped = shop.post("/v1/projections/orders/skip", skip.clone()).await.expect(202);
    assert_eq!((skipped["id"].as_str(), &skipped["taken"], skipped.version()), (Some("orders"), &json!([stream]), 2));
    assert!(skipped.position() > bad, "{skipped}");
    shop.until("/v1/projections", |progress| parked(&progress.body, "orders").is_empty()).await;

    let at = |data: Value| {
        let mut data = data;
        (data["stream"], data["position"]) = (json!(stream), json!(bad));
        data
    };
    let (retry, skip_event) = (at(json!({})), at(json!({"reason": "written by hand"})));
    assert_eq!(
        asked(&shop, "orders").await,
        [
            ("ProjectionRetryRequested".to_owned(), retry.clone(), "key:admin".to_owned()),
            ("ProjectionSkipRequested".to_owned(), skip_event, "key:admin".to_owned())
        ]
    );
    assert_eq!(asked(&shop, "sales").await, [("ProjectionRetryRequested".to_owned(), retry, "client".to_owned())]);

    // What can't be done is recorded nowhere.
    shop.post("/v1/projections/orders/skip", skip).await.refused(409, "not_parked");
    shop.post("/v1/projections/orders/retry", json!({})).await.refused(409, "not_parked");
    for action in ["rebuild", "retry"] {
        shop.post(&format!("/v1/projections/orderz/{action}"), json!({})).await.refused(404, "not_found");
    }
    shop.post("/v1/projections/process-managers/rebuild", json!({})).await.refused(404, "not_found");
    shop.post("/v1/projections/orders/skip", json!({"stream": stream})).await.refused(422, "invalid_request");
    assert_eq!(asked(&shop, "orders").await.len(), 2);
    let state = shop.get("/v1/streams/projection-orders/state").await.expect(200);
    assert_eq!((&state["state"]["status"], &state["state"]["requests"]), (&json!("tended"), &json!(2)));
}

#[tokio::test]
async fn a_request_of_an_operator_has_a_condition_and_a_key_like_any_other_write() {
    let Some(shop) = Shop::open().await else { return };
    let rebuild = |name: &str| shop.post(&format!("/v1/projections/{name}/rebuild"), json!({}));
    let mismatch = rebuild("stock").header("if-match", "\"1\"").await.refused(412, "version_mismatch");
    assert_eq!(mismatch["current"], "\"0\"");
    rebuild("stock").header("if-match", "1").await.refused(422, "invalid_request");
    assert_eq!(asked(&shop, "stock").await.len(), 0);
    rebuild("stock").header("if-match", "\"0\"").await.expect(202);

    let first = rebuild("reviews").header("idempotency-key", "again").await.expect(202);
    let second = rebuild("reviews").header("idempotency-key", "again").await.expect(202);
    assert_eq!((first.header("idempotent-replayed"), second.header("idempotent-replayed")), (None, Some("true")));
    assert_eq!((&second.body, second.position(), second.header("etag")), (&first.body, first.position(), first.header("etag")));
    rebuild("carts").header("idempotency-key", "again").await.refused(422, "idempotency_key_reused");
    assert_eq!((asked(&shop, "reviews").await.len(), asked(&shop, "carts").await.len()), (1, 0));
}

#[tokio::test]
async fn what_was_skipped_or_retried_with_a_key_is_answered_alike_again() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 10).await;
    let streams = [format!("order-{}", confirmed(&shop, &[(&sku, 1)]).await), format!("order-{}", confirmed(&shop, &[(&sku, 1)]).await)];
    for stream in &streams {
        append_unknown(&shop, stream).await;
    }
    shop.until("/v1/projections", |progress| parked(&progress.body, "orders").len() == 2).await;
    let skip = |stream: &str, key: &str, version: &str| {
        let body = json!({"stream": stream, "reason": "written by hand"});
        shop.post("/v1/projections/orders/skip", body).header("idempotency-key", key).header("if-match", version)
    };
    let first = skip(&streams[0], "one", "*").await.expect(202);
    let tag = first.header("etag").expect("a tag").to_owned();
    let again = skip(&streams[0], "one", "*").await.expect(202);
    assert_eq!((&again.body, again.header("idempotent-replayed")), (&first.body, Some("true")));
    skip(&streams[1], "two", "\"0\"").await.refused(412, "version_mismatch");
    assert_eq!(parked(&shop.get("/v1/projections").await.expect(200).body, "orders"), [&streams[1]]);
    skip(&streams[1], "two", &tag).await.expect(202);
    shop.post("/v1/projections/orders/skip", json!({"stream": streams[1], "reason": " "})).await.refused(422, "invalid_request");
    assert_eq!(asked(&shop, "orders").await.len(), 2);
}

#[tokio::test]
async fn a_read_model_is_built_anew_by_the_servers_when_it_is_asked_for_over_http() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 10).await;
    confirmed(&shop, &[(&sku, 3)]).await;
    shop.until(&format!("/v1/stock/{sku}"), |stock| stock["on_hand"] == 7).await;
    let mut connection = shop.database.connect().await;
    sqlx::query("update read_model.stock set on_hand = 1000").execute(&mut connection).await.expect("a wrong row");
    let begun = shop.post("/v1/projections/stock/rebuild", json!({})).await.expect(202);
    assert_eq!((begun["id"].as_str(), begun.version()), (Some("stock"), 1));
    shop.until(&format!("/v1/stock/{sku}"), |stock| stock["on_hand"] == 7).await;
    assert_eq!(asked(&shop, "stock").await, [("ProjectionRebuildRequested".to_owned(), json!({}), "key:admin".to_owned())]);
}

#[tokio::test]
async fn what_is_done_at_the_command_line_is_recorded_with_who_did_it() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 10).await;
    let stream = format!("order-{}", confirmed(&shop, &[(&sku, 1)]).await);
    append_unknown(&shop, &stream).await;
    let consumers = ["orders", "sales", "process-managers"];
    shop.until("/v1/projections", |progress| consumers.iter().all(|name| parked(&progress.body, name) == [&stream])).await;
    let (is_done, told, errors) = projections(&shop, &["retry", "sales"]);
    assert!(!is_done && told.starts_with(&format!("{stream} stays parked: ")), "{told}{errors}");
    assert_eq!(errors, "merx: 1 of 1 streams stay parked in sales\n");
    for consumer in consumers {
        let (is_done, told, errors) = projections(&shop, &["skip", consumer, &stream, "--reason", "a mistake"]);
        assert!(is_done, "{told}{errors}");
        let last = asked(&shop, consumer).await.pop().expect("an event");
        assert_eq!(
            (last.0.as_str(), &last.1["reason"], &last.1["stream"]),
            ("ProjectionSkipRequested", &json!("a mistake"), &json!(stream))
        );
        assert!(last.2.starts_with("operator:") && last.2.len() > "operator:".len(), "{last:?}");
    }
    let (is_done, told, errors) = projections(&shop, &["rebuild", "sales"]);
    assert!(is_done, "{told}{errors}");
    let names: Vec<String> = asked(&shop, "sales").await.into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, ["ProjectionRetryRequested", "ProjectionSkipRequested", "ProjectionRebuildRequested"]);
    // What is asked wrongly is recorded nowhere.
    assert!(!projections(&shop, &["skip", "orders", &stream]).0 && !projections(&shop, &["rebuild", "salez"]).0);
    assert_eq!((asked(&shop, "orders").await.len(), asked(&shop, "salez").await.len()), (1, 0));
}
