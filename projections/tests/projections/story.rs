//! What happens in a shop.

use serde_json::{Value, json};

use crate::log::{Log, gbp, id};

pub fn order(number: u32) -> String {
    format!("order-{}", id(number))
}

/// Lines of SKU, category, quantity and total.
pub fn submitted(lines: &[(&str, Option<&str>, u32, &str)], country: &str) -> Value {
    let line = |&(sku, category, quantity, total): &(&str, Option<&str>, u32, &str)| {
        json!({"sku": sku, "title": format!("The {sku}"), "category": category, "quantity": quantity, "unit_price": gbp("1"),
               "line_total": gbp(total), "sale": null})
    };
    let sum: rust_decimal::Decimal = lines.iter().map(|line| line.3.parse::<rust_decimal::Decimal>().expect("an amount")).sum();
    let (zero, sum) = (gbp("0.00"), gbp(&sum.to_string()));
    json!({
        "cart": id(99), "email": "Ann@Shop.example", "customer": "ann@shop.example", "metadata": {},
        "shipping_address": {"name": "Ann", "line1": "1 High St", "city": "Leeds", "country": country},
        "lines": lines.iter().map(line).collect::<Vec<_>>(),
        "totals": {"subtotal": sum, "discount": zero, "shipping": zero, "tax": zero, "total": sum},
        "payment": {"method": "simulated", "token": "tok_ok"},
    })
}

pub fn placed() -> Value {
    json!({"payment_deadline": "2026-03-01T12:15:00Z"})
}

pub fn confirmed(amount: &str) -> Value {
    json!({"captured": gbp(amount)})
}

pub fn cancelled(reason: &str, note: Option<&str>, decline_code: Option<&str>, was_confirmed: bool) -> Value {
    json!({"reason": reason, "note": note, "decline_code": decline_code, "was_confirmed": was_confirmed, "lost": []})
}

fn items(items: &[(&str, u32)]) -> Value {
    items.iter().map(|(sku, quantity)| json!({"sku": sku, "quantity": quantity})).collect()
}

pub fn shipped(shipment: u32, of: &[(&str, u32)]) -> Value {
    json!({"shipment": id(shipment), "items": items(of), "carrier": "DHL", "tracking_number": "T1"})
}

pub fn returned(return_id: u32, of: &[(&str, u32)]) -> Value {
    json!({"return": id(return_id), "items": items(of), "reason": "too small", "restock": true})
}

/// Lines of code, quantity, price and total.
pub fn imported(time_key: &str, at: &str, country: &str, lines: &[(&str, i64, &str, &str)], total: &str) -> Value {
    let line = |&(code, quantity, price, total): &(&str, i64, &str, &str)| {
        json!({"code": code, "kind": "item", "description": format!("The {code}"), "quantity": quantity, "unit_price": price,
               "line_total": total})
    };
    json!({"source": "online-retail", "invoice": "536365", time_key: at, "customer": "17850", "country": country, "currency": "GBP",
           "lines": lines.iter().map(line).collect::<Vec<_>>(), "total": total})
}

/// A small generator of numbers that looks random and is the same each time.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % most
    }
}

