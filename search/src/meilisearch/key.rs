//! Any text as a name that Meilisearch takes as it is: it compares values without regard to case, and its ids and field names have few
//! characters.

use crate::text;

/// The longest name, in bytes: Meilisearch cuts values of facets at 468.
const MOST_BYTES: usize = 230;
/// Before the number of a text whose name would be longer.
const NUMBERED: &str = "__";

/// A name of `a-z`, `0-9`, `-` and `_` that no other text has; of a text that is too long a number, by which it is found but can't be read.
pub fn of(text: &str) -> String {
    use std::fmt::Write as _;
    let mut name = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' => name.push(char::from(byte)),
            // Writing into a string can't fail.
            _ => drop(write!(name, "_{byte:02x}")),
        }
    }
    if name.len() > MOST_BYTES { format!("{NUMBERED}{:016x}", text::number(text)) } else { name }
}

/// The text of a name; none where it was too long.
pub fn text(name: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.bytes();
    while let Some(byte) = rest.next() {
        let decoded = match byte {
            b'_' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                digit(rest.next())? * 16 + digit(rest.next())?
            }
            plain => plain,
        };
        bytes.push(decoded);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_has_a_name_of_its_own_and_can_be_read_again() {
        for plain in ["", "home", "Home", "a.b_c", "Crème \"brûlée\"", "x' OR in_stock = true", "\u{0}", "東京"] {
            let name = of(plain);
            assert!(name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_')), "{name}");
            assert_eq!(text(&name).as_deref(), Some(plain));
        }
        assert_ne!(of("Home"), of("home"));
        let long = "x".repeat(500);
        assert!(of(&long).len() < MOST_BYTES && text(&of(&long)).is_none());
        assert_ne!(of(&long), of(&"x".repeat(501)));
    }
}
