//! How good search is: nDCG@10 against answers that people gave, beside plain BM25, and how often a mistyped title still finds its product.
//!
//! nDCG: K. Järvelin, J. Kekäläinen, Cumulated gain-based evaluation of IR techniques, ACM TOIS 20(4), 2002.

mod bm25;
pub mod set;
mod typing;

use std::{collections::HashMap, time::Instant};

use search::{Changes, Embedded, Index, Place, Request, query::Words};

use crate::{error::Error, random::Random, report::Report};
use set::Set;

const SEED: u64 = 7;
const FIRST: usize = 10;

/// Measures the embedded index on the set at `options`.
pub async fn run(options: &set::Options) -> Result<Report, Error> {
    let set = set::read(options).map_err(|error| Error::Wrong(format!("{}: {error}", options.set.display())))?;
    let folder = tempfile::tempdir().map_err(|error| Error::io("making a folder", error))?;
    let index = Embedded::open(folder.path())?;
    let changes = Changes { documents: set.documents.clone(), removed: Vec::new() };
    index.apply(changes, Place::default()).await?;
    let bm25 = bm25::Bm25::of(&set.documents);
    let (mut ours, mut theirs, mut halves) = (Vec::new(), Vec::new(), [Vec::new(), Vec::new()]);
    let mut times = Vec::new();
    for (nth, (id, query)) in set.queries.iter().enumerate() {
        let began = Instant::now();
        let found = first(&index, query).await?;
        times.push(began.elapsed().as_secs_f64() * 1_000.0);
        let score = ndcg(&set, id, &found);
        ours.push(score);
        halves[nth % 2].push(score);
        theirs.push(ndcg(&set, id, &bm25.search(query)));
    }
    let mistyped = typing::mistyped(&set.documents, &mut Random::new(SEED));
    let mut hits = Vec::new();
    for (sku, query) in &mistyped {
        hits.push(f64::from(u8::from(first(&index, query).await?.iter().any(|found| found == sku))));
    }
    times.sort_by(f64::total_cmp);
    let measured = vec![
        ("products", Some(mean_of(set.documents.len()))),
        ("queries", Some(mean_of(ours.len()))),
        ("ndcg_at_10", mean(&ours)),
        ("baseline_ndcg_at_10", mean(&theirs)),
        ("ndcg_at_10_even", mean(&halves[0])),
        ("ndcg_at_10_odd", mean(&halves[1])),
        ("mistyped", Some(mean_of(hits.len()))),
        ("mistyped_found", mean(&hits)),
        ("p50_ms", times.get(times.len() / 2).copied()),
        ("p99_ms", times.get(times.len() * 99 / 100).copied()),
    ];
    Ok(Report::of("search-quality", vec![measured]))
}

async fn first(index: &dyn Index, query: &str) -> Result<Vec<String>, Error> {
    let request = Request { words: Words::of(query), limit: FIRST, ..Request::default() };
    Ok(index.search(&request).await?.skus)
}

fn ndcg(set: &Set, query: &str, found: &[String]) -> f64 {
    let none = HashMap::new();
    let grades = set.answers.get(query).unwrap_or(&none);
    let gain = |grades: &mut dyn Iterator<Item = f64>| {
        (2_u32..).zip(grades).take(FIRST).map(|(rank, grade)| (grade.exp2() - 1.0) / f64::from(rank).log2()).sum::<f64>()
    };
    let mut ideal: Vec<f64> = grades.values().copied().collect();
    ideal.sort_by(|a, b| b.total_cmp(a));
    let best = gain(&mut ideal.into_iter());
    let reached = gain(&mut found.iter().map(|sku| grades.get(sku).copied().unwrap_or_default()));
    if best > 0.0 { reached / best } else { 0.0 }
}

#[expect(clippy::cast_precision_loss, reason = "counts of queries")]
fn mean_of(count: usize) -> f64 {
    count as f64
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / mean_of(values.len()))
}
