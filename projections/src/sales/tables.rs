//! The three tables of cells, each with an order once in each of its cells, and what their cells come to.

use chrono::NaiveDate;
use rust_decimal::Decimal;
use sqlx::PgConnection;

use super::tally::{Cells, Sums, Totals};
use crate::Error;

/// Cells as columns. Amounts go as text: they are exact, and Postgres adds them up exactly.
struct Columns<'a> {
    keys: Vec<&'a str>,
    days: Vec<NaiveDate>,
    currencies: Vec<&'static str>,
    orders: Vec<i64>,
    units: Vec<i64>,
    gross: Vec<String>,
    returned: Vec<String>,
    net: Vec<String>,
}

impl<'a> Columns<'a> {
    /// None where nothing is added.
    fn of(cells: &'a Cells) -> Option<Self> {
        let mut columns = Self {
            keys: Vec::new(),
            days: Vec::new(),
            currencies: Vec::new(),
            orders: Vec::new(),
            units: Vec::new(),
            gross: Vec::new(),
            returned: Vec::new(),
            net: Vec::new(),
        };
        for (key, day, currency, sums) in cells.iter() {
            columns.keys.push(key);
            columns.days.push(day);
            columns.currencies.push(currency);
            columns.orders.push(sums.orders);
            columns.units.push(sums.units);
            columns.gross.push(sums.gross.to_string());
            columns.returned.push(sums.returned.to_string());
            columns.net.push(sums.net.to_string());
        }
        (!columns.keys.is_empty()).then_some(columns)
    }
}

pub async fn add_by_country(connection: &mut PgConnection, cells: &Cells) -> Result<(), Error> {
    let Some(columns) = Columns::of(cells) else { return Ok(()) };
    sqlx::query!(
        r#"
        insert into sales_by_country as s (day, currency, country, orders, units, gross, returned, net)
        select r.day, r.currency, r.country, r.orders, r.units, r.gross::numeric, r.returned::numeric, r.net::numeric
        from unnest($1::date[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::text[], $8::text[])
            as r (day, currency, country, orders, units, gross, returned, net)
        on conflict (day, currency, country) do update
            set orders = s.orders + excluded.orders, units = s.units + excluded.units, gross = s.gross + excluded.gross,
                returned = s.returned + excluded.returned, net = s.net + excluded.net
        "#,
        &columns.days,
        &columns.currencies as &[&str],
        &columns.keys as &[&str],
        &columns.orders,
        &columns.units,
        &columns.gross,
        &columns.returned,
        &columns.net,
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub async fn add_by_product(connection: &mut PgConnection, cells: &Cells) -> Result<(), Error> {
    let Some(columns) = Columns::of(cells) else { return Ok(()) };
    sqlx::query!(
        r#"
        insert into sales_by_product as s (day, currency, product, orders, units, gross, returned, net)
        select r.day, r.currency, r.product, r.orders, r.units, r.gross::numeric, r.returned::numeric, r.net::numeric
        from unnest($1::date[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::text[], $8::text[])
            as r (day, currency, product, orders, units, gross, returned, net)
        on conflict (day, currency, product) do update
            set orders = s.orders + excluded.orders, units = s.units + excluded.units, gross = s.gross + excluded.gross,
                returned = s.returned + excluded.returned, net = s.net + excluded.net
        "#,
        &columns.days,
        &columns.currencies as &[&str],
        &columns.keys as &[&str],
        &columns.orders,
        &columns.units,
        &columns.gross,
        &columns.returned,
        &columns.net,
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub async fn add_by_category(connection: &mut PgConnection, cells: &Cells) -> Result<(), Error> {
    let Some(columns) = Columns::of(cells) else { return Ok(()) };
    sqlx::query!(
        r#"
        insert into sales_by_category as s (day, currency, category, orders, units, gross, returned, net)
        select r.day, r.currency, r.category, r.orders, r.units, r.gross::numeric, r.returned::numeric, r.net::numeric
        from unnest($1::date[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::text[], $8::text[])
            as r (day, currency, category, orders, units, gross, returned, net)
        on conflict (day, currency, category) do update
            set orders = s.orders + excluded.orders, units = s.units + excluded.units, gross = s.gross + excluded.gross,
                returned = s.returned + excluded.returned, net = s.net + excluded.net
        "#,
        &columns.days,
        &columns.currencies as &[&str],
        &columns.keys as &[&str],
        &columns.orders,
        &columns.units,
        &columns.gross,
        &columns.returned,
        &columns.net,
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub async fn add_to_totals(connection: &mut PgConnection, totals: &Totals) -> Result<(), Error> {
    if totals.is_empty() {
        return Ok(());
    }
    let (mut kinds, mut currencies, mut keys) = (Vec::new(), Vec::new(), Vec::new());
    for (by, currency, key) in totals.keys() {
        kinds.push(*by);
        currencies.push(*currency);
        keys.push(key.as_str());
    }
    let orders: Vec<i64> = totals.values().map(|sums| sums.orders).collect();
    let units: Vec<i64> = totals.values().map(|sums| sums.units).collect();
    let amounts = |of: fn(&Sums) -> &Decimal| -> Vec<String> { totals.values().map(|sums| of(sums).to_string()).collect() };
    sqlx::query!(
        r#"
        insert into sales_totals as s ("by", currency, key, orders, units, gross, returned, net)
        select r.kind, r.currency, r.key, r.orders, r.units, r.gross::numeric, r.returned::numeric, r.net::numeric
        from unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::text[], $8::text[])
            as r (kind, currency, key, orders, units, gross, returned, net)
        on conflict ("by", currency, key) do update
            set orders = s.orders + excluded.orders, units = s.units + excluded.units, gross = s.gross + excluded.gross,
                returned = s.returned + excluded.returned, net = s.net + excluded.net
        "#,
        &kinds as &[&str],
        &currencies as &[&str],
        &keys as &[&str],
        &orders,
        &units,
        &amounts(|sums| &sums.gross),
        &amounts(|sums| &sums.returned),
        &amounts(|sums| &sums.net),
    )
    .execute(connection)
    .await?;
    Ok(())
}
