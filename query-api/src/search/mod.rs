//! `GET /v1/search`: what an index finds, shown as `GET /v1/products` shows it.
//!
//! The index says which products, in which order, and how many; what is shown of them comes from the read models, so that it is the same
//! everywhere. An answer is as new as the older of the two.

mod shown;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use ::search::{
    Index, Request, Sort as Order,
    query::{
        After, At as Moment, FacetName, Filters, MOST_ATTRIBUTES, MOST_FACETS, MOST_VALUE_CHARACTERS, MOST_VALUES, Words, Wrong,
        with_commas, wrong_text,
    },
};
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use event_schemas::{
    Currency,
    money::{Amount, amount},
};
use gateway::{Cursor, CursorText, FieldError, Json, Limit, MinPosition, Position, Problem, Query, Route, Routes};
use http::StatusCode;
use rust_decimal::Decimal;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    Queries,
    answer::At,
    catalogue::NOT_YET_VISIBLE,
    error::Error,
    freshness::{PATIENCE, not_yet_visible},
    product::{PROJECTIONS, Several, read_several},
};
use shown::{Found, Suggested, Suggestions};

const CURSOR: &str = "search";
/// How often it is looked whether the index has come far enough.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// The most suggestions.
const MOST_SUGGESTIONS: usize = 10;
/// A text without control characters.
const PLAIN: &str = r"^[^\u0000-\u001f\u007f-\u009f]*$";
/// One of several such texts, which have commas between them.
const LISTED: &str = r"^[^,\u0000-\u001f\u007f-\u009f]+$";
/// The same of the names of facets.
const FACET: &str = r"^(category|brand|in_stock|attributes\.[^,\u0000-\u001f\u007f-\u009f]+)$";
const CURRENCY_REQUIRED: &str =
    "`price_min`, `price_max` and an order by price need one currency, and products have prices in several. Say which with `currency`.";
const UNAVAILABLE: &str = "Search can't be used now; everything else can. Try again after `Retry-After`.";

pub fn routes() -> Routes<Queries> {
    Routes::new()
        .add(
            Route::get("/v1/search", search)
                .summary("Products that match, the best first")
                .description("A page ends early where its products have more than 2 MiB of data.")
                .tag("Catalogue")
                .query::<Searching>()
                .answers::<Found>(200)
                .leads_to("/v1/products/{sku}", "$response.body#/items/0/id")
                .leads_to("/v1/stock/{sku}", "$response.body#/items/0/id")
                .problem(422, "currency_required", CURRENCY_REQUIRED)
                .problem(503, "search_unavailable", UNAVAILABLE)
                .problem(503, "not_yet_visible", NOT_YET_VISIBLE),
        )
        .add(
            Route::get("/v1/search/suggest", suggest)
                .summary("What somebody who is still typing may mean")
                .tag("Catalogue")
                .query::<Suggesting>()
                .answers::<Suggestions>(200)
                .problem(503, "search_unavailable", UNAVAILABLE)
                .problem(503, "not_yet_visible", NOT_YET_VISIBLE),
        )
}

/// A bound on prices.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(transparent)]
struct Bound(
    #[serde(with = "amount")]
    #[schemars(with = "Amount")]
    Decimal,
);

