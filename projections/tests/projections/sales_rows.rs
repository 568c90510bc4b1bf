use serde_json::{Value, json};

use crate::{
    database::Database,
    log::Log,
    story::{cancelled, confirmed, imported, order, placed, returned, shipped, submitted},
};

/// The cells of a table: day, key, orders, units, gross, returned and net.
async fn cells(database: &Database, key: &str) -> Vec<Value> {
    let sql = format!(
        "select json_build_array(day, {key}, orders, units, gross::text, returned::text, net::text)
         from read_model.sales_by_{key} order by day, {key}"
    );
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(&database.pool).await.expect("cells")
}

fn sold(log: &mut Log, number: u32) {
    log.at("2026-03-01T23:59:58Z");
    log.add(&order(number), "OrderSubmitted", &submitted(&[("A", Some("home"), 3, "10.00"), ("B", None, 1, "2.50")], "GB"));
    log.add(&order(number), "OrderPlaced", &placed());
    log.add(&order(number), "OrderConfirmed", &confirmed("12.50"));
}

#[tokio::test]
async fn a_confirmed_order_counts_on_the_day_it_was_placed() {
    let Some(database) = Database::create().await else { return };
    let mut log = Log::default();
    sold(&mut log, 1);
    log.add(&order(2), "OrderSubmitted", &submitted(&[("A", None, 3, "10.00")], "GB"));
    log.add(&order(2), "OrderPlaced", &placed());
    database.apply("sales", &log.events, 1).await;
    assert_eq!(cells(&database, "country").await, [json!(["2026-03-01", "GB", 1, 4, "12.50", "0", "12.50"])]);
    assert_eq!(
        cells(&database, "product").await,
        [json!(["2026-03-01", "A", 1, 3, "10.00", "0", "10.00"]), json!(["2026-03-01", "B", 1, 1, "2.50", "0", "2.50"])]
    );
    assert_eq!(
        cells(&database, "category").await,
        [json!(["2026-03-01", "", 1, 1, "2.50", "0", "2.50"]), json!(["2026-03-01", "home", 1, 3, "10.00", "0", "10.00"])]
    );
}

#[tokio::test]
async fn what_comes_back_counts_on_its_day_and_adds_up_to_what_was_paid() {
    let Some(database) = Database::create().await else { return };
    let mut log = Log::default();
    sold(&mut log, 1);
    log.add(&order(1), "OrderShipped", &shipped(10, &[("A", 3), ("B", 1)]));
    for (day, return_id) in [("2026-03-05T10:00:00Z", 20), ("2026-03-06T10:00:00Z", 21), ("2026-03-07T10:00:00Z", 22)] {
        log.at(day).add(&order(1), "OrderReturned", &returned(return_id, &[("A", 1)]));
    }
    database.apply("sales", &log.events, 1).await;
    let products = cells(&database, "product").await;
    assert_eq!(
        products[2..],
        [
            json!(["2026-03-05", "A", 0, 0, "0", "-3.33", "-3.33"]),
            json!(["2026-03-06", "A", 0, 0, "0", "-3.34", "-3.34"]),
            json!(["2026-03-07", "A", 0, 0, "0", "-3.33", "-3.33"]),
        ]
    );
    assert_eq!(database.rows("sales_orders").await.len(), 1);
    let before = log.events.len();
    log.add(&order(1), "OrderReturned", &returned(23, &[("B", 1)]));
    database.apply("sales", &log.events[before..], 1).await;
    assert_eq!(database.rows("sales_orders").await, Vec::<Value>::new(), "nothing more can come back");
}

#[tokio::test]
async fn a_cancellation_takes_back_what_was_confirmed_and_forgets_the_order() {
    let Some(database) = Database::create().await else { return };
    let mut log = Log::default();
    sold(&mut log, 1);
    log.at("2026-03-02T10:00:00Z").add(&order(1), "OrderCancelled", &cancelled("requested", None, None, true));
    log.add(&order(2), "OrderSubmitted", &submitted(&[("A", None, 3, "10.00")], "GB"));
    log.add(&order(2), "OrderPlaced", &placed());
    log.add(&order(2), "OrderCancelled", &cancelled("payment_expired", None, None, false));
    log.add(&order(3), "OrderSubmitted", &submitted(&[("A", None, 3, "10.00")], "GB"));
    log.add(&order(3), "OrderRejected", &json!({"reason": "abandoned", "skus": []}));
    database.apply("sales", &log.events, 1).await;
    assert_eq!(
        cells(&database, "country").await,
        [json!(["2026-03-01", "GB", 1, 4, "12.50", "0", "12.50"]), json!(["2026-03-02", "GB", 0, 0, "0", "-12.50", "-12.50"])]
    );
    assert_eq!(database.rows("sales_orders").await, Vec::<Value>::new());
}

