//! A topic for each category of streams: `<prefix>.<category>`.

use event_schemas::events::CATEGORIES;

/// The topic of `category`.
#[must_use]
pub fn of_category(prefix: &str, category: &str) -> String {
    format!("{prefix}.{category}")
}

/// The topic that the events of `stream` go to.
#[must_use]
pub fn of_stream(prefix: &str, stream: &str) -> String {
    of_category(prefix, category_of_stream(stream))
}

/// The category of `topic`; `None` where the topic does not begin with `prefix` and a dot.
#[must_use]
pub fn category<'t>(prefix: &str, topic: &'t str) -> Option<&'t str> {
    topic.strip_prefix(prefix)?.strip_prefix('.').filter(|category| !category.is_empty())
}

/// The topics of all categories that this program knows.
#[must_use]
pub fn all(prefix: &str) -> Vec<String> {
    CATEGORIES.iter().map(|category| of_category(prefix, category)).collect()
}

/// The part of a stream's name before the first `-`. Streams that this program does not know have one too.
#[must_use]
pub fn category_of_stream(stream: &str) -> &str {
    stream.split_once('-').map_or(stream, |(category, _)| category)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_a_prefix_and_a_category() {
        assert_eq!(of_category("merx", "order"), "merx.order");
        assert_eq!(of_stream("eu.shop", "order-019cae0e-03c0-7651-8317-1ff4a6a3a450"), "eu.shop.order");
        assert_eq!(category("eu.shop", "eu.shop.order"), Some("order"));
        for (prefix, topic) in
            [("merx", "merx"), ("merx", "merx."), ("merx", "merxorder"), ("merx", "other.order"), ("eu.shop", "eu.order")]
        {
            assert_eq!(category(prefix, topic), None, "{topic}");
        }
    }

    #[test]
    fn every_category_has_one() {
        let topics = all("merx");
        assert_eq!(topics.len(), CATEGORIES.len());
        assert!(topics.iter().zip(CATEGORIES).all(|(topic, known)| category("merx", topic) == Some(known)));
    }
}
