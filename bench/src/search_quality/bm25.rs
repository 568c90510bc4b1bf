//! The baseline: BM25 over the words of title, description, maker and attributes, all alike.

use std::collections::HashMap;

use search::{Document, text};

const K1: f64 = 1.2;
const B: f64 = 0.75;

/// An index in memory.
pub struct Bm25 {
    skus: Vec<String>,
    lengths: Vec<f64>,
    mean_length: f64,
    postings: HashMap<String, Vec<(usize, f64)>>,
}

#[expect(clippy::cast_precision_loss, reason = "counts of words")]
impl Bm25 {
    /// Of `documents`.
    pub fn of(documents: &[Document]) -> Self {
        let mut postings: HashMap<String, Vec<(usize, f64)>> = HashMap::new();
        let mut lengths = Vec::new();
        for (number, document) in documents.iter().enumerate() {
            let attributes = document.attributes.iter().map(|(_, value)| value.as_str());
            let all = [document.title.as_str(), &document.description, document.brand.as_deref().unwrap_or_default()];
            let mut counts: HashMap<String, f64> = HashMap::new();
            for word in all.into_iter().chain(attributes).flat_map(text::words) {
                *counts.entry(word.text).or_default() += 1.0;
            }
            lengths.push(counts.values().sum());
            for (word, count) in counts {
                postings.entry(word).or_default().push((number, count));
            }
        }
        let mean_length = lengths.iter().sum::<f64>() / (lengths.len() as f64).max(1.0);
        Self { skus: documents.iter().map(|document| document.sku.clone()).collect(), lengths, mean_length, postings }
    }

    /// The first ten for `query`.
    pub fn search(&self, query: &str) -> Vec<String> {
        let all = self.skus.len() as f64;
        let mut scores: HashMap<usize, f64> = HashMap::new();
        for word in text::words(query) {
            let Some(postings) = self.postings.get(&word.text) else { continue };
            let many = postings.len() as f64;
            let idf = (1.0 + (all - many + 0.5) / (many + 0.5)).ln();
            for (number, count) in postings {
                let length = self.lengths[*number] / self.mean_length;
                *scores.entry(*number).or_default() += idf * count * (K1 + 1.0) / (count + K1 * (1.0 - B + B * length));
            }
        }
        let mut scores: Vec<(usize, f64)> = scores.into_iter().collect();
        scores.sort_by(|(a, score_a), (b, score_b)| score_b.total_cmp(score_a).then(a.cmp(b)));
        scores.into_iter().take(10).map(|(number, _)| self.skus[number].clone()).collect()
    }
}
