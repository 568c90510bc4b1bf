//! What somebody may mean who has not typed all of it.

use std::collections::HashMap;

use tantivy::{
    Searcher, TantivyDocument,
    schema::{Field, Value},
};

use super::{
    fields::{Fields, SEPARATOR, Source},
    matching::{Matched, Statistics, matching},
    rank::{Vocabulary, ranked},
    slots,
};
use crate::{
    Error, Kind, Suggestion,
    query::{Sort, Words},
};

/// The most brands and the most categories among the suggestions.
const MOST_NAMES: usize = 3;

/// Brands and categories that have every word, the most products first, then titles that do.
pub fn suggest(searcher: &Searcher, fields: &Fields, vocabulary: &Vocabulary, text: &str, most: usize) -> Result<Vec<Suggestion>, Error> {
    let words = Words::of(text);
    if words.is_empty() {
        return Ok(Vec::new());
    }
    let mut suggestions = Vec::new();
    for (kind, field, column) in [(Kind::Category, fields.category_words, "category_name"), (Kind::Brand, fields.brand_words, "brand")] {
        let found = found(searcher, fields, field, &words)?;
        let mut names = named(searcher, &found, column)?;
        names.retain(|(name, _)| has_all(&words, name.rsplit(SEPARATOR).next().unwrap_or_default()));
        names.truncate(MOST_NAMES);
        suggestions.extend(names.into_iter().map(|(name, _)| match name.split_once(SEPARATOR) {
            Some((id, name)) => Suggestion { kind, text: name.to_owned(), value: id.to_owned() },
            None => Suggestion { kind, text: name.clone(), value: name },
        }));
    }
    let matched = found(searcher, fields, fields.title, &words)?;
    let slots = slots::of(searcher, fields, &[source(fields.title)], &words)?;
    let mut ranked = ranked(searcher, &matched, Sort::Relevance, Some(&slots), vocabulary)?;
    ranked.sort_unstable_by(|a, b| (b.key, b.created).cmp(&(a.key, a.created)));
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

fn source(field: Field) -> Source {
    Source { field, weight: 1.0, is_completed: true }
}

/// The documents that have every word in `field`.
fn found(searcher: &Searcher, fields: &Fields, field: Field, words: &Words) -> Result<Vec<Vec<Matched>>, Error> {
    let slots = slots::of(searcher, fields, &[source(field)], words)?;
    let mut matched = matching(searcher, &slots, &Statistics::Index)?;
    matched.iter_mut().for_each(|segment| segment.retain(|found| found.is_full));
    Ok(matched)
}

fn named(searcher: &Searcher, found: &[Vec<Matched>], column: &str) -> Result<Vec<(String, u64)>, Error> {
    let mut counts: HashMap<String, u64> = HashMap::new();
    for (segment, found) in searcher.segment_readers().iter().zip(found) {
        let Some(column) = segment.fast_fields().str(column)? else { continue };
        let mut of_ord: HashMap<u64, u64> = HashMap::new();
        for ord in found.iter().flat_map(|found| column.term_ords(found.doc)) {
            *of_ord.entry(ord).or_default() += 1;
        }
        let mut text = String::new();
        for (ord, count) in of_ord {
            if column.ord_to_str(ord, &mut text)? {
                *counts.entry(text.clone()).or_default() += count;
            }
        }
    }
    let mut names: Vec<(String, u64)> = counts.into_iter().collect();
    names.sort_unstable_by(|(a, many_a), (b, many_b)| many_b.cmp(many_a).then_with(|| a.cmp(b)));
    Ok(names)
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
