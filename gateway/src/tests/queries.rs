use std::collections::BTreeMap;

use axum::{Router, routing::get as on_get};
use event_schemas::{Timestamp, ids::Sku};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{get, mistakes};
use crate::{Cursor, Json, Limit, Page, Problem, Query};

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Sort {
    Price,
    #[serde(rename = "-price")]
    PriceDown,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Search {
    q: Option<String>,
    #[serde(default)]
    limit: Limit,
    cursor: Option<String>,
    in_stock: Option<bool>,
    sort: Option<Sort>,
    sku: Option<Sku>,
    at: Option<Timestamp>,
    after: Option<u64>,
    #[serde(default)]
    facets: Vec<String>,
    #[serde(default)]
    versions: Vec<u32>,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only read")]
struct Demanding {
    currency: String,
}

fn router() -> Router {
    let page = async |Query(search): Query<Search>| -> Result<Json<Page<u32>>, Problem> {
        let from: u32 = search.cursor.as_deref().map(|cursor| Cursor::decode("numbers", cursor)).transpose()?.unwrap_or(0);
        let items = (from..103).take(usize::from(search.limit) + 1).collect();
        Ok(Json(Page::cut(items, search.limit, |last| Cursor::encode("numbers", &(last + 1)))))
    };
    Router::new()
        .route("/search", on_get(async |Query(search): Query<Search>| Json(search)))
        .route("/demanding", on_get(async |_: Query<Demanding>| ()))
        .route("/numbers", on_get(page))
}

async fn mistakes_in(query: &str) -> Vec<String> {
    let (status, problem) = get(&router(), &format!("/search?{query}")).await;
    assert_eq!(status, 422, "{query}: {problem}");
    mistakes(&problem)
}

#[tokio::test]
async fn parameters_are_read_by_their_type() {
    let query = "q=tea%20cup+%26%20saucer&limit=7&in_stock=true&sort=-price&facets=category,brand,price&versions=1,2\
                 &attributes.colour=white&attributes.size=%C3%A9&after=3&at=2024-01-01T00:00:00%2B01:00";
    let (status, search) = get(&router(), &format!("/search?{query}")).await;
    assert_eq!(status, 200, "{search}");
    assert_eq!(search["q"], "tea cup & saucer");
    assert_eq!((&search["limit"], &search["in_stock"], &search["sort"]), (&json!(7), &json!(true), &json!("-price")));
    assert_eq!((&search["facets"], &search["versions"]), (&json!(["category", "brand", "price"]), &json!([1, 2])));
    assert_eq!(search["attributes"], json!({"colour": "white", "size": "é"}));
    assert_eq!((&search["after"], &search["at"]), (&json!(3), &json!("2023-12-31T23:00:00.000000Z")));
    let (_, search) = get(&router(), "/search?attributes[colour]=white&attributes%5Bno.%5D=7").await;
    assert_eq!(search["attributes"], json!({"colour": "white", "no.": "7"}));
}

#[tokio::test]
async fn nothing_is_asked_for_unless_it_is_required() {
    let (status, search) = get(&router(), "/search").await;
    assert_eq!((status.as_u16(), &search["limit"]), (200, &json!(50)));
    assert_eq!(get(&router(), "/search?q=123").await.1["q"], "123");
    let (status, problem) = get(&router(), "/demanding").await;
    assert_eq!((status.as_u16(), mistakes(&problem)), (422, vec!["?currency required".to_owned()]));
}

#[tokio::test]
async fn every_wrong_parameter_is_named() {
    let query = "limit=0&in_stock=yes&sort=best&colour=red&after=-1&sku=a%20b&versions=1,x&at=now";
    let expected = [
        "?after out_of_range",
        "?at malformed",
        "?colour unknown_parameter",
        "?in_stock wrong_type",
        "?limit out_of_range",
        "?sku malformed",
        "?sort unknown_value",
        "?versions wrong_type",
    ];
    assert_eq!(mistakes_in(query).await, expected);
}

#[tokio::test]
async fn limits_are_1_to_200() {
    for limit in ["201", "-1", "99999999999999999999999"] {
        assert_eq!(mistakes_in(&format!("limit={limit}")).await, ["?limit out_of_range"], "{limit}");
    }
    for limit in ["", "ten", "1.5", "1e2", "0x10", "+5", "%2B5"] {
        assert_eq!(mistakes_in(&format!("limit={limit}")).await, ["?limit wrong_type"], "{limit}");
    }
    assert_eq!(get(&router(), "/search?limit=200").await.0, 200);
}

#[tokio::test]
async fn a_parameter_is_sent_once() {
    assert_eq!(mistakes_in("q=a&q=b").await, ["?q repeated"]);
    assert_eq!(mistakes_in("attributes.a=1&attributes.a=2&limit=5&limit=6").await, ["?attributes.a repeated", "?limit repeated"]);
    assert_eq!(
        mistakes_in("facets=a&facets=b&versions=1&versions=x&x=1&x=2").await,
        ["?facets repeated", "?versions repeated", "?x repeated", "?x unknown_parameter"]
    );
    assert_eq!(mistakes_in("q=a&%71=b").await, ["?q repeated"]);
    assert_eq!(mistakes_in("attributes.a=1&attributes[a]=2").await, ["?attributes[a] repeated"]);
    assert_eq!(mistakes_in("attributes=1").await, ["?attributes malformed"]);
}

#[tokio::test]
async fn a_parameter_has_a_value() {
    assert_eq!(
        mistakes_in("q=&facets=&sku&attributes.a=&limit=&x=").await,
        ["?attributes.a empty", "?facets empty", "?limit wrong_type", "?q empty", "?sku empty", "?x unknown_parameter"]
    );
    assert_eq!(mistakes_in("facets=,").await, ["?facets empty"]);
}

#[tokio::test]
async fn bad_encodings_and_nul_are_refused() {
    for text in ["%", "%4", "%zz", "%ff", "%C3"] {
        assert_eq!(mistakes_in(&format!("q={text}")).await, ["?q malformed"], "{text}");
    }
    assert_eq!(mistakes_in("q=a%00b&attributes.x=%00").await, ["?attributes.x malformed", "?q malformed"]);
}

#[tokio::test]
async fn a_list_is_read_to_its_end_by_its_cursors() {
    let mut seen = Vec::new();
    let mut path = "/numbers?limit=50".to_owned();
    loop {
        let (status, page) = get(&router(), &path).await;
        assert_eq!(status, 200);
        seen.extend(page["items"].as_array().unwrap().iter().map(|item| item.as_u64().unwrap()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/numbers?limit=50&cursor={cursor}");
    }
    assert_eq!(seen, (0..103).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_forged_or_foreign_cursor_is_refused() {
    let good = Cursor::encode("numbers", &7);
    assert_eq!(get(&router(), &format!("/numbers?cursor={good}")).await.1["items"][0], 7);
    let mut changed = good.clone().into_bytes();
    *changed.last_mut().unwrap() ^= 1;
    let changed = String::from_utf8(changed).unwrap();
    let long = "A".repeat(8000);
    for cursor in [&Cursor::encode("letters", &7), &Cursor::encode("numbers", &"seven"), &changed, &long, "AA", "x", "7", "%F0%9F%98%80"] {
        let (status, problem) = get(&router(), &format!("/numbers?cursor={cursor}")).await;
        assert_eq!((status.as_u16(), mistakes(&problem)), (422, vec!["?cursor unknown_cursor".to_owned()]), "{cursor}");
    }
}
