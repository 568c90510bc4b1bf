//! Search over HTTP: with the index inside the binary, and on a Meilisearch server where there is one.

mod asked;
pub mod double;
mod failures;
mod prices;
mod shapes;

use std::{env, fs, ops::Deref, path::Path, time::Duration};

use ::search::{Meilisearch, meilisearch::Settings};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::{
    client::{Answer, Client},
    database::{Database, skipped},
    server::{Launch, Server},
    shop::{Shop, money, receive, room_for, running_sale, unique},
};

/// A shop for each index that can be had here.
async fn shops() -> Vec<Searched> {
    // An index of its own: one that another test has left would be searched until it is filled anew.
    let folder = TempDir::new().expect("a folder");
    let own = [("MERX_DATA_DIR", folder.path().to_str().expect("UTF-8"))];
    let Some(embedded) = Shop::open_with(1, &own).await else { return Vec::new() };
    let mut shops = vec![Searched { shop: embedded, server: None, _folder: Some(folder) }];
    let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let Some(url) = set("MEILI_URL") else {
        skipped("a Meilisearch server in MEILI_URL for its second half");
        return shops;
    };
    let (key, index) = (set("MEILI_KEY").unwrap_or_default(), unique("tests"));
    let settings = [("MEILI_URL", url.as_str()), ("MEILI_KEY", &key), ("MEILI_INDEX", &index)];
    let shop = Shop::open_with(1, &settings).await.expect("a database, as before");
    let server = Meilisearch::new(&Settings { url, key: Some(key), index }).unwrap();
    shops.push(Searched { shop, server: Some(server), _folder: None });
    shops
}

struct Searched {
    shop: Shop,
    server: Option<Meilisearch>,
    _folder: Option<TempDir>,
}

impl Searched {
    async fn close(self) {
        drop(self.shop);
        if let Some(server) = self.server {
            server.remove().await.unwrap();
        }
    }
}

impl Deref for Searched {
    type Target = Shop;

    fn deref(&self) -> &Shop {
        &self.shop
    }
}

