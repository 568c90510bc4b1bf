//! What the server finds: narrowed, counted and sorted by it, and of what matches the best few in our order.

use std::collections::HashMap;

use event_schemas::{Currency, Money};
use futures::future::try_join_all;
use meilisearch_sdk::search::{
    FederatedMultiSearchResponse, FederationOptions, MatchingStrategies, MergeFacets, QueryFederationOptions, SearchQuery, Selectors,
};
use rust_decimal::{Decimal, prelude::FromPrimitive as _};
use serde::Deserialize;

use super::{
    Meilisearch,
    asked::{self, Try, attribute, field, is_filtered},
    key,
    record::{SEPARATOR, Shown},
    server::{QUESTION_LIMIT, within},
};
use crate::{
    Answer, Document, Error, Facet, Kind, Request, Suggestion,
    embedded::{has_all, in_order},
    query::{After, EXACT_TOTAL, FacetName, MOST_FACET_VALUES, Sort, Words},
};

/// So many of what matches best are put in our order.
const WINDOW: usize = 200;
/// The most brands and the most categories among the suggestions.
const MOST_NAMES: usize = 3;
/// What prices are counted by.
const PRICES: [&str; 2] = ["price", "currency"];

#[derive(Debug, Clone, Deserialize)]
struct Hit {
    sku: String,
    #[serde(default)]
    created: i64,
    shown: Option<Shown>,
}

/// One request to the server: queries that stand for one, and what is wanted of what they find.
struct Wanted<'a> {
    tries: &'a [Try],
    strategy: MatchingStrategies,
    order: &'static [&'static str],
    filters: Vec<String>,
    facets: Vec<String>,
    offset: usize,
    limit: usize,
    fields: &'static [&'static str],
}

impl Meilisearch {
    pub(super) async fn answer(&self, request: &Request) -> Result<Answer, Error> {
        self.server.check_version().await?;
        // The place first: what is found is at least as new.
        let place = self.kept_place().await?.ok_or_else(being_made)?;
        self.check_attributes(request).await?;
        let tries = asked::tries(&request.words, &*self.vocabulary(place).await?);
        let (tries, strategy) = self.narrowed(request.sort, tries).await?;
        let order = asked::order(request.sort, !tries.is_empty());
        let is_ranked = order.is_empty();
        // A page says where it begins; in our order only within the window. Past the exact total there are no more pages, whatever a cursor says.
        let offset = request.after.map_or(0, |after| usize::try_from(after.key.min(EXACT_TOTAL)).unwrap_or_default());
        let (skip, first) = if is_ranked && offset < WINDOW { (offset, 0) } else { (0, offset) };
        let limit = if first == 0 && is_ranked { WINDOW.max(skip + request.limit) } else { request.limit };
        let own: Vec<&FacetName> = request.facets.iter().filter(|facet| is_filtered(&request.filters, facet)).collect();
        let shared = request.facets.iter().filter(|facet| !own.contains(facet)).map(field);
        let main = Wanted {
            tries: &tries,
            strategy: strategy.clone(),
            order,
            filters: asked::filters(&request.filters, None),
            facets: shared.chain(PRICES.map(str::to_owned)).collect(),
            offset: first,
            limit,
            fields: if is_ranked { &["sku", "created", "shown"] } else { &["sku"] },
        };
        let counted = own.iter().map(|facet| {
            self.ask(Wanted {
                tries: &tries,
                strategy: strategy.clone(),
                order: &[],
                filters: asked::filters(&request.filters, Some(facet)),
                facets: vec![field(facet)],
                offset: 0,
                limit: 0,
                fields: &["sku"],
            })
        });
        let (main, counted) = futures::future::try_join(self.ask(main), try_join_all(counted)).await?;
        let total = main.estimated_total_hits;
        let facets = request.facets.iter().map(|facet| {
            let own = own.iter().position(|other| *other == facet).and_then(|at| counted.get(at));
            counts(facet, own.unwrap_or(&main))
        });
        let (facets, price) = (facets.collect(), price(&main));
        let hits: Vec<Hit> = main.hits.into_iter().map(|hit| hit.result).collect();
        let skus: Vec<String> = if is_ranked && first == 0 { self.ranked(hits, &request.words, place).await? } else { skus(hits) };
        let skus: Vec<String> = skus.into_iter().skip(skip).take(request.limit).collect();
        let next = offset + skus.len();
        let has_more = next < total && !skus.is_empty();
        let next = has_more.then_some(After { key: next as u64, created: 0 });
        Ok(Answer { skus, total: total as u64, facets, price, next, position: place.position })
    }

