use std::sync::Arc;

use crate::{database::Database, story};

#[tokio::test]
async fn how_events_are_cut_into_batches_makes_no_difference() {
    let log = story::shop(60);
    let mut outcomes = Vec::new();
    for most in [1, 7, log.events.len()] {
        let Some(database) = Database::create().await else { return };
        for projection in projections::all() {
            database.apply(projection.name(), &log.events, most).await;
        }
        outcomes.push(database.everything().await);
    }
    for (table, rows) in &outcomes[0] {
        assert!(!rows.is_empty() || ["categories", "search_categories"].contains(table), "{table} has rows");
    }
    assert_eq!(outcomes[0], outcomes[1]);
    assert_eq!(outcomes[0], outcomes[2]);
}

#[tokio::test]
async fn rows_with_a_version_stand_against_events_that_come_again() {
    let Some(database) = Database::create().await else { return };
    let log = story::shop(30);
    let mut before = Vec::new();
    for again in [false, true] {
        for name in ["catalogue", "stock", "carts", "orders", "reviews", "search"] {
            let events: &[Arc<_>] = if again { &log.events[..log.events.len() / 2] } else { &log.events };
            database.apply(name, events, 50).await;
        }
        let after = database.everything().await;
        assert!(!again || before == after);
        before = after;
    }
}
