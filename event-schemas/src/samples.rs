//! One realistic event of each type, for tests and for the files in `examples/`.
//!
//! They tell one story: Ann buys two mugs in a flash sale, sends one back, and reviews it.

use std::{collections::BTreeMap, fmt::Debug, str::FromStr};

use serde_json::Value;
use uuid::uuid;

use crate::{
    Currency, Event, Money, Timestamp,
    events::{
        cart::{self, CartCheckedOut, CartCreated, CartItemRemoved, CartItemSet},
        category::{self, CategoryCreated, CategoryMoved, CategoryRenamed},
        flash_sale::{self, FlashSaleAnnounced, FlashSaleCancelled, FlashSaleEnded, FlashSaleStarted},
        order::{
            self, Address, CancellationCause, ImportedLine, ImportedLineKind, ItemQuantity, Line, OrderCancelled, OrderCapturedLate,
            OrderConfirmed, OrderDelivered, OrderImported, OrderPlaced, OrderRefundFailed, OrderRefundRequested, OrderRefunded,
            OrderRejected, OrderReturnImported, OrderReturned, OrderShipped, OrderSubmitted, PaymentMeans, RejectionReason, Totals,
        },
        payment::{
            self, PaymentAttemptFailed, PaymentCancellation, PaymentCancelled, PaymentCaptured, PaymentDeclined,
            PaymentRefundAttemptFailed, PaymentRefundFailed, PaymentRefundRequested, PaymentRefunded, PaymentRequested,
        },
        product::{self, Description, Image, ProductActivated, ProductArchived, ProductCreated, ProductDescribed, ProductRepriced},
        projection::{self, ProjectionPublishRequested, ProjectionRebuildRequested, ProjectionRetryRequested, ProjectionSkipRequested},
        review::{self, ReviewPosted},
        stock::{
            self, AllotmentEnd, StockAdjusted, StockAllotmentClosed, StockAllotted, StockCommitted, StockCorrectionImported, StockExpired,
            StockReceived, StockReleased, StockReserved, StockReturned, StockWithheld,
        },
    },
    ids::{CartId, CategoryId, FlashSaleId, OrderId, RefundId, ReturnId, ShipmentId, Sku},
};

const CART: CartId = CartId(uuid!("019cae0b-44a0-752e-89a7-834df2a74de4"));
const ORDER: OrderId = OrderId(uuid!("019cae0e-03c0-7651-8317-1ff4a6a3a450"));
const SALE: FlashSaleId = FlashSaleId(uuid!("019cae10-c2e0-7128-a24b-e40ad23f0824"));
const SHIPMENT: ShipmentId = ShipmentId(uuid!("019cae16-4120-70ed-a079-d3bde8e25d94"));
const RETURN: ReturnId = ReturnId(uuid!("019cae19-0040-736f-8580-28d6099950d8"));
const REFUND: RefundId = RefundId(uuid!("019cae1b-bf60-76f0-8478-82e36b0d549b"));

const ANN: &str = "ann@shop.example";

/// The path of an example of a version of an event type, below `event-schemas/`.
///
/// ```
/// use event_schemas::samples::example_path;
///
/// assert_eq!(example_path("OrderPlaced", 1, false), "examples/OrderPlaced.v1.json");
/// assert_eq!(example_path("OrderSubmitted", 1, true), "examples/OrderSubmitted.v1.minimal.json");
/// ```
#[must_use]
pub fn example_path(event_type: &str, schema_version: i16, is_minimal: bool) -> String {
    let minimal = if is_minimal { ".minimal" } else { "" };
    format!("examples/{event_type}.v{schema_version}{minimal}.json")
}

/// The example of every sample: its file's path and its content.
///
/// # Errors
/// Never for the types here: they are plain data.
pub fn examples() -> Result<Vec<(String, Value)>, serde_json::Error> {
    let all = full().into_iter().map(|event| (event, false)).chain(minimal().into_iter().map(|event| (event, true)));
    all.map(|(event, is_minimal)| {
        let path = example_path(event.event_type(), event.schema_version(), is_minimal);
        Ok((path, serde_json::from_str(&event.payload()?)?))
    })
    .collect()
}