#[tokio::test]
async fn imported_invoices_count_as_they_were_charged() {
    let Some(database) = Database::create().await else { return };
    let mut log = Log::default();
    let lines = [("A", 2, "0.001", "0.002"), ("A", 1, "2.50", "2.50"), ("B", 5, "0", "0"), ("C", -3, "0", "0"), ("D", 1, "-4.25", "-4.25")];
    log.add(&order(1), "OrderImported", &imported("placed_at", "2010-12-01T08:26:00Z", "France", &lines, "-1.748"));
    log.add(&order(2), "OrderImported", &imported("placed_at", "2010-12-01T09:00:00Z", "Spain", &[("C", -3, "0", "0")], "0"));
    let back = [("A", -1, "2.50", "-2.50"), ("M", -1, "0.10", "-0.10")];
    log.add(&order(3), "OrderReturnImported", &imported("returned_at", "2010-12-09T09:00:00Z", "France", &back, "-2.60"));
    database.apply("sales", &log.events, 10).await;
    let country =
        [json!(["2010-12-01", "France", 1, 3, "2.502", "0", "-1.748"]), json!(["2010-12-09", "France", 0, 0, "0", "-2.60", "-2.60"])];
    assert_eq!(cells(&database, "country").await, country);
    assert_eq!(
        cells(&database, "product").await,
        [
            json!(["2010-12-01", "A", 1, 3, "2.502", "0", "2.502"]),
            json!(["2010-12-01", "D", 0, 0, "0", "0", "-4.25"]),
            json!(["2010-12-09", "A", 0, 0, "0", "-2.50", "-2.50"]),
            json!(["2010-12-09", "M", 0, 0, "0", "-0.10", "-0.10"]),
        ]
    );
    assert_eq!(cells(&database, "category").await[0], json!(["2010-12-01", "", 1, 3, "2.502", "0", "-1.748"]));
}

#[tokio::test]
async fn totals_are_what_the_cells_come_to_however_events_are_cut_into_batches() {
    for batch in [1, 3, 100] {
        let Some(database) = Database::create().await else { return };
        let mut log = Log::default();
        for number in 1..=3 {
            sold(&mut log, number);
        }
        log.at("2026-03-02T10:00:00Z").add(&order(1), "OrderCancelled", &cancelled("requested", None, None, true));
        log.add(&order(2), "OrderReturned", &returned(20, &[("A", 1)]));
        let lines = [("A", 2, "0.001", "0.002"), ("D", 1, "-4.25", "-4.25")];
        log.add(&order(4), "OrderImported", &imported("placed_at", "2010-12-01T08:26:00Z", "France", &lines, "-4.248"));
        database.apply("sales", &log.events, batch).await;
        let totals = r#"select json_agg(json_build_array("by", currency, key, orders, units, gross, returned, net) order by "by", currency, key)
            from read_model.sales_totals"#;
        let cells = r#"select json_agg(json_build_array("by", currency, key, orders, units, gross, returned, net) order by "by", currency, key) from (
            select 'country' collate "C" as "by", currency collate "C" as currency, country collate "C" as key, sum(orders) as orders, sum(units) as units, sum(gross) as gross,
                   sum(returned) as returned, sum(net) as net
            from read_model.sales_by_country group by 2, 3
            union all
            select 'day', currency, day::text, sum(orders), sum(units), sum(gross), sum(returned), sum(net)
            from read_model.sales_by_country group by 2, 3
            union all
            select 'product', currency, product, sum(orders), sum(units), sum(gross), sum(returned), sum(net)
            from read_model.sales_by_product group by 2, 3
            union all
            select 'category', currency, category, sum(orders), sum(units), sum(gross), sum(returned), sum(net)
            from read_model.sales_by_category group by 2, 3) s"#;
        let read = async |sql: &'static str| sqlx::query_scalar::<_, Value>(sql).fetch_one(&database.pool).await.expect("sums");
        let totals = read(totals).await;
        assert_eq!(totals, read(cells).await, "in batches of {batch}");
        assert_eq!(totals.as_array().map(Vec::len), Some(10), "{totals}");
    }
}

#[tokio::test]
async fn an_invoice_that_adjusts_accounts_counts_in_net_only() {
    let Some(database) = Database::create().await else { return };
    let mut log = Log::default();
    for (number, invoice, amount) in [(1, "A563185", "11062.06"), (2, "A563186", "-11062.07"), (3, "536365", "1.00")] {
        let mut imported = imported("placed_at", "2011-08-12T14:50:00Z", "United Kingdom", &[("B", 1, amount, amount)], amount);
        imported["invoice"] = json!(invoice);
        log.add(&order(number), "OrderImported", &imported);
    }
    database.apply("sales", &log.events, 10).await;
    for (key, name) in [("country", "United Kingdom"), ("product", "B"), ("category", "")] {
        assert_eq!(cells(&database, key).await, [json!(["2011-08-12", name, 1, 1, "1.00", "0", "0.99"])]);
    }
}
