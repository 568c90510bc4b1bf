//! Two versions of Merx on one Meilisearch server, whose indexes have different shapes.

use ::search::{Index as _, Request, query::Words};
use serde_json::json;

use super::{
    double::Double,
    failures::{at, found, index, product},
};
use crate::{
    search::found as found_by,
    shop::{Shop, money},
};

/// An index as the version before had it: of this name, and with list prices only.
fn of_the_version_before(double: &Double, name: &str, sku: &str) {
    double.put(name, json!({"id": "old", "sku": sku, "price": 4.5, "currency": "GBP", "in_stock": true, "created": 1,
        "shown": {"title": "Old lamp", "description": "", "brand": null, "categories": [], "attributes": [], "price": {"amount": "4.50", "currency": "GBP"}}}));
    let place = json!({"log": null, "version": 0, "revision": 0, "position": 7});
    double.put(&format!("{name}-place"), json!({"id": "place", "shape": 1, "place": place}));
}

#[tokio::test]
async fn the_index_of_the_shape_before_serves_until_the_new_one_is_filled_and_stays_as_it_is() {
    let double = Double::start().await;
    of_the_version_before(&double, "shop", "OLD");
    let new = index(&double.url);
    new.prepare().await.unwrap();
    assert_eq!((new.place().await.unwrap(), new.serves().await.unwrap()), (None, Some(at(7))), "whoever keeps it must fill it");
    assert_eq!(found(&new, "lamp").await.unwrap(), ["OLD"]);
    for (most, expected) in [("4.50", &["OLD"][..]), ("4.49", &[])] {
        let mut request = Request { words: Words::of("lamp"), limit: 10, sort: ::search::Sort::Price, ..Request::default() };
        request.filters.price_max = Some(most.parse().unwrap());
        assert_eq!(new.search(&request).await.unwrap().skus, expected);
    }
    new.begin_rebuild().await.unwrap();
    new.rebuild(vec![product("NEW", "New lamp")]).await.unwrap();
    assert_eq!(found(&new, "lamp").await.unwrap(), ["OLD"], "it is half filled");
    new.finish_rebuild(at(9)).await.unwrap();
    assert_eq!((found(&new, "lamp").await.unwrap(), new.serves().await.unwrap()), (vec!["NEW".to_owned()], Some(at(9))));
    // Servers of the version before go on with theirs.
    assert!(double.document("shop", "OLD").is_some());
    assert_eq!(double.indexes(), ["shop", "shop-place", "shop-v2", "shop-v2-place"]);
}

#[tokio::test]
async fn a_server_of_this_version_answers_from_what_the_version_before_has_left() {
    let double = Double::start().await;
    of_the_version_before(&double, "merx-products", "OLD");
    // No projector: nobody fills the index of this version.
    let Some(shop) = Shop::open().await else { return };
    shop.post("/v1/products", json!({"sku": "OLD", "title": "Old lamp", "price": money("4.50")})).await.expect(201);
    shop.until("/v1/products", |products| products.items().len() == 1).await;
    let launch = crate::server::Launch::on_database(&shop.database.url).set("MEILI_URL", &double.url).argument("--role", "query-api");
    let reader = crate::server::Server::start(launch).await;
    assert_eq!(found_by(&reader.client(), "q=lamp", 0).await, ["OLD"]);
}

#[tokio::test]
async fn nobody_who_searches_waits_for_every_word_to_be_counted() {
    let double = Double::start().await;
    let documents = (0..2_500).map(|nth| product(&format!("L{nth}"), &format!("Lamp {nth}"))).collect();
    let index = super::failures::filled(&double.url, documents).await;
    double.stop_after_pages(1);
    let request = Request { words: Words::of("lamp"), limit: 10, ..Request::default() };
    // The second page of what is counted never comes; whoever asks is answered all the same.
    for _ in 0..3 {
        assert_eq!(index.search(&request).await.unwrap().skus.len(), 10);
    }
    assert_eq!(double.most_pages_asked_at_once(), 1, "one at a time counts");
}