/// One event of each type, with every option filled, in the order of [`crate::events::descriptors`].
///
/// ```
/// use event_schemas::{events::descriptors, samples};
///
/// assert!(samples::full().iter().map(|event| event.event_type()).eq(descriptors().map(|d| d.event_type)));
/// ```
#[must_use]
pub fn full() -> Vec<Event> {
    let mut all = Vec::new();
    all.extend(categories().map(Event::from));
    all.extend(products().map(Event::from));
    all.extend(stock().map(Event::from));
    all.extend(flash_sales().map(Event::from));
    all.extend(carts().map(Event::from));
    all.extend(orders_bought().map(Event::from));
    all.extend(orders_delivered().map(Event::from));
    all.extend(orders_imported().map(Event::from));
    all.extend(payments().map(Event::from));
    all.extend(reviews().map(Event::from));
    all.extend(projections().map(Event::from));
    all
}

/// One event of each type that has options, with every option empty.
#[must_use]
pub fn minimal() -> Vec<Event> {
    let mut all = Vec::new();
    all.extend(minimal_catalogue());
    all.extend(minimal_stock().map(Event::from));
    all.extend(minimal_sales());
    all.extend(minimal_orders().map(Event::from));
    all.push(
        projection::Event::from(ProjectionSkipRequested {
            stream: literal("order-019cae0e-03c0-7651-8317-1ff4a6a3a450"),
            position: 1204,
            reason: None,
        })
        .into(),
    );
    all
}

fn categories() -> [category::Event; 3] {
    [
        CategoryCreated { id: literal("mugs"), name: "Mugs".into(), parent: Some(literal("kitchen")) }.into(),
        CategoryRenamed { name: "Mugs & cups".into() }.into(),
        CategoryMoved { parent: Some(literal("tableware")) }.into(),
    ]
}

fn description() -> Description {
    Description {
        title: "Café mug, cobalt".into(),
        description: Some("Stoneware, 350 ml.\nSafe in a dishwasher.".into()),
        category: Some(category_id()),
        brand: Some("Kiln & Co.".into()),
        images: vec![Image { url: "https://img.shop.example/mug-cobalt.jpg".into(), alt: "A dark blue mug".into() }],
        attributes: notes("colour", "cobalt"),
        metadata: notes("supplier", "K-17"),
    }
}

fn products() -> [product::Event; 5] {
    let described = Description { title: "Café mug, cobalt blue".into(), ..description() };
    [
        ProductCreated { sku: mug(), description: description(), price: gbp("15.00") }.into(),
        ProductDescribed { description: described }.into(),
        ProductRepriced { from: gbp("15.00"), to: gbp("14.995") }.into(),
        ProductArchived {}.into(),
        ProductActivated {}.into(),
    ]
}

fn stock() -> [stock::Event; 11] {
    let (order, sale, quantity) = (ORDER, Some(SALE), 2);
    [
        StockReceived { quantity: 120, reference: "PO-2026-0117".into() }.into(),
        StockAdjusted { quantity: -1, reason: "broken in the warehouse".into() }.into(),
        StockReserved { order, quantity, until: at("2026-03-02T10:33:00.250000Z"), customer: ANN.into(), sale }.into(),
        StockCommitted { order, quantity, sale }.into(),
        StockReleased { order, quantity, sale, to_allotment: true }.into(),
        StockExpired { order, quantity, sale, to_allotment: true }.into(),
        StockReturned { order, quantity: 1, return_id: Some(RETURN), sale, customer: ANN.into() }.into(),
        StockAllotted {
            sale: SALE,
            quantity: 50,
            starts_at: at("2026-03-02T10:00:00.000000Z"),
            ends_at: at("2026-03-02T12:00:00.000000Z"),
            price: gbp("12.50"),
            limit_per_customer: Some(2),
        }
        .into(),
        StockAllotmentClosed { sale: SALE, unsold: 8, reason: AllotmentEnd::Ended }.into(),
        StockCorrectionImported { quantity: -9, reason: "damaged".into(), invoice: "536589".into(), at: at("2010-12-01T16:50:00.000000Z") }
            .into(),
        StockWithheld { order }.into(),
    ]
}

