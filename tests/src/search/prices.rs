//! The price that is charged now, over HTTP: with the index inside the binary, on a Meilisearch server where there is one, and on the double.

use ::search::{
    Document, Error, Index, Meilisearch, Request, Sale, Sort,
    query::{At, Filters, Words},
};
use chrono::{Duration, Utc};
use event_schemas::{Money, Timestamp};
use serde_json::json;

use super::{
    double::Double,
    failures::{filled, product},
    found, searched, shops,
};
use crate::shop::{Shop, money, receive, running_sale, unique};

#[tokio::test]
async fn search_filters_and_sorts_by_what_is_charged_now() {
    for shop in shops().await {
        let mut position = 0;
        for (sku, price) in [("LOW", "10.00"), ("SALE", "30.00"), ("TOP", "50.00")] {
            position = shop.post("/v1/products", json!({"sku": sku, "title": "Lamp", "price": money(price)})).await.expect(201).position();
        }
        receive(&shop, "SALE", 9).await;
        assert_eq!(found(&shop, "sort=price", position).await, ["LOW", "SALE", "TOP"]);
        let sale = shop.post("/v1/flash-sales", running_sale("SALE", 4)).await.expect(201);
        assert_eq!(found(&shop, "sort=price", sale.position()).await, ["SALE", "LOW", "TOP"]);
        assert_eq!(found(&shop, "sort=-price", sale.position()).await, ["TOP", "LOW", "SALE"]);
        // The newest first.
        assert_eq!(found(&shop, "price_max=10", sale.position()).await, ["SALE", "LOW"]);
        assert_eq!(found(&shop, "price_min=20&price_max=40", sale.position()).await, Vec::<String>::new());
        let cancelled = shop.post(&format!("/v1/flash-sales/{}/cancel", sale.id()), json!({})).await.expect(200).position();
        assert_eq!(found(&shop, "price_min=20&price_max=40", cancelled).await, ["SALE"]);
        shop.close().await;
    }
}

#[tokio::test]
async fn a_sale_ends_for_search_by_its_time_alone() {
    for shop in shops().await {
        for (sku, price) in [("LOW", "10.00"), ("SALE", "30.00")] {
            shop.post("/v1/products", json!({"sku": sku, "title": "Lamp", "price": money(price)})).await.expect(201);
        }
        receive(&shop, "SALE", 9).await;
        let ends_at: Timestamp = (Utc::now() + Duration::seconds(15)).into();
        let sale = json!({"sku": "SALE", "starts_at": "2026-01-01T00:00:00Z", "ends_at": ends_at.to_string(), "allotment": 4, "price": money("1.00")});
        let position = shop.post("/v1/flash-sales", sale).await.expect(201).position();
        assert_eq!(found(&shop, "sort=price", position).await, ["SALE", "LOW"]);
        shop.until("/v1/search?sort=price", |answer| answer.items()[0]["sku"] == "LOW").await;
        assert!(Utc::now() >= ends_at.utc(), "it counts no longer before it has ended");
        shop.close().await;
    }
}

#[tokio::test]
async fn prices_in_several_currencies_are_compared_in_one_that_is_said() {
    for shop in shops().await {
        let mut position = 0;
        for (sku, amount, currency) in [("POUNDS", "5.00", "GBP"), ("YEN", "500", "JPY"), ("MORE", "7.00", "GBP")] {
            let product = json!({"sku": sku, "title": "Lamp", "price": {"amount": amount, "currency": currency}});
            position = shop.post("/v1/products", product).await.expect(201).position();
        }
        for query in ["sort=price", "sort=-price", "price_min=1", "price_max=600&q=lamp"] {
            let refused = searched(&shop, query, position).await.expect(422);
            assert_eq!((&refused["code"], &refused["errors"][0]["pointer"]), (&json!("currency_required"), &json!("?currency")), "{query}");
        }
        assert_eq!(found(&shop, "sort=price&currency=GBP", position).await, ["POUNDS", "MORE", "YEN"]);
        assert_eq!(found(&shop, "sort=-price&currency=GBP", position).await, ["MORE", "POUNDS", "YEN"]);
        assert_eq!(found(&shop, "price_max=600&currency=JPY", position).await, ["YEN"]);
        assert_eq!(found(&shop, "price_max=600&currency=GBP&sort=price", position).await, ["POUNDS", "MORE"]);
        searched(&shop, "currency=QQQ", position).await.expect(422);
        assert_eq!(found(&shop, "sort=newest", position).await, ["MORE", "YEN", "POUNDS"]);
        shop.close().await;
    }
}

