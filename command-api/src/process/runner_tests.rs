//! The runner on a real log.

use chrono::Duration;
use domain::{payment, stock};
use event_schemas::{
    Event, Recorded, StreamId,
    events::order::{self, PaymentMeans},
    ids::{OrderId, RefundId},
    resource::OrderStatus,
};
use event_store::read::Filter;
use uuid::Uuid;

use super::{
    Changes, Reminder,
    ahead::let_units_go,
    ahead_tests::{confirmed_order, on_hand, placed_order, receive, shop, sku, status, submitted_order, total},
    fulfilment, reminders,
    runner::{Runner, handle},
};
use crate::{
    handler::Context,
    shop::{Shop, now},
    test_database::Database,
};

/// Another server gets the leases, as it does when their holder has not renewed them for too long.
async fn leases_run_out(database: &Database) {
    sqlx::query("update leases set expires_at = now() - interval '1 millisecond'").execute(&database.pool).await.unwrap();
}

#[tokio::test]
async fn a_runner_that_wakes_up_late_does_not_remove_reminders_that_its_successor_counts_on() {
    let Some(database) = Database::make().await else { return };
    let shop = shop(&database).await;
    let mut late = Runner::start(shop.clone(), Uuid::now_v7()).await.unwrap();
    let (reminder, due) = (Reminder::Reservations("A".parse().unwrap()), now().plus(Duration::seconds(-1)));
    let mut connection = database.pool.acquire().await.unwrap();
    let mut changes = Changes::default();
    changes.set(reminder.clone(), due);
    reminders::write(&changes, &mut connection).await.unwrap();
    leases_run_out(&database).await;
    let mut successor = Runner::start(shop, Uuid::now_v7()).await.unwrap();
    // Neither has moved the checkpoint, so that it can't tell who is late.
    assert!(matches!(late.see_to_reminders().await, Err(event_store::Error::Conflict)));
    assert_eq!(reminders::all(&database.pool).await.unwrap().get(&reminder), Some(&due));
    successor.see_to_reminders().await.unwrap();
    assert!(reminders::all(&database.pool).await.unwrap().is_empty());
}

/// Reminders that were set before the process managers went away, and have come due since.
async fn set(database: &Database, due: impl IntoIterator<Item = Reminder>) {
    let (mut changes, a_second_ago) = (Changes::default(), now().plus(Duration::seconds(-1)));
    for reminder in due {
        changes.set(reminder, a_second_ago);
    }
    reminders::write(&changes, &mut database.pool.acquire().await.unwrap()).await.unwrap();
}

/// The payment of `order` was captured, which the process managers have not seen yet.
async fn capture(shop: &Shop, order: OrderId) {
    let means = PaymentMeans { method: "simulated".into(), token: "tok_ok".into() };
    let deadline = now().plus(Duration::seconds(-1));
    let request = payment::Command::Request { amount: total(), means, idempotency_key: order.uuid(), deadline };
    let captured = payment::Command::RecordCapture { amount: total(), gateway_reference: "ch_1".into(), refund: RefundId(Uuid::now_v7()) };
    for command in [request, captured] {
        shop.payments.run(&StreamId::payment(order), &command, &Context::new(now(), "test"), |_, _| ()).await.unwrap();
    }
}