/// Queries are written as they are typed.
fn encoded(text: &str) -> String {
    text.bytes().map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// Answer to a search, at least as new as `position`.
async fn searched(client: &Client, query: &str, position: i64) -> Answer {
    client.get_at(&format!("/v1/search?{query}"), position).await
}

async fn found(client: &Client, query: &str, position: i64) -> Vec<String> {
    let answer = searched(client, query, position).await.expect(200);
    answer.items().iter().map(|item| item["sku"].as_str().unwrap().to_owned()).collect()
}

async fn stocked(client: &Client) -> i64 {
    for (id, name, parent) in
        [("home", "Home", Value::Null), ("kitchen", "Kitchen", json!("home")), ("tea", "Tea things", json!("kitchen"))]
    {
        client.post("/v1/categories", json!({"id": id, "name": name, "parent": parent})).await.expect(201);
    }
    let products = [
        json!({"sku": "POT", "title": "Cast Iron Teapot", "description": "Keeps <b>hot</b>.", "category": "tea", "brand": "Ember, Iron & Co",
               "price": money("48.00"), "attributes": {"colour": "black"}}),
        json!({"sku": "MUG", "title": "Stoneware Mug", "category": "kitchen", "brand": "Hearth", "price": money("12.50"),
               "attributes": {"colour": "blue", "size": "350 ml"}}),
        json!({"sku": "PS-LX350H", "title": "Record Player", "price": money("199"), "attributes": {"colour": "black"}}),
    ];
    let mut position = 0;
    for product in products {
        position = client.post("/v1/products", product).await.expect(201).position();
    }
    position
}

#[tokio::test]
async fn what_is_written_is_found_from_the_position_that_the_write_answered_with() {
    for shop in shops().await {
        let position = stocked(&shop).await;
        assert_eq!(found(&shop, "q=teapots", position).await, ["POT"]);
        assert_eq!(found(&shop, "q=pslx350h", position).await, ["PS-LX350H"]);
        assert_eq!(found(&shop, "category=home", position).await, ["MUG", "POT"]);
        assert_eq!(found(&shop, "in_stock=true", position).await, Vec::<String>::new());
        let position = receive(&shop, "POT", 3).await.position();
        assert_eq!(found(&shop, "in_stock=true", position).await, ["POT"]);
        let patched = async |sku: &str, patch: Value| shop.patch(&format!("/v1/products/{sku}"), patch).await.expect(200).position();
        let position = patched("MUG", json!({"title": "Porcelain Cup", "price": money("9.99")})).await;
        assert_eq!(found(&shop, "q=porcelain&price_max=10", position).await, ["MUG"]);
        assert_eq!(found(&shop, "q=stoneware", position).await, Vec::<String>::new());
        let position = patched("MUG", json!({"status": "archived"})).await;
        assert_eq!(found(&shop, "", position).await, ["PS-LX350H", "POT"]);
        let position = patched("MUG", json!({"status": "active"})).await;
        assert_eq!(found(&shop, "q=cup", position).await, ["MUG"]);
        let review = json!({"rating": 5, "title": "Good", "text": "Very good."});
        let position = shop.post("/v1/products/PS-LX350H/reviews", review).await.expect(201).position();
        assert_eq!(found(&shop, "sort=rating", position).await[0], "PS-LX350H");
        let renamed = shop.patch("/v1/categories/kitchen", json!({"name": "Scullery", "parent": null})).await.expect(200).position();
        assert_eq!(found(&shop, "q=scullery", renamed).await.len(), 2);
        assert_eq!(found(&shop, "category=home", renamed).await, Vec::<String>::new());
        shop.close().await;
    }
}

#[tokio::test]
async fn an_answer_shows_products_as_they_are_and_marks_what_matched() {
    for shop in shops().await {
        stocked(&shop).await;
        receive(&shop, "POT", 9).await;
        let position = shop.post("/v1/flash-sales", running_sale("POT", 4)).await.expect(201).position();
        let facets = "facets=category,brand,attributes.colour,in_stock";
        let answer = searched(&shop, &format!("q=hot+iron&attributes.colour=black&{facets}"), position).await.expect(200);
        assert!(answer.position() >= position);
        let mut item = answer.items()[0].clone();
        let highlight = item.as_object_mut().unwrap().remove("highlight").unwrap();
        assert_eq!(highlight["title"], "Cast <em>Iron</em> Teapot");
        assert_eq!(highlight["description"], "Keeps &lt;b&gt;<em>hot</em>&lt;/b&gt;.");
        let product = shop.until("/v1/products/POT", |product| !product["flash_sale"].is_null()).await;
        assert_eq!(item, product.body);
        assert_eq!(answer["total"], 1);
        // What is charged while the sale runs.
        assert_eq!(answer["price"], json!({"min": money("1.00"), "max": money("1.00")}));
        assert_eq!(answer["facets"]["category"].as_array().map(Vec::len), Some(3));
        assert_eq!(answer["facets"]["brand"], json!([{"value": "Ember, Iron & Co", "count": 1}]));
        let brand = encoded("Ember, Iron & Co");
        assert_eq!(found(&shop, &format!("brand={brand},Nobody"), position).await, ["POT"]);
        let suggested = shop.get_at("/v1/search/suggest?q=tea", position).await.expect(200);
        let texts: Vec<&str> = suggested.items().iter().filter_map(|item| item["text"].as_str()).collect();
        assert_eq!(texts, ["Tea things", "Cast Iron Teapot"]);
        shop.close().await;
    }
}

#[tokio::test]
async fn pages_follow_one_another_and_a_cursor_is_good_for_its_own_search_only() {
    for shop in shops().await {
        let mut position = 0;
        for nth in 0..25 {
            let product = json!({"sku": format!("L{nth}"), "title": "Lamp", "price": money(&nth.to_string())});
            position = shop.post("/v1/products", product).await.expect(201).position();
        }
        for sort in ["relevance", "price", "-price", "newest", "rating"] {
            let (mut seen, mut cursor) = (Vec::new(), String::new());
            loop {
                let page = searched(&shop, &format!("q=lamps&sort={sort}&limit=10{cursor}"), position).await.expect(200);
                assert_eq!(page["total"], 25);
                seen.extend(page.items().iter().map(|item| item["sku"].as_str().unwrap().to_owned()));
                let Some(next) = page["next_cursor"].as_str() else { break };
                cursor = format!("&cursor={next}");
            }
            seen.sort();
            seen.dedup();
            assert_eq!(seen.len(), 25, "{sort}");
        }
        let next = shop.get("/v1/search?q=lamps&limit=10").await.expect(200)["next_cursor"].as_str().unwrap().to_owned();
        shop.get(&format!("/v1/search?q=lamp&limit=10&cursor={next}")).await.expect(422);
        shop.close().await;
    }
}

#[track_caller]
fn names(answer: &Answer, pointer: &str) {
    assert_eq!(answer.status, 422, "{answer}");
    let errors = answer["errors"].as_array().unwrap();
    assert!(errors.iter().any(|error| error["pointer"] == pointer), "{pointer}: {answer}");
}

#[tokio::test]
async fn what_is_wrong_with_a_search_is_named() {
    for shop in shops().await {
        let position = stocked(&shop).await;
        let many = (0..1_000).map(|nth| format!("attributes.a{nth}=x")).collect::<Vec<_>>().join("&");
        let values = (0..1_000).map(|nth| format!("brand=b{nth}")).collect::<Vec<_>>().join("&");
        for (query, pointer) in [
            (format!("q={}", "x".repeat(10_000)), "?q"),
            ("q=a%07b".to_owned(), "?q"),
            ("q=a%00b".to_owned(), "?q"),
            (many, "?attributes"),
            (values, "?brand"),
            ("brand=%01".to_owned(), "?brand"),
            ("attributes.colou=blue".to_owned(), "?attributes.colou"),
            ("facets=colour".to_owned(), "?facets"),
            ("facets=attributes.weight".to_owned(), "?facets"),
            ("sort=best".to_owned(), "?sort"),
            ("price_min=cheap".to_owned(), "?price_min"),
            ("price_min=2&price_max=1".to_owned(), "?price_min"),
            ("in_stock=maybe".to_owned(), "?in_stock"),
            ("limit=201".to_owned(), "?limit"),
            ("cursor=abc".to_owned(), "?cursor"),
            ("colour=red".to_owned(), "?colour"),
        ] {
            names(&searched(&shop, &query, position).await, pointer);
        }
        names(&shop.get(&format!("/v1/search/suggest?q={}", "x".repeat(10_000))).await, "?q");
        for odd in ["\" OR 1=1 --", "category:home", "*", "((((", "\\", "🫖", "' = ''"] {
            let answer = searched(&shop, &format!("q={0}&category={0}&brand={0}", encoded(odd)), position).await.expect(200);
            assert_eq!(answer["total"], 0, "{odd}");
        }
        shop.close().await;
    }
}

#[tokio::test]
async fn the_index_survives_a_kill_and_is_made_anew_where_it_is_damaged() {
    let Some(database) = Database::create().await else { return };
    let _room = room_for(1).await;
    let folder = TempDir::new().unwrap();
    let directory = folder.path().join("data");
    let launch = Launch { arguments: vec!["--data-dir".into(), directory.display().to_string()], ..Launch::on_database(&database.url) };
    let mut server = Server::start(launch).await;
    let position = stocked(&server.client()).await;
    assert_eq!(found(&server.client(), "q=teapot", position).await, ["POT"]);
    let damages: [fn(&Path); 4] = [
        |_| {},
        |files| fs::remove_dir_all(files).unwrap(),
        |files| each(files, |file| fs::write(file, b"damaged").unwrap()),
        |files| each(files, halve),
    ];
    for (nth, damage) in damages.into_iter().enumerate() {
        let product = json!({"sku": format!("NEW{nth}"), "title": "Novelty", "price": money("1")});
        let position = server.client().post("/v1/products", product).await.expect(201).position();
        server.kill();
        damage(&directory.join("search"));
        server.start_again().await;
        let client = server.client();
        client.until("/v1/search?q=teapot", |answer| answer["total"] == 1).await;
        // Whoever was killed had the leases of the read models; it takes some seconds until it has run out.
        client.until("/v1/search?q=novelty", |answer| answer["total"] == nth + 1 && answer.position() >= position).await;
    }
}

fn halve(file: &Path) {
    let bytes = fs::read(file).unwrap();
    fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
}

fn each(folder: &Path, damage: fn(&Path)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { each(&path, damage) } else { damage(&path) }
    }
}

