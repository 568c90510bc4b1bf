//! Titles as people mistype them: one edit in one word of at least five letters, two edits from nine.

use search::{Document, text};

use crate::random::Random;

const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz";

/// The SKU of a product, and its title with a word mistyped; none where no word of the title is long enough.
pub fn mistyped<'a>(documents: &'a [Document], random: &mut Random) -> Vec<(&'a str, String)> {
    documents.iter().filter_map(|document| Some((document.sku.as_str(), mistype(&document.title, random)?))).collect()
}

fn mistype(title: &str, random: &mut Random) -> Option<String> {
    let words: Vec<text::Word> = text::words(title).collect();
    let long: Vec<&text::Word> = words.iter().filter(|word| text::typos(&word.text) > 0 && word.text.is_ascii()).collect();
    let word = long.get(random.below(long.len()))?;
    let mut letters: Vec<char> = word.text.chars().collect();
    for _ in 0..text::typos(&word.text) {
        edit(&mut letters, random);
    }
    let wrong: String = letters.into_iter().collect();
    Some(format!("{}{wrong}{}", &title[..word.range.start], &title[word.range.end..]))
}

fn edit(letters: &mut Vec<char>, random: &mut Random) {
    let at = random.below(letters.len() - 1);
    let letter = char::from(LETTERS[random.below(LETTERS.len())]);
    match random.below(4) {
        0 => letters.swap(at, at + 1),
        1 => drop(letters.remove(at)),
        2 => letters.insert(at, letter),
        _ => letters[at] = letter,
    }
}