/// In which order products come.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
enum Sort {
    /// The best match first; the newest where nothing was asked for.
    #[default]
    #[serde(rename = "relevance")]
    Relevance,
    /// The cheapest first.
    #[serde(rename = "price")]
    Price,
    /// The dearest first.
    #[serde(rename = "-price")]
    PriceDown,
    /// The newest first.
    #[serde(rename = "newest")]
    Newest,
    /// The best rated first.
    #[serde(rename = "rating")]
    Rating,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Searching {
    /// Words to look for, up to 1,000 characters; the last one may be unfinished. Absent: everything.
    #[serde(default)]
    #[schemars(length(max = 1_000), regex(pattern = PLAIN))]
    q: String,
    /// Only of one of these categories, or below one.
    #[serde(default)]
    #[schemars(length(max = MOST_VALUES), inner(length(max = MOST_VALUE_CHARACTERS), regex(pattern = LISTED)))]
    category: Vec<String>,
    /// Only of one of these makers.
    #[serde(default)]
    #[schemars(length(max = MOST_VALUES), inner(length(max = MOST_VALUE_CHARACTERS), regex(pattern = LISTED)))]
    brand: Vec<String>,
    /// Currency that prices are compared in; else the shop's, else the only one of the products. By price, what has none in it comes last.
    currency: Option<Currency>,
    /// Not cheaper than this. The price is the one that is charged now, flash sales included.
    price_min: Option<Bound>,
    /// Not dearer than this.
    price_max: Option<Bound>,
    /// Only what can be bought now, or only what can't.
    in_stock: Option<bool>,
    /// `attributes.NAME=value`: only with one of these values.
    #[serde(default)]
    #[schemars(schema_with = "attributes")]
    attributes: BTreeMap<String, Vec<String>>,
    /// By something else than relevance only products are listed that have every word, if there are any.
    #[serde(default)]
    sort: Sort,
    /// What to count: `category`, `brand`, `in_stock`, `attributes.NAME`. Counts leave out the filter on the very facet.
    #[serde(default)]
    #[schemars(length(max = MOST_FACETS), inner(regex(pattern = FACET)))]
    facets: Vec<String>,
    #[serde(default)]
    limit: Limit,
    /// The `next_cursor` of the page before.
    cursor: Option<CursorText>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Suggesting {
    /// What was typed so far, up to 1,000 characters.
    #[serde(default)]
    #[schemars(length(max = 1_000), regex(pattern = PLAIN))]
    q: String,
}

fn attributes(_: &mut SchemaGenerator) -> Schema {
    let value = json!({"type": "string", "maxLength": MOST_VALUE_CHARACTERS, "pattern": LISTED});
    json_schema!({
        "type": "object",
        "maxProperties": MOST_ATTRIBUTES,
        "additionalProperties": {"type": "array", "maxItems": MOST_VALUES, "items": value},
    })
}

impl Searching {
    fn request(self, currency: Option<Currency>, at: DateTime<Utc>) -> Result<Request, Problem> {
        let mut wrong: Vec<Wrong> = wrong_text(&self.q).into_iter().collect();
        let mut facets = Vec::new();
        for name in &self.facets {
            match FacetName::parse(name) {
                Some(facet) if facets.contains(&facet) => {}
                Some(facet) => facets.push(facet),
                None => wrong.push(Wrong {
                    parameter: "facets".to_owned(),
                    code: "unknown_value",
                    detail: format!("{name:?} can't be counted; category, brand, in_stock and attributes.NAME can"),
                }),
            }
        }
        let (categories, brands, attributes) = (self.category, self.brand, self.attributes);
        let filters = Filters {
            categories,
            brands,
            currency: self.currency.or(currency),
            price_min: self.price_min.map(|bound| bound.0),
            price_max: self.price_max.map(|bound| bound.0),
            in_stock: self.in_stock,
            attributes,
        };
        let sort = match self.sort {
            Sort::Relevance => Order::Relevance,
            Sort::Price => Order::Price,
            Sort::PriceDown => Order::PriceDown,
            Sort::Newest => Order::Newest,
            Sort::Rating => Order::Rating,
        };
        let words = Words::of(&self.q);
        let mut request = Request { words, filters, sort, facets, limit: self.limit.into(), after: None, at: Moment(at.into()) };
        wrong.extend(request.wrong());
        if !wrong.is_empty() {
            return Err(Problem::invalid(wrong.into_iter().map(field_error).collect()));
        }
        let Filters { brands, attributes, .. } = &mut request.filters;
        for values in std::iter::once(brands).chain(attributes.values_mut()) {
            *values = with_commas(values);
        }
        if let Some(cursor) = &self.cursor {
            let (fingerprint, after): (u64, After) = Cursor::decode(CURSOR, cursor)?;
            if fingerprint != request.fingerprint() {
                let detail = "is of another search; start again without one";
                return Err(Problem::invalid(vec![FieldError::new("?cursor", "unknown_cursor", detail)]));
            }
            request.after = Some(after);
        }
        Ok(request)
    }
}

fn field_error(wrong: Wrong) -> FieldError {
    FieldError::new(format!("?{}", wrong.parameter), wrong.code, wrong.detail)
}

async fn search(State(queries): State<Queries>, min: MinPosition, Query(searching): Query<Searching>) -> Result<Response, Problem> {
    let now = Utc::now();
    let mut request = searching.request(queries.currency, now)?;
    let index = queries.index_from(min).await?;
    let (found, At { position, found: Several { products, .. } }) = loop {
        let found = index.search(&request).await.map_err(refused)?;
        let shown = queries.fresh(min, &PROJECTIONS, || read_several(&queries.reads, &found.skus, now)).await?;
        if shown.found.looked_up >= found.skus.len() {
            break (found, shown);
        }
        // The page ends with the last one that it has room for, and the index knows where the next page begins.
        request.limit = shown.found.looked_up;
    };
    let position = position.min(found.position);
    let next_cursor = found.next.map(|after| Cursor::encode(CURSOR, &(request.fingerprint(), after)));
    Ok((Position(position), Json(Found::of(&request, found, products, next_cursor))).into_response())
}

async fn suggest(
    State(queries): State<Queries>,
    min: MinPosition,
    Query(Suggesting { q }): Query<Suggesting>,
) -> Result<Response, Problem> {
    if let Some(wrong) = wrong_text(&q) {
        return Err(Problem::invalid(vec![field_error(wrong)]));
    }
    let index = queries.index_from(min).await?;
    let position = index.serves().await.map_err(refused)?.map_or(0, |place| place.position);
    let suggestions = index.suggest(&q, MOST_SUGGESTIONS).await.map_err(refused)?;
    let items = suggestions.into_iter().map(Suggested::from).collect();
    Ok((Position(position), Json(Suggestions { items })).into_response())
}

impl Queries {
    /// The index, at least as new as `min`. One that is being made is waited for.
    async fn index_from(&self, min: MinPosition) -> Result<Arc<dyn Index>, Problem> {
        let index = self.search.clone().ok_or_else(unavailable)?;
        let min = min.0.unwrap_or(0);
        if min > 0 {
            self.head_from(MinPosition(Some(min))).await?;
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let place = index.serves().await.map_err(refused)?;
            match place {
                Some(place) if place.position >= min => return Ok(index),
                Some(place) if Instant::now() >= deadline => return Err(not_yet_visible(place.position)),
                None if Instant::now() >= deadline => return Err(unavailable()),
                _ => sleep(POLL_INTERVAL).await,
            }
        }
    }
}

fn unavailable() -> Problem {
    let detail = "The search index is being made. Try again in a moment.";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "search_unavailable", detail).retry_after(1)
}

fn refused(error: ::search::Error) -> Problem {
    match error {
        ::search::Error::Unknown { parameter, name } => {
            let detail = format!("{name} is not known: no product has it");
            Problem::invalid(vec![FieldError::new(format!("?{parameter}"), "unknown_value", detail)])
        }
        ::search::Error::CurrencyRequired(codes) => {
            let detail = format!("prices are in {}: say which of these counts", codes.join(", "));
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "currency_required", format!("?currency: {detail}")).error(FieldError::new(
                "?currency",
                "currency_required",
                detail,
            ))
        }
        ::search::Error::Unavailable(why) => {
            tracing::warn!(why, "search can't be served");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "search_unavailable", "Search can't be reached.").retry_after(1)
        }
        error => Error::Search(error).into(),
    }
}
