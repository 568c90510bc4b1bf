//! What may stand in a document for each word of a query.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap},
};

use tantivy::{Searcher, Term, query::FuzzyTermQuery, schema::Field};

use super::fields::{BASE, Fields, Source};
use crate::{
    Error,
    query::Words,
    text::{self, Numbered},
};

/// The most words that one beginning stands for: the most frequent ones.
const MOST_COMPLETIONS: usize = 100;
/// The most words that one misspelt word stands for.
const MOST_CORRECTIONS: usize = 20;
/// A word that is in more documents than this is not misspelt.
const RARE: u64 = 2;
/// A rare word may still be misspelt where another one is this many times as frequent.
const FAR_MORE_FREQUENT: u64 = 20;
/// The least letters of an abbreviation.
const SHORTEST_ABBREVIATION: usize = 3;

/// A number of so many digits may well be a year.
const LONGEST_YEAR: usize = 4;

/// How much a word is worth that is not the one that was typed.
const BASE_WORTH: f32 = 0.97;
const JOINED_WORTH: f32 = 0.97;
const COMPLETED_WORTH: f32 = 0.85;
const CORRECTED_WORTH: [f32; 3] = [1.0, 0.75, 0.55];
const ABBREVIATED_WORTH: f32 = 0.5;

/// A term that may stand for a word.
#[derive(Debug, Clone)]
pub struct Variant {
    pub term: Term,
    pub worth: f32,
    /// It adds to the rank of what is found otherwise, and finds nothing by itself.
    pub is_weak: bool,
}

/// A word of the query, and what may stand for it.
#[derive(Debug, Clone, Default)]
pub struct Slot {
    pub variants: Vec<Variant>,
    /// The numbers of the words that match it in a title, and their worth.
    pub numbers: Numbered<f32>,
    /// In how many documents an unfinished word is as it was typed: how telling it is must not depend on how many others it begins. 0 where it
    /// is a beginning and nothing else.
    pub frequency: u64,
    /// Whether it was typed in brackets.
    pub is_aside: bool,
}

/// The slots of a query.
#[derive(Debug, Clone, Default)]
pub struct Slots {
    pub words: Vec<Slot>,
    /// The numbers of neighbours that were typed, joined; and of the words themselves.
    pub pairs: Vec<u64>,
    pub singles: Vec<u64>,
}

struct Dictionary<'a> {
    searcher: &'a Searcher,
    code: Field,
    /// Whether one word is all that was typed.
    is_alone: bool,
    sources: Vec<Source>,
}

/// The slots of `words`, looked for in `sources`. A word that was typed twice is looked for once.
pub fn of(searcher: &Searcher, fields: &Fields, sources: &[Source], words: &Words) -> Result<Slots, Error> {
    let list = words.list();
    let dictionary = Dictionary { searcher, code: fields.code, is_alone: list.len() == 1, sources: sources.to_vec() };
    let mut slots: BTreeMap<usize, Slot> = BTreeMap::new();
    let mut first_of: HashMap<String, usize> = HashMap::new();
    let mut place = Vec::with_capacity(list.len());
    for (at, word) in list.iter().enumerate() {
        let first = *first_of.entry(text::base(word).into_owned()).or_insert(at);
        place.push(first);
        if first != at {
            continue;
        }
        let unfinished = words.unfinished().filter(|_| at + 1 == list.len());
        let mut slot = Slot { is_aside: words.is_aside(at), ..Slot::default() };
        dictionary.add_word(&mut slot, word, unfinished.is_some())?;
        slots.insert(at, slot);
    }
    for (range, joined) in text::joined(list) {
        for at in range {
            let Some(slot) = slots.get_mut(&place[at]) else { continue };
            for source in sources.iter().filter(|source| source.field != fields.category_words) {
                slot.add(Term::from_field_text(source.field, &joined), JOINED_WORTH * source.weight);
            }
        }
    }
    let number_of = |(a, b): (&String, &String)| text::number(&format!("{a}{b}"));
    let pairs = list.iter().zip(list.iter().skip(1)).map(number_of).collect();
    let singles = list.iter().map(|word| text::number(word)).collect();
    Ok(Slots { words: slots.into_values().collect(), pairs, singles })
}

impl Slot {
    fn add(&mut self, term: Term, worth: f32) {
        self.variants.push(Variant { term, worth, is_weak: false });
    }

    fn matches_in_title(&mut self, word: &str, worth: f32) {
        let known = self.numbers.entry(text::number(word)).or_default();
        *known = known.max(worth);
    }
}

