//! Text into words: what is indexed and what is asked are cut and folded by the same rules.

use std::{
    borrow::Cow,
    collections::HashMap,
    hash::{BuildHasherDefault, Hash, Hasher},
    ops::Range,
};

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

/// The longest word that is kept, in bytes; what is longer is cut.
pub const WORD_BYTES: usize = 64;

/// A word, folded, and where it stands in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// In lower case, without diacritics, of compatible forms the plain one.
    pub text: String,
    /// The bytes of the text that it was made of.
    pub range: Range<usize>,
    /// Whether it is in brackets: a remark, and not the name of the thing.
    pub is_aside: bool,
}

/// The words of `text`: runs of letters and digits. Apostrophes vanish (`Noah's` is `noahs`), and so do the zeros of a round version (`7.0`
/// is `7`); of scripts without spaces every character is a word.
pub fn words(text: &str) -> impl Iterator<Item = Word> + '_ {
    runs(text).filter(|word| !(word.text.bytes().all(|b| b == b'0') && is_decimal(&text[..word.range.start])))
}

/// Whether what follows `before` are the decimals of a number.
fn is_decimal(before: &str) -> bool {
    before.strip_suffix('.').is_some_and(|whole| whole.ends_with(|c: char| c.is_ascii_digit()))
}

fn runs(text: &str) -> impl Iterator<Item = Word> + '_ {
    let mut characters = text.char_indices().peekable();
    let mut brackets = 0_usize;
    std::iter::from_fn(move || {
        let mut word = Word { text: String::new(), range: 0..0, is_aside: false };
        while let Some(&(at, character)) = characters.peek() {
            let end = at + character.len_utf8();
            let is_ideograph = is_ideograph(character);
            if is_ideograph && !word.text.is_empty() {
                break;
            }
            characters.next();
            match character {
                '(' | '[' => brackets += 1,
                ')' | ']' => brackets = brackets.saturating_sub(1),
                _ => {}
            }
            match fold(character) {
                Folded::Nothing => {
                    // What is folded away belongs to the word it follows.
                    if !word.text.is_empty() {
                        word.range.end = end;
                    }
                }
                Folded::Gap if word.text.is_empty() => {}
                Folded::Gap => break,
                Folded::Letters(letters) => {
                    if word.text.is_empty() {
                        word.range.start = at;
                        word.is_aside = brackets > 0;
                    }
                    word.range.end = end;
                    if word.text.len() + letters.len() <= WORD_BYTES {
                        word.text.push_str(&letters);
                    }
                    if is_ideograph {
                        break;
                    }
                }
            }
        }
        (!word.text.is_empty()).then_some(word)
    })
}

