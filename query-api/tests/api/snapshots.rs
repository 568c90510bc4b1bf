//! The state of a long stream is that of a plain fold, whatever snapshots there are.

use domain::{
    Aggregate,
    category::{Category, State},
};
use event_schemas::{Recorded, StreamId};
use event_store::{EventStore, NewSnapshot};
use serde_json::{Value, json};

use crate::{
    history::APPEND,
    shop::{Shop, with_setup},
};

const LENGTH: i64 = 400;

/// A category that is renamed with every event, and moved with every fifth.
const EVENTS: &str = r#"
select append('category-home', 1, 'CategoryCreated', '{"id": "home", "name": "Home", "parent": null}');
do $$ begin
    for v in 2..400 loop
        if v % 5 = 0 then perform append('category-home', v, 'CategoryMoved', format('{"parent": "p%s"}', v)::json);
        else perform append('category-home', v, 'CategoryRenamed', format('{"name": "n%s"}', v)::json);
        end if;
    end loop;
end $$;"#;

fn stream() -> StreamId {
    "category-home".parse().unwrap()
}

fn folded(events: &[Recorded], version: i64) -> State {
    let events = events.iter().take_while(|recorded| recorded.version <= version);
    events.fold(State::default(), |state, recorded| Category::evolve(state, Category::own(&recorded.event).unwrap(), recorded.recorded_at))
}

/// Keeps what the events amount to at `version`, said to be of `state_version`.
async fn keep(store: &EventStore, events: &[Recorded], version: i64, state_version: i32) {
    let state = serde_json::to_string(&folded(events, version)).unwrap();
    store.keep_snapshot(&NewSnapshot { stream: stream(), version, state_version, state }).await.unwrap();
}

/// Compares what is answered with a plain fold at many versions, and at the times these came to be.
async fn assert_exact(shop: &Shop, events: &[Recorded], name: &str) {
    let state = async |query: String| shop.get(&format!("/v1/streams/category-home/state{query}")).await.body;
    let versions = (1..=LENGTH).step_by(37).chain([63, 64, 65, 69, 70, 71, 199, 200, 201, 399, 400]);
    for version in versions {
        let at = events[usize::try_from(version - 1).unwrap()].recorded_at;
        let expected = json!({"stream": "category-home", "version": version, "at": at, "state": serde_json::to_value(folded(events, version)).unwrap()});
        assert_eq!(state(format!("?version={version}")).await, expected, "{name}");
        assert_eq!(state(format!("?at={at}")).await, expected, "{name}: at {at}");
    }
    let newest: Value = serde_json::to_value(folded(events, LENGTH)).unwrap();
    assert_eq!(state(String::new()).await["state"], newest, "{name}");
}

