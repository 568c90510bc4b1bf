//! How Meilisearch is told to index products: pushed when whoever keeps the index starts.

use std::collections::BTreeMap;

use meilisearch_sdk::settings::{
    FacetSortValue, FacetingSettings, FilterFeatureModes, FilterFeatures, FilterableAttribute, FilterableAttributesSettings,
    MinWordSizeForTypos, PaginationSetting, Settings, TypoToleranceSettings,
};

use crate::query::{EXACT_TOTAL, MOST_FACET_VALUES};

/// Where words are looked for, the most telling first.
const SEARCHED: [&str; 11] = [
    "code",
    "title",
    "title_numbers",
    "joined_numbers",
    "joined",
    "brand_words",
    "bases",
    "category_words",
    "attribute_words",
    "numbers",
    "description",
];
/// Where a word with a digit stands: another one that looks like it is another model, and no typo.
const EXACT: [&str; 4] = ["code", "title_numbers", "joined_numbers", "numbers"];
const FILTERED: [&str; 6] = ["amount", "brand", "category", "category_name", "currency", "in_stock"];
/// Prices with all that is below them: in each currency, and of each sale.
const SORTED: [&str; 4] = ["created", "price", "rating", "sales"];
/// What a filter by an attribute looks like.
const ATTRIBUTES: &str = "attributes.*";
/// Patterns of filters by prices, and by the times of sales.
const PRICES: [&str; 2] = ["price.*", "sales.*"];
/// Meilisearch's own order of rules, but that an order which was asked for rules alone, and the newest comes first where all else is even.
const RULES: [&str; 7] = ["sort", "words", "typo", "proximity", "attribute", "exactness", "created:desc"];
const SHOWN: [&str; 3] = ["created", "shown", "sku"];

/// The settings. Whatever changes here, or in the record, must raise [`super::SHAPE`].
pub fn settings() -> Settings {
    let patterns = |patterns: Vec<String>, comparison| {
        let features = FilterFeatures { facet_search: false, filter: FilterFeatureModes { equality: true, comparison } };
        FilterableAttribute::Settings(FilterableAttributesSettings { attribute_patterns: patterns, features })
    };
    let below = [patterns(vec![ATTRIBUTES.to_owned()], false), patterns(texts(&PRICES), true)];
    let filtered = FILTERED.iter().map(|name| FilterableAttribute::from(*name));
    Settings {
        searchable_attributes: Some(texts(&SEARCHED)),
        filterable_attributes: Some(filtered.chain(below).collect()),
        sortable_attributes: Some(texts(&SORTED)),
        displayed_attributes: Some(texts(&SHOWN)),
        ranking_rules: Some(texts(&RULES)),
        stop_words: Some(Vec::new()),
        // How near to each other words stand is told here; to keep it for all pairs of words takes most of the time of indexing.
        proximity_precision: Some("byAttribute".to_owned()),
        typo_tolerance: Some(TypoToleranceSettings {
            enabled: Some(true),
            disable_on_attributes: Some(texts(&EXACT)),
            disable_on_words: Some(Vec::new()),
            min_word_size_for_typos: Some(MinWordSizeForTypos { one_typo: Some(5), two_typos: Some(9) }),
            disable_on_numbers: None,
        }),
        faceting: Some(FacetingSettings {
            max_values_per_facet: MOST_FACET_VALUES,
            sort_facet_values_by: Some(BTreeMap::from([("*".to_owned(), FacetSortValue::Count)])),
        }),
        pagination: Some(PaginationSetting { max_total_hits: usize::try_from(EXACT_TOTAL).unwrap_or(usize::MAX) }),
        ..Settings::new()
    }
}

fn texts(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
