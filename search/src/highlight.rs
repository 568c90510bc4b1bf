//! Matched words, marked in text that is safe to put into a page.

use std::ops::Range;

use crate::{
    query::Words,
    text::{self, Word},
};

/// The longest excerpt of a description, in characters.
const EXCERPT: usize = 240;
/// How many characters of an excerpt come before its first mark.
const LEAD: usize = 60;

/// Marks what a query matched: `<em>…</em>` in text whose other markup is escaped.
#[derive(Debug, Clone)]
pub struct Marker<'a> {
    words: &'a Words,
    joined: Vec<String>,
}

impl<'a> Marker<'a> {
    /// For what `words` match.
    #[must_use]
    pub fn of(words: &'a Words) -> Self {
        Self { words, joined: text::joined(words.list()).map(|(_, text)| text).collect() }
    }

    /// `text` with its matched words marked.
    #[must_use]
    pub fn whole(&self, text: &str) -> String {
        marked(text, &self.matched(text))
    }

    /// The part of `text` around its first matched word; its beginning where there is none.
    #[must_use]
    pub fn excerpt(&self, text: &str) -> String {
        let matched = self.matched(text);
        let first = matched.first().map_or(0, |range| range.start);
        let lead = text[..first].char_indices().rev().take(LEAD).last().map_or(first, |(at, _)| at);
        let start = if lead == 0 { 0 } else { text[lead..first].find(' ').map_or(lead, |space| lead + space + 1) };
        let most = text[start..].char_indices().nth(EXCERPT).map_or(text.len(), |(at, _)| start + at);
        let end = if most == text.len() { most } else { text[start..most].rfind(' ').map_or(most, |space| start + space) };
        let within: Vec<Range<usize>> = matched
            .iter()
            .filter(|range| range.start >= start && range.end <= end)
            .map(|range| range.start - start..range.end - start)
            .collect();
        let before = if start > 0 { "…" } else { "" };
        let after = if end < text.len() { "…" } else { "" };
        format!("{before}{}{after}", marked(&text[start..end], &within))
    }

    fn matched(&self, text: &str) -> Vec<Range<usize>> {
        if self.words.is_empty() {
            return Vec::new();
        }
        let words: Vec<Word> = text::words(text).collect();
        let texts: Vec<String> = words.iter().map(|word| word.text.clone()).collect();
        let mut is_matched: Vec<bool> = words.iter().map(|word| self.matches(&word.text)).collect();
        for (range, joined) in text::joined(&texts) {
            let is_one = self.words.list().contains(&joined) || self.joined.contains(&joined);
            // Typed up to somewhere in the last of these words, and not by chance: the first one was not meant by itself.
            let before_last: usize = texts[range.start..range.end - 1].iter().map(String::len).sum();
            let is_begun = |begun: &str| joined.starts_with(begun) && before_last < begun.len() && !is_matched[range.start];
            if is_one || self.words.unfinished().is_some_and(is_begun) {
                is_matched[range].fill(true);
            }
        }
        words.into_iter().zip(is_matched).filter(|(_, is_matched)| *is_matched).map(|(word, _)| word.range).collect()
    }

    fn matches(&self, word: &str) -> bool {
        let one = text::base(word);
        let is_close = |asked: &String| {
            let typos = text::typos(asked);
            typos > 0 && text::distance(asked, word, typos.into()).is_some()
        };
        self.words.unfinished().is_some_and(|begun| word.starts_with(begun))
            || self.joined.iter().any(|joined| joined == word)
            || self.words.list().iter().any(|asked| text::base(asked) == one || is_close(asked))
    }
}

fn marked(text: &str, ranges: &[Range<usize>]) -> String {
    let mut html = String::with_capacity(text.len() + 16 * ranges.len());
    let mut at = 0;
    for range in ranges {
        escape(&text[at..range.start], &mut html);
        html.push_str("<em>");
        escape(&text[range.clone()], &mut html);
        html.push_str("</em>");
        at = range.end;
    }
    escape(&text[at..], &mut html);
    html
}

fn escape(text: &str, html: &mut String) {
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            plain => html.push(plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(query: &str, text: &str) -> String {
        Marker::of(&Words::of(query)).whole(text)
    }

    #[test]
    fn what_was_matched_is_marked_and_markup_escaped() {
        assert_eq!(whole("mugs", "Stoneware Mug <b>"), "Stoneware <em>Mug</em> &lt;b&gt;");
        assert_eq!(whole("creme br", "Crème Brûlée"), "<em>Crème</em> <em>Brûlée</em>");
        assert_eq!(whole("stonewear", "Stoneware & \"x\""), "<em>Stoneware</em> &amp; &quot;x&quot;");
        assert_eq!(whole("pslx350h", "Sony PS-LX350H"), "Sony <em>PS</em>-<em>LX350H</em>");
        assert_eq!(whole("ps lx 350h", "Sony PSLX350H"), "Sony <em>PSLX350H</em>");
        assert_eq!(whole("pslx3", "Sony PS-LX350H S"), "Sony <em>PS</em>-<em>LX350H</em> S");
        assert_eq!(whole("mugs", "MUG-STONE-02"), "<em>MUG</em>-STONE-02");
        assert_eq!(whole("", "<script>"), "&lt;script&gt;");
    }

    #[test]
    fn an_excerpt_is_around_the_first_match() {
        let text = format!("{}a red kettle {}", "word ".repeat(100), "word ".repeat(100));
        let words = Words::of("kettle");
        let excerpt = Marker::of(&words).excerpt(&text);
        assert!(excerpt.starts_with("…word") && excerpt.ends_with("word…") && excerpt.contains("red <em>kettle</em>"), "{excerpt}");
        assert!(excerpt.chars().count() < EXCERPT + 20);
        assert_eq!(Marker::of(&words).excerpt("short"), "short");
    }
}