    /// The best of `hits` by our order, then the others as they came.
    async fn ranked(&self, hits: Vec<Hit>, words: &Words, place: crate::Place) -> Result<Vec<String>, Error> {
        let vocabulary = self.vocabulary(place).await?;
        let words = words.clone();
        let rank = move || -> Result<Vec<String>, Error> {
            let mut documents: Vec<Document> = Vec::new();
            let mut rest: Vec<String> = Vec::new();
            for hit in hits {
                match hit.shown {
                    Some(shown) if documents.len() < WINDOW => documents.push(shown.document(hit.sku, hit.created)),
                    _ => rest.push(hit.sku),
                }
            }
            let order = in_order(&documents, &words, &vocabulary)?;
            let mut skus: Vec<Option<String>> = documents.into_iter().map(|document| Some(document.sku)).collect();
            let mut ranked: Vec<String> = order.into_iter().filter_map(|at| skus.get_mut(at).and_then(Option::take)).collect();
            ranked.extend(skus.into_iter().flatten().chain(rest));
            Ok(ranked)
        };
        tokio::task::spawn_blocking(rank).await.map_err(|panic| Error::Panicked(panic.to_string()))?
    }

    /// Sorted by anything but how well it matches, what is only partly meant would stand before what is: the fullest match that there is.
    async fn narrowed(&self, sort: Sort, tries: Vec<Try>) -> Result<(Vec<Try>, MatchingStrategies), Error> {
        if sort == Sort::Relevance || tries.is_empty() {
            return Ok((tries, MatchingStrategies::FREQUENCY));
        }
        let index = self.server.client.index(&self.index);
        let mut asked = self.server.client.multi_search();
        for one in &tries {
            let mut query = SearchQuery::new(&index);
            query.with_query(&one.text).with_limit(0).with_matching_strategy(MatchingStrategies::ALL);
            asked.with_search_query(query);
        }
        let found = within(QUESTION_LIMIT, asked.execute::<Hit>()).await?.results;
        let fullest = found.iter().position(|found| found.estimated_total_hits.unwrap_or_default() > 0);
        Ok(match fullest {
            Some(at) => (tries.into_iter().skip(at).take(1).collect(), MatchingStrategies::ALL),
            None => (tries, MatchingStrategies::FREQUENCY),
        })
    }

    /// Refuses attributes and facets that no product has.
    async fn check_attributes(&self, request: &Request) -> Result<(), Error> {
        let filtered = request.filters.attributes.keys().map(|name| (format!("attributes.{name}"), name));
        let counted = request.facets.iter().filter_map(|facet| match facet {
            FacetName::Attribute(name) => Some(("facets".to_owned(), name)),
            _ => None,
        });
        let named: Vec<(String, &String)> = filtered.chain(counted).collect();
        if named.is_empty() {
            return Ok(());
        }
        let index = self.server.client.index(&self.index);
        let filters: Vec<String> = named.iter().map(|(_, name)| format!("{} EXISTS", attribute(name))).collect();
        let mut asked = self.server.client.multi_search();
        for filter in &filters {
            let mut query = SearchQuery::new(&index);
            query.with_limit(0).with_filter(filter);
            asked.with_search_query(query);
        }
        let found = within(QUESTION_LIMIT, asked.execute::<Hit>()).await?.results;
        for ((parameter, name), found) in named.into_iter().zip(found) {
            if found.estimated_total_hits == Some(0) {
                return Err(Error::Unknown { parameter, name: format!("the attribute {name:?}") });
            }
        }
        Ok(())
    }

    async fn ask(&self, wanted: Wanted<'_>) -> Result<FederatedMultiSearchResponse<Hit>, Error> {
        let Wanted { tries, strategy, order, filters, facets, offset, limit, fields } = wanted;
        let index = self.server.client.index(&self.index);
        let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
        let everything = [Try { text: String::new(), weight: 1.0 }];
        let mut asked = self.server.client.multi_search();
        for one in if tries.is_empty() { &everything } else { tries } {
            let mut query = SearchQuery::new(&index);
            query.with_query(&one.text).with_matching_strategy(strategy.clone()).with_attributes_to_retrieve(Selectors::Some(fields));
            if !filters.is_empty() {
                query.with_array_filter(filters.clone());
            }
            if !order.is_empty() {
                query.with_sort(order);
            }
            asked.with_search_query_and_options(query, QueryFederationOptions { weight: Some(one.weight), remote: None });
        }
        let asked = asked.with_federation(FederationOptions {
            offset: Some(offset),
            limit: Some(limit),
            facets_by_index: Some(HashMap::from([(self.index.clone(), facets)])),
            merge_facets: Some(MergeFacets { max_values_per_facet: Some(MOST_FACET_VALUES) }),
            show_performance_details: None,
        });
        within(QUESTION_LIMIT, asked.execute::<Hit>()).await
    }