type Step = (String, &'static str, Value);

/// Streams of a shop of which nothing is in order but the events of each stream.
pub fn shop(orders: u32) -> Log {
    let mut dice = Dice(7);
    let mut streams: Vec<Vec<Step>> = vec![stock(orders), sale(), product()];
    streams.extend((1..=orders).map(|number| life(&mut dice, number)));
    streams.extend((1..=orders).map(cart));
    streams.extend((1..=orders / 3).map(|number| {
        let posted = json!({"sku": "A", "rating": number % 5 + 1, "title": "So", "text": "", "author": "ann"});
        vec![(format!("review-{}", id(number)), "ReviewPosted", posted)]
    }));
    let mut log = Log::default();
    log.at("2026-03-01T23:58:00Z");
    while !streams.is_empty() {
        let next = dice.below(streams.len());
        let (stream, event_type, payload) = streams[next].remove(0);
        log.add(&stream, event_type, &payload);
        streams.retain(|stream| !stream.is_empty());
    }
    log
}

/// An order: some steps of a life, and after these none.
fn life(dice: &mut Dice, number: u32) -> Vec<Step> {
    let of = order(number);
    if number.is_multiple_of(6) {
        let lines = [("A", 2, "0.001", "0.002"), ("B", -1, "5", "-5"), ("A", 1, "2.50", "2.50")];
        return vec![(of, "OrderImported", imported("placed_at", "2010-12-01T08:26:00Z", "France", &lines, "-2.498"))];
    }
    let whole = [
        ("OrderSubmitted", submitted(&[("A", Some("home"), 3, "10.00"), ("B", None, 1, "2.50")], "GB")),
        ("OrderPlaced", placed()),
        ("OrderConfirmed", confirmed("12.50")),
        ("OrderShipped", shipped(number * 10, &[("A", 3)])),
        ("OrderReturned", returned(number * 10 + 1, &[("A", 1)])),
        ("OrderShipped", shipped(number * 10 + 2, &[("B", 1)])),
        ("OrderDelivered", json!({"shipment": id(number * 10)})),
        ("OrderDelivered", json!({"shipment": id(number * 10 + 2)})),
        (
            "OrderRefundRequested",
            json!({"refund": id(number * 10 + 3), "amount": gbp("3.33"), "reason": "too small", "metadata": {"ticket": "7"}}),
        ),
        ("OrderRefunded", json!({"refund": id(number * 10 + 3), "amount": gbp("3.33"), "reason": ""})),
        ("OrderReturned", returned(number * 10 + 4, &[("A", 2), ("B", 1)])),
    ];
    let lived = 1 + dice.below(whole.len());
    let mut steps: Vec<Step> = whole.into_iter().take(lived).map(|(event_type, payload)| (of.clone(), event_type, payload)).collect();
    match lived {
        1 => steps.push((of, "OrderRejected", json!({"reason": "out_of_stock", "skus": ["A", "B"]}))),
        2 => steps.push((of, "OrderCancelled", cancelled("payment_declined", None, Some("do_not_honor"), false))),
        3 => steps.push((of, "OrderCancelled", cancelled("requested", Some("changed my mind"), None, true))),
        _ => {}
    }
    steps
}

fn cart(number: u32) -> Vec<Step> {
    let of = format!("cart-{}", id(number));
    vec![
        (of.clone(), "CartCreated", json!({"currency": "GBP", "metadata": {}})),
        (of.clone(), "CartItemSet", json!({"sku": "A", "quantity": number, "unit_price": null})),
        (of.clone(), "CartItemSet", json!({"sku": "B", "quantity": 1, "unit_price": null})),
        (of.clone(), "CartItemRemoved", json!({"sku": "A"})),
        (of, "CartCheckedOut", json!({"order": id(number)})),
    ]
}

fn stock(orders: u32) -> Vec<Step> {
    let of = "stock-A".to_owned();
    let allotted = json!({"sale": id(7), "quantity": 50, "starts_at": "2026-03-01T12:00:00Z", "ends_at": "2026-03-02T12:00:00Z",
        "price": gbp("1.50"), "limit_per_customer": null});
    let mut steps =
        vec![(of.clone(), "StockReceived", json!({"quantity": 100_000, "reference": "PO-1"})), (of.clone(), "StockAllotted", allotted)];
    for number in 1..=orders {
        let sale = (number.is_multiple_of(4)).then(|| id(7));
        let until = "2026-03-01T12:15:00Z";
        let held = json!({"order": id(number), "quantity": number % 3 + 1, "until": until, "customer": "ann", "sale": sale});
        let freed = json!({"order": id(number), "quantity": number % 3 + 1, "sale": sale, "to_allotment": sale.is_some()});
        steps.push((of.clone(), "StockReserved", held));
        match number % 5 {
            0 => steps.push((of.clone(), "StockReleased", freed)),
            1 => {}
            _ => steps.push((of.clone(), "StockCommitted", freed)),
        }
    }
    steps
}

fn sale() -> Vec<Step> {
    let of = format!("flashsale-{}", id(7));
    let announced = json!({"sku": "A", "starts_at": "2026-03-01T12:00:00Z", "ends_at": "2026-03-02T12:00:00Z", "allotment": 50,
        "price": gbp("1.50"), "limit_per_customer": null});
    vec![(of.clone(), "FlashSaleAnnounced", announced), (of.clone(), "FlashSaleStarted", json!({})), (of, "FlashSaleEnded", json!({}))]
}

fn product() -> Vec<Step> {
    let of = "product-A".to_owned();
    let described = json!({"sku": "A", "title": "Lamp", "description": null, "category": null, "brand": null, "images": [],
        "attributes": {}, "metadata": {}, "price": gbp("2.5")});
    vec![
        (of.clone(), "ProductCreated", described),
        (of.clone(), "ProductRepriced", json!({"from": gbp("2.5"), "to": gbp("3")})),
        (of, "ProductArchived", json!({})),
    ]
}
