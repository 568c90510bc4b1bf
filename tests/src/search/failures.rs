//! What becomes of search when Meilisearch fails: against a server that fails on demand.

use ::search::{Changes, Document, Error, Index, Meilisearch, Place, Request, meilisearch::Settings, query::Words};
use event_schemas::Money;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::double::{Double, Fault};
use crate::{
    client::Client,
    server::merx,
    shop::{Shop, money},
};

pub fn index(url: &str) -> Meilisearch {
    Meilisearch::new(&Settings { url: url.to_owned(), key: Some("key".to_owned()), index: "shop".to_owned() }).unwrap()
}

pub fn product(sku: &str, title: &str) -> Document {
    Document {
        sku: sku.to_owned(),
        title: title.to_owned(),
        description: String::new(),
        brand: None,
        categories: Vec::new(),
        attributes: Vec::new(),
        price: Money::new(1.into(), "GBP".parse().unwrap()),
        sales: Vec::new(),
        in_stock: true,
        rating_sum: 0,
        rating_count: 0,
        created: 1,
    }
}

fn changes(documents: Vec<Document>) -> Changes {
    Changes { documents, removed: Vec::new() }
}

pub fn at(position: i64) -> Place {
    Place { position, ..Place::default() }
}

pub async fn filled(url: &str, documents: Vec<Document>) -> Meilisearch {
    let index = index(url);
    index.prepare().await.unwrap();
    index.begin_rebuild().await.unwrap();
    index.rebuild(documents).await.unwrap();
    index.finish_rebuild(at(1)).await.unwrap();
    index
}

pub async fn found(index: &Meilisearch, text: &str) -> Result<Vec<String>, Error> {
    let request = Request { words: Words::of(text), limit: 10, ..Request::default() };
    Ok(index.search(&request).await?.skus)
}

