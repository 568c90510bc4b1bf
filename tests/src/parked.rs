//! Events that nobody can take, and `merx projections`: what an operator sees of them and does about them.

use serde_json::Value;
use sqlx::{Connection as _, PgConnection};

use crate::{
    server::merx,
    shop::{Shop, buy, confirmed, product},
};

/// What `merx projections` says: whether it succeeded, its output, its errors.
pub fn projections(shop: &Shop, arguments: &[&str]) -> (bool, String, String) {
    let arguments: Vec<&str> = ["projections"].into_iter().chain(arguments.iter().copied()).collect();
    let output = merx(&arguments).env("DATABASE_URL", &shop.database.url).output().expect("merx projections");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

/// Appends an event of a type that this program does not know, as a careless hand might.
pub async fn append_unknown(shop: &Shop, stream: &str) {
    let mut connection = PgConnection::connect_with(&shop.database.options).await.expect("the database");
    let unknown = "with head as (update log_head set position = position + 1 returning position), event as (
            select position, $1 as stream, (select max(version) + 1 from events where stream_id = $1) as version, gen_random_uuid() as id,
                   'OrderEaten' as type, 1::smallint as schema, '{}'::text as payload, '{}'::text as meta, now() as at
            from head)
        insert into events (position, stream_id, version, event_id, type, schema_version, payload, metadata, recorded_at, hash)
        select position, stream, version, id, type, schema, payload::json, meta::json, at,
               event_hash(stream, version, id, type, schema, at, meta::json, payload::json)
        from event";
    sqlx::query(unknown).bind(stream).execute(&mut connection).await.expect("appended");
}

/// The streams that a consumer has parked; none where it has not begun.
pub fn parked<'a>(progress: &'a Value, consumer: &str) -> Vec<&'a str> {
    let items = progress["items"].as_array().expect("items");
    let item = items.iter().find(|item| item["name"] == consumer);
    let parked = item.into_iter().flat_map(|item| item["parked"].as_array().expect("parked"));
    parked.filter_map(|parked| parked["stream"].as_str()).collect()
}

#[tokio::test]
async fn a_bad_event_holds_up_its_own_order_and_nobody_elses_until_it_is_skipped() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 10).await;
    let bad = confirmed(&shop, &[(&sku, 1)]).await;
    let stream = format!("order-{bad}");
    append_unknown(&shop, &stream).await;
    let consumers = ["orders", "sales", "process-managers"];
    let progress = shop.until("/v1/projections", |progress| consumers.iter().all(|name| parked(&progress.body, name) == [&stream])).await;
    assert!(parked(&progress.body, "stock").is_empty());
    let head = progress.body["head"].as_i64().expect("a position");
    let path = format!("/v1/orders/{bad}");
    let stale = shop.get_at(&path, head).await.refused(503, "parked");
    let parked_at = stale["position"].as_i64().expect("a position");
    assert_eq!(shop.get(&path).await.expect(200).position(), parked_at - 1, "as new as what it shows");
    confirmed(&shop, &[(&sku, 1)]).await;
    let metrics = String::from_utf8(shop.get("/metrics").await.bytes.to_vec()).expect("text");
    assert!(metrics.contains("merx_parked_streams{consumer=\"process-managers\"} 1"), "{metrics}");

    let (is_done, told, _) = projections(&shop, &["list"]);
    assert!(is_done && told.contains(&format!("parked: orders {stream} since ")) && told.contains("OrderEaten"), "{told}");
    let (is_done, told, errors) = projections(&shop, &["retry", "orders", &stream]);
    assert!(!is_done && told.is_empty() && errors.starts_with(&format!("merx: {stream} stays parked: ")), "{errors}");
    for consumer in consumers {
        let (is_done, told, errors) = projections(&shop, &["skip", consumer, &stream]);
        assert!(is_done && told == format!("{stream} goes on in {consumer}: 0 events taken\n"), "{told}{errors}");
    }
    shop.until("/v1/projections", |progress| consumers.iter().all(|name| parked(&progress.body, name).is_empty())).await;
    buy(&shop, &[(&sku, 1)], "tok_ok").await.expect(201);
}

#[tokio::test]
async fn read_models_are_rebuilt_under_a_running_server() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 10).await;
    let order = confirmed(&shop, &[(&sku, 3)]).await;
    let before = shop.get(&format!("/v1/orders/{order}")).await.expect(200);
    for name in ["catalogue", "stock", "flash-sales", "reviews", "carts", "orders", "sales", "search"] {
        let (is_done, told, errors) = projections(&shop, &["rebuild", name]);
        assert!(is_done && told.starts_with(&format!("{name} was rebuilt up to position ")), "{told}{errors}");
    }
    assert_eq!(shop.get(&format!("/v1/orders/{order}")).await.expect(200).body, before.body);
    confirmed(&shop, &[(&sku, 1)]).await;
    shop.until(&format!("/v1/stock/{sku}"), |stock| stock["on_hand"] == 6 && stock["reserved"] == 0).await;
}

#[tokio::test]
async fn what_is_asked_wrongly_is_told_in_one_line_and_changes_nothing() {
    let Some(shop) = Shop::open().await else { return };
    product(&shop, "2", 10).await;
    let cases: [(&[&str], &str); 4] = [
        (&["rebuild", "orderz"], "there is no projection orderz; there are catalogue, "),
        (&["retry", "orderz", "order-1"], "there is no projection orderz; there are catalogue, "),
        (&["retry", "orders", "order-1"], "the stream order-1 is not parked in orders"),
        (&["skip", "payment-worker", "payment-1"], "the stream payment-1 is not parked in payment-worker"),
    ];
    for (arguments, wanted) in cases {
        let (is_done, told, errors) = projections(&shop, arguments);
        assert!(!is_done && told.is_empty() && errors.lines().count() == 1, "{arguments:?}: {told}{errors}");
        assert!(errors.starts_with(&format!("merx: {wanted}")), "{arguments:?}: {errors}");
    }
}
