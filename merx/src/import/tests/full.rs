//! The whole history, where it is at hand, against the figures that are published with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use event_schemas::{
    Event, Timestamp,
    events::order::{self, ImportedLine},
};
use rust_decimal::Decimal;

use super::database;
use crate::import::{
    online_retail::{Options, run},
    progress,
};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/online_retail_2010-12_to_2011-05.csv.xz");

/// Month, gross and net.
const MONTHS: [(&str, &str, &str); 6] = [
    ("2010-12", "823746.14", "748957.02"),
    ("2011-01", "691364.56", "560000.26"),
    ("2011-02", "523631.89", "498062.65"),
    ("2011-03", "717639.36", "683267.08"),
    ("2011-04", "537808.621", "493207.121"),
    ("2011-05", "770536.02", "723333.51"),
];
/// Country and net, the greatest first.
const COUNTRIES: [(&str, &str); 5] = [
    ("United Kingdom", "3117720.121"),
    ("Netherlands", "112906.68"),
    ("Germany", "91688.25"),
    ("EIRE", "84635.69"),
    ("France", "71756.53"),
];
/// Product and units sold, the greatest first.
const UNITS: [(&str, i64); 5] = [("23166", 75_016), ("84077", 29_281), ("85123A", 21_009), ("21212", 20_072), ("85099B", 19_335)];

/// What a reader of the log counts.
#[derive(Default)]
struct Totals {
    gross: Decimal,
    returned: Decimal,
    net: Decimal,
    lines: u64,
    return_lines: u64,
    corrections: u64,
    months: BTreeMap<String, (Decimal, Decimal)>,
    countries: BTreeMap<String, Decimal>,
    units: BTreeMap<String, i64>,
    customers: BTreeSet<String>,
}

impl Totals {
    fn add(&mut self, at: Timestamp, customer: Option<String>, country: &str, lines: &[ImportedLine], is_return: bool) {
        self.customers.extend(customer);
        for line in lines {
            let amount = line.line_total;
            assert_eq!(amount, line.unit_price * Decimal::from(line.quantity));
            let month = self.months.entry(at.to_string()[..7].to_owned()).or_default();
            if is_return {
                self.returned += amount;
                self.return_lines += 1;
            } else {
                self.lines += 1;
                if line.quantity > 0 && line.unit_price > Decimal::ZERO {
                    self.gross += amount;
                    month.0 += amount;
                    *self.units.entry(line.code.clone()).or_default() += line.quantity;
                }
            }
            self.net += amount;
            month.1 += amount;
            *self.countries.entry(country.to_owned()).or_default() += amount;
        }
    }
}

fn first<K: Clone, V: Copy + Ord>(of: &BTreeMap<K, V>) -> Vec<(K, V)> {
    let mut all: Vec<(K, V)> = of.iter().map(|(key, value)| (key.clone(), *value)).collect();
    all.sort_by_key(|(_, value)| std::cmp::Reverse(*value));
    all.truncate(5);
    all
}

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

#[tokio::test]
async fn the_whole_history_comes_to_what_is_published() {
    if !Path::new(FILE).exists() {
        eprintln!("SKIPPED: {FILE} is not there");
        return;
    }
    let Some(database) = database::new().await else { return };
    let summary = run(&database.store, Path::new(FILE), Options::default(), &progress::silent()).await.unwrap();
    assert_eq!((summary.rows, summary.rejected.rows), (209_029, 0), "{summary}");
    let mut totals = Totals::default();
    for recorded in database.events().await {
        match recorded.event {
            Event::Order(order::Event::Imported(o)) => totals.add(o.placed_at, o.customer, &o.country, &o.lines, false),
            Event::Order(order::Event::ReturnImported(r)) => totals.add(r.returned_at, r.customer, &r.country, &r.lines, true),
            Event::Stock(_) => totals.corrections += 1,
            _ => {}
        }
    }
    let net = decimal("3706827.641");
    assert_eq!((totals.gross, totals.returned, totals.net), (decimal("4064726.591"), decimal("-357898.95"), net));
    assert_eq!((summary.gross, summary.returned, summary.net), (totals.gross, totals.returned, totals.net));
    assert_eq!((totals.lines + totals.corrections, totals.return_lines), (205_246, 3_783));
    let months: Vec<_> = totals.months.iter().map(|(month, (gross, net))| (month.as_str(), *gross, *net)).collect();
    assert_eq!(months, MONTHS.map(|(month, gross, net)| (month, decimal(gross), decimal(net))));
    assert_eq!(first(&totals.countries), COUNTRIES.map(|(country, net)| (country.to_owned(), decimal(net))));
    assert_eq!(first(&totals.units), UNITS.map(|(sku, units)| (sku.to_owned(), units)));
    assert_eq!(totals.customers.len(), 2_767);
    // An invoice of nothing but corrections is no order: there are 651 of these, with one row each.
    assert_eq!((summary.orders.new + summary.corrections.new, summary.returns.new, totals.corrections), (9_106, 1_677, 651));
    database.drop().await;
}