enum Folded {
    /// It is between words.
    Gap,
    /// It vanishes without parting a word.
    Nothing,
    Letters(Cow<'static, str>),
}

/// Lower case, and NFKD without its marks (Unicode Standard Annex 15), besides letters that Unicode does not take apart.
fn fold(character: char) -> Folded {
    let special = match character {
        'ß' | 'ẞ' => "ss",
        'æ' | 'Æ' => "ae",
        'œ' | 'Œ' => "oe",
        'ø' | 'Ø' => "o",
        'đ' | 'Đ' | 'ð' | 'Ð' => "d",
        'ł' | 'Ł' => "l",
        'þ' | 'Þ' => "th",
        'ħ' | 'Ħ' => "h",
        'ı' => "i",
        '&' => return Folded::Gap,
        '\'' | '’' | '‘' | '`' | '\u{ad}' | '\u{200b}'..='\u{200d}' => return Folded::Nothing,
        _ => "",
    };
    if !special.is_empty() {
        return Folded::Letters(Cow::Borrowed(special));
    }
    if character.is_ascii() {
        return if character.is_ascii_alphanumeric() {
            Folded::Letters(Cow::Owned(character.to_ascii_lowercase().to_string()))
        } else {
            Folded::Gap
        };
    }
    if is_combining_mark(character) {
        return Folded::Nothing;
    }
    let letters: String = std::iter::once(character)
        .nfkd()
        .filter(|c| !is_combining_mark(*c))
        .flat_map(char::to_lowercase)
        .filter(|c| c.is_alphanumeric())
        .collect();
    if letters.is_empty() { Folded::Gap } else { Folded::Letters(Cow::Owned(letters)) }
}

fn is_ideograph(character: char) -> bool {
    matches!(character, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// What a word is a form of: the singular of an English word, as far as its ending tells, and the number of a version (`v8` is `8`).
///
/// Plurals are told by the S-stemmer (D. Harman, How effective is suffixing?, JASIS 42, 1991), which never makes two words one that only look
/// alike, with `-es` after a sibilant taken off whole.
#[must_use]
pub fn base(word: &str) -> Cow<'_, str> {
    let keep = Cow::Borrowed(word);
    if let Some(version) = word.strip_prefix('v')
        && !version.is_empty()
        && version.bytes().all(|b| b.is_ascii_digit())
    {
        return Cow::Borrowed(version);
    }
    if word.len() < 4 || !word.ends_with('s') || word.bytes().any(|b| b.is_ascii_digit()) {
        return keep;
    }
    if let Some(base) = word.strip_suffix("ies") {
        return if base.len() > 1 { Cow::Owned(format!("{base}y")) } else { keep };
    }
    if ["ches", "shes", "xes", "sses", "zes"].iter().any(|ending| word.ends_with(ending)) {
        return Cow::Borrowed(&word[..word.len() - 2]);
    }
    if ["ss", "us", "is"].iter().any(|ending| word.ends_with(ending)) { keep } else { Cow::Borrowed(&word[..word.len() - 1]) }
}

/// Neighbours written as one word, as people write `print shop` and `PS-LX 350 H`: pairs, and up to four words where a digit shows that it
/// is a model number.
pub fn joined(words: &[String]) -> impl Iterator<Item = (Range<usize>, String)> + '_ {
    (0..words.len()).flat_map(move |first| {
        (2..=4).filter_map(move |many| {
            let range = first..first + many;
            let parts = words.get(range.clone())?;
            let text = parts.concat();
            let is_kept = text.len() <= WORD_BYTES && (many == 2 || text.len() <= 24 && text.bytes().any(|b| b.is_ascii_digit()));
            is_kept.then_some((range, text))
        })
    })
}

/// How many typos a word of the query may have: one from 5 letters, two from 9. A number is never taken for another one.
#[must_use]
pub fn typos(word: &str) -> u8 {
    if word.bytes().any(|b| b.is_ascii_digit()) {
        return 0;
    }
    match word.chars().count() {
        ..5 => 0,
        5..9 => 1,
        _ => 2,
    }
}

/// The number that stands for a word in columns (FNV-1a, 64 bits, by Fowler, Noll and Vo): the same on every machine, since it is stored.
#[must_use]
pub fn number(word: &str) -> u64 {
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    word.hash(&mut hasher);
    hasher.finish()
}

/// A map by such numbers, which are spread already.
pub type Numbered<T> = HashMap<u64, T, BuildHasherDefault<AsItIs>>;

/// Takes a number for its own hash.
#[derive(Debug, Clone, Copy, Default)]
pub struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// The distance of two words in edits, a swap of neighbours being one (optimal string alignment); none where it is more than `most`.
#[must_use]
pub fn distance(one: &str, other: &str, most: usize) -> Option<usize> {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    if one.len().abs_diff(other.len()) > most {
        return None;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for i in 1..=one.len() {
        let mut row = vec![i; other.len() + 1];
        for j in 1..=other.len() {
            let changed = last[j - 1] + usize::from(one[i - 1] != other[j - 1]);
            row[j] = changed.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().filter(|edits| *edits <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        words(text).map(|word| word.text).collect()
    }

    #[test]
    fn words_are_folded_and_know_where_they_stand() {
        assert_eq!(texts("Crème BRÛLÉE & Straße"), ["creme", "brulee", "strasse"]);
        assert_eq!(texts("Noah's cafe\u{301} ﬁlm"), ["noahs", "cafe", "film"]);
        assert_eq!(texts("PS-LX350H, 7.5 l 12.0 1.0.2 $100.00"), ["ps", "lx350h", "7", "5", "l", "12", "1", "2", "100"]);
        let asides: Vec<bool> = words("a (b [c] d) e) f").map(|word| word.is_aside).collect();
        assert_eq!(asides, [false, true, true, true, false, false]);
        assert_eq!(texts("東京 tower"), ["東", "京", "tower"]);
        assert_eq!(texts(" \u{7}--!"), Vec::<String>::new());
        let text = "a Crème";
        let ranges: Vec<&str> = words(text).map(|word| &text[word.range]).collect();
        assert_eq!(ranges, ["a", "Crème"]);
    }

    #[test]
    fn plurals_become_singular_versions_numbers_and_nothing_else_does() {
        let pairs = [
            ("v8", "8"),
            ("mugs", "mug"),
            ("berries", "berry"),
            ("boxes", "box"),
            ("dishes", "dish"),
            ("glasses", "glass"),
            ("games", "game"),
        ];
        for (plural, one) in pairs {
            assert_eq!(base(plural), one);
        }
        for word in ["glass", "bus", "tennis", "gas", "cs3s", "mug", "v", "v8x"] {
            assert_eq!(base(word), word);
        }
    }

    #[test]
    fn neighbours_are_joined() {
        let list = |text: &str| joined(&texts(text)).map(|(_, text)| text).collect::<Vec<_>>();
        assert_eq!(list("print shop pro"), ["printshop", "shoppro"]);
        assert_eq!(list("ps lx 350 h"), ["pslx", "pslx350", "pslx350h", "lx350", "lx350h", "350h"]);
    }

    #[test]
    fn edits_are_counted() {
        assert_eq!(distance("wireless", "wireles", 2), Some(1));
        assert_eq!(distance("teapot", "taepot", 1), Some(1));
        assert_eq!(distance("teapot", "kettle", 2), None);
        assert_eq!(["form", "mouse", "stoneware", "lx350"].map(typos), [0, 1, 2, 0]);
    }
}
