//! Orders: shown as they are kept, listed by what dashboards ask for.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::shop::{Shop, with_shop};

async fn insert_orders(shop: &Shop) {
    // Two of the same time, as imports have them.
    let orders =
        [(1, "12:00", "placed", "a@x"), (2, "12:01", "confirmed", "b@x"), (3, "12:01", "confirmed", "a@x"), (4, "12:02", "placed", "a@x")];
    for (n, time, status, email) in orders {
        let id = Uuid::from_u128(n);
        shop.sql(format!(
            "insert into read_model.orders values ('{id}', '{status}', '{email}', '2026-01-01 {time}Z', {n}, '{{\"n\" :{n}}}')"
        ))
        .await;
    }
}

#[tokio::test]
async fn an_order_is_shown_as_it_is_kept() {
    with_shop(async |shop| {
        insert_orders(shop).await;
        let path = format!("/v1/orders/{}", Uuid::from_u128(3));
        let order = shop.get(&path).await;
        assert_eq!((order.header("etag"), order.header("merx-position"), &order.body), ("\"3\"", "10", &json!({"n": 3})));
        assert_eq!(shop.get_with(&path, &[("if-none-match", "\"3\"")]).await.status, 304);
    })
    .await;
}

#[tokio::test]
async fn orders_are_listed_newest_first_by_what_is_asked_for() {
    with_shop(async |shop| {
        insert_orders(shop).await;
        let listed = async |query: &str| {
            let (n, pages) = shop.pages(&format!("/v1/orders?limit=1&{query}"), "n").await;
            assert!(pages <= n.len().max(1));
            n.iter().filter_map(Value::as_i64).collect::<Vec<_>>()
        };
        assert_eq!(listed("").await, [4, 3, 2, 1]);
        assert_eq!(listed("status=confirmed").await, [3, 2]);
        assert_eq!(listed("email=A@X").await, [4, 3, 1]);
        assert_eq!(listed("email=a@x&status=placed").await, [4, 1]);
        assert_eq!(listed("placed_after=2026-01-01T12:00:00Z&placed_before=2026-01-01T12:02:00Z").await, [3, 2]);
        assert_eq!(listed("email=nobody@x").await, [0_i64; 0]);
        assert_eq!(listed("status=returned").await, [0_i64; 0]);
        for bad in ["status=eaten", "placed_after=yesterday", "placed_after="] {
            assert_eq!(shop.get(&format!("/v1/orders?{bad}")).await.status, 422, "{bad}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_checkout_refused_is_listed_only_when_it_is_asked_for() {
    with_shop(async |shop| {
        insert_orders(shop).await;
        for n in 5..12 {
            let id = Uuid::from_u128(n);
            shop.sql(format!(
                "insert into read_model.orders values ('{id}', 'rejected', 'a@x', '2026-01-01 12:03Z', {n}, '{{\"n\" :{n}}}')"
            ))
            .await;
        }
        let listed = async |query: &str| {
            let (n, _) = shop.pages(&format!("/v1/orders?limit=2&{query}"), "n").await;
            n.iter().filter_map(Value::as_i64).collect::<Vec<_>>()
        };
        assert_eq!(listed("").await, [4, 3, 2, 1]);
        assert_eq!(listed("email=a@x").await, [4, 3, 1]);
        assert_eq!(listed("placed_after=2026-01-01T12:02:30Z").await, [0_i64; 0]);
        for query in ["status=rejected", "status=rejected&email=a@x"] {
            assert_eq!(listed(query).await, [11, 10, 9, 8, 7, 6, 5], "{query}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_new_order_moves_nothing_on_the_pages_behind() {
    with_shop(async |shop| {
        insert_orders(shop).await;
        let first = shop.get("/v1/orders?limit=2").await;
        shop.sql(format!("insert into read_model.orders values ('{}', 'placed', null, '2026-01-02', 1, '{{}}')", Uuid::from_u128(9))).await;
        let cursor = first.body["next_cursor"].as_str().unwrap();
        let second = shop.get(&format!("/v1/orders?limit=2&cursor={cursor}")).await;
        assert_eq!((second.each("n"), &second.body["next_cursor"]), (vec![json!(2), json!(1)], &Value::Null));
    })
    .await;
}
