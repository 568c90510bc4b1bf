//! What auditors see: streams, states of any time, the log, and the hashes of events.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    client::Answer,
    shop::{Shop, buy, confirmed, money, product, receive, stock_becomes},
};

/// An event, its data and meta as the bytes they came in.
#[derive(Deserialize)]
pub struct Event {
    pub position: i64,
    pub stream: String,
    pub version: i64,
    pub id: Uuid,
    #[serde(rename = "type")]
    pub name: String,
    pub schema_version: i16,
    pub recorded_at: DateTime<Utc>,
    pub data: Box<RawValue>,
    pub meta: Box<RawValue>,
    pub hash: String,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Event>,
}

pub fn events(answer: &Answer) -> Vec<Event> {
    serde_json::from_slice::<Page>(&answer.bytes).unwrap_or_else(|error| panic!("{error}: {answer}")).items
}

/// The hash that `docs/event-hash.md` specifies.
pub fn hash(event: &Event) -> String {
    let mut hasher = Sha256::new();
    let text = |hasher: &mut Sha256, text: &str| {
        hasher.update((text.len() as u64).to_be_bytes());
        hasher.update(text);
    };
    hasher.update([0]);
    text(&mut hasher, "merx.event.1");
    text(&mut hasher, &event.stream);
    hasher.update(event.version.to_be_bytes());
    hasher.update(event.id.as_bytes());
    text(&mut hasher, &event.name);
    hasher.update(event.schema_version.to_be_bytes());
    hasher.update(event.recorded_at.timestamp_micros().to_be_bytes());
    text(&mut hasher, event.meta.get());
    text(&mut hasher, event.data.get());
    let mut text = String::new();
    for byte in hasher.finalize() {
        write!(text, "{byte:02x}").expect("a text");
    }
    text
}

async fn lively_shop() -> Option<(Shop, String, String)> {
    let shop = Shop::open().await?;
    let sku = product(&shop, "2.55", 9).await;
    shop.post(&format!("/v1/products/{sku}/reviews"), json!({"rating": 5, "text": "“Ж” \u{1F600} \\ \" \n"})).await.expect(201);
    let order = confirmed(&shop, &[(&sku, 2)]).await;
    shop.post(&format!("/v1/orders/{order}/refunds"), json!({"amount": money("1"), "reason": "x"})).await.expect(201);
    buy(&shop, &[(&sku, 1)], "tok_declined").await.expect(201);
    buy(&shop, &[(&sku, 90)], "tok_ok").await.expect(409);
    stock_becomes(&shop, &sku, 7, 0).await;
    Some((shop, sku, order))
}

#[tokio::test]
async fn positions_and_versions_have_no_gaps_and_hashes_hold() {
    let Some((shop, ..)) = lively_shop().await else { return };
    let (mut after, mut versions) = (0, std::collections::HashMap::<String, i64>::new());
    loop {
        let page = shop.get(&format!("/v1/events?after={after}&limit=7")).await.expect(200);
        let items = events(&page);
        for event in &items {
            assert_eq!((event.position, &event.hash), (after + 1, &hash(event)), "{page}");
            let version = versions.entry(event.stream.clone()).or_default();
            *version += 1;
            assert_eq!(event.version, *version, "{page}");
            after = event.position;
        }
        assert_eq!(page["next_cursor"], after.to_string());
        assert!(page["head"].as_i64() >= Some(after), "{page}");
        if items.is_empty() {
            break;
        }
    }
    assert!(after > 20, "only {after} events");
    for (stream, version) in versions {
        let listed = shop.get(&format!("/v1/streams/{stream}?limit=200")).await.expect(200);
        assert_eq!((&listed["stream"], listed.version()), (&json!(stream), version));
        for (event, version) in events(&listed).iter().zip(1..) {
            assert_eq!((event.version, &event.hash), (version, &hash(event)));
        }
        let metas = listed.items().iter().map(|event| &event["meta"]);
        for meta in metas {
            for name in ["command_id", "correlation_id"] {
                assert!(meta[name].as_str().is_some_and(|id| id.parse::<Uuid>().is_ok()), "{name} of {meta}");
            }
            assert!(meta["actor"].as_str().is_some_and(|actor| !actor.is_empty()) && meta.get("causation_id").is_some(), "{meta}");
        }
    }
}

