//! Texts that people write: patterns for JSON Schemas, in the subset of regular expressions that ECMA 262 and Rust read alike.
//!
//! Control characters are those of Unicode's category Cc and the separators of lines and paragraphs (U+2028, U+2029). Visible is a character
//! that is neither white space nor without a glyph of its own (Default_Ignorable_Code_Point of Unicode 17, and the blanks of Hangul and
//! Braille).

// Contents of character classes. Beyond the Basic Multilingual Plane the characters stand for themselves: no escape is read alike everywhere.
macro_rules! controls {
    () => {
        r"\u0000-\u001f\u007f-\u009f\u2028\u2029"
    };
}

macro_rules! blanks {
    () => {
        concat!(
            r"\s\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164",
            r"\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8",
            "\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}"
        )
    };
}

macro_rules! prose {
    () => {
        r"[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]"
    };
}

/// A name, a title, a line of an address: one line with a visible character and no control characters.
pub const LINE: &str = concat!("^[^", controls!(), "]*[^", controls!(), blanks!(), "][^", controls!(), "]*$");

/// [`LINE`], or nothing at all.
pub const OPTIONAL_LINE: &str = concat!("^([^", controls!(), "]*[^", controls!(), blanks!(), "][^", controls!(), "]*)?$");

/// A reason: a text with a visible character. Of control characters it has only tabs and ends of lines.
pub const TEXT: &str = concat!("^", prose!(), "*[^", controls!(), blanks!(), "]", prose!(), "*$");

/// A description: any text whose only control characters are tabs and ends of lines.
pub const PROSE: &str = concat!("^", prose!(), "*$");

/// Requirement of one of the patterns above in words, as it ends a sentence that begins with the name of the field.
#[must_use]
pub fn requirement(pattern: &str) -> Option<&'static str> {
    match pattern {
        LINE => Some("must have a visible character, no control characters and no line breaks"),
        OPTIONAL_LINE => Some("must have a visible character or be empty, with no control characters and no line breaks"),
        TEXT => Some("must have a visible character, and no control characters but tabs and line breaks"),
        PROSE => Some("must have no control characters but tabs and line breaks"),
        _ => None,
    }
}

/// Returns true where `text` matches [`LINE`].
#[must_use]
pub fn is_line(text: &str) -> bool {
    text.chars().any(is_visible) && !text.chars().any(is_control)
}

/// Returns true where `text` matches [`PROSE`].
#[must_use]
pub fn is_prose(text: &str) -> bool {
    !text.chars().any(|char| is_control(char) && !matches!(char, '\t' | '\n' | '\r' | '\u{2028}' | '\u{2029}'))
}

fn is_control(char: char) -> bool {
    char.is_control() || matches!(char, '\u{2028}' | '\u{2029}')
}

/// Returns true where `char` shows, alone or with the one before it.
#[must_use]
pub fn is_visible(char: char) -> bool {
    !(is_control(char) || char.is_whitespace() || is_ignorable(char))
}

fn is_ignorable(char: char) -> bool {
    matches!(char,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        let options = jsonschema::PatternOptions::regex();
        let validator = jsonschema::options().with_pattern_options(options).build(&json!({"pattern": pattern})).unwrap();
        validator.is_valid(&json!(text))
    }

    #[test]
    fn a_line_has_a_visible_character_and_no_control_characters() {
        for right in ["A", " A. Buyer ", "東京", "أحمد\u{200f}", "👩‍👩‍👧", "e\u{301}", "1", "-"] {
            assert!(is_line(right) && matches(LINE, right) && matches(OPTIONAL_LINE, right), "{right:?}");
        }
        let wrong = [
            " ",
            "\t",
            "\u{a0}",
            "\u{200b}",
            "\u{2060}\u{feff}",
            "\u{3164}",
            "\u{e0020}",
            "A\nB",
            "A\u{7}",
            "\u{1b}[31mA",
            "A\u{85}",
            "A\u{2028}B",
        ];
        for wrong in wrong {
            assert!(!is_line(wrong) && !matches(LINE, wrong) && !matches(OPTIONAL_LINE, wrong), "{wrong:?}");
        }
        assert!(!is_line("") && !matches(LINE, "") && matches(OPTIONAL_LINE, ""));
    }

    #[test]
    fn prose_may_have_several_lines_and_nothing_else_that_controls() {
        for right in ["", "A\r\n\tB", "A\u{2028}B", " "] {
            assert!(is_prose(right) && matches(PROSE, right), "{right:?}");
        }
        for wrong in ["A\u{0}", "A\u{1b}[31m", "A\u{9f}"] {
            assert!(!is_prose(wrong) && !matches(PROSE, wrong), "{wrong:?}");
        }
        assert!(
            matches(TEXT, "Broken.\nBoth of them.") && !matches(TEXT, " \n\t") && !matches(TEXT, "\u{200b}") && !matches(TEXT, "a\u{8}")
        );
    }

    #[test]
    fn every_character_is_visible_to_the_pattern_where_it_is_to_the_function() {
        let options = jsonschema::PatternOptions::regex();
        let validator = jsonschema::options().with_pattern_options(options).build(&json!({"pattern": LINE})).unwrap();
        for char in '\0'..=char::MAX {
            let text = char.to_string();
            assert_eq!(validator.is_valid(&json!(text)), is_line(&text), "{char:?}");
        }
    }
}
