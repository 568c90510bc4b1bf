//! What somebody may mean who has not typed all of it.

use std::collections::HashMap;

use tantivy::{
    Searcher, SegmentReader, TantivyDocument,
    postings::BlockSegmentPostings,
    schema::{Field, IndexRecordOption, Value},
};

use super::{
    fields::{Fields, SEPARATOR, Source},
    matching::{Statistics, matching},
    prices,
    rank::{Ranked, Vocabulary, ranked},
    slots,
};
use crate::{
    Error, Kind, Suggestion,
    query::{Sort, Words},
};

/// The most brands and the most categories among the suggestions.
const MOST_NAMES: usize = 3;
/// The most names of each kind that are looked through, for each segment.
const MOST_EXAMINED: usize = 10_000;
/// The most titles that are put in order.
const MOST_TITLES: usize = 200;

/// Brands and categories that have every word, the most products first, then titles that do.
pub fn suggest(searcher: &Searcher, fields: &Fields, vocabulary: &Vocabulary, text: &str, most: usize) -> Result<Vec<Suggestion>, Error> {
    let words = Words::of(text);
    if words.list().is_empty() {
        return Ok(Vec::new());
    }
    let mut suggestions = Vec::new();
    for (kind, field) in [(Kind::Category, fields.category_name), (Kind::Brand, fields.brand)] {
        let names = names(searcher, field, &words)?.into_iter().take(MOST_NAMES);
        suggestions.extend(names.map(|(name, _)| match name.split_once(SEPARATOR) {
            Some((id, name)) => Suggestion { kind, text: name.to_owned(), value: id.to_owned() },
            None => Suggestion { kind, text: name.clone(), value: name },
        }));
    }
    let title = Source { field: fields.title, weight: 1.0, is_completed: true };
    let slots = slots::of(searcher, fields, &[title], &words)?;
    let mut matched = matching(searcher, &slots, &Statistics::Index)?;
    for segment in &mut matched {
        segment.retain(|found| found.is_full);
    }
    let mut ranked = ranked(searcher, &matched, (Sort::Relevance, Some(&slots), prices::Asked::default()), vocabulary, MOST_TITLES)?;
    if ranked.len() > MOST_TITLES {
        ranked.select_nth_unstable_by_key(MOST_TITLES, Ranked::order);
        ranked.truncate(MOST_TITLES);
    }
    ranked.sort_unstable_by_key(Ranked::order);
    for product in ranked.into_iter().take(most * 4) {
        if suggestions.len() >= most {
            break;
        }
        let document: TantivyDocument = searcher.doc(tantivy::DocAddress::new(product.segment, product.doc))?;
        let text = |field: Field| document.get_first(field).and_then(|value| value.as_str()).unwrap_or_default().to_owned();
        let title = text(fields.shown);
        if !suggestions.iter().any(|known: &Suggestion| known.kind == Kind::Product && known.text == title) {
            suggestions.push(Suggestion { kind: Kind::Product, text: title, value: text(fields.sku) });
        }
    }
    suggestions.truncate(most);
    Ok(suggestions)
}

/// The names in the dictionary of `field` that have every word, and of how many products, the most first.
fn names(searcher: &Searcher, field: Field, words: &Words) -> Result<Vec<(String, u64)>, Error> {
    let mut counts: HashMap<String, u64> = HashMap::new();
    for segment in searcher.segment_readers() {
        let index = segment.inverted_index(field)?;
        let mut stream = index.terms().stream()?;
        for _ in 0..MOST_EXAMINED {
            let Some((term, info)) = stream.next() else { break };
            let Ok(name) = std::str::from_utf8(term) else { continue };
            if has_all(words, name.rsplit(SEPARATOR).next().unwrap_or_default()) {
                let many = alive(segment, &index.read_block_postings_from_terminfo(info, IndexRecordOption::Basic)?);
                *counts.entry(name.to_owned()).or_default() += many;
            }
        }
    }
    let mut names: Vec<(String, u64)> = counts.into_iter().filter(|(_, many)| *many > 0).collect();
    names.sort_unstable_by(|(a, many_a), (b, many_b)| many_b.cmp(many_a).then_with(|| a.cmp(b)));
    Ok(names)
}

/// How many of `postings` are not of documents that were replaced.
fn alive(segment: &SegmentReader, postings: &BlockSegmentPostings) -> u64 {
    let Some(alive) = segment.alive_bitset() else { return postings.doc_freq().into() };
    let (mut postings, mut many) = (postings.clone(), 0);
    while !postings.docs().is_empty() {
        many += postings.docs().iter().filter(|doc| alive.is_alive(**doc)).count() as u64;
        postings.advance();
    }
    many
}

/// Whether a name is meant: a document may have a word in one of its categories and be in others besides.
pub(crate) fn has_all(words: &Words, name: &str) -> bool {
    use crate::text::{base, distance, typos, words as cut};
    let of_name: Vec<String> = cut(name).map(|word| word.text).collect();
    words.list().iter().all(|asked| {
        of_name.iter().any(|word| {
            let typos = usize::from(typos(asked));
            base(word) == base(asked)
                || words.unfinished() == Some(asked) && word.starts_with(asked.as_str())
                || typos > 0 && distance(asked, word, typos).is_some()
        })
    })
}
