//! The order of what was found.

use std::{cmp::Reverse, collections::HashSet};

use tantivy::{Searcher, SegmentReader, columnar::Column};

use super::{
    fields::{BASE, Fields},
    matching::{Matched, idf},
    prices::{Asked as AskedPrices, Prices},
    slots::Slots,
};
use crate::{
    Document, Error,
    query::Sort,
    text::{self, Numbered},
};

/// How much it counts that a title says nothing else than what was asked for, against that all that was asked for is found.
const TITLE_COVERED: f32 = 0.6;
/// How much it counts that words which were typed one after the other stand so in the title.
const TOGETHER: f32 = 0.25;
/// Added where a document has every word: those that have not come after it.
const FULL: f32 = 4.0;
/// The most documents of a search whose titles are looked at; the others come after these by what they have of the query.
pub const MOST_TITLES: usize = 3_000;

/// How many products each word is in, by its number. It need not be new: what is rare stays rare.
#[derive(Debug, Default)]
pub struct Vocabulary {
    pub documents: u64,
    pub frequencies: Numbered<u32>,
}

impl Vocabulary {
    /// Counted in the dictionaries: of a word that stands in several fields of a product, as most do, the field that has it most often is taken.
    pub fn of(searcher: &Searcher, fields: &Fields) -> Result<Self, Error> {
        let mut frequencies: Numbered<u32> = Numbered::default();
        for field in [fields.title, fields.brand_words, fields.description] {
            let mut of_field: Numbered<u32> = Numbered::default();
            for segment in searcher.segment_readers() {
                let index = segment.inverted_index(field)?;
                let mut stream = index.terms().stream()?;
                while let Some((term, info)) = stream.next() {
                    let Ok(term) = std::str::from_utf8(term) else { continue };
                    // A form is counted by what it is a form of, which is indexed with it.
                    if text::base(term) == term {
                        *of_field.entry(text::number(term.trim_start_matches(BASE))).or_default() += info.doc_freq;
                    }
                }
            }
            for (word, many) in of_field {
                let known = frequencies.entry(word).or_default();
                *known = many.max(*known);
            }
        }
        Ok(Self { documents: searcher.num_docs(), frequencies })
    }

    /// Counts `documents` in, and what neighbours in their titles are when they are run together.
    pub fn count<'a>(&mut self, documents: impl Iterator<Item = &'a Document>) {
        for document in documents {
            let texts = [&document.title, &document.description].into_iter().chain(&document.brand);
            let mut words: HashSet<u64> =
                texts.flat_map(|text| text::words(text)).map(|word| text::number(&text::base(&word.text))).collect();
            let title: Vec<String> = text::words(&document.title).map(|word| word.text).collect();
            words.extend(text::joined(&title).map(|(_, joined)| text::number(&joined)));
            for word in words {
                *self.frequencies.entry(word).or_default() += 1;
            }
            self.documents += 1;
        }
    }

    /// In how many products `word` is.
    pub fn frequency(&self, word: &str) -> u32 {
        self.frequencies.get(&text::number(word)).copied().unwrap_or_default()
    }

    /// How telling it is that one of `words` is there.
    pub fn weight_of_any(&self, words: impl Iterator<Item = u64>) -> f32 {
        let most = words.map(|word| self.frequencies.get(&word).copied().unwrap_or_default()).max().unwrap_or_default();
        idf(self.documents, most.into())
    }

    pub fn weight(&self, word: u64) -> f32 {
        idf(self.documents, self.frequencies.get(&word).copied().unwrap_or(0).into())
    }
}

/// A found document: where it is, and its place in the order. The greatest comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ranked {
    pub segment: u32,
    pub doc: u32,
    pub key: u64,
    pub created: i64,
}

impl Ranked {
    /// What sorts the greatest first.
    pub fn order(&self) -> Reverse<(u64, i64)> {
        Reverse((self.key, self.created))
    }
}

/// `matched` with their keys, in no order. Ordered by how well they match, only the titles of the `most_titles` best so far are looked at.
pub fn ranked(
    searcher: &Searcher,
    matched: &[Vec<Matched>],
    (sort, slots, prices): (Sort, Option<&Slots>, AskedPrices),
    vocabulary: &Vocabulary,
    most_titles: usize,
) -> Result<Vec<Ranked>, Error> {
    let mut ranked = Vec::with_capacity(matched.iter().map(Vec::len).sum());
    for (number, (segment, matched)) in (0..).zip(searcher.segment_readers().iter().zip(matched)) {
        let created = segment.fast_fields().i64("created")?;
        let keys = match (sort, slots) {
            (Sort::Relevance, Some(_)) => Keys::Match,
            (Sort::Relevance | Sort::Newest, _) => Keys::Same,
            (Sort::Price, _) => Keys::Ascending(Prices::open(segment, prices)?),
            (Sort::PriceDown, _) => Keys::Descending(Prices::open(segment, prices)?),
            (Sort::Rating, _) => Keys::Stored(segment.fast_fields().u64("rating")?),
        };
        let one = |found: &Matched| {
            let created = created.first(found.doc).unwrap_or_default();
            Ranked { segment: number, doc: found.doc, key: keys.of(found), created }
        };
        ranked.extend(matched.iter().map(one));
    }
    if let (Sort::Relevance, Some(slots)) = (sort, slots) {
        let looked_at = most_titles.min(ranked.len());
        if looked_at < ranked.len() {
            ranked.select_nth_unstable_by_key(looked_at, Ranked::order);
        }
        look_at_titles(searcher, &mut ranked[..looked_at], slots, vocabulary)?;
    }
    Ok(ranked)
}