impl Dictionary<'_> {
    fn add_word(&self, slot: &mut Slot, word: &str, is_unfinished: bool) -> Result<(), Error> {
        let one = text::base(word);
        slot.matches_in_title(&one, 1.0);
        let (mut many, mut most) = (0, 0);
        for source in self.sources.iter().filter(|source| !self.is_mistaken(source.field, word)) {
            let mut here = 0;
            let mut add = |text: &str, worth: f32| -> Result<(), Error> {
                let term = Term::from_field_text(source.field, text);
                here += self.documents(&term)?;
                slot.add(term, worth * source.weight);
                Ok(())
            };
            add(word, 1.0)?;
            add(&format!("{BASE}{one}"), BASE_WORTH)?;
            if one != word {
                add(&one, BASE_WORTH)?;
            }
            many += here;
            most = here.max(most);
        }
        let mut is_begun = false;
        if is_unfinished {
            slot.frequency = most;
            is_begun = self.complete(slot, word, COMPLETED_WORTH, false)?;
        } else if word.len() >= SHORTEST_ABBREVIATION && many > 0 {
            self.complete(slot, word, ABBREVIATED_WORTH, true)?;
        }
        self.abbreviate(slot, word);
        if many <= RARE && !is_begun && text::typos(word) > 0 {
            self.correct(slot, word, many)?;
        }
        Ok(())
    }

    /// Whether `word`, were it found in `field`, would hardly mean that: a short number among others is a size, a year or a version, and no SKU.
    fn is_mistaken(&self, field: Field, word: &str) -> bool {
        field == self.code && !self.is_alone && word.len() <= LONGEST_YEAR && word.bytes().all(|b| b.is_ascii_digit())
    }

    /// In how many documents `term` is; those that were just replaced may count twice.
    fn documents(&self, term: &Term) -> Result<u64, Error> {
        Ok(self.searcher.doc_freq(term)?)
    }

    /// Adds words that begin with `begun`, if there are any; whether there are.
    fn complete(&self, slot: &mut Slot, begun: &str, worth: f32, is_weak: bool) -> Result<bool, Error> {
        let mut is_any = false;
        for source in self.sources.iter().filter(|source| source.is_completed && !self.is_mistaken(source.field, begun)) {
            let mut found: HashMap<String, u64> = HashMap::new();
            for segment in self.searcher.segment_readers() {
                let index = segment.inverted_index(source.field)?;
                let mut stream = index.terms().range().gt(begun).lt(format!("{begun}\u{10ffff}")).into_stream()?;
                // Of each segment the most frequent ones: a word that none of them has often is not frequent.
                let mut most: BinaryHeap<Reverse<(u32, String)>> = BinaryHeap::with_capacity(MOST_COMPLETIONS + 1);
                while let Some((term, info)) = stream.next() {
                    let is_full = most.len() >= MOST_COMPLETIONS;
                    if is_full && most.peek().is_some_and(|Reverse((least, _))| info.doc_freq <= *least) {
                        continue;
                    }
                    if let Ok(term) = std::str::from_utf8(term) {
                        most.push(Reverse((info.doc_freq, term.to_owned())));
                    }
                    if most.len() > MOST_COMPLETIONS {
                        most.pop();
                    }
                }
                for Reverse((many, term)) in most {
                    *found.entry(term).or_default() += u64::from(many);
                }
            }
            let mut found: Vec<(u64, String)> = found.into_iter().map(|(term, many)| (many, term)).collect();
            found.sort_unstable_by(|a, b| b.cmp(a));
            found.truncate(MOST_COMPLETIONS);
            is_any |= !found.is_empty();
            for (_, term) in found {
                slot.matches_in_title(&text::base(&term), worth);
                slot.variants.push(Variant { term: Term::from_field_text(source.field, &term), worth: worth * source.weight, is_weak });
            }
        }
        Ok(is_any)
    }

    /// Adds words that `word` begins with: `pro` for `professional`. They are too vague to find anything by themselves.
    fn abbreviate(&self, slot: &mut Slot, word: &str) {
        for (end, _) in word.char_indices().skip(SHORTEST_ABBREVIATION) {
            let short = &word[..end];
            slot.matches_in_title(short, ABBREVIATED_WORTH);
            for source in self.sources.iter().filter(|source| source.is_completed && source.field != self.code) {
                let term = Term::from_field_text(source.field, short);
                slot.variants.push(Variant { term, worth: ABBREVIATED_WORTH * source.weight, is_weak: true });
            }
        }
    }

    /// Adds words that `word` may be a misspelling of.
    fn correct(&self, slot: &mut Slot, word: &str, many: u64) -> Result<(), Error> {
        for is_completed in [true, false] {
            let mut found: HashMap<String, u64> = HashMap::new();
            for source in self.sources.iter().filter(|source| source.is_completed == is_completed) {
                self.close_to(source.field, word, &mut found)?;
            }
            let mut corrections: Vec<(usize, u64, String)> = found
                .into_iter()
                .filter(|(term, frequency)| term != word && (many == 0 || *frequency >= many * FAR_MORE_FREQUENT))
                .filter_map(|(term, frequency)| Some((text::distance(word, &term, text::typos(word).into())?, u64::MAX - frequency, term)))
                .collect();
            corrections.sort_unstable();
            corrections.truncate(MOST_CORRECTIONS);
            for (edits, _, term) in &corrections {
                let worth = CORRECTED_WORTH.get(*edits).copied().unwrap_or_default();
                slot.matches_in_title(&text::base(term), worth);
                for source in &self.sources {
                    slot.add(Term::from_field_text(source.field, term), worth * source.weight);
                }
            }
            if !corrections.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Walks the words of a field with a Levenshtein automaton (K. Schulz, S. Mihov, Fast string correction with Levenshtein automata, 2002).
    fn close_to(&self, field: Field, word: &str, found: &mut HashMap<String, u64>) -> Result<(), Error> {
        let query = FuzzyTermQuery::new(Term::from_field_text(field, word), text::typos(word), true);
        for segment in self.searcher.segment_readers() {
            let index = segment.inverted_index(field)?;
            let mut stream = index.terms().search(query.automaton()?).into_stream()?;
            while let Some((term, info)) = stream.next() {
                if let Ok(term) = std::str::from_utf8(term).map(|term| term.trim_start_matches(BASE)) {
                    *found.entry(term.to_owned()).or_default() += u64::from(info.doc_freq);
                }
            }
        }
        Ok(())
    }
}
