//! The three tables, each with an order once in each of its cells.

use chrono::NaiveDate;
use sqlx::PgConnection;

use super::tally::Cells;
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
