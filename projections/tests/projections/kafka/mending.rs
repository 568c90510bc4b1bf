use std::{sync::Arc, time::Duration};

use event_store::parked::Mending;
use projections::{Projection, mend::mend, rebuild};
use serde_json::json;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Cluster, Running, assert_rows, caught_up, names, open, parts, seated};
use crate::{
    database::{Database, projection},
    log::Log,
    parking::Superstitious,
    story,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_in_the_middle_leaves_no_gap_and_repeats_nothing() {
    let cluster = Cluster::start();
    let Some(database) = Database::create().await else { return };
    let store = open(&database).await;
    let publisher = Running::publisher(&store, &cluster);
    let projector = Running::projector(&store, projections::all(), &cluster.source());
    seated(&database.pool, &names()).await;
    let log = story::shop(120);
    let rebuilding = async {
        for name in ["sales", "reviews", "flash-sales", "stock", "sales", "reviews"] {
            let rebuilt = rebuild::rebuild(&store, &projection(name), &CancellationToken::new(), |_, _| ()).await;
            rebuilt.expect("rebuilt");
        }
    };
    let appending = async {
        for part in parts(&log, 12) {
            part.append_to(&store).await;
            sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::join!(appending, rebuilding);
    caught_up(&database.pool, &names()).await;
    projector.stop().await;
    publisher.stop().await;
    let kept: i64 = sqlx::query_scalar("select count(distinct consumer) from kafka_places").fetch_one(&database.pool).await.expect("known");
    assert_eq!(kept, names().len() as i64, "all of them are still kept from Kafka");
    assert_rows(&database, &log).await;
}

fn receipts(of: &[(&str, u32)]) -> Log {
    let mut log = Log::default();
    for (sku, quantity) in of {
        log.add(&format!("stock-{sku}"), "StockReceived", &json!({"quantity": quantity, "reference": ""}));
    }
    log
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_parked_alone_and_goes_on_once_it_is_retried_or_skipped() {
    let cluster = Cluster::start();
    let Some(database) = Database::create().await else { return };
    let store = open(&database).await;
    let code = Superstitious::new();
    let stock: Arc<dyn Projection> = code.clone();
    let publisher = Running::publisher(&store, &cluster);
    let projector = Running::projector(&store, vec![stock.clone()], &cluster.source());
    let own = ["stock".to_owned()];
    seated(&database.pool, &own).await;
    let mut log = receipts(&[("A", 1), ("B", 2), ("C", 14), ("B", 13), ("A", 1), ("B", 3), ("D", 4), ("C", 1)]);
    log.append_to(&store).await;
    caught_up(&database.pool, &own).await;
    let on_hand = async || -> Vec<(String, i64)> {
        sqlx::query_as("select sku, on_hand from read_model.stock order by sku").fetch_all(&database.pool).await.expect("rows")
    };
    let rows = |of: &[(&str, i64)]| of.iter().map(|(sku, on_hand)| ((*sku).to_owned(), *on_hand)).collect::<Vec<_>>();
    assert_eq!(on_hand().await, rows(&[("A", 2), ("B", 2), ("D", 4)]));

    mend(&store, &*stock, "stock-B", Mending::Retry).await.expect_err("still bad");
    code.mend();
    assert_eq!(mend(&store, &*stock, "stock-B", Mending::Retry).await.expect("mended").events, 2);
    assert_eq!(mend(&store, &*stock, "stock-C", Mending::Skip).await.expect("skipped").events, 1);
    assert_eq!(on_hand().await, rows(&[("A", 2), ("B", 18), ("C", 1), ("D", 4)]));
    // The server that keeps it learns of it.
    let before = log.events.len();
    for sku in ["B", "C"] {
        log.add(&format!("stock-{sku}"), "StockReceived", &json!({"quantity": 100, "reference": ""}));
    }
    log.events.drain(..before);
    log.append_to(&store).await;
    caught_up(&database.pool, &own).await;
    assert_eq!(on_hand().await, rows(&[("A", 2), ("B", 118), ("C", 101), ("D", 4)]));
    projector.stop().await;
    publisher.stop().await;
}