#[tokio::test]
async fn a_rebuilt_read_model_is_searched_in_its_place() {
    for shop in shops().await {
        let position = stocked(&shop).await;
        assert_eq!(found(&shop, "q=mug", position).await, ["MUG"]);
        let output = crate::server::merx(&["projections", "--database-url", &shop.database.url, "rebuild", "search"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let product = json!({"sku": "MUG2", "title": "Enamel Mug", "price": money("7")});
        let position = shop.post("/v1/products", product).await.expect(201).position();
        assert_eq!(found(&shop, "q=mug", position).await.len(), 2);
        shop.close().await;
    }
}

#[tokio::test]
async fn the_page_of_queries_is_true() {
    let Some(mut shop) = Shop::open().await else { return };
    let launch = shop.server().launch().clone().flag("--demo");
    assert!(shop.server().stop().success());
    shop.server().start_again_as(launch).await;
    let head = shop.get("/v1/projections").await.expect(200)["head"].as_i64().unwrap();
    shop.until("/v1/search", |answer| answer.position() >= head).await;
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/search.md")).unwrap();
    let rows: Vec<(&str, &str)> = page
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            Some((cells.next()?.trim_end_matches('`'), cells.next()?))
        })
        .collect();
    assert_eq!(rows.len(), 20);
    for (query, first) in rows {
        let wanted: Vec<&str> = first.split(" · ").collect();
        // Their order is right once the words of all products are counted, which rests the longer the busier the machine is.
        let limit = Instant::now() + Duration::from_mins(5);
        loop {
            let answer = shop.get(&format!("/v1/search?q={}", encoded(query))).await.expect(200);
            if answer.items().iter().map(|item| &item["title"]).take(wanted.len()).eq(wanted.iter()) {
                break;
            }
            assert!(Instant::now() < limit, "{query}: {answer}");
            sleep(Duration::from_millis(100)).await;
        }
    }
}
