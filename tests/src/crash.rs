//! A server that is killed in the middle of its work loses nothing that it acknowledged, and finishes what it began.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    client::Client,
    shop::{Shop, checkout_body, is_settled, items, product, unique},
};

const ROUNDS: usize = 3;
const LOAD: Duration = Duration::from_secs(3);
const BUYERS: usize = 16;
const TOKENS: [&str; 8] = ["tok_ok", "tok_ok", "tok_ok", "tok_ok", "tok_slow", "tok_flaky", "tok_lost", "tok_declined"];
/// How long after the restart an order may take to come to its end.
const SETTLE_LIMIT: Duration = Duration::from_secs(30);

/// What buyers were told.
#[derive(Default)]
struct Acknowledged {
    orders: Vec<(String, Value)>,
    receipts: Vec<(String, i64, String)>,
    refusals: Vec<String>,
}

/// Buys and restocks until nobody answers any more.
async fn buyer(client: Client, number: usize, skus: Arc<Vec<String>>, told: Arc<Mutex<Acknowledged>>, is_over: Arc<AtomicBool>) {
    for turn in number.. {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let (one, other) = (&skus[turn % skus.len()], &skus[(turn + 1) % skus.len()]);
        let cart = client.post("/v1/carts", json!({"currency": "GBP", "items": items(&[(one, 1), (other, 2)])})).try_send().await;
        let Ok(cart) = cart else { continue };
        if cart.status != 201 {
            told.lock().unwrap().refusals.push(cart.to_string());
            continue;
        }
        let path = format!("/v1/carts/{}/checkout", cart.id());
        match client.post(&path, checkout_body(TOKENS[turn % TOKENS.len()])).try_send().await {
            Ok(order) if order.status == 201 => told.lock().unwrap().orders.push((order.id(), order.body.clone())),
            Ok(order) => told.lock().unwrap().refusals.push(order.to_string()),
            Err(_) => {}
        }
        if turn % 5 == 0 {
            let reference = unique("PO");
            let receipt = json!({"quantity": 3, "reference": reference});
            if let Ok(receipt) = client.post(&format!("/v1/stock/{one}/receipts"), receipt).try_send().await {
                let receipt = receipt.expect(201);
                told.lock().unwrap().receipts.push((one.clone(), receipt.position(), reference));
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn all_orders_end(client: &Client) {
    let limit = Instant::now() + SETTLE_LIMIT;
    loop {
        let orders = client.all("/v1/orders").await;
        let open: Vec<_> = orders.iter().filter(|order| !is_settled(order)).collect();
        if open.is_empty() {
            return;
        }
        assert!(Instant::now() < limit, "{} of {} orders come to no end, as {}", open.len(), orders.len(), open[0]);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Every event: without gaps in positions and versions.
async fn whole_log(client: &Client) -> Vec<Value> {
    let (mut events, mut versions) = (Vec::new(), HashMap::<String, i64>::new());
    loop {
        let page = client.get(&format!("/v1/events?limit=200&after={}", events.len())).await.expect(200);
        if page.items().is_empty() {
            return events;
        }
        for event in page.items() {
            let version = versions.entry(event["stream"].to_string()).or_default();
            *version += 1;
            assert_eq!((event["position"].as_u64(), event["version"].as_i64()), (Some(events.len() as u64 + 1), Some(*version)), "{event}");
            events.push(event.clone());
        }
    }
}

fn assert_kept(events: &[Value], orders: &HashMap<String, Value>, told: &Acknowledged) {
    for (id, acknowledged) in &told.orders {
        let order = orders.get(id).unwrap_or_else(|| panic!("order {id} was acknowledged and is lost"));
        for name in ["items", "total", "email", "cart", "placed_at"] {
            assert_eq!(order[name], acknowledged[name], "{order}");
        }
        assert!(order["status"] == "confirmed" || order["payment"]["status"] == "declined", "{order}");
    }
    for (sku, position, reference) in &told.receipts {
        let event = &events[usize::try_from(*position).unwrap() - 1];
        let seen = (&event["type"], &event["stream"], &event["data"]["reference"]);
        assert_eq!(seen, (&json!("StockReceived"), &json!(format!("stock-{sku}")), &json!(reference)));
    }
    let once = |name: &str| {
        let mut counts = HashMap::<&Value, u32>::new();
        for event in events.iter().filter(|event| event["type"] == name) {
            *counts.entry(&event["stream"]).or_default() += 1;
        }
        assert!(counts.values().all(|count| *count == 1), "{name} more than once in a stream");
        counts.len()
    };
    let confirmed = orders.values().filter(|order| order["status"] == "confirmed").count();
    assert_eq!((once("PaymentCaptured"), once("OrderConfirmed")), (confirmed, confirmed));
}

/// On hand is what was received without what was confirmed; nothing is reserved.
async fn assert_stock_adds_up(client: &Client, events: &[Value], orders: &HashMap<String, Value>) {
    let mut expected = BTreeMap::<String, i64>::new();
    for event in events.iter().filter(|event| event["type"] == "StockReceived") {
        let sku = event["stream"].as_str().unwrap().trim_start_matches("stock-");
        *expected.entry(sku.to_owned()).or_default() += event["data"]["quantity"].as_i64().unwrap();
    }
    for order in orders.values().filter(|order| order["status"] == "confirmed") {
        for item in order["items"].as_array().unwrap() {
            *expected.get_mut(item["sku"].as_str().unwrap()).unwrap() -= item["quantity"].as_i64().unwrap();
        }
    }
    for (sku, on_hand) in expected {
        let stock = client.get_at(&format!("/v1/stock/{sku}"), events.len() as i64).await.expect(200);
        assert_eq!((&stock["on_hand"], &stock["reserved"]), (&json!(on_hand), &json!(0)), "{sku}");
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_and_what_was_begun_is_finished() {
    let Some(mut shop) = Shop::open().await else { return };
    let mut skus = Vec::new();
    for _ in 0..5 {
        skus.push(product(&shop, "2.50", 100_000).await);
    }
    let (skus, told) = (Arc::new(skus), Arc::new(Mutex::new(Acknowledged::default())));
    for round in 1..=ROUNDS {
        let (mut buyers, is_over) = (JoinSet::new(), Arc::new(AtomicBool::new(false)));
        for number in 0..BUYERS {
            buyers.spawn(buyer(shop.servers[0].client(), number, skus.clone(), told.clone(), is_over.clone()));
        }
        tokio::time::sleep(LOAD).await;
        shop.server().kill();
        is_over.store(true, Ordering::Relaxed);
        while let Some(ended) = buyers.join_next().await {
            ended.expect("a buyer");
        }
        shop.server().start_again().await;
        all_orders_end(&shop).await;
        let events = whole_log(&shop).await;
        // The checkouts that nobody heard of again are settled too, so stock follows at once.
        let orders: HashMap<String, Value> =
            shop.all("/v1/orders").await.into_iter().map(|order| (order["id"].as_str().unwrap().to_owned(), order)).collect();
        {
            let told = told.lock().unwrap();
            assert!(told.refusals.is_empty(), "{}", told.refusals.join("\n"));
            assert!(told.orders.len() > 20 * round && told.receipts.len() > round, "hardly any load");
            assert_kept(&events, &orders, &told);
        }
        let events = settled_log(&shop, events.len()).await;
        assert_stock_adds_up(&shop, &events, &orders).await;
    }
}

/// The log once nothing was added for a second.
async fn settled_log(client: &Client, mut head: usize) -> Vec<Value> {
    loop {
        let newer = client.get(&format!("/v1/events?after={head}&wait=1&limit=200")).await.expect(200);
        if newer.items().is_empty() {
            return whole_log(client).await;
        }
        head += newer.items().len();
    }
}