#[tokio::test]
async fn a_state_is_exact_at_any_version_and_time_with_snapshots_of_every_kind() {
    with_setup(&format!("{APPEND} {EVENTS}"), async |shop| {
        let store = EventStore::open(shop.pool.clone()).await.unwrap();
        let events = store.tail(&stream(), 0).await.unwrap();
        assert_eq!(events.len() as i64, LENGTH);
        let current = Category::STATE_VERSION;
        assert_exact(shop, &events, "absent").await;
        for version in [70, 200, 400] {
            shop.sql("delete from snapshots").await;
            keep(&store, &events, version, current).await;
            assert_exact(shop, &events, &format!("present, of version {version}")).await;
        }
        let hurts = [
            (
                "changed",
                "update snapshots set state = '{\"status\": \"created\", \"id\": \"home\", \"name\": \"Mallory\", \"parent\": null}'",
            ),
            ("beyond the end", "update snapshots set version = 401"),
            ("of another version", "update snapshots set version = 100"),
            ("of another history", "update snapshots set event_hash = sha256('x')"),
        ];
        for (name, hurt) in hurts {
            shop.sql("delete from snapshots").await;
            keep(&store, &events, 200, current).await;
            shop.sql(hurt).await;
            assert_exact(shop, &events, name).await;
        }
        for (name, state_version, state) in [
            ("of newer rules", current + 1, "{\"status\":\"created\",\"id\":\"home\",\"name\":\"Mallory\",\"parent\":null}"),
            ("no state", current, "{\"status\":\"eaten\"}"),
            ("no object", current, "[]"),
        ] {
            shop.sql("delete from snapshots").await;
            store.keep_snapshot(&NewSnapshot { stream: stream(), version: 200, state_version, state: state.into() }).await.unwrap();
            assert_exact(shop, &events, name).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_snapshot_is_read_in_place_of_the_events_before_it_and_of_no_others() {
    with_setup(&format!("{APPEND} {EVENTS}"), async |shop| {
        let store = EventStore::open(shop.pool.clone()).await.unwrap();
        // One that tells where it was used.
        let state = "{\"status\":\"created\",\"id\":\"marked\",\"name\":\"marked\",\"parent\":null}".into();
        let state_version = Category::STATE_VERSION;
        store.keep_snapshot(&NewSnapshot { stream: stream(), version: 200, state_version, state }).await.unwrap();
        let shown = async |query: &str| shop.get(&format!("/v1/streams/category-home/state{query}")).await.body["state"].clone();
        let seen = async |query: &str| (shown(query).await["id"].clone(), shown(query).await["name"].clone());
        assert_eq!(seen("?version=199").await, (json!("home"), json!("n199")));
        assert_eq!(seen("?version=200").await, (json!("marked"), json!("marked")));
        assert_eq!(seen("?version=201").await, (json!("marked"), json!("n201")));
        assert_eq!(seen("").await, (json!("marked"), json!("n399")));
        assert_eq!(seen("?at=2026-01-01T03:19:30Z").await, (json!("home"), json!("n199")), "minute 199");
        assert_eq!(seen("?at=2026-01-01T03:20:00Z").await, (json!("marked"), json!("marked")), "minute 200");
    })
    .await;
}

/// The longest streams are asked for old states, too: those in between are kept, so that the second to ask does not fold it all.
#[tokio::test]
async fn an_old_state_of_a_long_stream_is_folded_from_one_that_was_kept_on_the_way() {
    let renames = "do $$ begin for v in 2..12000 loop
        perform append('category-home', v, 'CategoryRenamed', format('{\"name\": \"n%s\"}', v)::json); end loop; end $$";
    let created = r#"select append('category-home', 1, 'CategoryCreated', '{"id": "home", "name": "Home", "parent": null}');"#;
    with_setup(&format!("{APPEND} {created} {renames}"), async |shop| {
        let store = EventStore::open(shop.pool.clone()).await.unwrap();
        let name = async |version: i64| {
            shop.get(&format!("/v1/streams/category-home/state?version={version}")).await.body["state"]["name"].clone()
        };
        assert_eq!(name(11_000).await, json!("n11000"));
        let kept = async || -> Vec<i64> {
            sqlx::query_scalar("select version from past_snapshots order by version").fetch_all(&shop.pool).await.unwrap()
        };
        while kept().await != [5_000, 10_000] {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        for (asked, begun) in [(12_000, Some(10_000)), (10_000, Some(10_000)), (9_999, Some(5_000)), (4_999, None)] {
            let found = store.snapshot(&stream(), Category::STATE_VERSION, asked).await.unwrap();
            assert_eq!(found.map(|snapshot| snapshot.version), begun, "for version {asked}");
            assert_eq!(name(asked).await, json!(format!("n{asked}")));
        }
        shop.sql(
            "update past_snapshots set state = '{\"status\": \"created\", \"id\": \"home\", \"name\": \"Mallory\", \"parent\": null}'",
        )
        .await;
        assert_eq!(name(10_000).await, json!("n10000"), "what was changed is not read");
    })
    .await;
}
