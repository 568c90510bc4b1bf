//! The demo's data.

use super::database;
use crate::import::demo;

#[tokio::test]
async fn the_demo_loads_once() {
    let Some(database) = database::new().await else { return };
    let loaded = demo::load(&database.store).await.unwrap();
    assert_eq!((loaded.catalogue.rejected.rows, loaded.history.rejected.rows), (0, 0), "{}\n{}", loaded.catalogue, loaded.history);
    assert!(loaded.catalogue.products.created >= 30 && loaded.history.orders.new >= 20 && loaded.history.returns.new >= 3);
    assert!(loaded.history.corrections.new >= 2 && loaded.history.charge_lines >= 5);
    let head = database.store.head().await.unwrap();
    demo::load(&database.store).await.unwrap();
    assert_eq!(database.store.head().await.unwrap(), head);
    database.drop().await;
}
