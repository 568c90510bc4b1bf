//! How good search is: nDCG@10 against answers that people gave, beside plain BM25, and how often a mistyped title still finds its product.
//!
//! nDCG: K. Järvelin, J. Kekäläinen, Cumulated gain-based evaluation of IR techniques, ACM TOIS 20(4), 2002.

mod bm25;
pub mod set;
mod typing;

use std::{collections::HashMap, env, time::Instant};

use search::{Embedded, Index, Meilisearch, Place, Request, meilisearch::Settings, query::Words};

use crate::{
    error::Error,
    random::Random,
    report::{Report, Run},
};
use set::Set;

const SEED: u64 = 7;
const FIRST: usize = 10;

/// Measures the embedded index on the set at `options`, and that of the Meilisearch server which `MEILI_URL` names.
pub async fn run(options: &set::Options) -> Result<Report, Error> {
    let set = set::read(options).map_err(|error| Error::Wrong(format!("{}: {error}", options.set.display())))?;
    let bm25 = bm25::Bm25::of(&set.documents);
    let baseline: Vec<f64> = set.queries.iter().map(|(id, query)| ndcg(&set, id, &bm25.search(query))).collect();
    let mut run: Run = vec![
        ("products", Some(mean_of(set.documents.len()))),
        ("queries", Some(mean_of(set.queries.len()))),
        ("baseline_ndcg_at_10", mean(&baseline)),
    ];
    let folder = tempfile::tempdir().map_err(|error| Error::io("making a folder", error))?;
    let embedded = measured(&Embedded::open(folder.path())?, &set).await?;
    let names = ["ndcg_at_10", "mistyped", "mistyped_found", "p50_ms", "p99_ms"];
    run.extend(names.into_iter().zip(embedded));
    if let Some(url) = env::var("MEILI_URL").ok().filter(|url| !url.is_empty()) {
        let index = format!("bench-search-quality-{}", std::process::id());
        let server = Meilisearch::new(&Settings { url, key: env::var("MEILI_KEY").ok(), index })?;
        let of_server = measured(&server, &set).await;
        server.remove().await?;
        let names =
            ["meilisearch_ndcg_at_10", "meilisearch_mistyped", "meilisearch_mistyped_found", "meilisearch_p50_ms", "meilisearch_p99_ms"];
        run.extend(names.into_iter().zip(of_server?));
    }
    Ok(Report::of("search-quality", vec![run]))
}

/// nDCG@10, how many mistyped titles there are and the part of them that finds its product, and how long a query of the set takes.
async fn measured(index: &dyn Index, set: &Set) -> Result<[Option<f64>; 5], Error> {
    index.prepare().await?;
    index.begin_rebuild().await?;
    if let Some(refused) = index.rebuild(set.documents.clone()).await?.first() {
        return Err(Error::Wrong(format!("{} was refused: {}", refused.sku, refused.reason)));
    }
    index.finish_rebuild(Place::default()).await?;
    let (mut scores, mut times, mut hits) = (Vec::new(), Vec::new(), Vec::new());
    for (id, query) in &set.queries {
        let began = Instant::now();
        let found = first(index, query).await?;
        times.push(began.elapsed().as_secs_f64() * 1_000.0);
        scores.push(ndcg(set, id, &found));
    }
    for (sku, query) in &typing::mistyped(&set.documents, &mut Random::new(SEED)) {
        hits.push(f64::from(u8::from(first(index, query).await?.iter().any(|found| found == sku))));
    }
    times.sort_by(f64::total_cmp);
    let quantile = |of_hundred: usize| times.get(times.len() * of_hundred / 100).copied();
    Ok([mean(&scores), Some(mean_of(hits.len())), mean(&hits), quantile(50), quantile(99)])
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
