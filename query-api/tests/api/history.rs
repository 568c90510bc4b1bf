//! Streams and the whole log.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::shop::{Shop, with_setup};

/// Appends as the appender does, at the time `2026-01-01 00:00` plus as many minutes as its position.
pub const APPEND: &str = r#"
create function append(stream text, version bigint, type text, payload json) returns bigint language plpgsql as $$
declare
    at bigint;
    id uuid;
    recorded_at timestamptz;
    meta constant json = '{"command_id": "00000000-0000-7000-8000-000000000001", "correlation_id": "00000000-0000-7000-8000-000000000001", "causation_id": null, "actor" : "client"}';
begin
    update log_head set position = position + 1 returning position into at;
    id = ('00000000-0000-7000-8000-' || lpad(at::text, 12, '0'))::uuid;
    recorded_at = timestamptz '2026-01-01 00:00Z' + make_interval(mins => at::int);
    insert into events values (at, stream, version, id, type, 1, payload, meta, recorded_at,
        event_hash(stream, version, id, type, 1::smallint, recorded_at, meta, payload));
    return at;
end $$;"#;

const EVENTS: &str = r#"
select append('category-home', 1, 'CategoryCreated', '{"id": "home",  "name": "Home", "parent": null}');
select append('stock-A', 1, 'StockReceived', '{"quantity": 10, "reference": "PO-1"}');
select append('category-home', 2, 'CategoryRenamed', '{"name": "House"}');
select append('stock-A', 2, 'StockAdjusted', '{"quantity": -3, "reason": "damaged"}');
select append('category-home', 3, 'CategoryRenamed', '{"name": "Home again"}');"#;

async fn with_log(test: impl AsyncFnOnce(&Shop)) {
    with_setup(&format!("{APPEND} {EVENTS}"), test).await;
}

