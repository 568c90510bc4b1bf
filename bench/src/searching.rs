//! The embedded index with 100,000 products: how long it takes to fill, and how long queries take at a steady rate while products change.
//!
//! Queries come at their times whether those before are answered or not, and are timed from when they should have begun: a slow answer is not
//! hidden by the pause that it makes (G. Tene, How not to measure latency, 2013).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use event_schemas::{Currency, Money};
use search::{
    Category, Changes, Document, Embedded, Index, Place, Request, Sort,
    query::{FacetName, Filters, Words},
};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep_until},
};

use crate::{
    Extent, cpu,
    error::Error,
    load::Latencies,
    random::Random,
    report::{Report, Run},
};

const PRODUCTS: usize = 100_000;
const BATCH: usize = 2_000;
const QUERIES_PER_SECOND: u32 = 200;
const CHANGES_PER_SECOND: usize = 100;
/// As a server commits them while they come without end.
const COMMITS_PER_SECOND: usize = 5;
const VOCABULARY: usize = 30_000;
const CATEGORIES: usize = 200;

/// Measures the embedded index.
pub async fn run(extent: Extent) -> Result<Report, Error> {
    let folder = tempfile::tempdir().map_err(|error| Error::io("making a folder", error))?;
    let words = Arc::new(Vocabulary::new()?);
    let index: Arc<dyn Index> = Arc::new(Embedded::open(folder.path())?);
    let filled = fill(&*index, &words).await?;
    let mut runs = Vec::new();
    for nth in 1..=extent.runs {
        turn(&index, &words, extent.warm_up(), nth).await?;
        let mut row = turn(&index, &words, extent.turn, nth + 1_000).await?;
        row.push(("fill_seconds", Some(filled.as_secs_f64())));
        runs.push(row);
    }
    Ok(Report::of("search", runs))
}

async fn fill(index: &dyn Index, words: &Vocabulary) -> Result<Duration, Error> {
    let began = Instant::now();
    index.begin_rebuild().await?;
    for first in (0..PRODUCTS).step_by(BATCH) {
        index.rebuild((first..first + BATCH).map(|number| words.product(number, 0)).collect()).await?;
    }
    index.finish_rebuild(Place::default()).await?;
    Ok(began.elapsed())
}

/// Queries for `time`, while products change.
async fn turn(index: &Arc<dyn Index>, words: &Arc<Vocabulary>, time: Duration, seed: u32) -> Result<Run, Error> {
    let own = [std::process::id()];
    let cpu_before = cpu::of_trees(&own)?;
    let changing = tokio::spawn(change(index.clone(), words.clone(), seed));
    let mut random = Random::new(seed.into());
    let (mut asking, mut suggesting) = (JoinSet::new(), JoinSet::new());
    let many = u32::try_from(time.as_millis()).unwrap_or(u32::MAX) / 1_000 * QUERIES_PER_SECOND;
    let start = Instant::now();
    for nth in 0..many {
        let due = start + Duration::from_secs(1) * nth / QUERIES_PER_SECOND;
        sleep_until(due.into()).await;
        let (asked, request) = (index.clone(), words.request(&mut random));
        asking.spawn(async move { asked.search(&request).await.map(|_| due.elapsed()) });
        if nth % 20 == 0 {
            let (asked, text) = (index.clone(), words.beginning(&mut random));
            suggesting.spawn(async move { asked.suggest(&text, 10).await.map(|_| due.elapsed()) });
        }
    }
    let (latencies, suggested) = (all(asking).await?, all(suggesting).await?);
    changing.abort();
    let elapsed = start.elapsed().as_secs_f64();
    let cpu = cpu::of_trees(&own)?.saturating_sub(cpu_before).as_secs_f64();
    let (latencies, suggested) = (Latencies::of(latencies), Latencies::of(suggested));
    Ok(vec![
        ("per_second", Some(f64::from(many) / elapsed)),
        ("p50_ms", Some(latencies.quantile_ms(500))),
        ("p99_ms", Some(latencies.quantile_ms(990))),
        ("max_ms", Some(latencies.quantile_ms(1_000))),
        ("suggest_p50_ms", Some(suggested.quantile_ms(500))),
        ("suggest_p99_ms", Some(suggested.quantile_ms(990))),
        ("cpu_ms_each", Some(cpu * 1_000.0 / f64::from(many.max(1)))),
    ])
}

async fn all(mut answers: JoinSet<Result<Duration, search::Error>>) -> Result<Vec<Duration>, Error> {
    let mut latencies = Vec::new();
    while let Some(answered) = answers.join_next().await {
        latencies.push(answered.map_err(|panic| Error::Wrong(panic.to_string()))??);
    }
    Ok(latencies)
}

