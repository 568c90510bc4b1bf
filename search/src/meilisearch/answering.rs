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
    charge::Charge,
    keeping::Serving,
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
/// Fields that tell in which currencies prices are, between which bounds list prices, and whether there are sales.
const PRICES: [&str; 3] = [CURRENCY, AMOUNT, SALE];
const CURRENCY: &str = "currency";
const AMOUNT: &str = "amount";
const SALE: &str = "sales.0.from";

type Found = FederatedMultiSearchResponse<Hit>;

#[derive(Debug, Clone, Deserialize)]
struct Hit {
    sku: String,
    #[serde(default)]
    created: i64,
    shown: Option<Shown>,
}

/// One request to the server: queries that stand for one, and what is wanted of what they find.
#[derive(Clone)]
struct Wanted<'a> {
    index: &'a str,
    tries: &'a [Try],
    strategy: MatchingStrategies,
    /// Parts that it is put together from, each with its filter and with what it is sorted by before all else; empty for all of it at once.
    parts: Vec<(String, String)>,
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
        let serving = self.serving().await?.ok_or_else(being_made)?;
        self.check_attributes(&serving, request).await?;
        if request.words.is_signs() {
            let facets = request.facets.iter().map(|facet| Facet { name: facet.to_string(), values: Vec::new() });
            return Ok(Answer { facets: facets.collect(), position: serving.place.position, ..Answer::default() });
        }
        let charge = self.charge(&serving, request).await?;
        let tries = asked::tries(&request.words, &*self.vocabulary(&serving).await?);
        let (tries, strategy) = self.narrowed(&serving, request.sort, tries).await?;
        let order = asked::order(request.sort, !tries.is_empty());
        let is_ranked = order.is_empty();
        let bounds = charge.bounds(&request.filters);
        let filters = |without: Option<&FacetName>| {
            let mut filters = asked::filters(&request.filters, without);
            filters.extend(bounds.clone());
            filters
        };
        // A page says where it begins; in our order only within the window. Past the exact total there are no more pages, whatever a cursor says.
        let offset = request.after.map_or(0, |after| usize::try_from(after.key.min(EXACT_TOTAL)).unwrap_or_default());
        let (skip, first) = if is_ranked && offset < WINDOW { (offset, 0) } else { (0, offset) };
        let limit = if first == 0 && is_ranked { WINDOW.max(skip + request.limit) } else { request.limit };
        let own: Vec<&FacetName> = request.facets.iter().filter(|facet| is_filtered(&request.filters, facet)).collect();
        let shared = request.facets.iter().filter(|facet| !own.contains(facet)).map(field);
        let prices: &[&str] = if serving.is_earlier { &[] } else { &PRICES };
        let plain = Wanted {
            index: &serving.index,
            tries: &tries,
            strategy: strategy.clone(),
            parts: Vec::new(),
            order: &[],
            filters: filters(None),
            facets: Vec::new(),
            offset: 0,
            limit: 0,
            fields: &["sku"],
        };
        let main = Wanted {
            parts: charge.sorted(request.sort),
            order,
            facets: shared.chain(prices.iter().map(|&name| name.to_owned())).collect(),
            offset: first,
            limit,
            fields: if is_ranked { &["sku", "created", "shown"] } else { &["sku"] },
            ..plain.clone()
        };
        let counted =
            own.iter().map(|facet| self.ask(Wanted { filters: filters(Some(facet)), facets: vec![field(facet)], ..plain.clone() }));
        let (main, counted) = futures::future::try_join(self.ask(main), try_join_all(counted)).await?;
        let total = main.estimated_total_hits;
        let facets = request.facets.iter().map(|facet| {
            let own = own.iter().position(|other| *other == facet).and_then(|at| counted.get(at));
            counts(facet, own.unwrap_or(&main))
        });
        let facets = facets.collect();
        let price = self.range(&main, &plain, charge).await?;
        let hits: Vec<Hit> = main.hits.into_iter().map(|hit| hit.result).collect();
        let skus: Vec<String> = if is_ranked && first == 0 { self.ranked(hits, &request.words, &serving).await? } else { skus(hits) };
        let skus: Vec<String> = skus.into_iter().skip(skip).take(request.limit).collect();
        let next = offset + skus.len();
        let has_more = next < total && !skus.is_empty();
        let next = has_more.then_some(After { key: next as u64, created: 0 });
        Ok(Answer { skus, total: total as u64, facets, price, next, position: serving.place.position })
    }

    /// The best of `hits` by our order, then the others as they came.
    async fn ranked(&self, hits: Vec<Hit>, words: &Words, serving: &Serving) -> Result<Vec<String>, Error> {
        let vocabulary = self.vocabulary(serving).await?;
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
    async fn narrowed(&self, serving: &Serving, sort: Sort, tries: Vec<Try>) -> Result<(Vec<Try>, MatchingStrategies), Error> {
        if sort == Sort::Relevance || tries.is_empty() {
            return Ok((tries, MatchingStrategies::FREQUENCY));
        }
        let index = self.server.client.index(&serving.index);
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
    async fn check_attributes(&self, serving: &Serving, request: &Request) -> Result<(), Error> {
        let filtered = request.filters.attributes.keys().map(|name| (format!("attributes.{name}"), name));
        let counted = request.facets.iter().filter_map(|facet| match facet {
            FacetName::Attribute(name) => Some(("facets".to_owned(), name)),
            _ => None,
        });
        let named: Vec<(String, &String)> = filtered.chain(counted).collect();
        if named.is_empty() {
            return Ok(());
        }
        let index = self.server.client.index(&serving.index);
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

    /// Charge at the moment of `request`: in its currency, or where it compares prices without one, in the only one that products have;
    /// fails where they have several.
    async fn charge(&self, serving: &Serving, request: &Request) -> Result<Charge, Error> {
        let charge = Charge { at: request.at.micros(), currency: request.filters.currency, is_earlier: serving.is_earlier };
        if charge.currency.is_some() || !request.compares_prices() {
            return Ok(charge);
        }
        let all = self.ask(Wanted {
            index: &serving.index,
            tries: &[],
            strategy: MatchingStrategies::ALL,
            parts: Vec::new(),
            order: &[],
            filters: Vec::new(),
            facets: vec![CURRENCY.to_owned()],
            offset: 0,
            limit: 0,
            fields: &["sku"],
        });
        let mut codes = currencies(&all.await?);
        match codes.pop() {
            Some(only) if codes.is_empty() => Ok(Charge { currency: only.parse().ok(), ..charge }),
            Some(last) => {
                codes.push(last);
                codes.sort();
                Err(Error::CurrencyRequired(codes))
            }
            None => Ok(charge),
        }
    }

    /// The least and the greatest price that is charged for what was found, where there is one currency to say them in.
    async fn range(&self, found: &Found, plain: &Wanted<'_>, charge: Charge) -> Result<Option<(Money, Money)>, Error> {
        let codes = currencies(found);
        let only = match codes.as_slice() {
            [code] => code.parse().ok(),
            _ => None,
        };
        let Some(currency) = charge.currency.or(only).filter(|_| !codes.is_empty()) else { return Ok(None) };
        let stats = |found: &Found, field: &str| found.facet_stats.as_ref()?.get(field).map(|stats| (stats.min, stats.max));
        if only.is_some_and(|only| only == currency) && stats(found, SALE).is_none() {
            return Ok(stats(found, AMOUNT).and_then(|(least, most)| money(least, currency).zip(money(most, currency))));
        }
        let parts = Charge { currency: Some(currency), ..charge }.parts();
        let asked = parts.iter().map(|part| {
            let filters = plain.filters.iter().chain([&part.filter]).cloned().collect();
            self.ask(Wanted { filters, facets: vec![part.field.clone()], ..plain.clone() })
        });
        let found = try_join_all(asked).await?;
        let ranges = found.iter().zip(&parts).filter_map(|(found, part)| stats(found, &part.field));
        let range = ranges.reduce(|(least, most), (a, b)| (least.min(a), most.max(b)));
        Ok(range.and_then(|(least, most)| money(least, currency).zip(money(most, currency))))
    }

    async fn ask(&self, wanted: Wanted<'_>) -> Result<Found, Error> {
        let Wanted { index: name, tries, strategy, parts, order, filters, facets, offset, limit, fields } = wanted;
        let index = self.server.client.index(name);
        let everything = [Try { text: String::new(), weight: 1.0 }];
        let tries = if tries.is_empty() { &everything } else { tries };
        let all = || filters.iter().map(String::as_str);
        let parts: Vec<(Vec<&str>, Vec<&str>)> = if parts.is_empty() {
            vec![(all().collect(), order.to_vec())]
        } else {
            let one = |(filter, sort)| (all().chain([filter]).collect(), std::iter::once(sort).chain(order.iter().copied()).collect());
            parts.iter().map(|(filter, sort)| one((filter.as_str(), sort.as_str()))).collect()
        };
        let mut asked = self.server.client.multi_search();
        for (filters, order) in &parts {
            for one in tries {
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
        }
        let asked = asked.with_federation(FederationOptions {
            offset: Some(offset),
            limit: Some(limit),
            facets_by_index: Some(HashMap::from([(name.to_owned(), facets)])),
            merge_facets: Some(MergeFacets { max_values_per_facet: Some(MOST_FACET_VALUES) }),
            show_performance_details: None,
        });
        within(QUESTION_LIMIT, asked.execute::<Hit>()).await
    }

    pub(super) async fn suggestions(&self, text: &str, most: usize) -> Result<Vec<Suggestion>, Error> {
        self.server.check_version().await?;
        let words = Words::of(text);
        if words.list().is_empty() {
            return Ok(Vec::new());
        }
        let serving = self.serving().await?.ok_or_else(being_made)?;
        let mut typed = words.list().join(" ");
        if words.unfinished().is_none() {
            typed.push(' ');
        }
        let index = self.server.client.index(&serving.index);
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

fn counts(facet: &FacetName, found: &Found) -> Facet {
    let counts = found.facet_distribution.iter().filter_map(|facets| facets.get(&field(facet))).flatten();
    // Whether any can be bought is no name that we gave.
    let read = |value: &str| if *facet == FacetName::InStock { Some(value.to_owned()) } else { key::text(value) };
    let mut values: Vec<(String, u64)> = counts.filter_map(|(value, many)| Some((read(value)?, *many as u64))).collect();
    values.sort_unstable_by(|(a, many_a), (b, many_b)| many_b.cmp(many_a).then_with(|| a.cmp(b)));
    Facet { name: facet.to_string(), values }
}

/// The currencies of what was found.
fn currencies(found: &Found) -> Vec<String> {
    let codes = found.facet_distribution.iter().filter_map(|facets| facets.get(CURRENCY)).flatten();
    codes.map(|(code, _)| code.clone()).collect()
}

fn money(amount: f64, currency: Currency) -> Option<Money> {
    let mut amount = Decimal::from_f64(amount)?.round_dp(6).normalize();
    if amount.scale() < currency.minor_digits() {
        amount.rescale(currency.minor_digits());
    }
    Some(Money::new(amount, currency))
}