#[tokio::test]
async fn a_stream_is_read_from_version_to_version() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "1", 0).await;
    for _ in 0..9 {
        receive(&shop, &sku, 1).await;
    }
    let versions = async |query: &str| -> Vec<i64> {
        let page = shop.get(&format!("/v1/streams/stock-{sku}?{query}")).await.expect(200);
        assert_eq!(page.version(), 9);
        page.items().iter().map(|event| event["version"].as_i64().unwrap()).collect()
    };
    assert_eq!(versions("from=3&to=5").await, [3, 4, 5]);
    assert_eq!(versions("from=8").await, [8, 9]);
    assert_eq!(versions("to=2").await, [1, 2]);
    assert_eq!(versions("from=20").await.len(), 0);
    let first = shop.get(&format!("/v1/streams/stock-{sku}?from=2&to=8&limit=4")).await.expect(200);
    let cursor = first["next_cursor"].as_str().expect("a cursor").to_owned();
    assert_eq!(versions(&format!("from=2&to=8&limit=4&cursor={cursor}")).await, [6, 7, 8]);
    let refused = shop.get(&format!("/v1/streams/stock-{sku}?from=5&to=3")).await.refused(422, "invalid_request");
    assert_eq!(refused.pointers(), ["?from"]);
    for stream in ["stock-no-such", "order-x", "hat-1"] {
        shop.get(&format!("/v1/streams/{stream}")).await.refused(404, "not_found");
    }
    for stream in ["stock", "-", "Stock-x"] {
        let answer = shop.get(&format!("/v1/streams/{stream}")).await;
        assert!([404, 422].contains(&answer.status), "{answer}");
    }
}

#[tokio::test]
async fn a_state_is_shown_of_any_version_and_time() {
    let Some((shop, sku, order)) = lively_shop().await else { return };
    for stream in [format!("stock-{sku}"), format!("order-{order}"), format!("payment-{order}"), format!("product-{sku}")] {
        let listed = shop.get(&format!("/v1/streams/{stream}?limit=200")).await.expect(200);
        let mut states: Vec<Value> = Vec::new();
        for event in listed.items() {
            let (version, at) = (event["version"].as_i64().unwrap(), event["recorded_at"].as_str().unwrap());
            let shown = shop.get(&format!("/v1/streams/{stream}/state?version={version}")).await.expect(200);
            assert_eq!((shown.version(), &shown["stream"], &shown["at"]), (version, &json!(stream), &json!(at)), "{shown}");
            let then = shop.get(&format!("/v1/streams/{stream}/state?at={at}")).await.expect(200);
            // Inclusive: several events may have been recorded at that time.
            assert!(then.version() >= version && then["at"] == at, "{then}");
            assert_ne!(states.last(), Some(&shown["state"]), "the event changed nothing: {shown}");
            states.push(shown["state"].clone());
        }
        let now = shop.get(&format!("/v1/streams/{stream}/state")).await.expect(200);
        assert_eq!((now.version(), Some(&now["state"])), (listed.version(), states.last()));
        shop.get(&format!("/v1/streams/{stream}/state?version={}", listed.version() + 1)).await.refused(404, "not_found");
        shop.get(&format!("/v1/streams/{stream}/state?at=2020-01-01T00:00:00Z")).await.refused(404, "not_found");
        let later = shop.get(&format!("/v1/streams/{stream}/state?at=2100-01-01T00:00:00%2B01:00")).await.expect(200);
        assert_eq!(later.version(), listed.version());
        shop.get(&format!("/v1/streams/{stream}/state?version=0")).await.refused(422, "invalid_request");
        shop.get(&format!("/v1/streams/{stream}/state?at=noon")).await.refused(422, "invalid_request");
        shop.get(&format!("/v1/streams/{stream}/state?version=1&at=2100-01-01T00:00:00Z")).await.refused(422, "invalid_request");
    }
}