fn flash_sales() -> [flash_sale::Event; 4] {
    [
        FlashSaleAnnounced {
            sku: mug(),
            starts_at: at("2026-03-02T10:00:00.000000Z"),
            ends_at: at("2026-03-02T12:00:00.000000Z"),
            allotment: 50,
            price: gbp("12.50"),
            limit_per_customer: Some(2),
        }
        .into(),
        FlashSaleStarted {}.into(),
        FlashSaleEnded {}.into(),
        FlashSaleCancelled {}.into(),
    ]
}

fn carts() -> [cart::Event; 4] {
    [
        CartCreated { currency: pounds(), metadata: notes("channel", "web") }.into(),
        CartItemSet { sku: mug(), quantity: 2, unit_price: Some(gbp("12.50")) }.into(),
        CartItemRemoved { sku: mug() }.into(),
        CartCheckedOut { order: ORDER }.into(),
    ]
}

fn submitted() -> OrderSubmitted {
    OrderSubmitted {
        cart: CART,
        email: ANN.into(),
        customer: ANN.into(),
        shipping_address: Address {
            name: "Ann Özil".into(),
            line1: "1 High Street".into(),
            line2: Some("Flat 4".into()),
            city: "Leeds".into(),
            region: Some("West Yorkshire".into()),
            postal_code: Some("LS1 1AA".into()),
            country: "GB".into(),
        },
        lines: vec![Line {
            sku: mug(),
            title: "Café mug, cobalt blue".into(),
            category: Some(category_id()),
            quantity: 2,
            unit_price: gbp("12.50"),
            line_total: gbp("25.00"),
            sale: Some(SALE),
        }],
        totals: Totals { subtotal: gbp("25.00"), discount: gbp("2.50"), shipping: gbp("4.95"), tax: gbp("5.49"), total: gbp("32.94") },
        payment: means(),
        metadata: notes("gift", "yes"),
    }
}

fn orders_bought() -> [order::Event; 6] {
    [
        submitted().into(),
        OrderPlaced { payment_deadline: at("2026-03-02T10:33:00.250000Z") }.into(),
        OrderRejected { reason: RejectionReason::OutOfStock, skus: vec![mug()] }.into(),
        OrderConfirmed { captured: gbp("32.94") }.into(),
        OrderCancelled {
            cause: CancellationCause::StockLost { skus: vec![mug()] },
            note: Some("the mugs were gone when the payment came".into()),
            was_confirmed: true,
        }
        .into(),
        OrderCapturedLate { captured: gbp("32.94") }.into(),
    ]
}

fn orders_delivered() -> [order::Event; 6] {
    let (refund, amount) = (REFUND, gbp("12.50"));
    [
        OrderShipped {
            shipment: SHIPMENT,
            items: mugs(2),
            carrier: Some("Royal Mail".into()),
            tracking_number: Some("RM123456785GB".into()),
        }
        .into(),
        OrderDelivered { shipment: SHIPMENT }.into(),
        OrderReturned { return_id: RETURN, items: mugs(1), reason: "one is enough".into(), restock: true }.into(),
        OrderRefundRequested { refund, amount, reason: "returned".into(), metadata: notes("ticket", "4711") }.into(),
        OrderRefunded { refund, amount, reason: "returned".into() }.into(),
        OrderRefundFailed { refund, amount, reason: "returned".into(), failure: "account_closed".into() }.into(),
    ]
}

fn imported_line(
    code: &str,
    kind: ImportedLineKind,
    description: &str,
    quantity: i64,
    price: &'static str,
    total: &'static str,
) -> ImportedLine {
    let (unit_price, line_total) = (literal(price), literal(total));
    ImportedLine { code: code.into(), kind, description: description.into(), quantity, unit_price, line_total }
}

