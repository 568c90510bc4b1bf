//! The cost of each list, however much there is beside its page: the plans that Postgres really ran, over 200,000 rows of everything.
//!
//! `auto_explain` sends the plan of each statement to the client as a notice, which sqlx makes a tracing event of.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use serde_json::Value;
use tracing::{Event, Subscriber, field::Field, field::Visit};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
};
use uuid::Uuid;

use crate::shop::{CHECKPOINTS, Shop, product, with_settings};

const EXPLAINED: [(&str, &str); 6] = [
    ("session_preload_libraries", "auto_explain"),
    ("auto_explain.log_min_duration", "0"),
    ("auto_explain.log_analyze", "on"),
    ("auto_explain.log_timing", "off"),
    ("auto_explain.log_format", "json"),
    ("auto_explain.log_level", "notice"),
];
/// As many rows as a page reads, with one more to tell whether there is another.
const PAGE: f64 = 201.0;
/// Categories below `home`, itself included.
const BRANCH: f64 = 21.0;
/// Days that something was sold on.
const DAYS: f64 = 2_000.0;
/// Positions that one statement goes through for a filter.
const WINDOW: f64 = 20_000.0;

/// Plans that were told since they were last taken.
#[derive(Clone, Default)]
struct Plans(Arc<Mutex<Vec<Value>>>);

impl Plans {
    fn take(&self) -> Vec<Value> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.0);
        }
    }
}

impl<S: Subscriber> Layer<S> for Plans {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != "sqlx::postgres::notice" {
            return;
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        if let Some((_, plan)) = message.0.split_once("plan:\n") {
            self.0.lock().unwrap().push(serde_json::from_str(plan).unwrap());
        }
    }
}

/// Rows that a plan read and sorted.
#[derive(Debug, Default)]
struct Cost {
    /// Rows that scans of tables and indexes went through.
    read: f64,
    /// The most rows that went through a sequential scan.
    in_sequence: f64,
    /// The most rows that went into a sort.
    sorted: f64,
}

impl Cost {
    fn add(&mut self, node: &Value) {
        let number = |node: &Value, name: &str| node[name].as_f64().unwrap_or(0.0);
        let out = |node: &Value| number(node, "Actual Rows") * number(node, "Actual Loops");
        let kind = node["Node Type"].as_str().unwrap();
        let below = || node["Plans"].as_array().into_iter().flatten();
        if node.get("Relation Name").is_some() {
            let removed = number(node, "Rows Removed by Filter") + number(node, "Rows Removed by Index Recheck");
            let read = out(node) + removed * number(node, "Actual Loops");
            self.read += read;
            if kind == "Seq Scan" {
                self.in_sequence = self.in_sequence.max(read);
            }
        }
        if kind.ends_with("Sort") {
            self.sorted = self.sorted.max(below().filter(|node| node["Parent Relationship"] == "Outer").map(out).sum());
        }
        below().for_each(|node| self.add(node));
    }
}

