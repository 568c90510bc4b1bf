//! What a server takes does not grow with what it has done.

use futures::future::join_all;

use crate::shop::{Shop, buy, product};

const ORDERS: usize = 4_000;
const BUYERS: usize = 16;
const MOST_BYTES: u64 = 300 << 20;

#[tokio::test]
async fn a_few_thousand_orders_leave_a_server_small() {
    let Some(shop) = Shop::open().await else { return };
    let mut skus = Vec::new();
    for _ in 0..20 {
        skus.push(product(&shop, "2.50", 1_000_000).await);
    }
    let buyer = async |number: usize| {
        for turn in 0..ORDERS / BUYERS {
            let sku = &skus[(number + turn) % skus.len()];
            buy(&shop, &[(sku, 1)], "tok_ok").await.expect(201);
        }
    };
    join_all((0..BUYERS).map(buyer)).await;
    let resident = shop.servers[0].resident_bytes();
    assert!(resident < MOST_BYTES, "{} MiB resident after {ORDERS} orders", resident >> 20);
    // No list says so at once: what is still to be confirmed may not be in the read model yet.
    shop.until("/v1/sales?by=month", |sales| sales["total"]["orders"] == ORDERS).await;
    shop.until("/v1/orders?status=placed", |orders| orders.items().is_empty()).await;
    assert_eq!(shop.all("/v1/orders?status=confirmed").await.len(), ORDERS);
}