async fn change(index: Arc<dyn Index>, words: Arc<Vocabulary>, seed: u32) {
    let mut random = Random::new(u64::from(seed) << 32);
    let mut ticks = interval(Duration::from_secs(1) / u32::try_from(COMMITS_PER_SECOND).unwrap_or(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        ticks.tick().await;
        let one = |_| words.product(random.below(PRODUCTS), 1);
        let documents = (0..CHANGES_PER_SECOND / COMMITS_PER_SECOND).map(one).collect();
        let changed = async {
            index.take(Changes { documents, removed: Vec::new() }).await?;
            index.reach(Place::default()).await
        };
        if let Err(error) = changed.await {
            eprintln!("bench: a change was not taken: {error}");
        }
    }
}

/// Words of a language that nobody speaks, some much more frequent than others.
struct Vocabulary {
    words: Vec<String>,
    pounds: Currency,
}

impl Vocabulary {
    fn new() -> Result<Self, Error> {
        const SYLLABLES: [&str; 20] = [
            "ka", "lo", "mi", "ren", "sto", "tea", "pur", "vel", "no", "dra", "fi", "gon", "hul", "jet", "bas", "wen", "xi", "yor", "zam",
            "qui",
        ];
        let mut random = Random::new(1);
        let word = |_| (0..2 + random.below(3)).map(|_| SYLLABLES[random.below(SYLLABLES.len())]).collect();
        let pounds = "GBP".parse().map_err(|error| Error::Wrong(format!("GBP: {error}")))?;
        Ok(Self { words: (0..VOCABULARY).map(word).collect(), pounds })
    }

    /// A word; the first ones most of the time.
    fn word(&self, random: &mut Random) -> &str {
        let within = [100, 1_000, 5_000, VOCABULARY][random.below(4)];
        &self.words[random.below(within)]
    }

    fn text(&self, words: usize, random: &mut Random) -> String {
        (0..words).map(|_| self.word(random)).collect::<Vec<_>>().join(" ")
    }

    fn product(&self, number: usize, change: u64) -> Document {
        let mut random = Random::new((number as u64) * 7 + 3);
        let brand = self.words[random.below(500)].clone();
        let category = random.below(CATEGORIES);
        let name = format!("{} {}", self.words[category], self.words[category * 7 % 1_000]);
        let price = 100 + random.below(100_000) as i64 + i64::try_from(change).unwrap_or(0);
        Document {
            sku: format!("SKU-{number:06}"),
            title: format!("{brand} {} {}{}", self.text(4, &mut random), self.word(&mut random), random.below(10_000)),
            description: self.text(30, &mut random),
            brand: Some(brand),
            categories: vec![
                Category { id: format!("category-{category}"), name },
                Category { id: "all".into(), name: "Everything".into() },
            ],
            attributes: vec![("colour".into(), self.words[random.below(12)].clone()), ("size".into(), random.below(40).to_string())],
            price: Money::new(rust_decimal::Decimal::new(price, 2), self.pounds),
            sales: Vec::new(),
            in_stock: random.below(10) > 0,
            rating_sum: random.below(100) as i64,
            rating_count: 20,
            created: number as i64,
        }
    }

    /// What a shop is asked: mostly two or three words, some of them mistyped or unfinished, some with filters, some long.
    fn request(&self, random: &mut Random) -> Request {
        let mut text = match random.below(10) {
            0 => String::new(),
            1 => self.product(random.below(PRODUCTS), 0).title,
            nth => self.text(1 + nth % 3, random),
        };
        match random.below(4) {
            0 => drop(text.pop()),
            1 if text.len() > 6 => drop(text.remove(3)),
            _ => text.push(' '),
        }
        let filters = match random.below(4) {
            0 => Filters { in_stock: Some(true), ..Filters::default() },
            1 => Filters { categories: vec![format!("category-{}", random.below(CATEGORIES))], ..Filters::default() },
            _ => Filters::default(),
        };
        let facets = match random.below(2) {
            0 => vec![FacetName::Category, FacetName::Brand, FacetName::Attribute("colour".into())],
            _ => Vec::new(),
        };
        let sort = [Sort::Relevance, Sort::Relevance, Sort::Price, Sort::Newest][random.below(4)];
        Request { words: Words::of(&text), filters, sort, facets, limit: 20, after: None }
    }

    fn beginning(&self, random: &mut Random) -> String {
        let word = self.word(random);
        word[..2 + random.below(word.len() - 2)].to_owned()
    }
}
