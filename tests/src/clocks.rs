//! Deadlines, with servers whose clock jumps (libfaketime): each is met once, by whichever server is alive.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use chrono::{SecondsFormat, Utc};
use futures::future::join_all;
use serde_json::json;
use tempfile::TempDir;

use crate::{
    client::{Answer, Client},
    database::skipped,
    shop::{Shop, buy, confirmed, count, happened, money, product, settled, stock_becomes},
};

const MINUTE_S: i64 = 60;

/// The clock of servers that were started with its settings; that of Postgres goes on as it does.
struct Clock {
    folder: TempDir,
    library: PathBuf,
}

impl Clock {
    /// One that is right; none, and a line that says so, where there is no libfaketime.
    fn fake() -> Option<Self> {
        let folders = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib", "/usr/local/lib", "/usr/lib64"];
        let library = folders.iter().map(|folder| Path::new(folder).join("faketime/libfaketimeMT.so.1")).find(|path| path.is_file());
        let Some(library) = library else {
            skipped("libfaketime (Debian: faketime)");
            return None;
        };
        let clock = Self { folder: TempDir::new().expect("a folder"), library };
        clock.jump_to(0);
        Some(clock)
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("offset")
    }

    /// Puts the clock so many seconds ahead of the right time, or behind it.
    fn jump_to(&self, offset_s: i64) {
        // Renamed into its place, so that nobody reads half of it.
        let new = self.folder.path().join("new");
        fs::write(&new, format!("{offset_s:+}\n")).and_then(|()| fs::rename(new, self.file())).expect("the clock is set");
    }

    async fn open_shop(&self, servers: u32) -> Option<Shop> {
        let (library, file) = (self.library.display().to_string(), self.file().display().to_string());
        let settings = [
            ("LD_PRELOAD", library.as_str()),
            ("FAKETIME_TIMESTAMP_FILE", file.as_str()),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ];
        Shop::open_with(servers, &settings).await
    }
}

fn in_minutes(minutes: i64) -> String {
    (Utc::now() + chrono::Duration::minutes(minutes)).to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// How often an order's units were given back.
async fn given_back(client: &Client, sku: &str, order: &str) -> usize {
    let is_end = |name: &str| name == "StockReleased" || name == "StockExpired";
    happened(client, &format!("stock-{sku}")).await.iter().filter(|(name, data)| is_end(name) && data["order"] == order).count()
}

#[tokio::test]
async fn the_clock_of_a_server_can_be_made_to_jump() {
    let Some(clock) = Clock::fake() else { return };
    let Some(shop) = clock.open_shop(1).await else { return };
    clock.jump_to(100 * MINUTE_S);
    let order = buy(&shop, &[(&product(&shop, "20", 1).await, 1)], "tok_down").await.expect(201);
    let at = order["timeline"][0]["at"].as_str().expect("a time").to_owned();
    assert!(at > in_minutes(99) && at < in_minutes(101), "the order was placed at {at}");
}

#[tokio::test]
async fn process_managers_that_were_away_past_every_deadline_fulfil_what_was_paid_meanwhile() {
    const ORDERS: usize = 60;
    let Some(clock) = Clock::fake() else { return };
    let Some(mut shop) = clock.open_shop(1).await else { return };
    let whole = shop.server().launch().clone();
    shop.server().kill();
    shop.server().start_again_as(whole.clone().argument("--role", "command-api,query-api,projector,payment-worker")).await;
    let sku = product(&shop, "20", 1_000).await;
    let mut orders = Vec::new();
    for _ in 0..ORDERS / 3 {
        for order in join_all((0..3).map(|_| buy(&shop, &[(&sku, 1)], "tok_ok"))).await {
            orders.push(order.expect(201).id());
        }
    }
    for order in &orders {
        let is_captured = |events: &Answer| events.items().iter().any(|event| event["type"] == "PaymentCaptured");
        shop.until(&format!("/v1/streams/payment-{order}"), is_captured).await;
    }
    // A payment may take 15 minutes, and its reservation holds for five more.
    clock.jump_to(30 * MINUTE_S);
    shop.server().kill();
    shop.server().start_again_as(whole).await;
    for order in &orders {
        let order = settled(&shop, order).await;
        assert_eq!((order.state(), &order["refunds"]), ("confirmed", &json!([])), "{order}");
    }
    stock_becomes(&shop, &sku, 940, 0).await;
}

#[tokio::test]
async fn deadlines_are_met_once_whatever_clocks_and_servers_do() {
    let Some(clock) = Clock::fake() else { return };
    let Some(mut shop) = clock.open_shop(2).await else { return };
    let sku = product(&shop, "20", 10).await;
    // Its payment may take 15 minutes.
    let unpaid = buy(&shop, &[(&sku, 2)], "tok_down").await.expect(201).id();
    let sale = json!({"sku": sku, "starts_at": in_minutes(30), "ends_at": in_minutes(60), "allotment": 4, "price": money("5")});
    let sale = shop.post("/v1/flash-sales", sale).await.expect(201).id();
    let sale_path = format!("/v1/flash-sales/{sale}");
    stock_becomes(&shop, &sku, 10, 6).await;

    // Whichever server is alive ends what is overdue, and nothing else.
    shop.servers[0].kill();
    clock.jump_to(20 * MINUTE_S);
    let other = shop.servers[1].client();
    assert_eq!(settled(&other, &unpaid).await.state(), "cancelled");
    stock_becomes(&other, &sku, 10, 4).await;
    assert_eq!(other.get(&sale_path).await["state"], "scheduled");

    // A clock that goes back takes nothing back, and what is bought meanwhile is bought.
    shop.servers[0].start_again().await;
    clock.jump_to(-60 * MINUTE_S);
    confirmed(&shop, &[(&sku, 1)]).await;
    let unpaid_yesterday = buy(&shop, &[(&sku, 1)], "tok_down").await.expect(201).id();
    stock_becomes(&shop, &sku, 9, 5).await;

    // It jumps while nobody is alive: whoever starts finds what is due.
    for server in &mut shop.servers {
        server.kill();
    }
    clock.jump_to(35 * MINUTE_S);
    for server in &mut shop.servers {
        server.start_again().await;
    }
    shop.until(&sale_path, |sale| sale["state"] == "running").await;
    assert_eq!(settled(&shop, &unpaid_yesterday).await.state(), "cancelled");
    stock_becomes(&shop, &sku, 9, 4).await;
    clock.jump_to(65 * MINUTE_S);
    shop.until(&sale_path, |sale| sale["state"] == "ended").await;
    stock_becomes(&shop, &sku, 9, 0).await;

    // Every time comes a second time, and nothing with it.
    for offset_s in [-60 * MINUTE_S, 35 * MINUTE_S, 65 * MINUTE_S] {
        clock.jump_to(offset_s);
        tokio::time::sleep(Duration::from_millis(1_500)).await;
    }
    for order in [&unpaid, &unpaid_yesterday] {
        let cancelled = count(&shop, &format!("order-{order}"), "OrderCancelled").await;
        assert_eq!((cancelled, given_back(&shop, &sku, order).await), (1, 1), "order {order}");
    }
    let of_sale = [
        count(&shop, &format!("flashsale-{sale}"), "FlashSaleStarted").await,
        count(&shop, &format!("flashsale-{sale}"), "FlashSaleEnded").await,
    ];
    assert_eq!(of_sale, [1, 1]);
    assert_eq!(count(&shop, &format!("stock-{sku}"), "StockAllotmentClosed").await, 1);
    stock_becomes(&shop, &sku, 9, 0).await;
    confirmed(&shop, &[(&sku, 9)]).await;
}
