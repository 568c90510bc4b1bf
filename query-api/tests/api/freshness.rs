//! `Merx-Min-Position`, and how far projections are.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    history::APPEND,
    shop::{insert_product, with_setup, with_shop},
};

#[tokio::test]
async fn what_is_new_enough_is_answered_at_once() {
    with_shop(async |shop| {
        let answer = shop.get_with("/v1/orders", &[("merx-min-position", "10")]).await;
        assert_eq!((answer.status.as_u16(), answer.header("merx-position")), (200, "10"));
    })
    .await;
}

#[tokio::test]
async fn a_position_beyond_the_head_or_none_at_all_is_refused() {
    with_shop(async |shop| {
        for path in ["orders", "products/A", "events", "streams/order-x", "streams/order-x/state", "projections", "sales"] {
            for position in ["11", "x", "-1", ""] {
                let answer = shop.get_with(&format!("/v1/{path}"), &[("merx-min-position", position)]).await;
                assert_eq!((answer.status.as_u16(), &answer.body["code"]), (422, &json!("invalid_request")), "{path} {position:?}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_request_waits_for_the_slowest_projection_it_needs() {
    with_shop(async |shop| {
        shop.sql("update checkpoints set position = 5; update log_head set position = 12").await;
        let min = [("merx-min-position", "12")];
        let catch_up = async {
            for name in ["catalogue", "stock", "flash-sales"] {
                shop.sql(format!("update checkpoints set position = 12 where name = '{name}'")).await;
            }
            tokio::time::sleep(Duration::from_millis(60)).await;
            shop.sql(insert_product(1, "A", None, "active")).await;
            shop.sql("update checkpoints set position = 13 where name = 'reviews'").await;
        };
        let started = Instant::now();
        let (first, second, ()) = tokio::join!(shop.get_with("/v1/products/A", &min), shop.get_with("/v1/products", &min), catch_up);
        assert_eq!((first.status.as_u16(), first.header("merx-position")), (200, "12"));
        assert_eq!(second.each("sku"), [json!("A")]);
        assert!(started.elapsed() > Duration::from_millis(60), "{:?}", started.elapsed());
    })
    .await;
}

#[tokio::test]
async fn what_does_not_come_in_time_is_503() {
    with_shop(async |shop| {
        shop.sql("update log_head set position = 12").await;
        let started = Instant::now();
        let answer = shop.get_with("/v1/orders", &[("merx-min-position", "12")]).await;
        assert_eq!((answer.status.as_u16(), &answer.body["code"]), (503, &json!("not_yet_visible")));
        assert_eq!((answer.header("retry-after"), &answer.body["position"]), ("1", &json!(10)));
        assert!((2..4).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
        shop.sql("update checkpoints set position = 12").await;
        assert_eq!(shop.get_with("/v1/orders", &[("merx-min-position", "12")]).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn a_projection_that_never_ran_has_seen_nothing() {
    with_shop(async |shop| {
        shop.sql("delete from checkpoints where name in ('stock', 'orders')").await;
        for path in ["products", "orders", "stock/A", "carts/00000000-0000-7000-8000-000000000000"] {
            assert_eq!(shop.get(&format!("/v1/{path}")).await.header("merx-position"), "0", "{path}");
        }
    })
    .await;
}

#[tokio::test]
async fn projections_say_how_far_they_are_and_live_means_that_they_move_or_have_nothing_to_do() {
    let events: Vec<_> = (1..=5).map(|n| format!("select append('cart-1', {n}, 'CartOpened', '{{}}');")).collect();
    let events = events.concat();
    let checkpoints = "
        insert into checkpoints (name, version, position, updated_at, failure) values
            ('orders', 1, 5, now() - interval '1 hour', null), ('reviews', 1, 4, now(), 'the disk is full'), ('sales', 1, 3, now(), null),
            ('stock', 1, 4, now() - interval '1 minute', null)";
    with_setup(&format!("{APPEND} {events} {checkpoints}"), async |shop| {
        let answer = shop.get("/v1/projections").await;
        assert_eq!(answer.body["head"], json!(5));
        let (names, lags, states) = (answer.each("name"), answer.each("lag"), answer.each("state"));
        let (all, expected) = (["orders", "reviews", "sales", "stock"], ["live", "failing", "behind", "stalled"]);
        assert_eq!(json!([names, lags, states]), json!([all, [0, 1, 2, 1], expected]));
        let seconds: Vec<f64> = answer.each("lag_seconds").iter().map(|seconds| seconds.as_f64().unwrap()).collect();
        // The events are of 2026-01-01.
        assert!(seconds[0] == 0.0 && seconds[1..].iter().all(|seconds| *seconds > 86_400.0), "{seconds:?}");
        assert_eq!(answer.each("parked"), [json!([]), json!([]), json!([]), json!([])]);
    })
    .await;
}
