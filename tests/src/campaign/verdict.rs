//! Whether all is well: after each round as far as it can be told under way, and of everything once it has settled.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use rust_decimal::Decimal;
use serde_json::Value;
use sqlx::PgConnection;

use super::{ledger::Ledger, market::Market, trouble::Stage};
use crate::{client::Client, server::merx, shop::is_settled};

/// Longer than an abandoned submission waits (15 s), a payment's deadline (10 s) and the leases of the dead (5 s) together.
const SETTLE_LIMIT: Duration = Duration::from_secs(90);
const READY_LIMIT: Duration = Duration::from_mins(1);
const SHOWN: usize = 10;
const EXPLAINING_EVENTS: i64 = 60;

/// Amounts by the charge they are of.
type Sums = Vec<(String, Decimal)>;

/// What was found wrong, by what the campaign counts.
#[derive(Default)]
pub struct Verdict {
    pub lost: Vec<String>,
    pub stuck: Vec<String>,
    pub oversold: Vec<String>,
    pub money: Vec<String>,
    pub differing: Vec<String>,
}

impl Verdict {
    /// Panics with the first few of each kind, unless there are none.
    pub fn pass(self) {
        let kinds = [
            ("acknowledged events lost", self.lost),
            ("orders stuck", self.stuck),
            ("units oversold, or counts that can't be", self.oversold),
            ("payments that don't add up", self.money),
            ("rows that differ from a rebuild", self.differing),
        ];
        let wrong: Vec<_> = kinds
            .iter()
            .filter(|(_, found)| !found.is_empty())
            .map(|(kind, found)| format!("{} {kind}, as\n  {}", found.len(), found[..found.len().min(SHOWN)].join("\n  ")))
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

/// Waits until every server answers.
pub async fn all_ready(stage: &Stage) {
    let limit = Instant::now() + READY_LIMIT;
    for (number, server) in stage.servers.iter().enumerate() {
        let mut server = server.lock().await;
        let client = server.client();
        while !client.get("/readyz").try_send().await.is_ok_and(|answer| answer.status == 200) {
            assert!(server.is_running(), "server {number} ended by itself");
            assert!(Instant::now() < limit, "server {number} is not ready again");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// After a round: the log goes on from where it was, holds what was acknowledged, and nothing was sold that was not there.
pub async fn so_far(stage: &Stage, market: &Market, ledger: &mut Ledger) -> Verdict {
    let mut connection = stage.postgres.connect().await;
    let acknowledged = market.book.acknowledged();
    ledger.read(&mut connection).await.expect("the log");
    explain(&mut connection, ledger).await;
    Verdict { lost: ledger.lost(&acknowledged), oversold: ledger.wrong.clone(), ..Verdict::default() }
}

/// Prints what led to the first thing that is wrong.
async fn explain(connection: &mut PgConnection, ledger: &Ledger) {
    let Some((stream, position)) = ledger.suspects.first() else { return };
    let events = "select format('%s %s@%s %s %s %s %s', position, stream_id, version, recorded_at, type, payload, metadata) from events
                  where stream_id = $1 and position <= $2 order by position desc limit $3";
    let events: Vec<String> =
        sqlx::query_scalar(events).bind(stream).bind(position).bind(EXPLAINING_EVENTS).fetch_all(connection).await.unwrap_or_default();
    eprintln!("the events of {stream} before position {position}, newest first:\n{}", events.join("\n"));
}

/// Lets everything come to its end, and looks at all of it.
pub async fn at_the_end(stage: &Stage, market: &Market) -> (Ledger, Verdict) {
    let mut connection = stage.postgres.connect().await;
    let (mut ledger, mut verdict) = (Ledger::default(), Verdict::default());
    let limit = Instant::now() + SETTLE_LIMIT;
    while let Some(open) = under_way(&mut connection, &mut ledger).await {
        if Instant::now() > limit {
            verdict.stuck = open;
            return (ledger, verdict);
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    verdict.lost = ledger.lost(&market.book.acknowledged());
    verdict.oversold = ledger.wrong.clone();
    verdict.oversold.extend(ledger.miscounted());
    verdict.money = money(&mut connection, &ledger).await;
    let client = &market.clients[0];
    verdict.stuck = parked(&mut connection).await;
    verdict.stuck.extend(orders_as_shown(client, &ledger).await);
    verdict.oversold.extend(stock_as_shown(client, &ledger).await);
    verdict.lost.extend(verified(&stage.postgres.url, &ledger).await);
    (ledger, verdict)
}

/// What is not done yet: none once every order, payment and sale has its end and every consumer has seen it.
async fn under_way(connection: &mut PgConnection, ledger: &mut Ledger) -> Option<Vec<String>> {
    let before = ledger.head;
    ledger.read(connection).await.expect("the log");
    let mut open = ledger.open();
    let behind: Vec<(String, i64)> = sqlx::query_as("select name, position from checkpoints where position < $1 order by name")
        .bind(ledger.head)
        .fetch_all(connection)
        .await
        .expect("the checkpoints");
    open.extend(behind.into_iter().map(|(name, position)| format!("{name} is at {position} of {}", ledger.head)));
    if open.is_empty() && before != ledger.head {
        open.push("the log grows".to_owned());
    }
    (!open.is_empty()).then_some(open)
}

async fn money(connection: &mut PgConnection, ledger: &Ledger) -> Vec<String> {
    let charges = "select idempotency_key::text, amount from simulated_gateway.charges where state = 'captured'";
    let charges: Vec<(String, String)> = sqlx::query_as(charges).fetch_all(&mut *connection).await.expect("the charges");
    let refunds = "select charge::text, amount from simulated_gateway.refunds";
    let refunds: Vec<(String, String)> = sqlx::query_as(refunds).fetch_all(connection).await.expect("the refunds");
    let sums = |rows: Vec<(String, String)>| rows.into_iter().map(|(key, amount)| (key, amount.parse().expect("an amount"))).collect();
    unbalanced(sums(charges), sums(refunds), ledger)
}

/// Streams that a consumer gave up: no trouble is a reason for that.
async fn parked(connection: &mut PgConnection) -> Vec<String> {
    let parked = "select format('%s has parked %s at version %s: %s', consumer, stream_id, version, reason) from parked_streams";
    sqlx::query_scalar(parked).fetch_all(connection).await.expect("the parked streams")
}

/// Money captured is money kept and money refunded: by the log, by the gateway, and by what was sold.
pub fn unbalanced(charges: Sums, refunds: Sums, ledger: &Ledger) -> Vec<String> {
    let mut at_gateway: HashMap<String, (Decimal, Decimal)> =
        charges.into_iter().map(|(key, amount)| (key, (amount, Decimal::ZERO))).collect();
    let mut wrong = Vec::new();
    for (charge, amount) in refunds {
        match at_gateway.get_mut(&charge) {
            Some((_, refunded)) => *refunded += amount,
            None => wrong.push(format!("{amount} of charge {charge} went back, which was not captured")),
        }
    }
    for (id, order) in &ledger.orders {
        let Some(payment) = ledger.payments.get(id) else {
            if order.is_placed() {
                wrong.push(format!("order {id} was placed without a payment"));
            }
            continue;
        };
        let logged = payment.captured.map(|captured| (captured, payment.refunded));
        let gateway = at_gateway.remove(&payment.key);
        let due = if order.is_bought() { order.total } else { Decimal::ZERO };
        if logged != gateway || payment.kept() != due {
            wrong.push(format!("order {id} is to keep {due}; captured and refunded by the log {logged:?}, by the gateway {gateway:?}"));
        }
    }
    wrong.extend(at_gateway.into_iter().map(|(key, sums)| format!("charge {key} of {sums:?} has no payment")));
    wrong
}

/// Every order that is shown, by its id. What checkout refused is in a list of its own.
async fn orders(client: &Client, position: i64) -> BTreeMap<String, Value> {
    let mut shown = BTreeMap::new();
    for narrowed in ["", "&status=rejected"] {
        let mut cursor = Some(String::new());
        while let Some(after) = cursor {
            let page = client.get_at(&format!("/v1/orders?limit=200{narrowed}{after}"), position).await.expect(200);
            shown.extend(page.items().iter().map(|order| (order["id"].as_str().unwrap_or_default().to_owned(), order.clone())));
            cursor = page["next_cursor"].as_str().map(|next| format!("&cursor={next}"));
        }
    }
    shown
}

/// The orders as a GET shows them: settled, each of them, and as the log has it.
async fn orders_as_shown(client: &Client, ledger: &Ledger) -> Vec<String> {
    let shown = orders(client, ledger.head).await;
    let mut wrong = Vec::new();
    for (id, order) in &ledger.orders {
        let expected: &[&str] = match () {
            () if order.is_cancelled() => &["cancelled"],
            () if order.is_bought() => &["confirmed", "shipped"],
            () => &["rejected"],
        };
        match shown.get(id) {
            None => wrong.push(format!("order {id} is not shown")),
            Some(seen) if !is_settled(seen) || !expected.contains(&seen["status"].as_str().unwrap_or_default()) => {
                wrong.push(format!("order {id} is {expected:?}, and is shown as {seen}"));
            }
            Some(_) => {}
        }
    }
    if shown.len() != ledger.orders.len() {
        wrong.push(format!("{} orders are shown, the log has {}", shown.len(), ledger.orders.len()));
    }
    wrong
}

async fn stock_as_shown(client: &Client, ledger: &Ledger) -> Vec<String> {
    let mut wrong = Vec::new();
    for (sku, stock) in &ledger.stocks {
        let shown = client.get_at(&format!("/v1/stock/{sku}"), ledger.head).await.expect(200);
        if shown["on_hand"] != stock.on_hand {
            wrong.push(format!("{} of {sku} are on hand, and shown is {shown}", stock.on_hand));
        }
    }
    wrong
}

/// `merx verify`.
async fn verified(url: &str, ledger: &Ledger) -> Option<String> {
    let mut command = tokio::process::Command::from(merx(&["verify"]));
    let output = command.env("DATABASE_URL", url).output().await.expect("merx verify");
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let is_whole =
        output.status.success() && told.starts_with(&format!("{} events, ", ledger.head)) && told.ends_with("the log is whole\n");
    (!is_whole).then_some(told)
}