/// 200,000 rows of everything that lists are made of.
fn rows() -> String {
    let product = product("A", "2.55");
    let (cart, order, sale) = (Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3));
    let money = serde_json::json!({"amount": "2.55", "currency": "GBP"});
    let document = serde_json::json!({
        "id": cart, "currency": "GBP", "items": [{"sku": "P1", "title": "", "quantity": 1, "unit_price": null, "line_total": null}],
        "subtotal": money, "discount": money, "shipping": money, "tax": money, "total": money, "status": "open", "order": null,
        "metadata": {}, "created_at": "2026-01-01T00:00:00.000000Z", "updated_at": "2026-01-01T00:00:00.000000Z", "version": 1
    });
    let meta = r#"{"command_id": "00000000-0000-7000-8000-000000000001", "correlation_id": "00000000-0000-7000-8000-000000000001", "causation_id": null, "actor": "client"}"#;
    format!(
        r#"{CHECKPOINTS};
        insert into read_model.categories
            select 'c' || n, null, 1, '{{}}'::json from generate_series(1, 200000) n
            union all select 'home', null, 1, '{{}}' union all select 'home-' || n, 'home', 1, '{{}}' from generate_series(0, 19) n;
        insert into read_model.products
            select 'P' || n, n, 'home-' || n % 20, case when n % 1000 = 0 then 'archived' else 'active' end, 1, '{product}'
            from generate_series(1, 200000) n;
        insert into read_model.stock select 'P' || n, 7, 2, 1 from generate_series(1, 200000) n;
        insert into read_model.ratings select 'P' || n, 9, 2 from generate_series(1, 200000) n;
        insert into read_model.flash_sales
            select case n when 0 then '{sale}'::uuid else gen_random_uuid() end, 'P' || n, now() - interval '2 days', now() - interval '1 day', 5, '1', 'GBP', 1, 0, 0, false, 1
            from generate_series(0, 200000) n;
        insert into read_model.reviews
            select gen_random_uuid(), 'P' || case when n % 2 = 0 then 1 else n end, n, 5, '{{}}' from generate_series(1, 200000) n;
        insert into read_model.carts select case n when 0 then '{cart}'::uuid else gen_random_uuid() end, 1, '{document}' from generate_series(0, 20000) n;
        insert into read_model.orders
            select case n when 0 then '{order}'::uuid else gen_random_uuid() end, case when n % 1000 = 0 then 'cancelled' else 'delivered' end,
                   'buyer' || n % 1000 || '@shop.example', timestamptz '2020-01-01Z' + n * interval '1 minute', 1, '{{}}'
            from generate_series(0, 200000) n;
        insert into read_model.sales_by_product
            select date '2020-01-01' + n / 100, 'GBP', 'P' || n % 5000, 1, 1, 1, 0, n % 100 from generate_series(0, 199999) n;
        insert into read_model.sales_by_category
            select date '2020-01-01' + n / 100, 'GBP', 'home-' || n % 100, 1, 1, 1, 0, n % 100 from generate_series(0, 199999) n;
        insert into read_model.sales_by_country
            select date '2020-01-01' + n / 100, 'GBP', 'C' || n % 100, 1, 1, 1, 0, n % 100 from generate_series(0, 199999) n;
        insert into read_model.sales_totals select 'day', 'GBP', to_char(date '2020-01-01' + n, 'YYYY-MM-DD'), 1, 1, 1, 0, 1 from generate_series(0, 1999) n;
        insert into read_model.sales_totals
            select kind, 'GBP', 'K' || n, 1, 1, 1, 0, n % 100 from unnest(array['product', 'category']) kind, generate_series(1, 200000) n;
        insert into read_model.sales_totals select 'country', 'GBP', 'C' || n, 1, 1, 1, 0, n % 100 from generate_series(1, 250) n;
        insert into parked_streams select 'sales', 'order-' || n, 1, 1, 'HatWorn', '' from generate_series(1, 5000) n;
        update log_head set position = 200000;
        with event as (
            select n as position, case when n <= 100000 then 'stock-P1' else 'stock-Q' || n end as stream, case when n <= 100000 then n else 1 end as version,
                   ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid as id, 'StockReceived' as type,
                   '{{"quantity": 1, "reference": "PO"}}'::json as payload, '{meta}'::json as meta,
                   timestamptz '2020-01-01Z' + n * interval '1 second' as at
            from generate_series(1, 200000) n
        )
        insert into events
            select position, stream, version, id, type, 1, payload, meta, at, event_hash(stream, version, id, type, 1::smallint, at, meta, payload)
            from event order by position;
        update checkpoints set position = 200000;
        analyze"#
    )
}

