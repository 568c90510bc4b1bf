//! Checkout over HTTP: the cart becomes an order, or the refusal says why not, line by line.

use axum::extract::State;
use event_schemas::{Email, Money, events::order::PaymentMeans, ids::CartId, resource};
use gateway::{Json, Path, Problem, Route, Routes};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::json;

use super::{Notes, address::NewAddress, notes};
use crate::{
    checkout::{self, Checkout},
    payment_gateway::simulated::TOKENS,
    shop::Shop,
    write::{Answer, Write},
};

/// How a cart is bought.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewCheckout {
    email: Email,
    shipping_address: NewAddress,
    payment: NewPayment,
    /// What the buyer was shown: at any other total the checkout is refused.
    #[serde(default)]
    expected_total: Option<Money>,
    #[serde(default)]
    #[schemars(schema_with = "notes")]
    metadata: Notes,
}

/// How it is to be paid.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewPayment {
    method: Method,
    /// The gateway's token for the buyer's means; of `simulated`, it says how the gateway is to behave.
    #[schemars(schema_with = "token")]
    token: String,
}

fn token(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": TOKENS})
}

/// A payment gateway.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Method {
    /// The one to try the shop with.
    Simulated,
}

impl Method {
    fn name(self) -> &'static str {
        match self {
            Self::Simulated => "simulated",
        }
    }
}

pub(super) fn routes() -> Routes<Shop> {
    Routes::new().add(
        Route::post("/v1/carts/{id}/checkout", check_out)
            .summary("Buy what is in a cart")
            .description("Reserves every line or none. The answer shows the order placed; its payment is under way.")
            .tag("Carts")
            .path_param::<CartId>("id", "The cart's id.")
            .body::<NewCheckout>()
            .example(json!({
                "email": "ann@shop.example",
                "shipping_address": {
                    "name": "Ann Buyer", "line1": "1 High Street", "city": "Leeds", "postal_code": "LS1 1AA", "country": "GB",
                },
                "payment": {"method": "simulated", "token": "tok_ok"},
            }))
            .answers::<resource::Order>(201)
            .leads_to("/v1/orders/{id}", "$response.body#/id")
            .leads_to("/v1/streams/{stream}", "order-{$response.body#/id}")
            .problem(409, "out_of_stock", "Lines that can't be reserved, each with `requested` and `available`. Nothing is held.")
            .problem(
                409,
                "price_changed",
                "The total is not the expected one, or a flash sale began or ended: `total`, and the lines that moved.",
            )
            .problem(409, "limit_per_customer", "A line would take the customer past a flash sale's limit.")
            .problem(409, "not_for_sale", "Lines that are archived, or priced in another currency.")
            .problem(409, "cart_empty", "The cart holds nothing.")
            .problem(409, "cart_checked_out", "The cart was bought; `order` is the order it became.")
            .problem(409, "cart_changed", "The cart was changed while it was being checked out. Look at it, then check out again.")
            .problem(409, "total_too_large", "A line, or the cart with it, is more than can be charged."),
    )
}

async fn check_out(
    State(shop): State<Shop>,
    Path(cart): Path<CartId>,
    write: Write,
    Json(new): Json<NewCheckout>,
) -> Result<Answer, Problem> {
    let checkout = Checkout {
        cart,
        email: new.email.into_string(),
        shipping_address: new.shipping_address.into(),
        payment: PaymentMeans { method: new.payment.method.name().into(), token: new.payment.token },
        expected_total: new.expected_total,
        metadata: new.metadata,
    };
    // In a task of its own: a client that hangs up in the middle does not leave an order half placed.
    let checked_out = tokio::spawn(async move { checkout::run(&shop, &write, checkout).await }).await;
    checked_out.unwrap_or_else(|panic| {
        tracing::error!(%panic, "a checkout panicked");
        Err(Problem::internal())
    })
}
