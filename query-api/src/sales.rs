//! `GET /v1/sales`: what was sold, by day, month, product, category or country.

mod days;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use chrono::NaiveDate;
use event_schemas::{Currency, resource::SignedMoney};
use gateway::{Cursor, CursorText, FieldError, Json, Limit, MinPosition, Position, Problem, Query, Route, Routes};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

use crate::{
    Queries,
    answer::{At, Read},
    catalogue::NOT_YET_VISIBLE,
    error::Error,
};
use days::Day;

const PROJECTIONS: [&str; 1] = ["sales"];
/// The category shown for products that had none: no category's id has such characters.
const UNCATEGORISED: &str = "(none)";
/// ISO 4217 for "no currency": what sums are in where nothing was ever sold.
const NO_CURRENCY: &str = "XXX";

pub fn routes() -> Routes<Queries> {
    Routes::new().add(
        Route::get("/v1/sales", list)
            .summary("What was sold, by day, month, product, category or country")
            .description(
                "An order counts on the UTC day it was placed, a return on the day it came back. `gross` is what was sold, `returned` what came \
                 back (zero or below), `net` their sum. Days and months come in order; products, categories and countries by `net`, the \
                 greatest first. `total` is over all that the filter leaves, not over the page.",
            )
            .tag("Reports")
            .query::<Listing>()
            .answers::<Sales>(200)
            .problem(503, "not_yet_visible", NOT_YET_VISIBLE),
    )
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Listing {
    /// What a line of the report is; months where it is not sent.
    #[serde(default)]
    by: By,
    /// The first day, as `2010-12-01`; of a time its UTC day counts.
    from: Option<Day>,
    /// The last day, which counts too; of a time its UTC day counts.
    to: Option<Day>,
    /// Only sales in this currency; where it is not sent, in the one that most orders are in.
    currency: Option<Currency>,
    #[serde(default)]
    limit: Limit,
    /// The `next_cursor` of the page before.
    cursor: Option<CursorText>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "SalesBy")]
enum By {
    Day,
    #[default]
    Month,
    Product,
    Category,
    Country,
}

impl By {
    fn word(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
            Self::Product => "product",
            Self::Category => "category",
            Self::Country => "country",
        }
    }

    fn cursor_kind(self) -> &'static str {
        match self {
            Self::Day => "sales-by-day",
            Self::Month => "sales-by-month",
            Self::Product => "sales-by-product",
            Self::Category => "sales-by-category",
            Self::Country => "sales-by-country",
        }
    }
}

/// The last line of a page, and the currency that the pages before were in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Place {
    key: String,
    net: String,
    currency: Currency,
}

/// A report of sales.
#[derive(Debug, Serialize, JsonSchema)]
struct Sales {
    /// What all amounts are in; `XXX` where nothing was ever sold.
    currency: Currency,
    /// What is on the page.
    items: Vec<Line>,
    /// All that the filter leaves, on this page or not.
    total: Figures,
    /// What `cursor` must be for the next page; null on the last.
    next_cursor: Option<String>,
}

/// What was sold under one key.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "SalesLine")]
struct Line {
    /// The day, the month, the SKU, the category's id (`(none)` for none) or the country.
    key: String,
    #[serde(flatten)]
    figures: Figures,
}

/// What was sold.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "SalesFigures")]
struct Figures {
    /// How many orders.
    orders: i64,
    /// How many units were sold.
    units: i64,
    /// What they were sold for.
    gross: SignedMoney,
    /// What came back of it; zero or below.
    returned: SignedMoney,
    /// What is left.
    net: SignedMoney,
}

impl Figures {
    fn of(orders: i64, units: i64, sums: [&str; 3], currency: Currency) -> Result<Self, Error> {
        let [gross, returned, net] = sums.map(|sum| sum.parse::<Decimal>().map(|sum| SignedMoney::exact(sum, currency)));
        Ok(Self { orders, units, gross: gross?, returned: returned?, net: net? })
    }
}