/// Requests, with the rows that their plans may read, and those that a sort of them may take.
fn requests() -> Vec<(String, f64, f64)> {
    let mut requests = Vec::new();
    let mut ask = |path: String, read: f64, sorted: f64| requests.push((path, read, sorted));
    for path in ["categories", "products/P1/reviews", "streams/stock-P1", "streams/stock-P1?from=50000", "events", "events?after=100000"] {
        // Half of all reviews are of P1.
        ask(path.to_owned(), 3.0 * PAGE, PAGE);
    }
    for path in ["events?types=StockCommitted", "events?category=order", "events?category=order&types=OrderPlaced"] {
        ask(path.to_owned(), WINDOW, PAGE);
    }
    for status in ["", "&status=archived", "&status=active"] {
        // Each product's document, stock and rating are looked up.
        let looked_up = 6.0 * PAGE;
        ask(format!("products?{status}"), looked_up, PAGE);
        ask(format!("products?category=home-7{status}"), looked_up, PAGE);
        ask(format!("products?category=home{status}"), looked_up + BRANCH * PAGE, BRANCH * PAGE);
    }
    for email in ["", "&email=buyer0@shop.example", "&email=nobody@shop.example"] {
        for status in ["", "&status=cancelled", "&status=placed"] {
            for time in ["", "&placed_after=2020-02-01T00:00:00Z", "&placed_after=2020-02-01T00:00:00Z&placed_before=2020-03-01T00:00:00Z"]
            {
                ask(format!("orders?{email}{status}{time}"), 2.0 * PAGE, PAGE);
            }
        }
    }
    for by in ["day", "month", "product", "category", "country"] {
        // Days are read for the total, and the choice of a currency reads what each country comes to.
        ask(format!("sales?by={by}"), DAYS + 4.0 * PAGE, DAYS);
        ask(format!("sales?by={by}&from=2020-03-01&to=2020-03-02"), 4.0 * PAGE, PAGE + 50.0);
    }
    for (kind, id) in [("carts", 1), ("orders", 2), ("flash-sales", 3)] {
        ask(format!("{kind}/{}", Uuid::from_u128(id)), 20.0, 20.0);
    }
    for path in ["categories/home", "products/P1", "stock/P1"] {
        ask(path.to_owned(), 20.0, 20.0);
    }
    requests
}

/// Asks for a page, and for the one after it.
async fn ask(shop: &Shop, path: &str) {
    let separator = if path.contains('?') { '&' } else { '?' };
    let is_list = !path.contains('/') || path.ends_with("reviews") || path.starts_with("streams");
    let path = if is_list { format!("/v1/{path}{separator}limit=200") } else { format!("/v1/{path}") };
    let first = shop.get(&path).await;
    assert_eq!(first.status, 200, "{path}: {first:?}");
    if let Some(cursor) = first.body["next_cursor"].as_str().filter(|_| !path.contains("after=1")) {
        assert_eq!(shop.get(&format!("{path}&cursor={cursor}")).await.status, 200, "{path}");
    }
}

async fn assert_cheap(plan_cache_mode: &str) {
    let plans = Plans::default();
    let told = tracing::subscriber::set_default(tracing_subscriber::registry().with(plans.clone()));
    let settings: Vec<_> = EXPLAINED.into_iter().chain([("plan_cache_mode", plan_cache_mode)]).collect();
    with_settings(&settings, &rows(), async |shop| {
        let mut wrong = Vec::new();
        for (path, read, sorted) in requests() {
            plans.take();
            ask(shop, &path).await;
            let ran = plans.take();
            assert!(!ran.is_empty(), "{path}: no plan was told");
            for plan in ran {
                let mut cost = Cost::default();
                cost.add(&plan["Plan"]);
                if cost.read > read || cost.sorted > sorted || cost.in_sequence > PAGE {
                    wrong.push(format!("{path}: {cost:?}, allowed {read} and {sorted}\n{plan:#}"));
                }
            }
        }
        assert!(wrong.is_empty(), "{} plans cost more than their page:\n{}", wrong.len(), wrong.join("\n"));
    })
    .await;
    drop(told);
}

#[tokio::test]
async fn each_list_costs_its_page_planned_for_its_parameters() {
    assert_cheap("force_custom_plan").await;
}

#[tokio::test]
async fn each_list_costs_its_page_planned_for_any_parameters() {
    assert_cheap("force_generic_plan").await;
}