/// Adds to the keys of `ranked` what their titles are worth.
fn look_at_titles(searcher: &Searcher, ranked: &mut [Ranked], slots: &Slots, vocabulary: &Vocabulary) -> Result<(), Error> {
    let asked = Asked::of(slots);
    let open = |segment: &SegmentReader| Titles::open(segment, &asked, vocabulary);
    let mut titles = searcher.segment_readers().iter().map(open).collect::<Result<Vec<_>, _>>()?;
    for found in ranked {
        let Some(titles) = usize::try_from(found.segment).ok().and_then(|segment| titles.get_mut(segment)) else { continue };
        found.key = bits(score(found.key) + titles.score(found.doc));
    }
    Ok(())
}

/// The bits of floats that are not negative are in the order of the floats.
fn bits(score: f32) -> u64 {
    score.to_bits().into()
}

fn score(bits: u64) -> f32 {
    f32::from_bits(u32::try_from(bits).unwrap_or_default())
}

enum Keys {
    Match,
    Same,
    // What has no price in the currency comes last in either.
    Ascending(Prices),
    Descending(Prices),
    Stored(Column<u64>),
}

impl Keys {
    fn of(&self, found: &Matched) -> u64 {
        match self {
            Self::Match => bits(f32::from(u8::from(found.is_full)) * FULL + found.coverage),
            Self::Same => 0,
            Self::Ascending(prices) => prices.of(found.doc).map_or(0, |price| u64::MAX - price.unsigned_abs()),
            Self::Descending(prices) => prices.of(found.doc).map_or(0, |price| price.unsigned_abs().saturating_add(1)),
            Self::Stored(column) => column.first(found.doc).unwrap_or_default(),
        }
    }
}

/// What a title is looked through for.
struct Asked {
    /// The words that match in a title, and their worth.
    words: Numbered<f32>,
    /// The words as they were typed.
    singles: Vec<u64>,
    /// Neighbours that were typed, run together.
    pairs: Vec<u64>,
}

impl Asked {
    fn of(slots: &Slots) -> Self {
        let mut words: Numbered<f32> = Numbered::default();
        for (number, worth) in slots.words.iter().flat_map(|slot| &slot.numbers) {
            let known = words.entry(*number).or_default();
            *known = known.max(*worth);
        }
        let mut pairs = slots.pairs.clone();
        pairs.sort_unstable();
        pairs.dedup();
        Self { words, singles: slots.singles.clone(), pairs }
    }

    fn worth(&self, word: u64) -> f32 {
        let is_compound = self.pairs.contains(&word);
        if is_compound { 1.0 } else { self.words.get(&word).copied().unwrap_or_default() }
    }
}

/// The titles of a segment.
struct Titles<'a> {
    words: Column<u64>,
    pairs: Column<u64>,
    makers: Column<u64>,
    asked: &'a Asked,
    vocabulary: &'a Vocabulary,
    /// Those of one title at a time.
    scratch: Scratch,
}

#[derive(Default)]
struct Scratch {
    words: Vec<u64>,
    pairs: Vec<u64>,
    together: Vec<u64>,
}

impl<'a> Titles<'a> {
    fn open(segment: &SegmentReader, asked: &'a Asked, vocabulary: &'a Vocabulary) -> Result<Self, Error> {
        Ok(Self {
            words: segment.fast_fields().u64("title_words")?,
            pairs: segment.fast_fields().u64("title_pairs")?,
            makers: segment.fast_fields().u64("maker_words")?,
            asked,
            vocabulary,
            scratch: Scratch::default(),
        })
    }

    /// How much of the title was asked for, by the weight of its words, and how many of the neighbours that were typed are neighbours in it.
    fn score(&mut self, doc: u32) -> f32 {
        let Self { asked, scratch: Scratch { words, pairs, together }, .. } = self;
        words.clear();
        words.extend(self.words.values_for_doc(doc));
        pairs.clear();
        pairs.extend(self.pairs.values_for_doc(doc));
        together.clear();
        let is_joined = |at: usize| pairs.get(at).is_some_and(|pair| asked.singles.contains(pair));
        let (mut all, mut covered) = (0.0, 0.0);
        for (at, word) in words.iter().enumerate() {
            together.extend(pairs.get(at).filter(|pair| asked.pairs.contains(pair)));
            together.extend(asked.pairs.iter().find(|pair| *pair == word));
            if words[..at].contains(word) {
                continue;
            }
            let worth = if is_joined(at) || at > 0 && is_joined(at - 1) { 1.0 } else { asked.worth(*word) };
            if worth == 0.0 && self.makers.values_for_doc(doc).any(|maker| maker == *word) {
                continue; // a title that names its maker says no more than one that does not
            }
            let weight = self.vocabulary.weight(*word);
            all += weight;
            covered += weight * worth;
        }
        together.sort_unstable();
        together.dedup();
        let covered = if all > 0.0 { covered / all } else { 0.0 };
        TITLE_COVERED * covered + TOGETHER * share(together.len(), asked.pairs.len())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a query has few words")]
fn share(some: usize, all: usize) -> f32 {
    if all == 0 { 0.0 } else { some as f32 / all as f32 }
}
