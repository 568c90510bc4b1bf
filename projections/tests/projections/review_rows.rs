use serde_json::json;

use crate::{
    database::Database,
    log::{Log, id},
};

#[tokio::test]
async fn reviews_are_kept_and_their_ratings_summed() {
    let Some(database) = Database::create().await else { return };
    let mut log = Log::default();
    for (review, sku, rating) in [(1, "A", 5), (2, "A", 4), (3, "B", 1)] {
        let posted = json!({"sku": sku, "rating": rating, "title": "So", "text": "", "author": "ann"});
        log.add(&format!("review-{}", id(review)), "ReviewPosted", &posted);
    }
    database.apply("reviews", &log.events, 2).await;
    assert_eq!(database.rows("ratings").await, [json!({"sku": "A", "sum": 9, "count": 2}), json!({"sku": "B", "sum": 1, "count": 1})]);
    let rows = database.rows("reviews").await;
    assert_eq!(rows.len(), 3);
    let document = json!({"id": id(1), "sku": "A", "rating": 5, "title": "So", "text": "", "author": "ann",
        "created_at": "2026-03-01T12:00:00.000000Z", "version": 1});
    assert!(rows.contains(&json!({"id": id(1), "sku": "A", "position": 1, "rating": 5, "document": document})), "{rows:?}");
}

#[tokio::test]
async fn a_review_that_comes_again_is_counted_once() {
    let Some(database) = Database::create().await else { return };
    let mut log = Log::default();
    let posted = json!({"sku": "A", "rating": 3, "title": "So", "text": "", "author": "ann"});
    log.add(&format!("review-{}", id(1)), "ReviewPosted", &posted);
    database.apply("reviews", &log.events, 1).await;
    database.apply("reviews", &log.events, 1).await;
    assert_eq!(database.row("ratings").await, json!({"sku": "A", "sum": 3, "count": 1}));
}
