//! Reports of sales.

use serde_json::{Value, json};

use crate::shop::{CHECKPOINTS, Shop, with_setup, with_shop};

const SALES: &str = "
    insert into read_model.sales_by_country values
        ('2010-12-01', 'GBP', 'United Kingdom', 2, 10, 20.5, 0, 20.5), ('2010-12-02', 'GBP', 'United Kingdom', 1, 1, 0.001, -5, -4.999),
        ('2010-12-02', 'GBP', 'EIRE', 1, 3, 9, 0, 9), ('2011-01-01', 'GBP', 'EIRE', 1, 1, 100, 0, 100),
        ('2011-01-01', 'JPY', 'Japan', 1, 1, 900, 0, 900);
    insert into read_model.sales_by_product values
        ('2010-12-01', 'GBP', 'A', 2, 9, 15.5, 0, 15.5), ('2010-12-02', 'GBP', 'A', 1, 1, 9.001, -5, 4.001),
        ('2010-12-01', 'GBP', 'B', 1, 1, 5, 0, 5), ('2010-12-02', 'GBP', 'C', 1, 3, 0, 0, 0), ('2011-01-01', 'GBP', 'D', 1, 1, 100, 0, 100);
    insert into read_model.sales_by_category values
        ('2010-12-01', 'GBP', '', 2, 9, 15.5, 0, 15.5), ('2010-12-01', 'GBP', 'home', 2, 9, 30, 0, 30);
    insert into read_model.sales_totals values
        ('day', 'GBP', '2010-12-01', 2, 10, 20.5, 0, 20.5), ('day', 'GBP', '2010-12-02', 2, 4, 9.001, -5, 4.001),
        ('day', 'GBP', '2011-01-01', 1, 1, 100, 0, 100), ('day', 'JPY', '2011-01-01', 1, 1, 900, 0, 900),
        ('country', 'GBP', 'United Kingdom', 3, 11, 20.501, -5, 15.501), ('country', 'GBP', 'EIRE', 2, 4, 109, 0, 109),
        ('country', 'JPY', 'Japan', 1, 1, 900, 0, 900),
        ('product', 'GBP', 'A', 3, 10, 24.501, -5, 19.501), ('product', 'GBP', 'B', 1, 1, 5, 0, 5), ('product', 'GBP', 'C', 1, 3, 0, 0, 0),
        ('product', 'GBP', 'D', 1, 1, 100, 0, 100),
        ('category', 'GBP', '', 2, 9, 15.5, 0, 15.5), ('category', 'GBP', 'home', 2, 9, 30, 0, 30);";

async fn with_sales(test: impl AsyncFnOnce(&Shop)) {
    with_setup(&format!("{CHECKPOINTS}; {SALES}"), test).await;
}

fn gbp(amount: &str) -> Value {
    json!({"amount": amount, "currency": "GBP"})
}

#[tokio::test]
async fn months_are_the_default_and_totals_are_over_all_of_them() {
    with_sales(async |shop| {
        let answer = shop.get("/v1/sales?limit=1").await;
        assert_eq!(answer.header("merx-position"), "10");
        let december =
            json!({"key": "2010-12", "orders": 4, "units": 14, "gross": gbp("29.501"), "returned": gbp("-5.00"), "net": gbp("24.501")});
        assert_eq!(answer.body["items"], json!([december]));
        let total = json!({"orders": 5, "units": 15, "gross": gbp("129.501"), "returned": gbp("-5.00"), "net": gbp("124.501")});
        assert_eq!((&answer.body["total"], &answer.body["currency"]), (&total, &json!("GBP")));
        let (keys, pages) = shop.pages("/v1/sales?limit=1", "key").await;
        assert_eq!((json!(keys), pages), (json!(["2010-12", "2011-01"]), 2));
    })
    .await;
}

#[tokio::test]
async fn other_reports_are_ranked_by_net() {
    with_sales(async |shop| {
        let listed = async |query: &str| json!(shop.pages(&format!("/v1/sales?limit=2&{query}"), "key").await.0);
        assert_eq!(listed("by=day").await, json!(["2010-12-01", "2010-12-02", "2011-01-01"]));
        assert_eq!(listed("by=product").await, json!(["D", "A", "B", "C"]));
        assert_eq!(listed("by=country").await, json!(["EIRE", "United Kingdom"]));
        assert_eq!(listed("by=category").await, json!(["home", "(none)"]));
        // A category may have any id; the report's own word for none is not one of them.
        for (category, net) in [("uncategorised", "0.5"), ("none", "0.4")] {
            shop.sql(format!("insert into read_model.sales_by_category values ('2010-12-01', 'GBP', '{category}', 1, 1, {net}, 0, {net})"))
                .await;
        }
        assert_eq!(listed("by=category&from=2010-01-01").await, json!(["home", "(none)", "uncategorised", "none"]));
        assert!("(none)".parse::<event_schemas::ids::CategoryId>().is_err());
        assert_eq!(listed("by=country&currency=JPY").await, json!(["Japan"]));
        assert_eq!(listed("by=product&from=2010-12-01&to=2010-12-31").await, json!(["A", "B", "C"]));
        assert_eq!(listed("by=country&to=2010-12-02").await, json!(["United Kingdom", "EIRE"]));
        let products = shop.get("/v1/sales?by=product").await;
        assert_eq!(products.body["items"][1]["net"], gbp("19.501"));
        assert_eq!(products.body["total"]["orders"], json!(5), "an order of several products is one order");
    })
    .await;
}

#[tokio::test]
async fn both_ends_of_a_report_count() {
    with_sales(async |shop| {
        let days = async |query: &str| json!(shop.get(&format!("/v1/sales?by=day&{query}")).await.each("key"));
        assert_eq!(days("from=2010-12-02&to=2011-01-01").await, json!(["2010-12-02", "2011-01-01"]));
        assert_eq!(days("from=2010-12-02T23:59:59Z&to=2010-12-02T00:00:00Z").await, json!(["2010-12-02"]));
        assert_eq!(days("to=2010-11-30").await, json!([]));
        let none = shop.get("/v1/sales?to=2010-11-30").await.body;
        assert_eq!((&none["total"]["orders"], &none["total"]["net"]), (&json!(0), &gbp("0.00")));
        for bad in ["from=2011-01-01&to=2010-12-01", "from=x", "to=2010-13-01", "by=week", "currency=GBPP"] {
            assert_eq!(shop.get(&format!("/v1/sales?{bad}")).await.status, 422, "{bad}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_cursor_is_good_for_its_own_report_only() {
    with_sales(async |shop| {
        let first = shop.get("/v1/sales?by=product&limit=1").await;
        let cursor = first.body["next_cursor"].as_str().unwrap();
        assert_eq!(shop.get(&format!("/v1/sales?by=country&cursor={cursor}")).await.status, 422);
        assert_eq!(shop.get(&format!("/v1/sales?by=product&currency=JPY&cursor={cursor}")).await.status, 422);
        assert_eq!(shop.get(&format!("/v1/sales?by=product&currency=GBP&limit=1&cursor={cursor}")).await.each("key"), [json!("A")]);
    })
    .await;
}

#[tokio::test]
async fn before_anything_was_sold_there_is_no_currency() {
    with_shop(async |shop| {
        let answer = shop.get("/v1/sales").await;
        assert_eq!((answer.status.as_u16(), &answer.body["currency"], &answer.body["items"]), (200, &json!("XXX"), &json!([])));
        assert_eq!(shop.get("/v1/sales?currency=EUR").await.body["currency"], json!("EUR"));
    })
    .await;
}
