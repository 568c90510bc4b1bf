//! E-mail addresses.

use std::{borrow::Cow, fmt, str::FromStr};

use email_address::{EmailAddress, Options};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

/// Length of the longest address that mail can be sent to, in characters and in bytes (RFC 5321, 4.5.3.1.3).
pub const MAX_LENGTH: usize = 254;

/// Outline of an address, in the subset of regular expressions that ECMA 262 and Rust read alike: a local part without quotes, and a domain.
const OUTLINE: &str = r#"^[^\s"(),:;<>@\[\\\]]+@[^\s"(),:;<>@\[\\\]]+\.[^\s"(),:;<>@\[\\\]]+$"#;

/// An address that mail can be sent to, as it was written: `local@domain` as RFC 5321 and RFC 6531 have it, without quotes, comments or an
/// address literal, and with a domain that DNS can have.
///
/// For what clients send: events keep the text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Email(String);

/// A text that is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an e-mail address that mail can be sent to, as in \"ann@shop.example\"")]
pub struct Malformed;

impl Email {
    /// The address as it was written.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}

/// Returns true where mail can be sent to `text`, as far as its form tells.
#[must_use]
pub fn is_deliverable(text: &str) -> bool {
    let options = Options::default().without_display_text().without_domain_literal().with_required_tld();
    if text.len() > MAX_LENGTH || EmailAddress::parse_with_options(text, options).is_err() {
        return false;
    }
    text.rsplit_once('@').is_some_and(|(local, domain)| is_plain(local) && is_domain(domain))
}

/// Returns true where all of a local part can be seen: letters, digits and the signs of RFC 5322's atoms.
fn is_plain(local: &str) -> bool {
    let is_sign =
        |char: char| char.is_ascii_punctuation() && !matches!(char, '"' | '(' | ')' | ',' | ':' | ';' | '<' | '>' | '@' | '[' | '\\' | ']');
    local.nfkc().all(|char| char.is_alphanumeric() || is_sign(char) || (!char.is_ascii() && is_combining_mark(char)))
}

/// Returns true where DNS can have `domain` (UTS 46, strict), and a mail exchanger be there: no number stands at its end, as in an IPv4
/// address.
fn is_domain(domain: &str) -> bool {
    let Ok(ascii) = idna::domain_to_ascii_strict(domain) else { return false };
    ascii.rsplit_once('.').is_some_and(|(_, top)| top.bytes().any(|byte| !byte.is_ascii_digit()))
}

impl FromStr for Email {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        if is_deliverable(text) { Ok(Self(text.to_owned())) } else { Err(Malformed) }
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Email {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for Email {
    fn schema_name() -> Cow<'static, str> {
        "Email".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "idn-email",
            "pattern": OUTLINE,
            "maxLength": MAX_LENGTH,
            "description": "an e-mail address that mail can be sent to",
            "examples": ["ann@shop.example"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_can_be_sent_to_what_is_an_address() {
        for right in [
            "ann@shop.example",
            "Ann.O'Hara+shoes@mail.shop.example",
            "a@b.co",
            "jörg@köln.example",
            "用户@例子.中国",
            "a-b_c=d@xn--kln-sna.example",
        ] {
            assert!(is_deliverable(right), "{right}");
        }
        let long_local = format!("{}@shop.example", "a".repeat(65));
        let long = format!("ann@{}example", "abcdefgh.".repeat(30));
        for wrong in [
            "",
            "ann",
            "ann@",
            "@shop.example",
            "ann@shop",
            "ann@shop.",
            "ann@shop.example.",
            "a@b..example",
            "a@.example",
            "ann..b@shop.example",
            ".ann@shop.example",
            "ann.@shop.example",
            "<a@b.example>",
            "<script>@b.example",
            "Ann <ann@shop.example>",
            "\"ann\"@shop.example",
            "ann@shop@example.com",
            "ann @shop.example",
            " ann@shop.example",
            "ann@shop.example\n",
            "ann@-shop.example",
            "ann@shop-.example",
            "ann@sh_op.example",
            "ann@[127.0.0.1]",
            "ann@127.0.0.1",
            "ann@shop.123",
            "an\u{200b}n@shop.example",
            "ann@sh\u{200b}op.example",
            "an\u{ad}n@shop.example",
            "ann\u{7}@shop.example",
            "ann(comment)@shop.example",
            "ann,bob@shop.example",
            "mailto:ann@shop.example",
            &long_local,
            &long,
        ] {
            assert!(!is_deliverable(wrong), "{wrong:?}");
        }
    }
}