fn orders_imported() -> [order::Event; 2] {
    [
        OrderImported {
            source: "online-retail".into(),
            invoice: "536370".into(),
            placed_at: at("2010-12-01T08:45:00.000000Z"),
            customer: Some("12583".into()),
            country: "France".into(),
            currency: pounds(),
            lines: vec![
                imported_line("22728", ImportedLineKind::Item, "ALARM CLOCK BAKELIKE PINK", 24, "3.75", "90.00"),
                imported_line("POST", ImportedLineKind::Charge, "POSTAGE", 3, "18", "54"),
            ],
            total: literal("144.00"),
        }
        .into(),
        OrderReturnImported {
            source: "online-retail".into(),
            invoice: "C536548".into(),
            returned_at: at("2010-12-01T14:33:00.000000Z"),
            customer: Some("12472".into()),
            country: "Germany".into(),
            currency: pounds(),
            lines: vec![imported_line("22244", ImportedLineKind::Item, "3 HOOK HANGER MAGIC GARDEN", -4, "1.95", "-7.80")],
            total: literal("-7.80"),
        }
        .into(),
    ]
}

fn payments() -> [payment::Event; 9] {
    let (refund, amount) = (REFUND, gbp("32.94"));
    let reference = |kind: &str| format!("sim_{kind}_019cae0e03c0765183171ff4a6a3a450");
    [
        PaymentRequested { amount, means: means(), idempotency_key: ORDER.uuid(), deadline: at("2026-03-02T10:33:00.250000Z") }.into(),
        PaymentAttemptFailed { attempt: 1, reason: "the gateway did not answer".into(), retry_at: at("2026-03-02T10:18:02.000125Z") }
            .into(),
        PaymentCaptured { amount, gateway_reference: reference("ch") }.into(),
        PaymentDeclined { decline_code: "insufficient_funds".into() }.into(),
        PaymentCancelled { reason: PaymentCancellation::DeadlinePassed }.into(),
        PaymentRefundRequested { refund, amount: gbp("12.50"), reason: "returned".into() }.into(),
        PaymentRefunded { refund, amount: gbp("12.50"), gateway_reference: reference("re") }.into(),
        PaymentRefundAttemptFailed {
            refund,
            attempt: 1,
            reason: "the gateway did not answer".into(),
            retry_at: at("2026-03-02T10:31:02.000125Z"),
        }
        .into(),
        PaymentRefundFailed { refund, amount: gbp("12.50"), failure: "account_closed".into() }.into(),
    ]
}

fn reviews() -> [review::Event; 1] {
    let (title, text) = ("Lovely".into(), "Deep blue, and \"big enough\" for a Sunday. 💙".into());
    [ReviewPosted { sku: mug(), rating: 5, title, text, author: "Ann".into() }.into()]
}

fn minimal_catalogue() -> [Event; 4] {
    let description = || Description { title: "Mug".into(), ..Description::default() };
    let created = ProductCreated { sku: mug(), description: description(), price: gbp("15") };
    [
        category::Event::from(CategoryCreated { id: literal("kitchen"), name: "Kitchen".into(), parent: None }).into(),
        category::Event::from(CategoryMoved { parent: None }).into(),
        product::Event::from(created).into(),
        product::Event::from(ProductDescribed { description: description() }).into(),
    ]
}

fn projections() -> [projection::Event; 4] {
    let (stream, position) = (literal("order-019cae0e-03c0-7651-8317-1ff4a6a3a450"), 1204);
    [
        ProjectionRebuildRequested {}.into(),
        ProjectionRetryRequested { stream, position }.into(),
        ProjectionSkipRequested {
            stream: literal("order-019cae0e-03c0-7651-8317-1ff4a6a3a450"),
            position,
            reason: Some("Written by hand, and wrong.".into()),
        }
        .into(),
        ProjectionPublishRequested { from: 1 }.into(),
    ]
}