#[track_caller]
fn assert_away<T: std::fmt::Debug>(answer: Result<T, Error>, why: &str) {
    match answer {
        Err(Error::Unavailable(told)) => assert!(told.contains(why), "{told}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_as_the_reason() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let index = index(&format!("http://127.0.0.1:{port}"));
    assert_away(found(&index, "pot").await, "refused");
    assert_away(index.prepare().await, "refused");
    assert_away(index.take(changes(vec![product("A", "Pot")])).await, "refused");
    for url in ["", "127.0.0.1:7700", "ftp://127.0.0.1", "http://"] {
        let wrong = Meilisearch::new(&Settings { url: url.to_owned(), key: None, index: "shop".to_owned() });
        assert!(matches!(wrong.err(), Some(Error::Settings(told)) if told.contains("MEILI_URL")), "{url}");
    }
}

#[tokio::test]
async fn a_server_that_answers_late_or_with_errors_is_away_and_nothing_is_lost() {
    let double = Double::start().await;
    let index = filled(&double.url, vec![product("A", "Pot")]).await;
    for (fault, why) in [(Fault::Slow, "did not answer"), (Fault::Errors, "500")] {
        double.fail(fault);
        assert_away(found(&index, "pot").await, why);
        assert_away(index.suggest("po", 5).await, why);
        assert_away(index.place().await, why);
    }
    double.fail(Fault::Errors);
    assert_away(index.take(changes(vec![product("B", "Pan")])).await, "500");
    double.fail(Fault::Tasks);
    assert_away(index.take(changes(vec![product("B", "Pan")])).await, "the disk is full");
    assert_away(index.reach(at(2)).await, "the disk is full");
    double.fail(Fault::None);
    assert_eq!(index.place().await.unwrap(), Some(at(1)));
    assert_eq!(found(&index, "pot").await.unwrap(), ["A"]);
}

#[tokio::test]
async fn what_fails_a_task_is_found_and_the_rest_is_taken() {
    let double = Double::start().await;
    let index = filled(&double.url, Vec::new()).await;
    let documents = (0..20).map(|nth| product(&format!("P{nth}"), if nth % 7 == 3 { "Rat poison" } else { "Pot" })).collect();
    let mut refused = index.take(changes(documents)).await.unwrap();
    refused.sort_by(|a, b| a.sku.cmp(&b.sku));
    let skus: Vec<&str> = refused.iter().map(|refused| refused.sku.as_str()).collect();
    assert_eq!(skus, ["P10", "P17", "P3"]);
    assert_eq!(refused[2].reason, "document \"P3\" can't be indexed");
    index.reach(at(2)).await.unwrap();
    let request = Request { limit: 100, ..Request::default() };
    assert_eq!(index.search(&request).await.unwrap().total, 17);
}

#[tokio::test]
async fn no_half_filled_index_gets_into_use_and_none_is_left_over() {
    let double = Double::start().await;
    let index = filled(&double.url, vec![product("A", "Pot")]).await;
    assert_eq!(double.indexes(), ["shop-v2", "shop-v2-place"]);
    index.begin_rebuild().await.unwrap();
    index.rebuild(vec![product("B", "Pot")]).await.unwrap();
    // The server loses what is being filled; what is sent afterwards makes an index of its own.
    double.lose(|name| name.contains("-new-"));
    index.rebuild(vec![product("C", "Pot")]).await.unwrap();
    assert_away(index.finish_rebuild(at(2)).await, "1 documents instead of 2");
    assert_eq!(found(&index, "pot").await.unwrap(), ["A"]);
    assert_eq!(index.place().await.unwrap(), Some(at(1)));
    // Another keeper comes, or this one again.
    index.prepare().await.unwrap();
    assert_eq!(double.indexes(), ["shop-v2", "shop-v2-place"]);
    index.begin_rebuild().await.unwrap();
    index.rebuild(vec![product("C", "Pot")]).await.unwrap();
    double.lose(|_| true);
    assert_away(index.finish_rebuild(at(2)).await, "index_not_found");
    assert_eq!(index.place().await.unwrap(), None);
    // What is sent to a server that was emptied does not count as all there is.
    index.take(changes(vec![product("D", "Pot")])).await.unwrap();
    assert_away(index.reach(at(3)).await, "lost");
    assert_eq!(index.place().await.unwrap(), None);
    assert_away(found(&index, "pot").await, "being made");
}

#[tokio::test]
async fn the_settings_are_pushed_and_an_old_server_is_refused() {
    let double = Double::start().await;
    let index = filled(&double.url, Vec::new()).await;
    index.prepare().await.unwrap();
    let settings = double.settings("shop-v2");
    assert_eq!(settings["typoTolerance"]["minWordSizeForTypos"], json!({"oneTypo": 5, "twoTypos": 9}));
    assert_eq!(settings["searchableAttributes"][1], "title");
    assert_eq!(settings["rankingRules"][0], "sort");
    assert!(settings["filterableAttributes"].as_array().unwrap().contains(&json!("amount")));
    assert!(settings["sortableAttributes"].as_array().unwrap().contains(&json!("price")));
    double.be_of_version("1.9.0");
    let index = self::index(&double.url);
    assert_away(index.prepare().await, "1.9.0");
    assert_away(found(&index, "pot").await, "1.9.0");
}

async fn create(client: &Client, sku: &str, title: &str) -> i64 {
    let product = json!({"sku": sku, "title": title, "price": money("1.00")});
    client.post("/v1/products", product).await.expect(201).position()
}

fn of_search(projections: &Value) -> Value {
    let items = projections["items"].as_array().unwrap();
    items.iter().find(|item| item["name"] == "search-index").cloned().unwrap_or_default()
}

#[tokio::test]
async fn search_alone_is_away_and_catches_up_by_itself() {
    let double = Double::start().await;
    let Some(shop) = Shop::open_with(1, &[("MEILI_URL", &double.url)]).await else { return };
    let position = create(&shop, "POT", "Copper pot").await;
    let first = shop.get_at("/v1/search?q=pot", position).await.expect(200);
    assert_eq!(first["total"], 1);
    double.fail(Fault::Errors);
    let position = create(&shop, "PAN", "Copper pan").await;
    for path in ["/v1/search?q=pot", "/v1/search/suggest?q=po"] {
        let away = shop.get(path).await.expect(503);
        assert_eq!(away["code"], "search_unavailable");
        assert!(away.headers.contains_key("retry-after"));
    }
    shop.get_at("/v1/products/PAN", position).await.expect(200);
    shop.get("/readyz").await.expect(200);
    let failing = shop.until("/v1/projections", |progress| of_search(&progress.body)["state"] == "failing").await;
    assert!(of_search(&failing.body)["failing"].as_str().unwrap().contains("500"), "{failing}");
    double.fail(Fault::None);
    shop.until("/v1/search?q=copper", |answer| answer["total"] == 2).await;
    shop.until("/v1/projections", |progress| of_search(&progress.body)["state"] == "live").await;
    // Even where all of it was lost.
    double.lose(|_| true);
    shop.until("/v1/search?q=copper", |answer| answer["total"] == 2).await;
}

// The double goes on while a command is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_parked_and_can_be_retried_and_skipped() {
    let double = Double::start().await;
    let Some(shop) = Shop::open_with(1, &[("MEILI_URL", &double.url)]).await else { return };
    create(&shop, "POT", "Copper pot").await;
    create(&shop, "BAD1", "Copper poison").await;
    let position = create(&shop, "BAD2", "Rat poison").await;
    let answer = shop.get_at("/v1/search?q=copper", position).await.expect(200);
    assert_eq!(answer["total"], 1);
    let parked = of_search(&shop.get("/v1/projections").await.expect(200).body)["parked"].clone();
    assert_eq!((&parked[0]["stream"], &parked[1]["stream"]), (&json!("product-BAD1"), &json!("product-BAD2")));
    assert_eq!(parked[0]["reason"], "document \"BAD1\" can't be indexed");
    let url = &shop.database.url;
    let mend = |how: &str, stream: &str| {
        let mut command = merx(&["projections", "--database-url", url, "--meili-url", &double.url, how, "search-index", stream]);
        command.output().unwrap()
    };
    let retried = mend("retry", "product-BAD1");
    assert!(!retried.status.success() && String::from_utf8_lossy(&retried.stderr).contains("can't be indexed"), "{retried:?}");
    assert!(mend("skip", "product-BAD2").status.success());
    // What has changed is tried again by itself.
    let position = shop.patch("/v1/products/BAD1", json!({"title": "Copper cure"})).await.expect(200).position();
    shop.get_at("/v1/search?q=cure", position).await.expect(200);
    let parked = of_search(&shop.get("/v1/projections").await.expect(200).body)["parked"].clone();
    assert_eq!(parked, json!([]));
    assert!(double.document("merx-products-v2", "BAD1").is_some());
    assert!(!mend("retry", "product-BAD1").status.success());
}
