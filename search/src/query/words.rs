//! The words of a query.

use crate::text;

/// The most words that are looked at: the first ones.
pub const MOST_WORDS: usize = 40;

/// What was typed, as words.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Words {
    list: Vec<String>,
    asides: Vec<bool>,
    is_unfinished: bool,
    is_signs: bool,
}

impl Words {
    /// Those of `text`. The last one counts as unfinished unless something follows it.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let words: Vec<text::Word> = text::words(text).take(MOST_WORDS).collect();
        // A letter that hangs on what is before it, as in `POT-S`, is the end of a model number and no beginning.
        let hangs = |last: &text::Word| last.text.len() == 1 && text[..last.range.start].ends_with(|c: char| !c.is_whitespace());
        let is_unfinished = words.last().is_some_and(|last| last.range.end == text.len() && !hangs(last));
        let asides = words.iter().map(|word| word.is_aside).collect();
        let is_signs = words.is_empty() && text.chars().any(|c| !c.is_whitespace());
        Self { list: words.into_iter().map(|word| word.text).collect(), asides, is_unfinished, is_signs }
    }

    /// One after the other, as they were typed.
    #[must_use]
    pub fn list(&self) -> &[String] {
        &self.list
    }

    /// Whether the word at `at` is in brackets, and with everything else that was typed a remark.
    #[must_use]
    pub fn is_aside(&self, at: usize) -> bool {
        self.asides.get(at).is_some_and(|is_aside| *is_aside) && !self.asides.iter().all(|is_aside| *is_aside)
    }

    /// Whether nothing was asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty() && !self.is_signs
    }

    /// Returns true where something was asked for, but no word, as `%` or `*`: it is in no index, so nothing is found.
    #[must_use]
    pub fn is_signs(&self) -> bool {
        self.is_signs
    }

    /// The last word, where whoever types it may not have come to its end.
    #[must_use]
    pub fn unfinished(&self) -> Option<&str> {
        self.list.last().filter(|_| self.is_unfinished).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::Words;

    #[test]
    fn signs_are_not_nothing() {
        for (typed, is_empty, is_signs) in
            [("", true, false), (" \t", true, false), ("%", false, true), (" \" * ", false, true), ("% mug", false, false)]
        {
            let words = Words::of(typed);
            assert_eq!((words.is_empty(), words.is_signs()), (is_empty, is_signs), "{typed:?}");
        }
    }

    #[test]
    fn the_last_word_is_unfinished_unless_something_follows_it() {
        for (typed, unfinished) in [
            ("stoneware m", Some("m")),
            ("m", Some("m")),
            ("mug ", None),
            ("mug)", None),
            ("POT-S", None),
            ("POT-SE", Some("se")),
            ("", None),
        ] {
            assert_eq!(Words::of(typed).unfinished(), unfinished, "{typed}");
        }
    }
}
