//! What happens to an order after it was placed.

use axum::extract::State;
use domain::{order, payment};
use event_schemas::{
    Money, StreamId,
    events::order::ItemQuantity,
    ids::{OrderId, RefundId, ReturnId, ShipmentId},
    resource, text,
};
use gateway::{Json, Path, Problem, Route, Routes};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::{Notes, notes};
use crate::{
    process,
    refusals::unstored,
    shop::Shop,
    together::{Step, together},
    write::{Answer, Draft, Write},
};

/// Why an order is called off.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Cancellation {
    #[serde(default)]
    #[schemars(length(max = 500), regex(pattern = text::PROSE))]
    reason: Option<String>,
}

/// A parcel that leaves.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewShipment {
    /// All that is left where it is absent.
    #[serde(default)]
    #[schemars(length(min = 1, max = 200))]
    items: Option<Vec<ItemQuantity>>,
    #[serde(default)]
    #[schemars(length(min = 1, max = 100), regex(pattern = text::LINE))]
    carrier: Option<String>,
    #[serde(default)]
    #[schemars(length(min = 1, max = 100), regex(pattern = text::LINE))]
    tracking_number: Option<String>,
}

/// A parcel that arrived.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Delivery {
    shipment: ShipmentId,
}

/// What came back.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewReturn {
    #[schemars(length(min = 1, max = 200))]
    items: Vec<ItemQuantity>,
    #[schemars(length(min = 1, max = 500), regex(pattern = text::TEXT))]
    reason: String,
    /// Whether it can be sold again.
    #[serde(default)]
    restock: bool,
}

/// Money that is to go back.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewRefund {
    amount: Money,
    #[schemars(length(min = 1, max = 500), regex(pattern = text::TEXT))]
    reason: String,
    #[serde(default)]
    #[schemars(schema_with = "notes")]
    metadata: Notes,
}

pub(super) fn routes() -> Routes<Shop> {
    let route = |route: Route<Shop>| route.tag("Orders").path_param::<OrderId>("id", "The order's id.");
    Routes::new()
        .add(
            route(Route::post("/v1/orders/{id}/cancel", cancel))
                .summary("Call an order off")
                .body::<Cancellation>()
                .example(json!({"reason": "ordered twice"}))
                .answers::<resource::Order>(200)
                .problem(409, "order_shipped", "Units of it have left. Let them come back as a return.")
                .problem(409, "order_not_placed", "It is being checked out. Try again in a moment.")
                .problem(409, "order_rejected", "It could not be placed when it was checked out.")
                .problem(409, "order_imported", "It is another shop's history, and closed."),
        )
        .add(
            route(Route::post("/v1/orders/{id}/shipments", ship))
                .summary("Record that a parcel left")
                .body::<NewShipment>()
                .example(json!({"items": [{"sku": "85123A", "quantity": 1}], "carrier": "Post", "tracking_number": "AB123456789GB"}))
                .answers::<resource::Order>(201)
                .problem(409, "order_not_confirmed", "Only an order that is paid and not cancelled can be shipped.")
                .problem(409, "too_many_units", "More units than are left; each error says how many are."),
        )
        .add(
            route(Route::post("/v1/orders/{id}/delivery", deliver))
                .summary("Record that a parcel arrived")
                .body::<Delivery>()
                .example(json!({"shipment": "01939b1c-7c00-7000-8000-000000000000"}))
                .answers::<resource::Order>(200),
        )
        .add(
            route(Route::post("/v1/orders/{id}/returns", take_back))
                .summary("Record that units came back")
                .body::<NewReturn>()
                .example(json!({"items": [{"sku": "85123A", "quantity": 1}], "reason": "too small", "restock": true}))
                .answers::<resource::Order>(201)
                .problem(409, "too_many_units", "More units than were shipped and have not come back; each error says how many are left."),
        )
        .add(
            route(Route::post("/v1/orders/{id}/refunds", refund))
                .summary("Send money back")
                .body::<NewRefund>()
                .example(json!({"amount": {"amount": "1.00", "currency": "GBP"}, "reason": "arrived late"}))
                .answers::<resource::Order>(201)
                .problem(409, "more_than_captured", "More than was captured and does not go back already."),
        )
}

async fn cancel(
    State(shop): State<Shop>,
    Path(id): Path<OrderId>,
    write: Write,
    Json(wanted): Json<Cancellation>,
) -> Result<Answer, Problem> {
    let command = order::Command::Cancel { note: wanted.reason.filter(|reason| !reason.is_empty()) };
    changed(&shop, id, &write, &command).await
}

async fn ship(State(shop): State<Shop>, Path(id): Path<OrderId>, write: Write, Json(new): Json<NewShipment>) -> Result<Answer, Problem> {
    process::ahead::let_units_go(&shop, id).await.map_err(|error| unstored(&error))?;
    let shipment = ShipmentId(Uuid::now_v7());
    let command = order::Command::Ship { shipment, items: new.items, carrier: new.carrier, tracking_number: new.tracking_number };
    created(&shop, id, &write, &command).await
}

async fn deliver(
    State(shop): State<Shop>,
    Path(id): Path<OrderId>,
    write: Write,
    Json(delivery): Json<Delivery>,
) -> Result<Answer, Problem> {
    changed(&shop, id, &write, &order::Command::Deliver { shipment: delivery.shipment }).await
}

async fn take_back(State(shop): State<Shop>, Path(id): Path<OrderId>, write: Write, Json(new): Json<NewReturn>) -> Result<Answer, Problem> {
    let return_id = ReturnId(Uuid::now_v7());
    let command = order::Command::Return { return_id, items: new.items, reason: new.reason, restock: new.restock };
    created(&shop, id, &write, &command).await
}

/// The order and its payment record a refund in one transaction: the order is what clients see, the payment is what says no.
async fn refund(State(shop): State<Shop>, Path(id): Path<OrderId>, write: Write, Json(new): Json<NewRefund>) -> Result<Answer, Problem> {
    let refund = RefundId(Uuid::now_v7());
    let (order_stream, payment_stream) = (StreamId::order(id), StreamId::payment(id));
    let NewRefund { amount, reason, metadata } = new;
    let of_order = order::Command::RequestRefund { refund, amount, reason: reason.clone(), metadata };
    let of_payment = payment::Command::RequestRefund { refund, amount, reason };
    let for_payment = write.context.next();
    let answer = together(
        &shop.store,
        Step { handler: &shop.orders, stream: &order_stream, command: &of_order, context: &write.context },
        Step { handler: &shop.payments, stream: &payment_stream, command: &of_payment, context: &for_payment },
        |order, version, _, _| {
            let draft = Draft::created(location(id), version, &order.resource(id, version)?)?;
            Some((write.keep(&draft), draft))
        },
    );
    answer.await
}

async fn changed(shop: &Shop, id: OrderId, write: &Write, command: &order::Command) -> Result<Answer, Problem> {
    let render = |state: &order::State, version| Draft::changed(version, &state.resource(id, version)?);
    write.run(&shop.orders, &StreamId::order(id), command, render).await
}

async fn created(shop: &Shop, id: OrderId, write: &Write, command: &order::Command) -> Result<Answer, Problem> {
    let render = |state: &order::State, version| Draft::created(location(id), version, &state.resource(id, version)?);
    write.run(&shop.orders, &StreamId::order(id), command, render).await
}

fn location(id: OrderId) -> String {
    format!("/v1/orders/{id}")
}
