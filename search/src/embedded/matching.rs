//! Which documents match, and how well: term at a time, word by word, since every word counts by its best place and not by their sum.

use tantivy::{DocId, Searcher, SegmentReader, schema::IndexRecordOption};

use super::{
    rank::Vocabulary,
    slots::{Slot, Slots},
};
use crate::Error;

/// A document is found from this part of the query's weight on. A word of three that are equally rare is enough, one of four is not.
const LEAST_COVERAGE: f32 = 0.3;
/// How telling a word in brackets is against one that is not: `(jewel case)` says how the thing comes, and not what it is.
const ASIDE: f32 = 0.4;
/// Added to the worth of what finds a document by itself, so that it always wins over what does not.
const STRONG: f32 = 2.0;

/// Where it is known from how frequent a word is.
pub enum Statistics<'a> {
    /// The index that is searched has all documents.
    Index,
    /// It has a few of them; this was counted in all.
    Vocabulary(&'a Vocabulary),
}

/// A document of one segment, and how well it matches.
#[derive(Debug, Clone, Copy)]
pub struct Matched {
    pub doc: DocId,
    /// The part of the query's weight that is found in it, each word by the worth of its best place: 0 to 1.
    pub coverage: f32,
    /// Whether it has every word that any document has.
    pub is_full: bool,
}

/// What one slot found in one segment: documents and worth.
type Found = Vec<(DocId, f32)>;

/// The matched documents by segment, in the order of their numbers.
pub fn matching(searcher: &Searcher, slots: &Slots, statistics: &Statistics<'_>) -> Result<Vec<Vec<Matched>>, Error> {
    let mut found: Vec<Vec<Found>> = Vec::new();
    for segment in searcher.segment_readers() {
        let mut best = vec![0.0_f32; segment.max_doc() as usize];
        let of = |slot| find(segment, slot, &mut best);
        found.push(slots.words.iter().map(of).collect::<Result<_, _>>()?);
    }
    let weights = weights(searcher, slots, &found, statistics);
    let all: f32 = weights.iter().sum();
    let known = weights.iter().filter(|weight| **weight > 0.0).count();
    let segments = searcher.segment_readers().iter().zip(found);
    Ok(segments.map(|(segment, found)| add_up(segment, &found, &weights, all, known)).collect())
}

/// The documents that one word is in, each with the worth of its best place.
fn find(segment: &SegmentReader, slot: &Slot, best: &mut [f32]) -> Result<Found, Error> {
    let mut touched: Vec<DocId> = Vec::new();
    for variant in &slot.variants {
        let index = segment.inverted_index(variant.term.field())?;
        let Some(mut postings) = index.read_block_postings(&variant.term, IndexRecordOption::Basic)? else { continue };
        let worth = if variant.is_weak { variant.worth } else { variant.worth + STRONG };
        loop {
            let docs = postings.docs();
            if docs.is_empty() {
                break;
            }
            for doc in docs {
                let Some(known) = best.get_mut(*doc as usize) else { continue };
                if *known == 0.0 {
                    touched.push(*doc);
                }
                *known = known.max(worth);
            }
            postings.advance();
        }
    }
    let alive = segment.alive_bitset();
    let mut found = Vec::with_capacity(touched.len());
    for doc in touched {
        let worth = best.get_mut(doc as usize).map(std::mem::take).unwrap_or_default();
        if alive.is_none_or(|alive| alive.is_alive(doc)) {
            found.push((doc, worth));
        }
    }
    Ok(found)
}

/// How telling each word is: its inverse document frequency as in BM25 (S. Robertson, H. Zaragoza, The Probabilistic Relevance Framework,
/// 2009); 0 for a word that no document has, so that it takes nothing from those that have the others.
fn weights(searcher: &Searcher, slots: &Slots, found: &[Vec<Found>], statistics: &Statistics<'_>) -> Vec<f32> {
    let weight = |(nth, slot): (usize, &Slot)| {
        let strong = |slots: &Vec<Found>| slots[nth].iter().filter(|(_, worth)| *worth >= STRONG).count();
        let weight = match (found.iter().map(strong).sum::<usize>(), slot.frequency, statistics) {
            (0, _, _) => 0.0,
            (_, _, Statistics::Vocabulary(vocabulary)) => vocabulary.weight_of_any(slot.numbers.keys().copied()),
            (many, 0, Statistics::Index) => idf(searcher.num_docs(), many as u64),
            (_, frequency, Statistics::Index) => idf(searcher.num_docs(), frequency),
        };
        if slot.is_aside { ASIDE * weight } else { weight }
    };
    slots.words.iter().enumerate().map(weight).collect()
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a weight needs no more digits")]
pub fn idf(documents: u64, many: u64) -> f32 {
    let (all, many) = (documents as f64, many.min(documents) as f64);
    (1.0 + (all - many + 0.5) / (many + 0.5)).ln() as f32
}

fn add_up(segment: &SegmentReader, found: &[Found], weights: &[f32], all: f32, known: usize) -> Vec<Matched> {
    #[derive(Clone, Copy, Default)]
    struct Sum {
        coverage: f32,
        strong: f32,
        words: u16,
    }
    let mut sums = vec![Sum::default(); segment.max_doc() as usize];
    for (found, weight) in found.iter().zip(weights) {
        for (doc, worth) in found {
            let Some(sum) = sums.get_mut(*doc as usize) else { continue };
            if *worth >= STRONG {
                sum.coverage += weight * (worth - STRONG);
                sum.strong += weight;
                sum.words += 1;
            } else {
                sum.coverage += weight * worth;
            }
        }
    }
    let matched = |(doc, sum): (usize, &Sum)| {
        let is_found = sum.words > 0 && sum.strong >= LEAST_COVERAGE * all;
        let doc = DocId::try_from(doc).ok()?;
        is_found.then(|| Matched { doc, coverage: sum.coverage / all.max(f32::MIN_POSITIVE), is_full: usize::from(sum.words) >= known })
    };
    sums.iter().enumerate().filter_map(matched).collect()
}

/// Every document there is, for a query without words.
pub fn everything(searcher: &Searcher) -> Vec<Vec<Matched>> {
    let all = |segment: &SegmentReader| segment.doc_ids_alive().map(|doc| Matched { doc, coverage: 0.0, is_full: true }).collect();
    searcher.segment_readers().iter().map(all).collect()
}