async fn list(State(queries): State<Queries>, min: MinPosition, Query(listing): Query<Listing>) -> Result<Response, Problem> {
    let (from, to) = (listing.from.map(Day::date), listing.to.map(Day::date));
    if from.zip(to).is_some_and(|(from, to)| from > to) {
        return Err(Problem::invalid(vec![FieldError::new("?from", "out_of_range", "must not be later than `to`")]));
    }
    let kind = listing.by.cursor_kind();
    let after: Option<Place> = listing.cursor.as_deref().map(|cursor| Cursor::decode(kind, cursor)).transpose()?;
    let currency = listing.currency.or(after.as_ref().map(|place| place.currency));
    if after.as_ref().is_some_and(|place| Some(place.currency) != currency) {
        return Err(Problem::invalid(vec![FieldError::new("?currency", "conflicting", "must be the one that the cursor is for")]));
    }
    let (by, limit) = (listing.by, listing.limit);
    let wanted = Wanted { by, from, to, currency, after, limit };
    let At { position, found } = queries.fresh(min, &PROJECTIONS, || read_page(&queries.reads, &wanted)).await?;
    Ok((Position(position), Json(found)).into_response())
}

/// A page of a report, as it is asked for.
struct Wanted {
    by: By,
    from: Option<NaiveDate>,
    to: Option<NaiveDate>,
    currency: Option<Currency>,
    after: Option<Place>,
    limit: Limit,
}

/// A line of a report, or (without a key) the row that stands for an empty one, with the total of all.
struct Row {
    position: i64,
    currency: Option<String>,
    total_orders: i64,
    total_units: i64,
    total_gross: String,
    total_returned: String,
    total_net: String,
    key: Option<String>,
    orders: i64,
    units: i64,
    gross: String,
    returned: String,
    net: String,
}

async fn read_page(pool: &PgPool, wanted: &Wanted) -> Read<Sales> {
    let rows = read_rows(pool, wanted).await?;
    let position = rows.first().map_or(0, |row| row.position);
    let currency: Currency = rows.first().and_then(|row| row.currency.as_deref()).unwrap_or(NO_CURRENCY).parse()?;
    let total = match rows.first() {
        Some(row) => Figures::of(row.total_orders, row.total_units, [&row.total_gross, &row.total_returned, &row.total_net], currency)?,
        None => Figures::of(0, 0, ["0", "0", "0"], currency)?,
    };
    let most = usize::from(wanted.limit);
    let last = if rows.len() > most { rows.get(most - 1) } else { None };
    let place = last.and_then(|row| Some(Place { key: row.key.clone()?, net: row.net.clone(), currency }));
    let next_cursor = place.map(|place| Cursor::encode(wanted.by.cursor_kind(), &place));
    let mut items = Vec::with_capacity(rows.len());
    for row in rows.into_iter().take(most) {
        let Some(key) = row.key else { continue };
        let key = if key.is_empty() { UNCATEGORISED.to_owned() } else { key };
        items.push(Line { key, figures: Figures::of(row.orders, row.units, [&row.gross, &row.returned, &row.net], currency)? });
    }
    Ok(At { position, found: Sales { currency, items, total, next_cursor } })
}

