//! Customers, as far as an e-mail address tells them apart.

use icu_properties::{CodePointSetData, props::DefaultIgnorableCodePoint};
use unicode_normalization::UnicodeNormalization as _;

/// The name under which whoever reads the mail sent to `email` is known: the same text for every way to write one address. Limits for each
/// customer count by it, and lists are searched by it; mail is sent to the address as it was written.
///
/// Texts are normalised (NFKC), case-folded and freed of what can't be seen; the domain is that of the name system, without the dot that may
/// stand at its end; what is quoted in front of the `@` is the same as what needs no quotes. A text that is no address is normalised too.
#[must_use]
pub fn of_email(email: &str) -> String {
    let plain = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
    let text = if email.bytes().all(plain) { email.to_ascii_lowercase() } else { folded(email) };
    match text.rsplit_once('@') {
        Some((local, domain)) => format!("{}@{}", unquoted(local), named(domain)),
        None => text,
    }
}

/// NFKC, case-folded, without characters that are not shown.
fn folded(text: &str) -> String {
    let unseen = CodePointSetData::new::<DefaultIgnorableCodePoint>();
    let once = |text: &str| {
        let seen: String = text.chars().filter(|character| !unseen.contains(*character)).nfkc().collect();
        caseless::default_case_fold_str(&seen).nfkc().collect::<String>()
    };
    // Folding may bring back what normalising had put together, once: after the second time nothing changes any more.
    once(&once(text)).trim().to_owned()
}

/// The text that quotes stand around, without its backslashes.
fn unquoted(local: &str) -> String {
    let Some(quoted) = local.strip_prefix('"').and_then(|local| local.strip_suffix('"')) else { return local.to_owned() };
    let mut characters = quoted.chars();
    let mut text = String::with_capacity(quoted.len());
    while let Some(character) = characters.next() {
        text.extend(if character == '\\' { characters.next() } else { Some(character) });
    }
    text
}

/// The domain as the name system has it: in ASCII, without the root's dot.
fn named(domain: &str) -> String {
    let domain = idna::domain_to_ascii(domain).unwrap_or_else(|_| domain.to_owned());
    domain.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_is_one_customer_however_it_is_written() {
        let same: [(&str, &[&str]); 7] = [
            (
                "ann@shop.example",
                &[
                    "ann@shop.example.",
                    "Ann@Shop.EXAMPLE",
                    "\"ann\"@shop.example",
                    "\"a\\nn\"@shop.example",
                    "\"ANN\"@shop.example.",
                    "a\u{200b}nn@shop.example",
                    "ann\u{feff}@sh\u{ad}op.example",
                    "\u{2060}ann@shop\u{200d}.example",
                    "ann\u{fe0f}@shop.example",
                    "ａｎｎ@shop.example",
                    "ann@ｓｈｏｐ．example",
                    "ann@shop。example",
                    "ann＠shop.example",
                    " ann@shop.example ",
                ],
            ),
            ("jos\u{e9}@shop.example", &["jose\u{301}@shop.example", "JOSE\u{301}@shop.example", "JOS\u{c9}@shop.example"]),
            ("strasse@shop.example", &["stra\u{df}e@shop.example", "STRASSE@shop.example", "STRA\u{1e9e}E@shop.example"]),
            ("\u{3c3}@shop.example", &["\u{3c2}@shop.example", "\u{3a3}@shop.example"]),
            ("fi@shop.example", &["\u{fb01}@shop.example", "FI@shop.example"]),
            ("a@b\u{fc}cher.example", &["a@xn--bcher-kva.example", "a@B\u{dc}CHER.example", "a@bu\u{308}cher.example."]),
            ("a b@shop.example", &["\"a b\"@shop.example", "\"a\\ b\"@shop.example"]),
        ];
        for (one, others) in same {
            for other in others {
                assert_eq!(of_email(other), of_email(one), "{other:?} and {one:?}");
            }
        }
    }

    #[test]
    fn other_addresses_are_other_customers() {
        let others = [
            "ann@shop.example",
            "anne@shop.example",
            "ann@shops.example",
            "a.nn@shop.example",
            "ann+x@shop.example",
            "ann@x.shop.example",
            "än@shop.example",
        ];
        let keys: std::collections::BTreeSet<_> = others.iter().map(|email| of_email(email)).collect();
        assert_eq!(keys.len(), others.len(), "{keys:?}");
    }

    #[test]
    fn what_was_normalised_stays_as_it_is() {
        for email in [
            "Ann@Shop.example.",
            "\"x\u{200b}\\\"y\"@B\u{dc}CHER.example",
            "ann",
            "",
            "@",
            "\"",
            "\u{1e9e}\u{345}@x",
            "İ@x",
            "\u{fdfa}@x.example",
        ] {
            let key = of_email(email);
            assert_eq!(of_email(&key), key, "{email:?}");
        }
    }
}
