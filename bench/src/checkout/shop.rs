//! A shop with a few products that everybody wants, and its buyers.

use std::{
    mem,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::try_join_all;
use serde::Deserialize;
use serde_json::json;
use tokio::time::sleep;

use crate::{
    error::Error,
    http::{Connection, Request, Response},
    load::Caller,
    process::Merx,
    random::Random,
};

/// Units that too many buyers want at the end.
pub const SCARCE: u64 = 100;
const SCARCE_SKU: &str = "SCARCE";
const PLENTY: u64 = 100_000_000;
/// Half of the journeys buy one of so many products.
const HOT_PRODUCTS: usize = 5;
/// The longest that an order may take to be confirmed, and stock to show it.
const CONFIRMATION_LIMIT: Duration = Duration::from_secs(30);

/// A shop that is open.
pub struct Shop {
    address: SocketAddr,
    key: String,
    skus: Vec<String>,
}

/// What is read of a cart or an order.
#[derive(Debug, Deserialize)]
struct Resource {
    id: String,
    #[serde(default)]
    status: String,
    /// Once there are accounts, a guest shows this.
    cart_token: Option<String>,
    order_token: Option<String>,
}

/// What is read of a SKU's stock.
#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Stock {
    on_hand: u64,
    reserved: u64,
    available: u64,
}

impl Shop {
    /// Fills the shop of `merx` with `products` products.
    pub async fn open(merx: &Merx, products: usize) -> Result<Self, Error> {
        let skus = (0..products).map(|nth| format!("SKU-{nth:04}")).collect();
        let shop = Self { address: merx.address(), key: merx.key().to_owned(), skus };
        let mut connection = Connection::open(shop.address).await?;
        for sku in &shop.skus {
            shop.offer(&mut connection, sku, PLENTY).await?;
        }
        shop.offer(&mut connection, SCARCE_SKU, SCARCE).await?;
        Ok(shop)
    }

    async fn offer(&self, connection: &mut Connection, sku: &str, quantity: u64) -> Result<(), Error> {
        let price = json!({"amount": "12.50", "currency": "GBP"});
        let product = json!({"sku": sku, "title": format!("Product {sku}"), "price": price}).to_string();
        let bearer = Some(self.key.as_str());
        connection
            .send(Request { method: "POST", path: "/v1/products", bearer, body: Some(&product), min_position: None })
            .await?
            .expect(201)?;
        let receipt = json!({"quantity": quantity, "reference": "bench"}).to_string();
        let path = format!("/v1/stock/{sku}/receipts");
        connection.send(Request { method: "POST", path: &path, bearer, body: Some(&receipt), min_position: None }).await?.expect(201)?;
        Ok(())
    }

    /// Whether stock is what is left after what `buyers` bought. What has just been sold may still be under way.
    pub async fn audit(&self, buyers: &[Buyer]) -> Result<(), Error> {
        let mut connection = Connection::open(self.address).await?;
        for (nth, sku) in self.skus.iter().enumerate() {
            let sold = buyers.iter().filter_map(|buyer| buyer.bought.get(nth)).sum::<u64>();
            self.until_left(&mut connection, sku, PLENTY - sold).await?;
        }
        Ok(())
    }

    /// All buyers buy what is scarce until they are refused; fails unless exactly what there is was sold.
    pub async fn sell_out(&self, buyers: Vec<Buyer>) -> Result<u64, Error> {
        let greedy = buyers.into_iter().map(|mut buyer| async move {
            let mut sold = 0_u64;
            while buyer.buy(SCARCE_SKU).await? == Outcome::Confirmed {
                sold += 1;
            }
            Ok::<u64, Error>(sold)
        });
        let sold = try_join_all(greedy).await?.into_iter().sum();
        if sold != SCARCE {
            return Err(Error::Wrong(format!("of {SCARCE} units {sold} were sold")));
        }
        self.until_left(&mut Connection::open(self.address).await?, SCARCE_SKU, 0).await?;
        Ok(sold)
    }