/// Works until nothing of these orders is open any more.
async fn work_until_settled(runner: &mut Runner, shop: &Shop, orders: &[OrderId]) {
    let settled = async {
        for order in orders {
            while !matches!(status(shop, *order).await, Some(OrderStatus::Confirmed | OrderStatus::Cancelled | OrderStatus::Rejected)) {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
        while on_hand(shop).await.1 > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        stopped = runner.work() => panic!("the runner stopped: {stopped:?}"),
        () = settled => {}
    }
}

#[tokio::test]
async fn managers_that_were_away_past_every_deadline_fulfil_what_was_paid_meanwhile() {
    let Some(database) = Database::make().await else { return };
    let shop = shop(&database).await;
    receive(&shop, 100).await;
    let mut orders = Vec::new();
    for _ in 0..20 {
        orders.push(placed_order(&shop, -1).await);
    }
    set(&database, orders.iter().map(|order| Reminder::PaymentDeadline(*order)).chain([Reminder::Reservations(sku())])).await;
    for order in &orders {
        capture(&shop, *order).await;
    }
    let mut runner = Runner::start(shop.clone(), Uuid::now_v7()).await.unwrap();
    runner.see_to_reminders().await.unwrap();
    assert_eq!(on_hand(&shop).await, (100, 60), "nothing expires before the log was seen");
    work_until_settled(&mut runner, &shop, &orders).await;
    for order in &orders {
        assert_eq!(status(&shop, *order).await, Some(OrderStatus::Confirmed));
    }
    assert_eq!(on_hand(&shop).await, (40, 0));
}

#[tokio::test]
async fn what_nobody_paid_expires_once_the_log_was_seen() {
    let Some(database) = Database::make().await else { return };
    let shop = shop(&database).await;
    receive(&shop, 10).await;
    let order = placed_order(&shop, -1).await;
    set(&database, [Reminder::Reservations(sku())]).await;
    let mut runner = Runner::start(shop.clone(), Uuid::now_v7()).await.unwrap();
    let expired = async {
        while on_hand(&shop).await != (10, 0) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        stopped = runner.work() => panic!("the runner stopped: {stopped:?}"),
        () = expired => {}
    }
    assert_eq!(status(&shop, order).await, Some(OrderStatus::Placed));
}

#[tokio::test]
async fn the_log_names_the_manager_that_gave_a_checkout_up() {
    let Some(database) = Database::make().await else { return };
    let shop = shop(&database).await;
    receive(&shop, 10).await;
    let order = submitted_order(&shop, 900).await;
    set(&database, [Reminder::Placement(order)]).await;
    let mut runner = Runner::start(shop.clone(), Uuid::now_v7()).await.unwrap();
    work_until_settled(&mut runner, &shop, &[order]).await;
    let by_managers = Filter { types: vec!["OrderRejected".into(), "StockReleased".into()], ..Filter::default() };
    let events = shop.store.read_log(0, i64::MAX, &by_managers, 10).await.unwrap();
    let actors: Vec<_> = events.into_iter().map(|event| event.decode().unwrap().metadata.actor).collect();
    assert_eq!(actors, ["process:checkout", "process:checkout"]);
}

/// An order that was confirmed and lost its units to others, so that it was cancelled: what the log has of both, and the order.
async fn lost(shop: &Shop) -> (Recorded, Recorded, OrderId) {
    let order = confirmed_order(shop, -1).await;
    sell_elsewhere(shop, 10).await;
    let_units_go(shop, order).await.unwrap();
    assert_eq!(status(shop, order).await, Some(OrderStatus::Cancelled));
    let stream = shop.store.read_stream(&StreamId::order(order), 1, i64::MAX, 100).await.unwrap();
    let mut events = stream.into_iter().map(|stored| stored.decode().unwrap());
    let mut next =
        |is_it: fn(&order::Event) -> bool| events.find(|recorded| matches!(&recorded.event, Event::Order(event) if is_it(event))).unwrap();
    let confirmed = next(|event| matches!(event, order::Event::Confirmed(_)));
    (confirmed, next(|event| matches!(event, order::Event::Cancelled(_))), order)
}

async fn sell_elsewhere(shop: &Shop, quantity: i64) {
    let sold = stock::Command::Adjust { quantity: -quantity, reason: "sold elsewhere".into() };
    shop.stock.run(&StreamId::stock(&sku()), &sold, &Context::new(now(), "test"), |_, _| ()).await.unwrap();
}

/// A process manager that was frozen since before the cancellation lets the units go now.
async fn let_go_late(shop: &Shop, confirmed: &Recorded, order: OrderId) {
    let mut context = Context { may_repeat: true, ..Context::new(now(), "late") };
    context.metadata.command_id = fulfilment::commit_command(confirmed.event_id, &sku());
    let fulfil = stock::Command::Fulfil { order, quantity: 3, customer: "ann@shop.example".into(), sale: None };
    shop.stock.run(&StreamId::stock(&sku()), &fulfil, &context, |_, _| ()).await.unwrap();
}

#[tokio::test]
async fn units_of_a_cancelled_order_stay_where_somebody_is_late_to_let_them_go() {
    let Some(database) = Database::make().await else { return };
    let shop = shop(&database).await;
    let (confirmed, cancelled, order) = lost(&shop).await;
    handle(&shop, &cancelled, &mut Changes::default()).await.unwrap();
    receive(&shop, 10).await;
    for _ in 0..2 {
        let_go_late(&shop, &confirmed, order).await;
        handle(&shop, &cancelled, &mut Changes::default()).await.unwrap();
        assert_eq!(on_hand(&shop).await, (10, 0));
    }
}

#[tokio::test]
async fn units_that_somebody_late_let_go_for_a_cancelled_order_come_back() {
    let Some(database) = Database::make().await else { return };
    let shop = shop(&database).await;
    let (confirmed, cancelled, order) = lost(&shop).await;
    receive(&shop, 10).await;
    let_go_late(&shop, &confirmed, order).await;
    assert_eq!(on_hand(&shop).await, (7, 0));
    for _ in 0..2 {
        handle(&shop, &cancelled, &mut Changes::default()).await.unwrap();
        assert_eq!(on_hand(&shop).await, (10, 0));
    }
}
