//! Buyers and warehouse workers: what they do is chance, by their seed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::Method;
use serde_json::json;

use super::book::{Book, Write};
use crate::{
    client::Client,
    shop::{address, items, money, unique},
};

const PLENTY: u32 = 1_000_000;
/// Units of the scarce product that come in at each round: fewer than are asked for.
const SCARCE_UNITS: u32 = 8;
const SALE_ALLOTMENT: u32 = 12;
const SALE_LIMIT: u32 = 2;
const SALE_TIME: Duration = Duration::from_secs(4);
const PAUSE: Duration = Duration::from_millis(15);
/// Most are paid; the gateway's other answers come often enough for each round.
const TOKENS: [&str; 10] =
    ["tok_ok", "tok_ok", "tok_ok", "tok_ok", "tok_flaky", "tok_lost", "tok_slow", "tok_declined", "tok_declined", "tok_down"];

/// What is for sale, and where.
#[derive(Clone)]
pub struct Market {
    pub clients: Vec<Client>,
    pub book: Arc<Book>,
    pub plenty: Vec<String>,
    pub scarce: String,
    /// The product whose flash sale runs.
    pub sold_fast: String,
    /// The cart that everybody fills.
    pub shared_cart: String,
}

impl Market {
    pub async fn open(clients: Vec<Client>, book: Arc<Book>) -> Self {
        let mut market =
            Self { clients, book, plenty: Vec::new(), scarce: String::new(), sold_fast: String::new(), shared_cart: String::new() };
        for _ in 0..4 {
            let sku = market.product().await;
            market.receive(0, &sku, PLENTY).await;
            market.plenty.push(sku);
        }
        market.scarce = market.product().await;
        market.shared_cart = market.cart(0, &[]).await;
        market
    }

    /// Something scarce comes in, and a flash sale begins.
    pub async fn restock(&mut self) {
        let sku = self.product().await;
        self.receive(0, &sku, 2 * SALE_ALLOTMENT).await;
        let now = chrono::Utc::now();
        let time = |at: chrono::DateTime<chrono::Utc>| at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
        let sale = json!({"sku": sku, "starts_at": time(now - chrono::Duration::seconds(5)), "ends_at": time(now + SALE_TIME),
                          "allotment": SALE_ALLOTMENT, "price": money("1"), "limit_per_customer": SALE_LIMIT});
        self.write(0, Method::POST, "/v1/flash-sales", sale, "flashsale", &[]).await.expect("a sale");
        let scarce = self.scarce.clone();
        self.receive(1, &scarce, SCARCE_UNITS).await;
        self.sold_fast = sku;
    }

    async fn write(
        &self,
        first: usize,
        method: Method,
        path: &str,
        body: serde_json::Value,
        category: &'static str,
        refusals: &[&str],
    ) -> Option<crate::client::Answer> {
        self.book.write(&self.clients, first, Write { method, path, body, category, refusals }).await
    }

    async fn product(&self) -> String {
        let sku = unique("C");
        let product = json!({"sku": sku, "title": format!("Product {sku}"), "price": money("2.50")});
        self.write(0, Method::POST, "/v1/products", product, "product", &[]).await.expect("a product");
        sku
    }

    async fn receive(&self, first: usize, sku: &str, units: u32) {
        let receipt = json!({"quantity": units, "reference": "{key}"});
        self.write(first, Method::POST, &format!("/v1/stock/{sku}/receipts"), receipt, "stock", &[]).await.expect("a receipt");
    }

    async fn cart(&self, first: usize, lines: &[(&str, u32)]) -> String {
        let cart = json!({"currency": "GBP", "items": items(lines), "metadata": {"write": "{key}"}});
        self.write(first, Method::POST, "/v1/carts", cart, "cart", &[]).await.expect("a cart").id()
    }

    /// Buys, and perhaps calls it off again or has it sent.
    async fn buy(&self, random: &mut fastrand::Rng, lines: &[(&str, u32)], customer: u32) {
        let first = random.usize(..) / 2;
        let cart = self.cart(first, lines).await;
        let token = TOKENS[random.usize(0..TOKENS.len())];
        let checkout = json!({"email": format!("buyer{customer}@shop.example"), "shipping_address": address(), "metadata": {"write": "{key}"},
                              "payment": {"method": "simulated", "token": token}});
        let refusals = ["out_of_stock", "limit_per_customer", "price_changed"];
        let path = format!("/v1/carts/{cart}/checkout");
        // Half of them at another server than their cart was made at.
        let Some(order) = self.write(random.usize(..) / 2, Method::POST, &path, checkout, "order", &refusals).await else { return };
        let path = format!("/v1/orders/{}", order.id());
        match random.u32(0..8) {
            0 | 1 => {
                let refusals = ["order_shipped"];
                self.write(random.usize(..) / 2, Method::POST, &format!("{path}/cancel"), json!({"reason": "{key}"}), "order", &refusals)
                    .await;
            }
            2 => {
                tokio::time::sleep(Duration::from_millis(random.u64(50..400))).await;
                let shipment = json!({"carrier": "Post", "tracking_number": "{key}"});
                let refusals = ["order_not_confirmed"];
                self.write(random.usize(..) / 2, Method::POST, &format!("{path}/shipments"), shipment, "order", &refusals).await;
            }
            _ => {}
        }
    }

    /// Writes to the one cart and the one SKU that everybody writes to.
    async fn fight(&self, random: &mut fastrand::Rng) {
        let first = random.usize(..) / 2;
        let sku = &self.plenty[0];
        match random.u32(0..3) {
            0 => {
                let line = format!("/v1/carts/{}/items/{sku}", self.shared_cart);
                self.write(first, Method::PUT, &line, json!({"quantity": random.u32(1..10_000)}), "cart", &[]).await;
            }
            1 => self.receive(first, sku, random.u32(1..5)).await,
            _ => {
                let adjustment = json!({"quantity": -1, "reason": "damaged"});
                let path = format!("/v1/stock/{sku}/adjustments");
                self.write(first, Method::POST, &path, adjustment, "stock", &["insufficient_stock"]).await;
            }
        }
    }
}

/// One who buys and works until it is over.
pub async fn buyer(market: Market, seed: u64, is_over: Arc<AtomicBool>) {
    let mut random = fastrand::Rng::with_seed(seed);
    while !is_over.load(Ordering::Relaxed) {
        let customer = random.u32(0..12);
        match random.u32(0..10) {
            0..=4 => {
                let (one, other) = (random.usize(0..2), random.usize(2..4));
                let lines = [(market.plenty[one].as_str(), random.u32(1..4)), (market.plenty[other].as_str(), 1)];
                market.buy(&mut random, &lines, customer).await;
            }
            5 | 6 => market.buy(&mut random, &[(&market.scarce, 1), (&market.plenty[1], 1)], customer).await,
            7 | 8 => {
                let units = random.u32(1..3);
                market.buy(&mut random, &[(&market.sold_fast, units)], customer).await;
            }
            _ => market.fight(&mut random).await,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// One who only writes to what everybody writes to.
pub async fn fighter(market: Market, seed: u64, is_over: Arc<AtomicBool>) {
    let mut random = fastrand::Rng::with_seed(seed);
    while !is_over.load(Ordering::Relaxed) {
        market.fight(&mut random).await;
    }
}