    async fn until_left(&self, connection: &mut Connection, sku: &str, left: u64) -> Result<(), Error> {
        let path = format!("/v1/stock/{sku}");
        let started = Instant::now();
        loop {
            let answer =
                connection.send(Request { method: "GET", path: &path, bearer: Some(&self.key), body: None, min_position: None }).await?;
            let stock: Stock = serde_json::from_slice(&answer.expect(200)?)?;
            if stock == (Stock { on_hand: left, reserved: 0, available: left }) {
                return Ok(());
            }
            if started.elapsed() > CONFIRMATION_LIMIT {
                return Err(Error::Wrong(format!("{left} units of {sku} must be left, but there is {stock:?}")));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// What became of a journey.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Confirmed,
    OutOfStock,
}

/// What a buyer has seen since it was last asked.
#[derive(Debug, Default)]
pub struct Tally {
    /// How long the checkout request alone took.
    pub checkouts: Vec<Duration>,
    /// How often it asked whether an order is confirmed.
    pub polls: u32,
}

/// Somebody who buys one product after the other, on a connection that is kept open.
pub struct Buyer {
    shop: Arc<Shop>,
    connection: Connection,
    checkout: String,
    poll_interval: Duration,
    random: Random,
    tally: Tally,
    /// Units of each product.
    bought: Vec<u64>,
}

impl Buyer {
    /// A buyer whose choices follow from `seed`.
    pub async fn enter(shop: Arc<Shop>, seed: u64, poll_interval: Duration) -> Result<Self, Error> {
        let address = json!({
            "name": "Ada", "line1": "1 High Street", "city": "London", "region": "Greater London", "postal_code": "N1 9GU", "country": "GB",
        });
        let payment = json!({"method": "simulated", "token": "tok_ok"});
        let checkout = json!({"email": format!("buyer-{seed}@example.com"), "shipping_address": address, "payment": payment}).to_string();
        let connection = Connection::open(shop.address).await?;
        let bought = vec![0; shop.skus.len()];
        Ok(Self { shop, connection, checkout, poll_interval, random: Random::new(seed), tally: Tally::default(), bought })
    }

    /// What it has seen since this was last called.
    pub fn take_tally(&mut self) -> Tally {
        mem::take(&mut self.tally)
    }

    fn choose(&mut self) -> usize {
        let products = if self.random.below(2) == 0 { self.bought.len().min(HOT_PRODUCTS) } else { self.bought.len() };
        self.random.below(products)
    }

    async fn buy(&mut self, sku: &str) -> Result<Outcome, Error> {
        let created = self.send("POST", "/v1/carts", None, Some(r#"{"currency":"GBP"}"#)).await?;
        let cart: Resource = serde_json::from_slice(&created.expect(201)?)?;
        let token = cart.cart_token.as_deref();
        let item = format!("/v1/carts/{}/items/{sku}", cart.id);
        self.send("PUT", &item, token, Some(r#"{"quantity":1}"#)).await?.expect(200)?;
        let asked = Instant::now();
        let body = mem::take(&mut self.checkout);
        let answer = self.send("POST", &format!("/v1/carts/{}/checkout", cart.id), token, Some(&body)).await;
        self.checkout = body;
        let answer = answer?;
        if answer.status == 409 && answer.body.windows(12).any(|window| window == b"out_of_stock") {
            return Ok(Outcome::OutOfStock);
        }
        self.tally.checkouts.push(asked.elapsed());
        let order: Resource = serde_json::from_slice(&answer.expect(201)?)?;
        self.until_confirmed(&order).await
    }

    async fn until_confirmed(&mut self, order: &Resource) -> Result<Outcome, Error> {
        let path = format!("/v1/orders/{}", order.id);
        let placed = Instant::now();
        while placed.elapsed() < CONFIRMATION_LIMIT {
            sleep(self.poll_interval).await;
            self.tally.polls += 1;
            let answer = self.send("GET", &path, order.order_token.as_deref(), None).await?;
            if answer.status == 404 {
                continue; // the read model has not come to it
            }
            let seen: Resource = serde_json::from_slice(&answer.expect(200)?)?;
            match seen.status.as_str() {
                "submitted" | "placed" => {}
                "confirmed" => return Ok(Outcome::Confirmed),
                other => return Err(Error::Wrong(format!("order {} is {other}", order.id))),
            }
        }
        Err(Error::Wrong(format!("order {} was not confirmed within {} s", order.id, CONFIRMATION_LIMIT.as_secs())))
    }

    async fn send(&mut self, method: &'static str, path: &str, bearer: Option<&str>, body: Option<&str>) -> Result<Response, Error> {
        self.connection.send(Request { method, path, bearer, body, min_position: None }).await
    }
}

impl Caller for Buyer {
    async fn call(&mut self) -> Result<(), Error> {
        let chosen = self.choose();
        let shop = Arc::clone(&self.shop);
        match self.buy(&shop.skus[chosen]).await? {
            Outcome::Confirmed => self.bought[chosen] += 1,
            Outcome::OutOfStock => return Err(Error::Wrong(format!("{} was refused, though there is plenty", shop.skus[chosen]))),
        }
        Ok(())
    }
}