/// One row more than the page is long; one row without a key where there is nothing.
#[expect(clippy::too_many_lines, reason = "one statement, which is read as a whole")]
async fn read_rows(pool: &PgPool, wanted: &Wanted) -> Result<Vec<Row>, sqlx::Error> {
    // Of the branches of `cells` and `page` only those are run whose parameters fit. `total` is over days, where each order counts once. Only what
    // is ranked over some of the days has to be added up of its cells.
    sqlx::query_as!(
        Row,
        r#"
        with chosen as (
            select coalesce($2::text, (
                select currency from read_model.sales_totals where "by" = 'country' group by currency order by sum(orders) desc, currency limit 1
            )) as currency
        ), days as (
            select key, orders, units, gross, returned, net
            from read_model.sales_totals
            where "by" = 'day' and currency = (select currency from chosen)
              and key >= coalesce(to_char($3::date, 'YYYY-MM-DD'), '') and key <= coalesce(to_char($4::date, 'YYYY-MM-DD'), '9999-12-31')
        ), cells as (
            select country collate "C" as key, orders, units, gross, returned, net
            from read_model.sales_by_country
            where $1::text = 'country' and $8 and currency = (select currency from chosen)
              and day >= coalesce($3::date, '-infinity') and day <= coalesce($4::date, 'infinity')
            union all
            select product collate "C", orders, units, gross, returned, net
            from read_model.sales_by_product
            where $1::text = 'product' and $8 and currency = (select currency from chosen)
              and day >= coalesce($3::date, '-infinity') and day <= coalesce($4::date, 'infinity')
            union all
            select category collate "C", orders, units, gross, returned, net
            from read_model.sales_by_category
            where $1::text = 'category' and $8 and currency = (select currency from chosen)
              and day >= coalesce($3::date, '-infinity') and day <= coalesce($4::date, 'infinity')
        ), lines as (
            select key, sum(orders)::bigint as orders, sum(units)::bigint as units, sum(gross) as gross, sum(returned) as returned, sum(net) as net
            from cells group by key
        ), page as (
            (select 0::numeric as rank, key, orders, units, gross, returned, net
             from days where $1::text = 'day' and key > coalesce($5::text, '')
             order by key limit $7)
            union all
            (select 0, left(key, 7), sum(orders)::bigint, sum(units)::bigint, sum(gross), sum(returned), sum(net)
             from days where $1::text = 'month' and left(key, 7) > coalesce($5::text, '')
             group by left(key, 7) order by left(key, 7) limit $7)
            union all
            -- What is ranked over all days goes on at the very line of the cursor, and then below its sum.
            (select net, key, orders, units, gross, returned, net
             from read_model.sales_totals
             where not $8 and $1::text <> 'day' and "by" = $1 and currency = (select currency from chosen) and net = $6::text::numeric and key > $5
             order by key limit $7)
            union all
            (select net, key, orders, units, gross, returned, net
             from read_model.sales_totals
             where not $8 and $1::text <> 'day' and "by" = $1 and currency = (select currency from chosen) and net < coalesce($6::text::numeric, 'infinity')
             order by net desc, key limit $7)
            union all
            (select net, key, orders, units, gross, returned, net
             from lines where $8 and ($5::text is null or net < $6::text::numeric or (net = $6::text::numeric and key > $5))
             order by net desc, key limit $7)
        ), total as (
            select coalesce(sum(orders), 0) as orders, coalesce(sum(units), 0) as units, coalesce(sum(gross), 0) as gross,
                   coalesce(sum(returned), 0) as returned, coalesce(sum(net), 0) as net
            from days
        )
        select c.position as "position!", chosen.currency, t.orders::bigint as "total_orders!", t.units::bigint as "total_units!",
               t.gross::text as "total_gross!", t.returned::text as "total_returned!", t.net::text as "total_net!",
               p.key as "key?", coalesce(p.orders, 0)::bigint as "orders!", coalesce(p.units, 0)::bigint as "units!",
               coalesce(p.gross, 0)::text as "gross!", coalesce(p.returned, 0)::text as "returned!", coalesce(p.net, 0)::text as "net!"
        from (select coalesce(max(position), 0) as position from checkpoints where name = 'sales') c
        cross join chosen cross join total t left join (select * from page order by rank desc, key limit $7) p on true
        order by p.rank desc, p.key
        "#,
        wanted.by.word(),
        wanted.currency.map(Currency::code),
        wanted.from,
        wanted.to,
        wanted.after.as_ref().map(|place| place.key.as_str()),
        wanted.after.as_ref().map(|place| place.net.as_str()),
        i64::from(wanted.limit) + 1,
        wanted.from.is_some() || wanted.to.is_some(),
    )
    .fetch_all(pool)
    .await
}