#[tokio::test]
async fn a_stream_shows_its_events_as_they_are_stored() {
    with_log(async |shop| {
        let answer = shop.get("/v1/streams/category-home").await;
        assert_eq!((answer.status.as_u16(), answer.header("merx-position")), (200, "5"));
        assert_eq!((&answer.body["stream"], &answer.body["version"]), (&json!("category-home"), &json!(3)));
        let meta = json!({"command_id": "00000000-0000-7000-8000-000000000001", "correlation_id": "00000000-0000-7000-8000-000000000001",
            "causation_id": null, "actor": "client"});
        let hash: String =
            sqlx::query_scalar("select encode(hash, 'hex') from events where position = 1").fetch_one(&shop.pool).await.unwrap();
        let first = json!({
            "position": 1, "stream": "category-home", "version": 1, "id": "00000000-0000-7000-8000-000000000001",
            "type": "CategoryCreated", "schema_version": 1, "recorded_at": "2026-01-01T00:01:00.000000Z",
            "data": {"id": "home", "name": "Home", "parent": null}, "meta": meta, "hash": hash
        });
        assert_eq!(answer.body["items"][0], first);
        let listed = async |query: &str| json!(shop.pages(&format!("/v1/streams/category-home?limit=1{query}"), "version").await.0);
        assert_eq!(listed("").await, json!([1, 2, 3]));
        assert_eq!(listed("&from=2").await, json!([2, 3]));
        assert_eq!(listed("&from=1&to=2").await, json!([1, 2]));
        assert_eq!(listed("&from=7").await, json!([]));
        for bad in ["from=3&to=2", "from=0", "to=x"] {
            assert_eq!(shop.get(&format!("/v1/streams/category-home?{bad}")).await.status, 422, "{bad}");
        }
        for unknown in ["category-garden", "hat-1", "nonsense"] {
            assert_eq!(shop.get(&format!("/v1/streams/{unknown}")).await.status, 404, "{unknown}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_state_is_shown_at_any_version_or_time() {
    with_log(async |shop| {
        let state = async |query: &str| shop.get(&format!("/v1/streams/category-home/state{query}")).await.body;
        let now = state("").await;
        let shown = json!({"status": "created", "id": "home", "name": "Home again", "parent": null});
        assert_eq!(now, json!({"stream": "category-home", "version": 3, "at": "2026-01-01T00:05:00.000000Z", "state": shown}));
        assert_eq!(state("?version=1").await["state"]["name"], json!("Home"));
        let on_time = state("?at=2026-01-01T00:03:00Z").await;
        assert_eq!((&on_time["version"], &on_time["state"]["name"]), (&json!(2), &json!("House")), "a time is inclusive");
        assert_eq!(state("?at=2026-01-01T01:02:59.999999%2B01:00").await["version"], json!(1));
        let status = async |path: &str| shop.get(&format!("/v1/streams/{path}")).await.status.as_u16();
        assert_eq!(status("category-home/state?version=4").await, 404);
        assert_eq!(status("category-home/state?at=2026-01-01T00:00:59Z").await, 404);
        assert_eq!(status("category-garden/state").await, 404);
        assert_eq!(status("category-home/state?version=0").await, 422);
        assert_eq!(status("category-home/state?version=1&at=2026-01-01T00:03:00Z").await, 422);
    })
    .await;
}

#[tokio::test]
async fn every_category_of_streams_has_rules_to_be_folded_by() {
    with_log(async |shop| {
        let status = async |category: &str| {
            shop.sql(format!("select append('{category}-1', 1, 'HatWorn', '{{}}')")).await;
            shop.get(&format!("/v1/streams/{category}-1/state")).await.status.as_u16()
        };
        for category in event_schemas::events::CATEGORIES {
            assert_eq!(status(category).await, 500, "{category}: an event that this program does not know");
        }
        assert_eq!(status("hat").await, 404);
        assert_eq!(shop.get("/v1/streams/hat-1").await.status, 200, "but what is stored can be read");
        assert_eq!(shop.get("/v1/streams/stock-A/state").await.body["version"], json!(2));
    })
    .await;
}

#[tokio::test]
async fn a_long_stream_is_folded_in_pages() {
    let renames = "do $$ begin for v in 4..5010 loop
        perform append('category-home', v, 'CategoryRenamed', format('{\"name\": \"n%s\"}', v)::json); end loop; end $$";
    with_setup(&format!("{APPEND} {EVENTS} {renames}"), async |shop| {
        assert_eq!(shop.get("/v1/streams/category-home/state").await.body["state"]["name"], json!("n5010"));
        assert_eq!(shop.get("/v1/streams/category-home/state?version=5005").await.body["state"]["name"], json!("n5005"));
    })
    .await;
}

#[tokio::test]
async fn the_log_is_read_in_order_and_by_filter() {
    with_log(async |shop| {
        let read = async |query: &str| {
            let answer = shop.get(&format!("/v1/events?{query}")).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            assert_eq!(answer.body["head"], json!(5));
            (json!(answer.each("position")), answer.body["next_cursor"].as_str().unwrap().to_owned())
        };
        assert_eq!(read("").await, (json!([1, 2, 3, 4, 5]), "5".into()));
        assert_eq!(read("limit=2").await, (json!([1, 2]), "2".into()));
        assert_eq!(read("limit=2&cursor=2").await, (json!([3, 4]), "4".into()));
        assert_eq!(read("after=5").await, (json!([]), "5".into()));
        assert_eq!(read("category=stock").await, (json!([2, 4]), "5".into()), "what was filtered out is read too");
        assert_eq!(read("category=stock&limit=1").await, (json!([2]), "2".into()));
        assert_eq!(read("types=StockAdjusted,CategoryCreated").await, (json!([1, 4]), "5".into()));
        assert_eq!(read("types=StockAdjusted&category=category").await, (json!([]), "5".into()));
        for bad in ["after=6", "cursor=6", "after=1&cursor=1", "category=hat", "types=OrderEaten", "wait=21", "after=-1"] {
            assert_eq!(shop.get(&format!("/v1/events?{bad}")).await.status, 422, "{bad}");
        }
    })
    .await;
}

#[tokio::test]
async fn whoever_waits_at_the_head_hears_of_the_next_event() {
    with_log(async |shop| {
        let append = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            shop.sql("select append('category-home', 4, 'CategoryRenamed', '{\"name\": \"B\"}')").await;
            shop.sql("select append('stock-A', 3, 'StockReceived', '{\"quantity\": 1, \"reference\": \"PO-2\"}')").await;
        };
        let started = Instant::now();
        let (any, stock, ()) =
            tokio::join!(shop.get("/v1/events?after=5&wait=10"), shop.get("/v1/events?after=5&wait=10&category=stock"), append);
        assert_eq!(any.each("position")[0], json!(6));
        assert_eq!((stock.each("position"), &stock.body["next_cursor"]), (vec![json!(7)], &json!("7")));
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    })
    .await;
}

#[tokio::test]
async fn waiting_ends_with_its_time_or_with_the_server() {
    with_log(async |shop| {
        let started = Instant::now();
        let nothing = shop.get("/v1/events?after=5&wait=1").await;
        assert_eq!((&nothing.body["items"], &nothing.body["next_cursor"]), (&json!([]), &json!("5")));
        assert!((1..3).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
        let close = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            shop.queries.close();
        };
        let (closed, ()) = tokio::join!(shop.get("/v1/events?after=5&wait=20"), close);
        assert_eq!((closed.status.as_u16(), &closed.body["items"]), (200, &Value::Array(Vec::new())));
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    })
    .await;
}

#[tokio::test]
async fn an_empty_list_of_types_is_refused() {
    with_log(async |shop| {
        for query in ["types=", "types=,"] {
            let refused = shop.get(&format!("/v1/events?{query}")).await;
            assert_eq!((refused.status.as_u16(), &refused.body["errors"][0]["pointer"]), (422, &json!("?types")), "{query}");
        }
    })
    .await;
}

const LAST: &str = r#"select append('category-home', 4, 'CategoryRenamed', '{"name": "Last"}')"#;

#[tokio::test]
async fn long_polls_need_no_connection_of_the_write_side_however_many_there_are() {
    with_log(async |shop| {
        let mut held = Vec::new();
        for _ in 0..shop.pool.options().get_max_connections() {
            held.push(shop.pool.acquire().await.unwrap());
        }
        let paths = [
            "/v1/events?after=5&wait=20",
            "/v1/events?after=5&wait=20&types=CategoryRenamed",
            "/v1/events?after=5&wait=20&category=category",
        ];
        let polls = futures::future::join_all((0..200).map(|nth| shop.get(paths[nth % paths.len()])));
        let append = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            sqlx::query(LAST).execute(&mut *held[0]).await.unwrap();
        };
        let (answers, ()) = futures::join!(polls, append);
        for answer in answers {
            assert_eq!((answer.status.as_u16(), answer.each("position")), (200, vec![json!(6)]));
            assert_eq!((&answer.body["next_cursor"], &answer.body["head"]), (&json!("6"), &json!(6)));
        }
    })
    .await;
}

#[tokio::test]
async fn one_long_poll_too_many_is_told_to_come_back() {
    with_log(async |shop| {
        let polls = futures::future::join_all((0..2_001).map(|_| shop.get("/v1/events?after=5&wait=20")));
        let append = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            shop.sql(LAST).await;
        };
        let (answers, ()) = futures::join!(polls, append);
        let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 503).collect();
        assert_eq!(refused.len(), 1);
        assert_eq!((refused[0].header("retry-after"), &refused[0].body["code"]), ("1", &json!("unavailable")));
        assert!(answers.iter().filter(|answer| answer.status == 200).all(|answer| answer.each("position") == [json!(6)]));
    })
    .await;
}