#[tokio::test]
async fn the_log_is_filtered_by_type_and_category() {
    let Some((shop, sku, order)) = lively_shop().await else { return };
    let found = async |query: &str| -> Vec<String> {
        let page = shop.get(&format!("/v1/events?limit=200&{query}")).await.expect(200);
        page.items().iter().map(|event| format!("{} {}", event["type"].as_str().unwrap(), event["stream"].as_str().unwrap())).collect()
    };
    assert_eq!(found("types=OrderConfirmed").await, [format!("OrderConfirmed order-{order}")]);
    let both = found("types=OrderConfirmed,StockReceived").await;
    assert_eq!(both, [format!("StockReceived stock-{sku}"), format!("OrderConfirmed order-{order}")]);
    let repeated = shop.get("/v1/events?types=OrderConfirmed&types=StockReceived").await.refused(422, "invalid_request");
    assert_eq!(repeated.pointers(), ["?types"]);
    let of_reviews = found("category=review").await;
    assert!(of_reviews.len() == 1 && of_reviews[0].contains(" review-"), "{of_reviews:?}");
    assert_eq!(found("category=review&types=OrderConfirmed").await.len(), 0);
    assert!(found("category=payment").await.iter().all(|event| event.contains(" payment-")));
    let page = shop.get("/v1/events?category=review&limit=1").await.expect(200);
    let next = shop.get(&format!("/v1/events?category=review&cursor={}", page["next_cursor"].as_str().unwrap())).await.expect(200);
    assert!(next.items().is_empty() && next["next_cursor"] == json!(next["head"].to_string()), "{next}");
    let empty = shop.get(&format!("/v1/events?after={}", next["head"])).await.expect(200);
    assert_eq!((empty.items().len(), &empty["next_cursor"]), (0, &next["next_cursor"]));
    assert_eq!(shop.get("/v1/events?types=OrderEaten").await.refused(422, "invalid_request").pointers(), ["?types"]);
    assert_eq!(shop.get("/v1/events?after=1&cursor=1").await.refused(422, "invalid_request").pointers(), ["?after"]);
    let beyond = next["head"].as_i64().unwrap() + 100;
    assert_eq!(shop.get(&format!("/v1/events?after={beyond}")).await.refused(422, "invalid_request").pointers(), ["?after"]);
}

#[tokio::test]
async fn a_long_poll_returns_when_something_happens_and_else_when_its_time_is_over() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "1", 1).await;
    let head = shop.get("/v1/events").await["head"].as_i64().unwrap();
    let asked = Instant::now();
    let nothing = shop.get(&format!("/v1/events?after={head}&wait=1")).await.expect(200);
    assert!(nothing.items().is_empty() && asked.elapsed() >= Duration::from_millis(950), "{nothing}");
    let asked = Instant::now();
    let poll = shop.get(&format!("/v1/events?after={head}&wait=20&types=StockReceived")).into_future();
    let act = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        // Not what is waited for, and then what is.
        shop.patch(&format!("/v1/products/{sku}"), json!({"title": "x"})).await.expect(200);
        tokio::time::sleep(Duration::from_millis(300)).await;
        receive(&shop, &sku, 3).await
    };
    let (seen, receipt) = futures::join!(poll, act);
    let seen = seen.expect(200);
    assert!(asked.elapsed() < Duration::from_secs(15), "it returned only when its time was over");
    assert_eq!((seen.items().len(), seen.items()[0]["position"].as_i64()), (1, Some(receipt.position())), "{seen}");
    let asked = Instant::now();
    shop.get(&format!("/v1/events?after={head}&wait=20")).await.expect(200);
    assert!(asked.elapsed() < Duration::from_secs(10), "it waited although there was something");
}

#[tokio::test]
async fn projections_say_how_far_they_are_and_the_server_how_it_does() {
    let Some((shop, ..)) = lively_shop().await else { return };
    let all = shop.until("/v1/projections", |all| all.items().iter().all(|one| one["lag"] == 0)).await;
    assert!(all.items().len() >= 7, "{all}");
    for one in all.items() {
        assert!(one["name"].is_string() && one["version"].is_i64() && one["state"] == "live", "{one}");
        assert_eq!(one["lag_seconds"], 0.0, "{one}");
        assert_eq!((&one["parked"], &one["position"]), (&json!([]), &all["head"]), "{one}");
    }
    for path in ["/healthz", "/readyz"] {
        shop.get(path).await.expect(200);
    }
    let metrics = shop.get("/metrics").await.expect(200);
    assert!(String::from_utf8_lossy(&metrics.bytes).contains("# TYPE "), "{metrics}");
}
