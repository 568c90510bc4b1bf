//! A request in Meilisearch's terms.

use super::key;
use crate::{
    embedded::Vocabulary,
    query::{FacetName, Filters, Sort, Words},
    text,
};

/// The most words that Meilisearch reads of one query.
const MOST_WORDS: usize = 10;
/// As many of them may be words that the vocabulary has not: they are new, misspelt, or run together.
const MOST_UNKNOWN: usize = 2;
/// A product is found from about this part of the query's weight on.
const LEAST_COVERAGE: f32 = 0.2;
/// The most ways to run neighbours together, and the most queries with each of them.
const MOST_JOINED: usize = 3;
const MOST_OF_JOINED: usize = 2;
/// The most queries that stand for one.
const MOST_TRIES: usize = 16;
/// How telling a word in brackets is against one that is not.
const ASIDE: f32 = 0.4;

/// One of the queries that stand for what was typed.
#[derive(Debug, Clone, PartialEq)]
pub struct Try {
    /// Its words, in the order in which they were typed.
    pub text: String,
    /// The part of the whole query's weight that it has.
    pub weight: f32,
}

/// The queries that stand for `words`: all of them, and then each time without the rarest of those that are left; those words alone that tell
/// enough by themselves; and the first of these again with neighbours run together, where products have them as one word.
///
/// Meilisearch gives up the most frequent words of a query first and never the rarest: a product that lacks just that one, as another shop's
/// title may well say something that ours does not, is found by the next query only.
pub fn tries(words: &Words, vocabulary: &Vocabulary) -> Vec<Try> {
    let typed = Typed::of(words);
    let mut tries = chain(&typed, vocabulary);
    for joined in typed.joined(vocabulary).into_iter().take(MOST_JOINED) {
        tries.extend(chain(&joined, vocabulary).into_iter().take(MOST_OF_JOINED));
    }
    let mut seen: Vec<String> = Vec::new();
    tries.retain(|one| {
        !seen.contains(&one.text) && {
            seen.push(one.text.clone());
            true
        }
    });
    tries.truncate(MOST_TRIES);
    tries
}

/// Words as they were typed.
struct Typed {
    words: Vec<(String, bool)>,
    is_unfinished: bool,
}

impl Typed {
    fn of(words: &Words) -> Self {
        let list = words.list().iter().enumerate().map(|(at, word)| (word.clone(), words.is_aside(at))).collect();
        Self { words: list, is_unfinished: words.unfinished().is_some() }
    }

    /// The same with neighbours run together to a word that there is, the longest first.
    fn joined(&self, vocabulary: &Vocabulary) -> Vec<Self> {
        let list: Vec<String> = self.words.iter().map(|(word, _)| word.clone()).collect();
        let mut found: Vec<_> = text::joined(&list).filter(|(_, joined)| vocabulary.frequency(&text::base(joined)) > 0).collect();
        found.sort_by_key(|(range, _)| std::cmp::Reverse(range.len()));
        let replaced = |(range, joined): (std::ops::Range<usize>, String)| {
            let mut words = self.words.clone();
            let is_aside = words.get(range.start).is_some_and(|(_, is_aside)| *is_aside);
            words.splice(range, [(joined, is_aside)]);
            Self { words, is_unfinished: self.is_unfinished }
        };
        found.into_iter().map(replaced).collect()
    }

    /// Each word once.
    fn weighed(&self, vocabulary: &Vocabulary) -> Vec<Weighed> {
        let mut weighed: Vec<Weighed> = Vec::new();
        for (at, (word, is_aside)) in self.words.iter().enumerate() {
            let base = text::base(word).into_owned();
            if weighed.iter().any(|known| known.base == base) {
                continue;
            }
            let is_last = at + 1 == self.words.len();
            let frequency = vocabulary.frequency(&base);
            let weight = vocabulary.weight(text::number(&base)) * if *is_aside { ASIDE } else { 1.0 };
            // Whether what is unfinished is known says nothing.
            let is_known = frequency > 0 && !(self.is_unfinished && is_last);
            weighed.push(Weighed { at, base, is_known, is_unfinished: self.is_unfinished && is_last, frequency, weight });
        }
        weighed
    }
}

struct Weighed {
    at: usize,
    base: String,
    is_known: bool,
    is_unfinished: bool,
    frequency: u32,
    weight: f32,
}

fn chain(typed: &Typed, vocabulary: &Vocabulary) -> Vec<Try> {
    let mut asked = typed.weighed(vocabulary);
    asked.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    let unknown = asked.iter().filter(|word| !word.is_known).count().min(MOST_UNKNOWN);
    let (mut known_left, mut unknown_left) = (MOST_WORDS - unknown, unknown);
    asked.retain(|word| {
        let left = if word.is_known { &mut known_left } else { &mut unknown_left };
        std::mem::replace(left, left.saturating_sub(1)) > 0
    });
    // As Meilisearch sees it: the rarest first, whether they tell much here or not.
    asked.sort_by_key(|word| (word.is_known, word.frequency));
    let all: f32 = asked.iter().map(|word| word.weight).sum();
    let all_known: f32 = asked.iter().filter(|word| word.is_known).map(|word| word.weight).sum();
    let one = |some: &[Weighed]| Try {
        text: text_of(some),
        weight: some.iter().map(|word| word.weight).sum::<f32>() / all.max(f32::MIN_POSITIVE),
    };
    let mut tries = Vec::new();
    for first in 0..asked.len() {
        let rest = &asked[first..];
        let known: f32 = rest.iter().filter(|word| word.is_known).map(|word| word.weight).sum();
        if first > 0 && known < LEAST_COVERAGE * all_known {
            break;
        }
        tries.push(one(rest));
    }
    tries.extend(asked.chunks(1).filter(|word| word.iter().all(|word| word.weight >= LEAST_COVERAGE * all)).map(one));
    tries
}

