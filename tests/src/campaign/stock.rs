//! The stock of one SKU as its stream tells it, and what must hold after every event of it.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde_json::Value;

#[derive(Default)]
pub struct Stock {
    pub on_hand: i64,
    reserved: i64,
    /// What each order holds or has taken, by its id.
    orders: HashMap<String, Held>,
    sales: HashMap<String, Sale>,
    is_wrong: bool,
}

#[derive(Default)]
struct Held {
    customer: String,
    reserved: i64,
    taken: i64,
}

struct Sale {
    allotment: i64,
    limit: Option<i64>,
    ends_at: DateTime<Utc>,
    is_closed: bool,
    /// Held or sold, over all customers and of each.
    gone: i64,
    customers: HashMap<String, i64>,
}

impl Sale {
    fn take(&mut self, customer: &str, units: i64) {
        self.gone += units;
        *self.customers.entry(customer.to_owned()).or_default() += units;
    }

    fn set_aside(&self) -> i64 {
        if self.is_closed { 0 } else { self.allotment - self.gone }
    }

    fn wrong(&self) -> Option<String> {
        if !(0..=self.allotment).contains(&self.gone) {
            return Some(format!("{} of an allotment of {} are gone", self.gone, self.allotment));
        }
        let past = self.customers.iter().find(|(_, units)| **units < 0 || self.limit.is_some_and(|limit| **units > limit))?;
        Some(format!("{past:?} is past the limit of {:?}", self.limit))
    }
}

impl Stock {
    /// Takes an event. What can't be is said.
    pub fn apply(&mut self, event_type: &str, data: &Value) -> Option<String> {
        let units = data["quantity"].as_i64().unwrap_or_default();
        let order = data["order"].as_str().unwrap_or_default().to_owned();
        let sale = data["sale"].as_str().unwrap_or_default();
        match event_type {
            "StockReceived" | "StockAdjusted" => self.on_hand += units,
            "StockReserved" => {
                self.reserved += units;
                let held = self.orders.entry(order).or_default();
                data["customer"].as_str().unwrap_or_default().clone_into(&mut held.customer);
                held.reserved += units;
                let customer = held.customer.clone();
                self.of_sale(sale, &customer, units);
            }
            "StockCommitted" => {
                (self.on_hand, self.reserved) = (self.on_hand - units, self.reserved - units);
                let held = self.orders.entry(order).or_default();
                (held.reserved, held.taken) = (held.reserved - units, held.taken + units);
            }
            "StockReleased" | "StockExpired" => {
                self.reserved -= units;
                let held = self.orders.entry(order).or_default();
                held.reserved -= units;
                let customer = held.customer.clone();
                self.of_sale(sale, &customer, -units);
            }
            "StockReturned" => {
                self.on_hand += units;
                let held = self.orders.entry(order).or_default();
                held.taken -= units;
                let customer = held.customer.clone();
                self.of_sale(sale, &customer, -units);
            }
            "StockAllotted" => self.allot(sale, units, data),
            "StockAllotmentClosed" => {
                if let Some(sale) = self.sales.get_mut(sale) {
                    sale.is_closed = true;
                }
            }
            _ => {}
        }
        // The first is enough: what follows on it is wrong too.
        if self.is_wrong {
            return None;
        }
        let wrong = self.wrong();
        self.is_wrong = wrong.is_some();
        wrong
    }

    fn allot(&mut self, sale: &str, allotment: i64, data: &Value) {
        let ends_at = data["ends_at"].as_str().and_then(|text| text.parse().ok()).expect("an end of the sale");
        let limit = data["limit_per_customer"].as_i64();
        let sale = self.sales.entry(sale.to_owned());
        sale.or_insert(Sale { allotment, limit, ends_at, is_closed: false, gone: 0, customers: HashMap::new() });
    }

    fn of_sale(&mut self, sale: &str, customer: &str, units: i64) {
        if let Some(sale) = self.sales.get_mut(sale) {
            sale.take(customer, units);
        }
    }

    /// Units that are neither held nor set aside.
    pub fn free(&self) -> i64 {
        self.on_hand - self.reserved - self.sales.values().map(Sale::set_aside).sum::<i64>()
    }

    fn wrong(&self) -> Option<String> {
        let set_aside: i64 = self.sales.values().map(Sale::set_aside).sum();
        if self.reserved < 0 || self.on_hand < self.reserved + set_aside {
            return Some(format!("{} on hand, {} reserved, {set_aside} set aside", self.on_hand, self.reserved));
        }
        if let Some(held) = self.orders.iter().find(|(_, held)| held.reserved < 0 || held.taken < 0) {
            return Some(format!("order {} holds {} and took {}", held.0, held.1.reserved, held.1.taken));
        }
        self.sales.values().find_map(Sale::wrong)
    }

    /// What is under way: units that are held, sales that should be over.
    pub fn open(&self) -> impl Iterator<Item = String> {
        let held = (self.reserved > 0).then(|| format!("{} units are held", self.reserved));
        let now = Utc::now();
        let sales = self.sales.iter().filter(move |(_, sale)| !sale.is_closed && sale.ends_at < now);
        held.into_iter().chain(sales.map(|(id, sale)| format!("sale {id} has no end, which was due at {}", sale.ends_at)))
    }

    /// The units that left stock for an order, without those that came back.
    pub fn taken_by(&self, order: &str) -> i64 {
        self.orders.get(order).map_or(0, |held| held.taken)
    }
}
