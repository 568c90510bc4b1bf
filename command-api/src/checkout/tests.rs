//! Checkouts at once, at one server and at two, on a real log.

use axum::extract::FromRequestParts as _;
use domain::{order, product};
use event_schemas::{
    Money,
    events::{order::ItemQuantity, product::Description},
    resource::OrderStatus,
};
use event_store::EventStore;
use futures::future::join_all;
use http::StatusCode;

use super::*;
use crate::{handler::Context, shop::Settings, shop::now, test_database::Database};

async fn server(database: &Database) -> Shop {
    Shop::new(EventStore::open(database.pool.clone()).await.unwrap(), Settings::default())
}

fn pounds(amount: &str) -> Money {
    Money::new(amount.parse().unwrap(), "GBP".parse().unwrap())
}

fn context() -> Context {
    Context::new(now(), "test")
}

/// A product at 2.00, of which so many units are there.
async fn product(shop: &Shop, code: &str, units: u32) -> Sku {
    let sku: Sku = code.parse().unwrap();
    let description = Description {
        title: code.into(),
        description: None,
        category: None,
        brand: None,
        images: Vec::new(),
        attributes: BTreeMap::new(),
        metadata: BTreeMap::new(),
    };
    let create = product::Command::Create { sku: sku.clone(), description, price: pounds("2.00") };
    shop.products.run(&StreamId::product(&sku), &create, &context(), |_, _| ()).await.unwrap();
    receive(shop, &sku, units).await;
    sku
}

async fn receive(shop: &Shop, sku: &Sku, quantity: u32) {
    let receive = stock::Command::Receive { quantity, reference: String::new() };
    shop.stock.run(&StreamId::stock(sku), &receive, &context(), |_, _| ()).await.unwrap();
}

async fn cart(shop: &Shop, lines: &[(&Sku, u32)]) -> CartId {
    let cart = CartId(Uuid::now_v7());
    let items = lines.iter().map(|(sku, quantity)| ItemQuantity { sku: (*sku).clone(), quantity: *quantity }).collect();
    let shown = lines.iter().map(|(sku, _)| ((*sku).clone(), pounds("2.00"))).collect();
    let create = cart::Command::Create { currency: pounds("0").currency, metadata: BTreeMap::new(), items, shown };
    shop.carts.run(&StreamId::cart(cart), &create, &context(), |_, _| ()).await.unwrap();
    cart
}

/// The order, or the refusal's status, code and order.
async fn check_out(
    shop: &Shop,
    cart: CartId,
    email: &str,
    expected: Option<&str>,
) -> Result<OrderId, (StatusCode, String, serde_json::Value)> {
    let (mut parts, ()) = http::Request::new(()).into_parts();
    let write = Write::from_request_parts(&mut parts, &()).await.unwrap();
    let (name, line1, city, country) = ("Ann".into(), "1 High St".into(), "Leeds".into(), "GB".into());
    let checkout = Checkout {
        cart,
        email: email.into(),
        shipping_address: Address { name, line1, line2: None, city, region: None, postal_code: None, country },
        payment: PaymentMeans { method: "simulated".into(), token: "tok_ok".into() },
        expected_total: expected.map(pounds),
        metadata: BTreeMap::new(),
    };
    match run(shop, &write, checkout).await {
        Ok(_) => Ok(shop.carts.settled(&StreamId::cart(cart), cart::State::order).await.unwrap().unwrap()),
        Err(problem) => {
            let told = serde_json::to_value(&problem).unwrap();
            Err((problem.status(), problem.code().to_owned(), told["order"].clone()))
        }
    }
}

/// The number of orders of each status.
async fn orders(database: &Database, shop: &Shop) -> BTreeMap<&'static str, usize> {
    let streams: Vec<String> =
        sqlx::query_scalar("select distinct stream_id from events where stream_id like 'order-%'").fetch_all(&database.pool).await.unwrap();
    let mut counted = BTreeMap::new();
    for stream in streams {
        let id = OrderId(stream.strip_prefix("order-").unwrap().parse().unwrap());
        let look = |state: &order::State, _| state.status().map(OrderStatus::as_str);
        let (status, ..) = shop.orders.current(&StreamId::order(id), look).await.unwrap();
        *counted.entry(status.unwrap()).or_default() += 1;
    }
    counted
}