#[tokio::test]
async fn the_currency_of_the_shop_is_the_one_where_none_is_said() {
    let folder = tempfile::TempDir::new().unwrap();
    let Some(shop) = Shop::open_with(1, &[("MERX_CURRENCY", "JPY"), ("MERX_DATA_DIR", folder.path().to_str().unwrap())]).await else {
        return;
    };
    let mut position = 0;
    for (sku, amount, currency) in [("POUNDS", "5.00", "GBP"), ("YEN", "500", "JPY"), ("LESS", "400", "JPY")] {
        let product = json!({"sku": sku, "title": "Lamp", "price": {"amount": amount, "currency": currency}});
        position = shop.post("/v1/products", product).await.expect(201).position();
    }
    assert_eq!(found(&shop, "sort=price", position).await, ["LESS", "YEN", "POUNDS"]);
    assert_eq!(found(&shop, "price_min=450", position).await, ["YEN"]);
    assert_eq!(found(&shop, "price_max=450&currency=GBP", position).await, ["POUNDS"]);
}

#[tokio::test]
async fn a_query_of_nothing_but_signs_finds_nothing() {
    for shop in shops().await {
        let sku = unique("SIGN");
        let position = shop.post("/v1/products", json!({"sku": sku, "title": "Lamp", "price": money("1")})).await.expect(201).position();
        for query in ["q=%25", "q=*", "q=%22", "q=%25+%25", "q=_&facets=brand"] {
            let answer = searched(&shop, query, position).await.expect(200);
            assert_eq!((answer["total"].clone(), answer.items().len()), (json!(0), 0), "{query}");
        }
        assert_eq!(found(&shop, "currency=GBP", position).await, [sku], "without a query all are found");
        shop.close().await;
    }
}

fn amount(amount: &str, currency: &str) -> Money {
    Money::new(amount.parse().unwrap(), currency.parse().unwrap())
}

fn second(second: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + second * 1_000_000)
}

fn priced(sku: &str, price: &str, sales: &[(i64, i64, &str)]) -> Document {
    let sale =
        |(from, until, price): &(i64, i64, &str)| Sale { starts_at: second(*from), ends_at: second(*until), price: amount(price, "GBP") };
    Document { price: amount(price, "GBP"), sales: sales.iter().map(sale).collect(), ..product(sku, "Lamp") }
}

async fn ask(index: &Meilisearch, filters: Filters, sort: Sort, at: i64) -> Vec<String> {
    let request = Request { words: Words::of("lamp"), filters, sort, limit: 10, at: At(second(at)), ..Request::default() };
    index.search(&request).await.unwrap().skus
}

#[tokio::test]
async fn what_meilisearch_is_asked_counts_sales_from_their_first_moment_to_their_last() {
    let double = Double::start().await;
    let documents =
        vec![priced("LOW", "10", &[]), priced("SALE", "30", &[(10, 20, "5"), (20, 30, "55")]), priced("TOP", "50", &[(100, 110, "1")])];
    let index = filled(&double.url, documents).await;
    let up_to = |most: &str| Filters { price_max: Some(most.parse().unwrap()), ..Filters::default() };
    for (at, cheapest_first, up_to_12) in [
        (9, ["LOW", "SALE", "TOP"], &["LOW"][..]),
        (10, ["SALE", "LOW", "TOP"], &["SALE", "LOW"]),
        (20, ["LOW", "TOP", "SALE"], &["LOW"]),
        (30, ["LOW", "SALE", "TOP"], &["LOW"]),
        (105, ["TOP", "LOW", "SALE"], &["TOP", "LOW"]),
    ] {
        assert_eq!(ask(&index, Filters::default(), Sort::Price, at).await, cheapest_first, "at {at}");
        let dearest_first: Vec<&str> = cheapest_first.into_iter().rev().collect();
        assert_eq!(ask(&index, Filters::default(), Sort::PriceDown, at).await, dearest_first, "at {at}");
        assert_eq!(ask(&index, up_to("12"), Sort::Price, at).await, up_to_12, "at {at}");
    }
    let request = Request { words: Words::of("lamp"), limit: 10, at: At(second(15)), ..Request::default() };
    let range = index.search(&request).await.unwrap().price;
    assert_eq!(range, Some((amount("5.00", "GBP"), amount("50.00", "GBP"))));
    index
        .take(::search::Changes {
            documents: vec![Document { price: amount("500", "JPY"), ..product("YEN", "Lamp") }],
            removed: Vec::new(),
        })
        .await
        .unwrap();
    let refused = index.search(&Request { sort: Sort::Price, ..request.clone() }).await;
    assert!(matches!(refused, Err(Error::CurrencyRequired(codes)) if codes == ["GBP", "JPY"]));
    let pounds = || Filters { currency: "GBP".parse().ok(), ..Filters::default() };
    assert_eq!(ask(&index, pounds(), Sort::Price, 15).await, ["SALE", "LOW", "TOP", "YEN"]);
    assert_eq!(ask(&index, Filters { price_max: up_to("600").price_max, ..pounds() }, Sort::Price, 15).await, ["SALE", "LOW", "TOP"]);
    let signs = index.search(&Request { words: Words::of("%"), ..request }).await.unwrap();
    assert_eq!((signs.total, signs.skus.len()), (0, 0));
}
