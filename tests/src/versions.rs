//! Two versions of the program side by side, the newer one built with events that the older one can't read: rolled forward and back under load.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection, Postgres, Transaction};

use crate::{
    client::Client,
    database::skipped,
    kafka::brokers,
    server::{Launch, Server, merx_of},
    shop::{Shop, address, happened, items, product, settled, unique},
};

/// Time that each phase is under load.
const PHASE: Duration = Duration::from_secs(4);
const BUYERS: usize = 6;

/// The newer version; none, and a line that says so, where none was built.
fn newer_binary() -> Option<PathBuf> {
    let named = std::env::var_os("MERX_NEWER_BIN").map(PathBuf::from);
    if named.is_none() {
        skipped("MERX_NEWER_BIN: a merx that was built with `cargo build -p merx --features newer-events`");
    }
    named
}

/// Ids of the orders and carts that were acknowledged under load.
#[derive(Default)]
struct Acknowledged {
    orders: Vec<String>,
    carts: Vec<String>,
}

/// Buyers that go on until they are stopped, each request at any of the servers that are up.
struct Load {
    servers: Arc<Mutex<Vec<Client>>>,
    acknowledged: Arc<Mutex<Acknowledged>>,
    stop: Arc<AtomicBool>,
    buyers: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(servers: Vec<Client>, sku: &str) -> Self {
        let (servers, acknowledged) = (Arc::new(Mutex::new(servers)), Arc::new(Mutex::new(Acknowledged::default())));
        let stop = Arc::new(AtomicBool::new(false));
        let buyers = (0..BUYERS).map(|nth| {
            let (servers, acknowledged, stop, sku) = (servers.clone(), acknowledged.clone(), stop.clone(), sku.to_owned());
            tokio::spawn(async move {
                for round in nth.. {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    buy_somewhere(&servers, &acknowledged, round, &sku).await;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            })
        });
        let buyers = buyers.collect();
        Self { servers, acknowledged, stop, buyers }
    }

    fn use_servers(&self, servers: Vec<Client>) {
        *self.servers.lock().unwrap() = servers;
    }

    fn counts(&self) -> (usize, usize) {
        let acknowledged = self.acknowledged.lock().unwrap();
        (acknowledged.carts.len(), acknowledged.orders.len())
    }

    async fn end(self) -> Acknowledged {
        self.stop.store(true, Ordering::SeqCst);
        for buyer in self.buyers {
            buyer.await.expect("a buyer");
        }
        std::mem::take(&mut *self.acknowledged.lock().unwrap())
    }
}

/// A cart and its checkout, or a cart that stays empty, which needs nothing that anybody wrote before. Servers come and go, and an older one leaves what a newer one wrote to that: then nothing is acknowledged.
async fn buy_somewhere(servers: &Mutex<Vec<Client>>, acknowledged: &Mutex<Acknowledged>, round: usize, sku: &str) {
    let pick = |nth: usize| {
        let servers = servers.lock().unwrap();
        servers[nth % servers.len()].clone()
    };
    let is_empty = round.is_multiple_of(3);
    let body = json!({"currency": "GBP", "items": if is_empty { json!([]) } else { items(&[(sku, 1)]) }});
    let Ok(cart) = pick(round).post("/v1/carts", body).key(&unique("a-cart-of-a-buyer-with-a-long-key")).try_send().await else { return };
    if cart.status != 201 {
        assert_eq!(cart.status, 503, "{cart}");
        return;
    }
    acknowledged.lock().unwrap().carts.push(cart.id());
    if is_empty {
        return;
    }
    let body = json!({"email": "buyer@shop.example", "shipping_address": address(), "payment": {"method": "simulated", "token": "tok_ok"}});
    let path = format!("/v1/carts/{}/checkout", cart.id());
    let Ok(order) = pick(round + 1).post(&path, body).try_send().await else { return };
    match order.status {
        201 => acknowledged.lock().unwrap().orders.push(order.id()),
        503 | 409 => {}
        _ => panic!("{order}"),
    }
}

/// Waits until what is asked of the database is so.
async fn until(connection: &mut PgConnection, question: &'static str) {
    for _ in 0..1_800 {
        if sqlx::query_scalar::<_, bool>(question).fetch_one(&mut *connection).await.expect("an answer") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never so: {question}");
}

const NOTHING_PARKED: &str = "select not exists (select from parked_streams)";
const ALL_AT_THE_HEAD: &str =
    "select bool_and(c.position = h.position) from checkpoints c cross join log_head h where c.name <> 'search-index'";

/// Keeps the read model of carts where it is, and waits until there are events of the newer program behind it that it has to take: they are left to
/// the older one then.
async fn hold_carts(database: &mut PgConnection) -> Transaction<'_, Postgres> {
    let mut held = database.begin().await.expect("a transaction");
    sqlx::query("select from checkpoints where name = 'carts' for update").execute(&mut *held).await.expect("a lock");
    let newest: i64 = sqlx::query_scalar("select position from log_head").fetch_one(&mut *held).await.expect("the head");
    let newer_events = "select exists (select from events e join program_event_schemas s on s.event_type = e.type
        and s.schema_version = e.schema_version where s.program_version like '%newer-events' and e.stream_id like 'cart-%' and e.position > $1)";
    for _ in 0..3_000 {
        if sqlx::query_scalar::<_, bool>(newer_events).bind(newest).fetch_one(&mut *held).await.expect("an answer") {
            return held;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the newer one opens no cart");
}

async fn roll(shop: &mut Shop, newer: Launch) {
    let mut database = PgConnection::connect_with(&shop.database.options).await.expect("the database");
    let older = shop.servers[0].client();
    let sku = product(&older, "2", 100_000).await;
    let load = Load::start(vec![older.clone()], &sku);
    tokio::time::sleep(PHASE).await;

    // Forward: the newer one comes beside it. What follows the log is the newer one's as soon as the older one meets its events.
    let mut second = Server::start(newer).await;
    load.use_servers(vec![older.clone(), second.client()]);
    tokio::time::sleep(PHASE).await;
    let newer_events = "select exists (select from events e join program_event_schemas s on s.event_type = e.type
        and s.schema_version = e.schema_version where s.program_version like '%newer-events')";
    until(&mut database, newer_events).await;
    until(&mut database, NOTHING_PARKED).await;

    // Back: the older one is alone again. It takes what it can, and nothing is skipped.
    let held = hold_carts(&mut database).await;
    load.use_servers(vec![older.clone()]);
    assert!(second.stop().success());
    held.rollback().await.expect("the read model goes on");
    let before = load.counts();
    tokio::time::sleep(PHASE).await;
    assert!(load.counts().0 > before.0, "the older one goes on with what it can read");
    until(&mut database, NOTHING_PARKED).await;
    let is_told = |item: &Value| item["failing"].as_str().is_some_and(|failure| failure.contains("or newer: nothing was parked"));
    older.until("/v1/projections", |progress| progress.items().iter().any(is_told)).await;

    // Forward for good, while the older one still runs.
    second.start_again().await;
    load.use_servers(vec![older.clone(), second.client()]);
    tokio::time::sleep(PHASE).await;
    load.use_servers(vec![second.client()]);
    assert!(shop.servers[0].stop().success());
    tokio::time::sleep(PHASE).await;
    let Acknowledged { orders, carts } = load.end().await;
    let client = second.client();
    assert!(orders.len() > 20 && carts.len() > 40, "{} orders, {} carts", orders.len(), carts.len());
    for order in &orders {
        assert_eq!(settled(&client, order).await.state(), "confirmed");
        let confirmations = happened(&client, &format!("order-{order}")).await;
        assert_eq!(confirmations.iter().filter(|(name, _)| name == "OrderConfirmed").count(), 1, "{order}");
    }
    until(&mut database, ALL_AT_THE_HEAD).await;
    until(&mut database, NOTHING_PARKED).await;
    for cart in &carts {
        client.get(&format!("/v1/carts/{cart}")).await.expect(200);
    }
    // Orders whose answer was lost count too: stock, read models and the log agree on all of them.
    let sold: i64 =
        sqlx::query_scalar("select count(*) from events where type = 'StockCommitted'").fetch_one(&mut database).await.expect("a count");
    client.until(&format!("/v1/stock/{sku}"), |stock| stock["on_hand"] == 100_000 - sold && stock["reserved"] == 0).await;
    let verified =
        merx_of(&newer_binary().expect("known"), &["verify"]).env("DATABASE_URL", &shop.database.url).output().expect("merx verify");
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    let refused = merx_of(&crate::server::binary(), &["serve", "--listen", "127.0.0.1:0"]).env("DATABASE_URL", &shop.database.url).output();
    let told = String::from_utf8_lossy(&refused.expect("merx serve").stderr).into_owned();
    assert!(told.contains("the log is from a newer version of merx"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_versions_on_the_log_are_rolled_forward_and_back_under_load_and_lose_nothing() {
    let Some(newer) = newer_binary() else { return };
    let Some(mut shop) = Shop::open().await else { return };
    let launch = shop.servers[0].launch().clone().program(newer);
    roll(&mut shop, launch).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_versions_over_kafka_are_rolled_forward_and_back_under_load_and_lose_nothing() {
    let (Some(newer), Some(brokers)) = (newer_binary(), brokers()) else { return };
    let settings = [("KAFKA_BROKERS", brokers.as_str()), ("KAFKA_TOPIC_PREFIX", &unique("versions")), ("KAFKA_PARTITIONS", "3")];
    let Some(mut shop) = Shop::open_with(1, &settings).await else { return };
    let launch = shop.servers[0].launch().clone().program(newer);
    roll(&mut shop, launch).await;
}