async fn stock_of(shop: &Shop, sku: &Sku) -> (i64, i64) {
    shop.stock.current(&StreamId::stock(sku), |state, _| (state.on_hand(), state.reserved_units())).await.unwrap().0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_checkouts_of_one_cart_at_once_are_one_order_and_a_refusal_that_names_it() {
    let Some(database) = Database::make().await else { return };
    let servers = [server(&database).await, server(&database).await];
    for round in 0..20 {
        // The last units, so that the one that comes second finds none left.
        let (a, b) = (product(&servers[0], &format!("A{round}"), 2).await, product(&servers[0], &format!("B{round}"), 1).await);
        let cart = cart(&servers[0], &[(&b, 1), (&a, 2)]).await;
        let clicks = (0..6).map(|click| {
            // One of them expects another total.
            let expected = if click == 4 { Some("5.00") } else { None };
            check_out(&servers[click % (1 + round % 2)], cart, "ann@shop.example", expected)
        });
        let (bought, refused): (Vec<_>, Vec<_>) = join_all(clicks).await.into_iter().partition(Result::is_ok);
        let [Ok(order)] = bought.as_slice() else { panic!("{bought:?} of one cart") };
        for refusal in refused.into_iter().map(Result::unwrap_err) {
            // Only one that was done with before the order was begun may have been refused for itself.
            if refusal.1 == "price_changed" {
                continue;
            }
            assert_eq!(refusal, (StatusCode::CONFLICT, "cart_checked_out".into(), serde_json::json!(order)));
        }
        assert_eq!((stock_of(&servers[1], &a).await, stock_of(&servers[1], &b).await), ((2, 2), (1, 1)));
    }
    assert_eq!(orders(&database, &servers[0]).await, BTreeMap::from([("placed", 20)]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_baskets_with_the_same_last_units_in_opposite_order_one_is_bought() {
    let Some(database) = Database::make().await else { return };
    let servers = [server(&database).await, server(&database).await];
    for round in 0..60 {
        let (a, b) = (product(&servers[0], &format!("A{round}"), 1).await, product(&servers[0], &format!("B{round}"), 1).await);
        let (one, other) = (cart(&servers[0], &[(&a, 1), (&b, 1)]).await, cart(&servers[0], &[(&b, 1), (&a, 1)]).await);
        let (one, other) = futures::join!(
            check_out(&servers[0], one, "ann@shop.example", None),
            check_out(&servers[round % 2], other, "bob@shop.example", None)
        );
        let refusal = match (one, other) {
            (Ok(_), Err(refusal)) | (Err(refusal), Ok(_)) => refusal,
            outcomes => panic!("{outcomes:?} of the last units"),
        };
        assert_eq!((refusal.0, refusal.1.as_str()), (StatusCode::CONFLICT, "out_of_stock"));
        assert_eq!((stock_of(&servers[1], &a).await, stock_of(&servers[1], &b).await), ((1, 1), (1, 1)));
    }
    assert_eq!(orders(&database, &servers[0]).await, BTreeMap::from([("placed", 60), ("rejected", 60)]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_baskets_that_overlap_as_many_are_bought_as_can_be() {
    let Some(database) = Database::make().await else { return };
    let servers = [server(&database).await, server(&database).await, server(&database).await];
    for round in 0..15 {
        let mut skus = Vec::new();
        for place in 0..5 {
            skus.push(product(&servers[0], &format!("{place}-{round}"), 1).await);
        }
        let mut carts = Vec::new();
        for place in 0..5 {
            carts.push(cart(&servers[0], &[(&skus[(place + 1) % 5], 1), (&skus[place], 1)]).await);
        }
        let checkouts =
            carts.iter().enumerate().map(|(place, cart)| check_out(&servers[(place + round) % 3], *cart, "ann@shop.example", None));
        let outcomes = join_all(checkouts).await;
        // Each of the three that got nothing wanted a unit that one of the others has: in a ring of five, two have all of theirs.
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 2, "{outcomes:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkout_that_is_refused_leaves_an_order_that_says_why_and_holds_nothing() {
    let Some(database) = Database::make().await else { return };
    let shop = server(&database).await;
    let (there, gone) = (product(&shop, "THERE", 5).await, product(&shop, "GONE", 1).await);
    let wanted = cart(&shop, &[(&gone, 2), (&there, 1)]).await;
    let refusal = check_out(&shop, wanted, "ann@shop.example", None).await.unwrap_err();
    assert_eq!(refusal.1, "out_of_stock");
    assert_eq!(orders(&database, &shop).await, BTreeMap::from([("rejected", 1)]));
    let reserved: i64 = sqlx::query_scalar("select count(*) from events where type in ('StockReserved', 'StockReleased')")
        .fetch_one(&database.pool)
        .await
        .unwrap();
    assert_eq!((reserved, stock_of(&shop, &there).await), (0, (5, 0)));
    // The cart can be bought later.
    receive(&shop, &gone, 1).await;
    check_out(&shop, wanted, "ann@shop.example", None).await.unwrap();
    assert_eq!(orders(&database, &shop).await, BTreeMap::from([("placed", 1), ("rejected", 1)]));
}
