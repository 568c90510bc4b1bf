//! What requests do ahead of the runner, on a real log.

use std::collections::BTreeMap;

use chrono::Duration;
use domain::{order, stock};
use event_schemas::{
    Money, StreamId,
    events::order::{Address, CancellationCause, Line, OrderSubmitted, PaymentMeans, Totals},
    ids::{CartId, OrderId, Sku},
    resource::{Cancellation, OrderStatus},
};
use event_store::EventStore;
use uuid::Uuid;

use super::ahead::let_units_go;
use crate::{
    handler::Context,
    shop::{Settings, Shop, now},
    test_database::Database,
};

pub(super) async fn shop(database: &Database) -> Shop {
    Shop::new(EventStore::open(database.pool.clone()).await.unwrap(), Settings::default())
}

pub(super) fn sku() -> Sku {
    "A".parse().unwrap()
}

fn context() -> Context {
    Context::new(now(), "test")
}

pub(super) async fn receive(shop: &Shop, quantity: u32) {
    let command = stock::Command::Receive { quantity, reference: String::new() };
    shop.stock.run(&StreamId::stock(&sku()), &command, &context(), |_, _| ()).await.unwrap();
}

pub(super) fn total() -> Money {
    Money::new("7.50".parse().unwrap(), "GBP".parse().unwrap())
}

/// An order of three units that is placed. Its reservation, and the time to pay it, end after so many seconds.
pub(super) async fn placed_order(shop: &Shop, reserved_for_s: i64) -> OrderId {
    let order = submitted_order(shop, reserved_for_s).await;
    let place = order::Command::Place { payment_deadline: now().plus(Duration::seconds(reserved_for_s)) };
    shop.orders.run(&StreamId::order(order), &place, &context(), |_, _| ()).await.unwrap();
    order
}

/// One that is submitted and not placed.
pub(super) async fn submitted_order(shop: &Shop, reserved_for_s: i64) -> OrderId {
    let order = OrderId(Uuid::now_v7());
    let total = total();
    let zero = Money::zero(total.currency);
    let (name, line1, city, country) = ("Ann".into(), "1 High St".into(), "Leeds".into(), "GB".into());
    let submitted = OrderSubmitted {
        cart: CartId(Uuid::now_v7()),
        email: "ann@shop.example".into(),
        customer: "ann@shop.example".into(),
        shipping_address: Address { name, line1, line2: None, city, region: None, postal_code: None, country },
        lines: vec![Line {
            sku: sku(),
            title: "Mug".into(),
            category: None,
            quantity: 3,
            unit_price: Money::new("2.50".parse().unwrap(), total.currency),
            line_total: total,
            sale: None,
        }],
        totals: Totals { subtotal: total, discount: zero, shipping: zero, tax: zero, total },
        payment: PaymentMeans { method: "simulated".into(), token: "tok_ok".into() },
        metadata: BTreeMap::new(),
    };
    let until = now().plus(Duration::seconds(reserved_for_s));
    let reserve = stock::Command::Reserve { order, quantity: 3, until, customer: "ann@shop.example".into(), sale: None };
    let submit = order::Command::Submit(Box::new(submitted));
    shop.orders.run(&StreamId::order(order), &submit, &context(), |_, _| ()).await.unwrap();
    shop.stock.run(&StreamId::stock(&sku()), &reserve, &context(), |_, _| ()).await.unwrap();
    order
}

/// One that is confirmed, and of which nobody has told the stock yet.
pub(super) async fn confirmed_order(shop: &Shop, reserved_for_s: i64) -> OrderId {
    receive(shop, 10).await;
    let order = placed_order(shop, reserved_for_s).await;
    shop.stock.run(&StreamId::stock(&sku()), &stock::Command::Expire, &context(), |_, _| ()).await.unwrap();
    let capture = order::Command::RecordCapture { amount: total() };
    shop.orders.run(&StreamId::order(order), &capture, &context(), |_, _| ()).await.unwrap();
    order
}

pub(super) async fn on_hand(shop: &Shop) -> (i64, i64) {
    shop.stock.current(&StreamId::stock(&sku()), |state, _| (state.on_hand(), state.reserved_units())).await.unwrap().0
}

pub(super) async fn status(shop: &Shop, order: OrderId) -> Option<OrderStatus> {
    shop.orders.current(&StreamId::order(order), |state, _| state.status()).await.unwrap().0
}

#[tokio::test]
async fn before_a_parcel_leaves_its_units_leave_stock_once() {
    let Some(database) = Database::make().await else { return };
    let shop = shop(&database).await;
    let order = confirmed_order(&shop, 900).await;
    assert_eq!(on_hand(&shop).await, (10, 3));
    for _ in 0..2 {
        let_units_go(&shop, order).await.unwrap();
        assert_eq!(on_hand(&shop).await, (7, 0));
    }
    assert_eq!(status(&shop, order).await, Some(OrderStatus::Confirmed));
}

#[tokio::test]
async fn a_parcel_whose_reservation_had_ended_gets_units_that_are_free() {
    let Some(database) = Database::make().await else { return };
    let shop = shop(&database).await;
    let order = confirmed_order(&shop, -1).await;
    assert_eq!(on_hand(&shop).await, (10, 0));
    for _ in 0..2 {
        let_units_go(&shop, order).await.unwrap();
        assert_eq!((on_hand(&shop).await, status(&shop, order).await), ((7, 0), Some(OrderStatus::Confirmed)));
    }
}

#[tokio::test]
async fn no_parcel_leaves_of_an_order_whose_units_others_have_got_since_its_reservation_ended() {
    let Some(database) = Database::make().await else { return };
    let shop = shop(&database).await;
    let order = confirmed_order(&shop, -1).await;
    let sold = stock::Command::Adjust { quantity: -8, reason: "sold elsewhere".into() };
    shop.stock.run(&StreamId::stock(&sku()), &sold, &context(), |_, _| ()).await.unwrap();
    let_units_go(&shop, order).await.unwrap();
    assert_eq!((on_hand(&shop).await, status(&shop, order).await), ((2, 0), Some(OrderStatus::Cancelled)));
    let stage = |state: &order::State, _| state.purchase().map(|purchase| purchase.stage.clone());
    let (stage, ..) = shop.orders.current(&StreamId::order(order), stage).await.unwrap();
    let lost = stock_lost(stage.unwrap());
    assert_eq!(lost, vec![sku()]);
}

fn stock_lost(stage: order::Stage) -> Vec<Sku> {
    match stage {
        order::Stage::Cancelled { cancellation: Cancellation { cause: CancellationCause::StockLost { skus }, .. }, .. } => skus,
        other => panic!("not cancelled for lost stock: {other:?}"),
    }
}
