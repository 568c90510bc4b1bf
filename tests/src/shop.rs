//! A shop of a test's own: a database, one or two servers on it, and what people do in a shop.

use std::ops::Deref;

use chrono::{Duration, Utc};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};
use uuid::Uuid;

use crate::{
    client::{Answer, Client},
    database::Database,
    server::{Launch, Server},
};

/// Servers that run at once, over all tests of the binary.
static SERVERS: Semaphore = Semaphore::const_new(4);

/// The right to run so many servers at once. Ask once for all that a test needs, so that no two tests wait for each other.
pub async fn room_for(servers: u32) -> SemaphorePermit<'static> {
    SERVERS.acquire_many(servers).await.expect("the semaphore is never closed")
}

/// Used as the client of its first server.
pub struct Shop {
    client: Client,
    pub servers: Vec<Server>,
    pub database: Database,
    _room: SemaphorePermit<'static>,
}

impl Deref for Shop {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Shop {
    /// With one server; none where the environment has no database for tests.
    pub async fn open() -> Option<Self> {
        Self::open_with(1, &[]).await
    }

    /// With so many servers, which have these settings.
    pub async fn open_with(servers: u32, settings: &[(&str, &str)]) -> Option<Self> {
        let database = Database::create().await?;
        let room = room_for(servers).await;
        let launch = settings.iter().fold(Launch::on_database(&database.url), |launch, (name, value)| launch.set(name, value));
        let mut running = Vec::new();
        for _ in 0..servers {
            running.push(Server::start(launch.clone()).await);
        }
        Some(Self { client: running[0].client(), servers: running, database, _room: room })
    }

    pub fn server(&mut self) -> &mut Server {
        &mut self.servers[0]
    }
}

/// A name that nobody else has.
pub fn unique(prefix: &str) -> String {
    // The end of such an id is chance, its beginning the time.
    format!("{prefix}-{}", &Uuid::now_v7().simple().to_string()[20..])
}

pub fn money(amount: &str) -> Value {
    json!({"amount": amount, "currency": "GBP"})
}

pub fn address() -> Value {
    json!({"name": "A. Buyer", "line1": "1 High Street", "city": "Leeds", "postal_code": "LS1 1AA", "country": "GB"})
}

/// A product at this price, of which so many units were received.
pub async fn product(client: &Client, price: &str, units: u32) -> String {
    let sku = unique("T");
    client.post("/v1/products", json!({"sku": sku, "title": format!("Product {sku}"), "price": money(price)})).await.expect(201);
    if units > 0 {
        receive(client, &sku, units).await;
    }
    sku
}

pub async fn receive(client: &Client, sku: &str, units: u32) -> Answer {
    client.post(&format!("/v1/stock/{sku}/receipts"), json!({"quantity": units, "reference": "PO"})).await.expect(201)
}

pub fn items(lines: &[(&str, u32)]) -> Value {
    lines.iter().map(|(sku, quantity)| json!({"sku": sku, "quantity": quantity})).collect()
}

/// The id of a new cart with these lines.
pub fn cart(client: &Client, lines: &[(&str, u32)]) -> impl Future<Output = String> + use<> {
    let request = client.post("/v1/carts", json!({"currency": "GBP", "items": items(lines)}));
    async { request.await.expect(201).id() }
}

pub fn checkout_body(token: &str) -> Value {
    json!({"email": "buyer@shop.example", "shipping_address": address(), "payment": {"method": "simulated", "token": token}})
}

pub async fn check_out(client: &Client, cart: &str, token: &str) -> Answer {
    client.post(&format!("/v1/carts/{cart}/checkout"), checkout_body(token)).await
}

/// The answer to the checkout of a new cart.
pub fn buy<'a>(client: &'a Client, lines: &[(&str, u32)], token: &'a str) -> impl Future<Output = Answer> + use<'a> {
    let cart = cart(client, lines);
    async move { check_out(client, &cart.await, token).await }
}

/// The order once nothing more happens to it by itself.
pub async fn settled(client: &Client, order: &str) -> Answer {
    client.until(&format!("/v1/orders/{order}"), |order| is_settled(&order.body)).await
}

/// Whether neither the payment nor a refund of an order is under way.
pub fn is_settled(order: &Value) -> bool {
    let is_final = !["submitted", "placed"].contains(&order["status"].as_str().unwrap_or_default());
    let is_pending = order["status"] != "rejected" && order["payment"]["status"] == "pending";
    let is_refunding = order["refunds"].as_array().is_some_and(|refunds| refunds.iter().any(|refund| refund["status"] == "pending"));
    is_final && !is_pending && !is_refunding
}

/// The id of an order that was paid.
pub async fn confirmed(client: &Client, lines: &[(&str, u32)]) -> String {
    let order = buy(client, lines, "tok_ok").await.expect(201).id();
    assert_eq!(settled(client, &order).await["status"], "confirmed");
    order
}

/// A flash sale at 1.00 that runs during all of a test.
pub fn running_sale(sku: &str, allotment: u32) -> Value {
    json!({"sku": sku, "starts_at": in_days(-30), "ends_at": in_days(300), "allotment": allotment, "price": money("1")})
}

/// The time so many days from now, on the hour before.
pub fn in_days(days: i64) -> String {
    (Utc::now() + Duration::days(days)).format("%Y-%m-%dT%H:00:00Z").to_string()
}

/// Waits until this much is on hand, reserved and available.
pub async fn stock_becomes(client: &Client, sku: &str, on_hand: i64, reserved: i64) {
    client.until(&format!("/v1/stock/{sku}"), |stock| stock["on_hand"] == on_hand && stock["reserved"] == reserved).await;
}

/// What an order did, as (type, data) of its events.
pub async fn happened(client: &Client, stream: &str) -> Vec<(String, Value)> {
    let events = client.all(&format!("/v1/streams/{stream}")).await;
    events.into_iter().map(|event| (event["type"].as_str().unwrap_or_default().to_owned(), event["data"].clone())).collect()
}

/// How many events of a type there are in a stream.
pub async fn count(client: &Client, stream: &str, event_type: &str) -> usize {
    happened(client, stream).await.iter().filter(|(name, _)| name == event_type).count()
}