/// The words in the order in which they were typed. A space at the end says that the last one is whole.
fn text_of(some: &[Weighed]) -> String {
    let mut some: Vec<&Weighed> = some.iter().collect();
    some.sort_by_key(|word| word.at);
    let mut text = some.iter().map(|word| word.base.as_str()).collect::<Vec<_>>().join(" ");
    if !some.last().is_some_and(|last| last.is_unfinished) {
        text.push(' ');
    }
    text
}

/// What the results are ordered by, besides how well they match.
pub fn order(sort: Sort, has_words: bool) -> &'static [&'static str] {
    match (sort, has_words) {
        (Sort::Relevance, true) => &[],
        // Prices come before that, wherever they stand.
        (Sort::Relevance, false) | (Sort::Newest | Sort::Price | Sort::PriceDown, _) => &["created:desc"],
        (Sort::Rating, _) => &["rating:desc", "created:desc"],
    }
}

/// The field that a facet is counted by.
pub fn field(facet: &FacetName) -> String {
    match facet {
        FacetName::Category => "category".to_owned(),
        FacetName::Brand => "brand".to_owned(),
        FacetName::InStock => "in_stock".to_owned(),
        FacetName::Attribute(name) => attribute(name),
    }
}

/// The field of an attribute.
pub fn attribute(name: &str) -> String {
    format!("attributes.{}", key::of(name))
}

/// A filter for each thing that is filtered by but `without` and prices; all of them must hold. What a client sent stands in them as a [`key`] only, or
/// as a number that was parsed.
pub fn filters(filters: &Filters, without: Option<&FacetName>) -> Vec<String> {
    let Filters { categories, brands, currency: _, price_min: _, price_max: _, in_stock, attributes } = filters;
    let mut all = Vec::new();
    let mut any_of = |facet: FacetName, values: &[String]| {
        if !values.is_empty() && without != Some(&facet) {
            let keys: Vec<String> = values.iter().map(|value| format!("\"{}\"", key::of(value))).collect();
            all.push(format!("{} IN [{}]", field(&facet), keys.join(", ")));
        }
    };
    any_of(FacetName::Category, categories);
    any_of(FacetName::Brand, brands);
    for (name, values) in attributes {
        any_of(FacetName::Attribute(name.clone()), values);
    }
    if let Some(in_stock) = in_stock
        && without != Some(&FacetName::InStock)
    {
        all.push(format!("in_stock = {in_stock}"));
    }
    all
}

/// Whether `filters` narrow what `facet` counts.
pub fn is_filtered(filters: &Filters, facet: &FacetName) -> bool {
    match facet {
        FacetName::Category => !filters.categories.is_empty(),
        FacetName::Brand => !filters.brands.is_empty(),
        FacetName::InStock => filters.in_stock.is_some(),
        FacetName::Attribute(name) => filters.attributes.contains_key(name),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::embedded::Vocabulary;

    fn vocabulary() -> Vocabulary {
        let frequencies = [("adobe", 40), ("photoshop", 4), ("element", 8), ("5", 100), ("win", 300)];
        Vocabulary { documents: 1_000, frequencies: frequencies.into_iter().map(|(word, many)| (text::number(word), many)).collect() }
    }

    fn texts(query: &str) -> Vec<String> {
        tries(&Words::of(query), &vocabulary()).into_iter().map(|one| one.text).collect()
    }

    #[test]
    fn the_rarest_words_are_given_up_one_by_one() {
        assert_eq!(
            texts("adobe photoshop elements 5.0 (win)"),
            ["adobe photoshop element 5 win ", "adobe element 5 win ", "adobe 5 win ", "photoshop ", "element "],
        );
        assert_eq!(texts("photoshop qwert"), ["photoshop qwert", "photoshop ", "qwert"]);
        assert_eq!(texts("photo shop "), ["photo shop ", "shop ", "photo ", "photoshop "]);
        assert_eq!(texts("photo"), ["photo"]);
        assert_eq!(texts(""), Vec::<String>::new());
    }

    #[test]
    fn a_long_query_is_cut_to_its_most_telling_words() {
        let long = "for use with all new versions of adobe photoshop elements 5 on win and many more things besides";
        let first = texts(long).into_iter().next().unwrap_or_default();
        assert!(first.split(' ').filter(|word| !word.is_empty()).count() <= MOST_WORDS, "{first}");
        for word in ["adobe", "photoshop", "element", "5", "win"] {
            assert!(first.split(' ').any(|other| other == word), "{first}");
        }
    }

    #[test]
    fn nothing_that_a_client_sends_gets_out_of_its_quotes() {
        let evil = "x\"] OR in_stock = true OR brand IN [\"".to_owned();
        let asked = Filters {
            brands: vec![evil.clone()],
            attributes: BTreeMap::from([(evil.clone(), vec![evil])]),
            in_stock: Some(false),
            ..Filters::default()
        };
        let made = filters(&asked, None);
        assert_eq!(made.len(), 3);
        assert!(made[..2].iter().all(|filter| !filter.contains(" OR ") && filter.matches('"').count() == 2), "{made:?}");
        assert_eq!(filters(&asked, Some(&FacetName::Brand)).len(), 2);
    }
}
