//! The order of what was found.

use std::collections::{HashMap, HashSet};

use tantivy::{Searcher, SegmentReader, columnar::Column};

use super::{
    fields::{BASE, Fields},
    matching::{Matched, idf},
    slots::Slots,
};
use crate::{Document, Error, query::Sort, text};

/// How much it counts that a title says nothing else than what was asked for, against that all that was asked for is found.
const TITLE_COVERED: f32 = 0.6;
/// How much it counts that words which were typed one after the other stand so in the title.
const TOGETHER: f32 = 0.25;
/// Added where a document has every word: those that have not come after it.
const FULL: f32 = 4.0;
/// The most documents whose titles are looked at; the others come after these by what they have of the query.
const MOST_TITLES: usize = 5_000;

/// How many products each word is in, by its number. It need not be new: what is rare stays rare.
#[derive(Debug, Default)]
pub struct Vocabulary {
    pub documents: u64,
    pub frequencies: HashMap<u64, u32>,
}

impl Vocabulary {
    /// Counted in the dictionaries: of a word that stands in several fields of a product, as most do, the field that has it most often is taken.
    pub fn of(searcher: &Searcher, fields: &Fields) -> Result<Self, Error> {
        let mut frequencies: HashMap<u64, u32> = HashMap::new();
        for field in [fields.title, fields.brand_words, fields.description] {
            let mut of_field: HashMap<u64, u32> = HashMap::new();
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

/// `matched` with their keys, in no order.
pub fn ranked(
    searcher: &Searcher,
    matched: &[Vec<Matched>],
    sort: Sort,
    slots: Option<&Slots>,
    vocabulary: &Vocabulary,
) -> Result<Vec<Ranked>, Error> {
    let many = matched.iter().map(Vec::len).sum();
    let mut ranked = Vec::with_capacity(many);
    let least = slots.map_or(0.0, |_| least_looked_at(matched));
    for (number, (segment, matched)) in (0..).zip(searcher.segment_readers().iter().zip(matched)) {
        let created = segment.fast_fields().i64("created")?;
        let keys = match (sort, slots) {
            (Sort::Relevance, Some(slots)) => Keys::Match(Box::new(Titles::open(segment, slots, vocabulary)?)),
            (Sort::Relevance | Sort::Newest, _) => Keys::Same,
            (Sort::Price, _) => Keys::Ascending(segment.fast_fields().i64("price")?),
            (Sort::PriceDown, _) => Keys::Descending(segment.fast_fields().i64("price")?),
            (Sort::Rating, _) => Keys::Stored(segment.fast_fields().u64("rating")?),
        };
        for found in matched {
            let key = keys.of(found, least);
            ranked.push(Ranked { segment: number, doc: found.doc, key, created: created.first(found.doc).unwrap_or_default() });
        }
    }
    Ok(ranked)
}

/// The coverage from which on titles are looked at.
fn least_looked_at(matched: &[Vec<Matched>]) -> f32 {
    let mut coverages: Vec<f32> = matched.iter().flatten().map(|found| found.coverage + f32::from(u8::from(found.is_full))).collect();
    if coverages.len() <= MOST_TITLES {
        return 0.0;
    }
    *coverages.select_nth_unstable_by(MOST_TITLES, |a, b| b.total_cmp(a)).1
}

enum Keys<'a> {
    Match(Box<Titles<'a>>),
    Same,
    Ascending(Column<i64>),
    Descending(Column<i64>),
    Stored(Column<u64>),
}

impl Keys<'_> {
    fn of(&self, found: &Matched, least: f32) -> u64 {
        match self {
            Self::Match(titles) => {
                let full = f32::from(u8::from(found.is_full));
                let is_looked_at = found.coverage + full >= least;
                let score = full * FULL + found.coverage + if is_looked_at { titles.score(found.doc) } else { 0.0 };
                // The bits of floats that are not negative are in the order of the floats.
                score.to_bits().into()
            }
            Self::Same => 0,
            Self::Ascending(column) => u64::MAX - column.first(found.doc).unwrap_or_default().unsigned_abs(),
            Self::Descending(column) => column.first(found.doc).unwrap_or_default().unsigned_abs(),
            Self::Stored(column) => column.first(found.doc).unwrap_or_default(),
        }
    }
}

/// The titles of a segment, and what was asked for.
struct Titles<'a> {
    words: Column<u64>,
    pairs: Column<u64>,
    makers: Column<u64>,
    numbers: HashMap<u64, f32>,
    asked_pairs: HashSet<u64>,
    asked_words: HashSet<u64>,
    vocabulary: &'a Vocabulary,
}

impl<'a> Titles<'a> {
    fn open(segment: &SegmentReader, slots: &Slots, vocabulary: &'a Vocabulary) -> Result<Self, Error> {
        let mut numbers: HashMap<u64, f32> = HashMap::new();
        for (number, worth) in slots.slots.iter().flat_map(|slot| &slot.numbers) {
            let known = numbers.entry(*number).or_default();
            *known = known.max(*worth);
        }
        Ok(Self {
            words: segment.fast_fields().u64("title_words")?,
            pairs: segment.fast_fields().u64("title_pairs")?,
            makers: segment.fast_fields().u64("maker_words")?,
            numbers,
            asked_pairs: slots.pairs.iter().copied().collect(),
            asked_words: slots.singles.iter().copied().collect(),
            vocabulary,
        })
    }

    /// How much of the title was asked for, by the weight of its words, and how many of the neighbours that were typed are neighbours in it.
    fn score(&self, doc: u32) -> f32 {
        let words: Vec<u64> = self.words.values_for_doc(doc).collect();
        let pairs: Vec<u64> = self.pairs.values_for_doc(doc).collect();
        let makers: Vec<u64> = self.makers.values_for_doc(doc).collect();
        let is_joined = |at: usize| pairs.get(at).is_some_and(|pair| self.asked_words.contains(pair));
        let (mut all, mut asked) = (0.0, 0.0);
        let mut together: HashSet<u64> = HashSet::new();
        for (at, word) in words.iter().enumerate() {
            together.extend(pairs.get(at).filter(|pair| self.asked_pairs.contains(pair)));
            together.extend(self.asked_pairs.get(word));
            if words[..at].contains(word) {
                continue;
            }
            let worth = if is_joined(at) || at > 0 && is_joined(at - 1) { 1.0 } else { self.worth(*word) };
            if worth == 0.0 && makers.contains(word) {
                continue; // a title that names its maker says no more than one that does not
            }
            let weight = self.vocabulary.weight(*word);
            all += weight;
            asked += weight * worth;
        }
        let covered = if all > 0.0 { asked / all } else { 0.0 };
        TITLE_COVERED * covered + TOGETHER * share(together.len(), self.asked_pairs.len())
    }

    fn worth(&self, word: u64) -> f32 {
        let is_compound = self.asked_pairs.contains(&word);
        if is_compound { 1.0 } else { self.numbers.get(&word).copied().unwrap_or_default() }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a query has few words")]
fn share(some: usize, all: usize) -> f32 {
    if all == 0 { 0.0 } else { some as f32 / all as f32 }
}