    pub(super) async fn suggestions(&self, text: &str, most: usize) -> Result<Vec<Suggestion>, Error> {
        self.server.check_version().await?;
        let words = Words::of(text);
        if words.is_empty() {
            return Ok(Vec::new());
        }
        let mut typed = words.list().join(" ");
        if words.unfinished().is_none() {
            typed.push(' ');
        }
        let index = self.server.client.index(&self.index);
        let mut asked = self.server.client.multi_search();
        let places: [(&[&str], &[&str], usize); 3] =
            [(&["category_words"], &["category_name"], 0), (&["brand_words"], &["brand"], 0), (&["title", "title_numbers"], &[], most * 4)];
        for (searched, facets, limit) in &places {
            let mut query = SearchQuery::new(&index);
            query
                .with_query(&typed)
                .with_matching_strategy(MatchingStrategies::ALL)
                .with_attributes_to_search_on(searched)
                .with_limit(*limit);
            if !facets.is_empty() {
                query.with_facets(Selectors::Some(facets));
            }
            asked.with_search_query(query);
        }
        let found = within(QUESTION_LIMIT, asked.execute::<Hit>()).await?.results;
        let mut suggestions = Vec::new();
        for (found, (kind, field)) in found.iter().zip([(Kind::Category, "category_name"), (Kind::Brand, "brand")]) {
            let values = found.facet_distribution.iter().filter_map(|facets| facets.get(field)).flatten();
            let mut names: Vec<(usize, Suggestion)> = values.filter_map(|(value, many)| Some((*many, named(kind, value)?))).collect();
            names.retain(|(_, suggestion)| has_all(&words, &suggestion.text));
            names.sort_by(|(many_a, a), (many_b, b)| many_b.cmp(many_a).then_with(|| a.text.cmp(&b.text)));
            suggestions.extend(names.into_iter().take(MOST_NAMES).map(|(_, suggestion)| suggestion));
        }
        for hit in found.into_iter().nth(2).map(|found| found.hits).unwrap_or_default() {
            let Hit { sku, shown: Some(shown), .. } = hit.result else { continue };
            let title = shown.title();
            if !suggestions.iter().any(|known: &Suggestion| known.kind == Kind::Product && known.text == title) {
                suggestions.push(Suggestion { kind: Kind::Product, text: title.to_owned(), value: sku });
            }
        }
        suggestions.truncate(most);
        Ok(suggestions)
    }
}

fn being_made() -> Error {
    Error::Unavailable("the index is being made".to_owned())
}

fn skus(hits: Vec<Hit>) -> Vec<String> {
    hits.into_iter().map(|hit| hit.sku).collect()
}

/// What a value of a facet of names means.
fn named(kind: Kind, value: &str) -> Option<Suggestion> {
    let (id, name) = value.split_once(SEPARATOR).unwrap_or((value, value));
    Some(Suggestion { kind, text: key::text(name)?, value: key::text(id)? })
}

fn counts(facet: &FacetName, found: &FederatedMultiSearchResponse<Hit>) -> Facet {
    let counts = found.facet_distribution.iter().filter_map(|facets| facets.get(&field(facet))).flatten();
    // Whether any can be bought is no name that we gave.
    let read = |value: &str| if *facet == FacetName::InStock { Some(value.to_owned()) } else { key::text(value) };
    let mut values: Vec<(String, u64)> = counts.filter_map(|(value, many)| Some((read(value)?, *many as u64))).collect();
    values.sort_unstable_by(|(a, many_a), (b, many_b)| many_b.cmp(many_a).then_with(|| a.cmp(b)));
    Facet { name: facet.to_string(), values }
}

/// The least and the greatest price, where all are in one currency.
fn price(found: &FederatedMultiSearchResponse<Hit>) -> Option<(Money, Money)> {
    let currencies = found.facet_distribution.as_ref()?.get("currency")?;
    let mut codes = currencies.keys();
    let (Some(code), None) = (codes.next(), codes.next()) else { return None };
    let currency: Currency = code.parse().ok()?;
    let stats = found.facet_stats.as_ref()?.get("price")?;
    let money = |amount: f64| {
        let mut amount = Decimal::from_f64(amount)?.round_dp(6).normalize();
        if amount.scale() < currency.minor_digits() {
            amount.rescale(currency.minor_digits());
        }
        Some(Money::new(amount, currency))
    };
    Some((money(stats.min)?, money(stats.max)?))
}