fn minimal_stock() -> [stock::Event; 6] {
    let (order, sale, quantity) = (ORDER, None, 2);
    [
        StockReserved { order, quantity, until: at("2026-03-02T10:33:00.250000Z"), customer: ANN.into(), sale }.into(),
        StockCommitted { order, quantity, sale }.into(),
        StockReleased { order, quantity, sale, to_allotment: false }.into(),
        StockExpired { order, quantity, sale, to_allotment: false }.into(),
        StockReturned { order, quantity, return_id: None, sale, customer: ANN.into() }.into(),
        StockAllotted {
            sale: SALE,
            quantity: 50,
            starts_at: at("2026-03-02T10:00:00.000000Z"),
            ends_at: at("2026-03-02T12:00:00.000000Z"),
            price: gbp("12.50"),
            limit_per_customer: None,
        }
        .into(),
    ]
}

fn minimal_sales() -> [Event; 2] {
    let announced = FlashSaleAnnounced {
        sku: mug(),
        starts_at: at("2026-03-02T10:00:00.000000Z"),
        ends_at: at("2026-03-02T12:00:00.000000Z"),
        allotment: 50,
        price: gbp("12.50"),
        limit_per_customer: None,
    };
    [flash_sale::Event::from(announced).into(), cart::Event::from(CartItemSet { sku: mug(), quantity: 2, unit_price: None }).into()]
}

fn minimal_orders() -> [order::Event; 5] {
    let mut submitted = submitted();
    submitted.shipping_address = Address { line2: None, region: None, postal_code: None, ..submitted.shipping_address };
    submitted.metadata = BTreeMap::new();
    for line in &mut submitted.lines {
        (line.category, line.sale) = (None, None);
    }
    let (source, country, currency) = ("online-retail".to_owned(), "United Kingdom".to_owned(), pounds());
    let total = literal("15.30");
    let lines = vec![imported_line("85123A", ImportedLineKind::Item, "WHITE HANGING HEART T-LIGHT HOLDER", 6, "2.55", "15.30")];
    let returned_total = literal("-15.30");
    let returned = vec![imported_line("85123A", ImportedLineKind::Item, "WHITE HANGING HEART T-LIGHT HOLDER", -6, "2.55", "-15.30")];
    [
        submitted.into(),
        OrderCancelled { cause: CancellationCause::Requested, note: None, was_confirmed: false }.into(),
        OrderShipped { shipment: SHIPMENT, items: mugs(2), carrier: None, tracking_number: None }.into(),
        OrderImported {
            source: source.clone(),
            invoice: "536365".into(),
            placed_at: at("2010-12-01T08:26:00.000000Z"),
            customer: None,
            country: country.clone(),
            currency,
            lines,
            total,
        }
        .into(),
        OrderReturnImported {
            source,
            invoice: "C536379".into(),
            returned_at: at("2010-12-01T09:41:00.000000Z"),
            customer: None,
            country,
            currency,
            lines: returned,
            total: returned_total,
        }
        .into(),
    ]
}

fn mug() -> Sku {
    literal("MUG-COBALT-350")
}

fn category_id() -> CategoryId {
    literal("mugs")
}

fn mugs(quantity: u32) -> Vec<ItemQuantity> {
    vec![ItemQuantity { sku: mug(), quantity }]
}

fn means() -> PaymentMeans {
    PaymentMeans { method: "simulated".into(), token: "tok_ok".into() }
}

fn notes(key: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(key.to_owned(), value.to_owned())])
}

fn pounds() -> Currency {
    literal("GBP")
}

fn gbp(amount: &'static str) -> Money {
    Money::new(literal(amount), pounds())
}

fn at(time: &'static str) -> Timestamp {
    literal(time)
}

#[expect(clippy::expect_used, reason = "every text is a constant of this file, and every test of the samples reads them all")]
fn literal<T: FromStr<Err: Debug>>(text: &'static str) -> T {
    text.parse().expect(text)
}
