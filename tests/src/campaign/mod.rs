//! A campaign against real processes and a real Postgres, under load: rounds in which servers are killed and frozen, Postgres is restarted
//! and its disk filled, roles are away past every deadline, connections are cut in the middle of a commit, and servers fight for one stream.
//!
//! Rounds are gathered in seasons: a season has a Postgres of its own, and at its end everything settles and is looked at. What a round does
//! follows from its seed (not how the threads of seven processes take turns). `MERX_CAMPAIGN_ROUNDS` and `MERX_CAMPAIGN_SEED` say how many
//! rounds there are and from which seed on; `script/campaign ROUNDS [SEED]` builds and runs it.
//!
//! A second campaign has each role in processes of its own and Kafka between them: publishers, projectors, payment workers, process managers and
//! command-apis are killed and frozen, Kafka and Postgres restarted; what then stands on the topics is compared with the log (`topics`).
//! `script/campaign --kafka ROUNDS [SEED]` runs it.
//!
//! - `trouble`: what happens to servers and Postgres; `postgres`, `proxy`: the means to it
//! - `market`: buyers and warehouse workers; `book`: what they were told
//! - `ledger`, `stock`: what the log says; `verdict`: whether that is what should be; `rebuild`: whether the read models are what a rebuild makes

mod book;
mod ledger;
mod market;
pub mod postgres;
mod proxy;
mod rebuild;
mod stock;
mod tests;
mod trouble;
mod verdict;

use std::{
    collections::BTreeMap,
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{sync::Mutex, task::JoinSet};

use self::{
    book::Book,
    ledger::Ledger,
    market::Market,
    postgres::Postgres,
    proxy::Proxy,
    trouble::{Stage, Trouble},
};
use crate::{
    broker::Kafka,
    database::skipped,
    server::{Launch, Server},
    shop::room_for,
    topics,
};

const ROUNDS: u64 = 20;
const FIRST_SEED: u64 = 1;
/// Over Kafka, so that within one campaign each of five troubles comes twice.
const KAFKA_ROUNDS: u64 = 10;
/// What its processes do: the first two answer clients.
const KAFKA_ROLES: [&str; 10] = [
    "command-api,query-api",
    "command-api,query-api",
    "publisher",
    "projector",
    "payment-worker",
    "process-manager",
    "publisher",
    "projector",
    "payment-worker",
    "process-manager",
];
/// Those of them that nobody has while it is absent.
const WORKING_ROLES: [&str; 4] = ["process-manager", "payment-worker", "publisher", "projector"];
const TOPIC_PREFIX: &str = "shop";
const PARTITIONS: &str = "4";
const SEASON_ROUNDS: u64 = 10;
const BUYERS: u64 = 10;
/// How much longer buyers go on after the trouble is over.
const AFTERMATH_MS: std::ops::Range<u64> = 1_000..3_000;
/// How long a payment may take: little, so that what can't be paid is soon settled.
const PAYMENT_DEADLINE_S: &str = "10";

/// What the campaign came to.
#[derive(Default)]
struct Figures {
    rounds: u64,
    troubles: BTreeMap<Trouble, u64>,
    acknowledged: usize,
    unanswered: u64,
    refused: BTreeMap<String, u64>,
    orders: usize,
    events: i64,
    cuts: (u64, u64),
    /// Rows that were compared with those of a rebuild.
    rows: usize,
    /// Events that were found on their topics, and messages that came more than once.
    published: (usize, usize),
}

impl Figures {
    /// One line. What was wrong is 0 of each, or there would have been no end to come to.
    fn line(&self) -> String {
        let troubles: Vec<_> = self.troubles.iter().map(|(trouble, times)| format!("{trouble} {times}")).collect();
        let refused: Vec<_> = self.refused.iter().map(|(code, times)| format!("{code} {times}")).collect();
        let published = match self.published {
            (0, _) => String::new(),
            (events, repeated) => format!("; {events} events on their topics, in order, and {repeated} repetitions"),
        };
        format!(
            "campaign: {} rounds ({}), {} events, {} acknowledged writes, {} orders; {} tries unanswered, {} answers lost and {} messages \
             halved by the proxy, refused: {}; acknowledged events lost: 0, orders stuck: 0, units oversold: 0, payments that don't add up: 0, rows that differ from a rebuild: 0 of {}{published}",
            self.rounds,
            troubles.join(", "),
            self.events,
            self.acknowledged,
            self.orders,
            self.unanswered,
            self.cuts.0,
            self.cuts.1,
            refused.join(", "),
            self.rows,
        )
    }
}

/// Says what was being done, where a test fails in the middle of it.
struct Doing {
    what: String,
}

impl Drop for Doing {
    fn drop(&mut self) {
        if std::thread::panicking() {
            told(&format!("the campaign failed: {}", self.what));
        }
    }
}

/// Past the capturing of output, since it takes minutes.
fn told(line: &str) {
    writeln!(std::io::stderr(), "{line}").expect("stderr");
}

fn asked(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_stuck_or_oversold_whatever_happens_to_servers_and_postgres() {
    campaign(Kind::Servers, asked("MERX_CAMPAIGN_ROUNDS", ROUNDS)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_repeated_or_reordered_over_kafka_whatever_crashes() {
    campaign(Kind::RolesOverKafka, asked("MERX_KAFKA_CAMPAIGN_ROUNDS", KAFKA_ROUNDS)).await;
}

/// What processes there are, and what is between them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Servers of every role, which read the log.
    Servers,
    /// Each role in processes of its own, over Kafka.
    RolesOverKafka,
}

async fn campaign(kind: Kind, rounds: u64) {
    // It needs no server for tests, but who has none has perhaps no Postgres at all.
    if std::env::var_os("MERX_TEST_DATABASE_URL").is_none() && std::env::var_os("MERX_CAMPAIGN_SEED").is_none() {
        return skipped("MERX_TEST_DATABASE_URL or MERX_CAMPAIGN_SEED");
    }
    let first = asked("MERX_CAMPAIGN_SEED", FIRST_SEED);
    let (mut figures, started) = (Figures::default(), Instant::now());
    let mut seed = first;
    while seed < first + rounds {
        let after = (seed + SEASON_ROUNDS).min(first + rounds);
        if !season(kind, seed..after, &mut figures).await {
            return;
        }
        seed = after;
    }
    told(&format!("{}, in {} s", figures.line(), started.elapsed().as_secs()));
}

/// Rounds with these seeds, on a new Postgres; not where there is no Kafka to be had.
async fn season(kind: Kind, seeds: std::ops::Range<u64>, figures: &mut Figures) -> bool {
    let mut doing = Doing { what: format!("before seed {}", seeds.start) };
    // Of servers, every second one has three; processes of one role are small.
    let servers = if kind == Kind::RolesOverKafka || !(seeds.start / SEASON_ROUNDS).is_multiple_of(2) { 3 } else { 2 };
    let _room = room_for(servers).await;
    let stage = match kind {
        Kind::Servers => open(servers, seeds.start).await,
        Kind::RolesOverKafka => match open_over_kafka(seeds.start).await {
            Some(stage) => stage,
            None => return false,
        },
    };
    let book = Arc::new(Book::new(seeds.start));
    let mut clients = Vec::new();
    let answering = if kind == Kind::Servers { stage.servers.len() } else { 2 };
    for server in &stage.servers[..answering] {
        clients.push(server.lock().await.client());
    }
    let mut market = Market::open(clients, book.clone()).await;
    let mut ledger = Ledger::default();
    for seed in seeds.clone() {
        let mut random = fastrand::Rng::with_seed(seed);
        let troubles = match kind {
            Kind::Servers => Trouble::chosen(seed, &mut random, stage.postgres.can_be_filled()),
            Kind::RolesOverKafka => Trouble::chosen_over_kafka(seed, &mut random),
        };
        let names: Vec<_> = troubles.iter().map(ToString::to_string).collect();
        let round = format!("round {}, seed {seed}: {}", figures.rounds + 1, names.join(" and "));
        doing.what = format!("{round} (its season has the seeds {} to {}: MERX_CAMPAIGN_SEED)", seeds.start, seeds.end - 1);
        let started = Instant::now();
        market.restock().await;
        round_of(&stage, &market, &troubles, seed, &mut random).await;
        verdict::all_ready(&stage).await;
        verdict::so_far(&stage, &market, &mut ledger).await.pass();
        figures.rounds += 1;
        for trouble in troubles {
            *figures.troubles.entry(trouble).or_default() += 1;
        }
        told(&format!("{round}: {:.1} s, {} events in the log", started.elapsed().as_secs_f32(), ledger.head));
    }
    doing.what = format!("when all had settled after the seeds {} to {}", seeds.start, seeds.end - 1);
    let started = Instant::now();
    let (ledger, mut verdict) = verdict::at_the_end(&stage, &market).await;
    told(&format!("settled in {:.1} s", started.elapsed().as_secs_f32()));
    // What is stuck already would only fail to be rebuilt.
    if verdict.stuck.is_empty() {
        let compared = rebuild::compare(&stage.postgres).await;
        figures.rows += compared.rows;
        verdict.differing = compared.differing;
    }
    verdict.pass();
    if let Some(kafka) = &stage.kafka {
        let compared = topics::compare(&kafka.brokers, TOPIC_PREFIX, &mut stage.postgres.connect().await).await;
        compared.pass();
        figures.published = (figures.published.0 + compared.events, figures.published.1 + compared.repeated);
    }
    figures.count(&stage, &book, &ledger);
    true
}

impl Figures {
    fn count(&mut self, stage: &Stage, book: &Book, ledger: &Ledger) {
        self.acknowledged += book.acknowledged().len();
        self.unanswered += book.tries_without_answer();
        for (code, times) in book.refused() {
            *self.refused.entry(code).or_default() += times;
        }
        self.orders += ledger.orders.len();
        self.events += ledger.head;
        let (lost, halved) = stage.proxy.counts();
        self.cuts = (self.cuts.0 + lost, self.cuts.1 + halved);
    }
}

async fn open(servers: u32, seed: u64) -> Stage {
    let postgres = Postgres::start().await;
    let proxy = Proxy::start(postgres.port(), seed).await;
    let launch = Launch::on_database(&postgres.url_through(proxy.port)).set("MERX_PAYMENT_DEADLINE_S", PAYMENT_DEADLINE_S);
    let mut running = Vec::new();
    for _ in 0..servers {
        running.push(Mutex::new(Server::start(launch.clone()).await));
    }
    Stage { postgres, proxy, servers: running, kafka: None }
}

async fn open_over_kafka(seed: u64) -> Option<Stage> {
    let kafka = Kafka::start().await?;
    let postgres = Postgres::start().await;
    let proxy = Proxy::start(postgres.port(), seed).await;
    let launch = Launch::on_database(&postgres.url_through(proxy.port)).set("MERX_PAYMENT_DEADLINE_S", PAYMENT_DEADLINE_S);
    let launch = launch.set("KAFKA_BROKERS", &kafka.brokers).set("KAFKA_TOPIC_PREFIX", TOPIC_PREFIX).set("KAFKA_PARTITIONS", PARTITIONS);
    let mut running = Vec::new();
    for roles in KAFKA_ROLES {
        running.push(Mutex::new(Server::start(launch.clone().argument("--role", roles)).await));
    }
    Some(Stage { postgres, proxy, servers: running, kafka: Some(kafka) })
}

/// Buyers buy, the troubles happen, and some time later everybody has got an answer.
async fn round_of(stage: &Stage, market: &Market, troubles: &[Trouble], seed: u64, random: &mut fastrand::Rng) {
    let (mut buyers, is_over) = (JoinSet::new(), Arc::new(AtomicBool::new(false)));
    for number in 0..BUYERS {
        buyers.spawn(market::buyer(market.clone(), seed ^ ((number + 1) << 40), is_over.clone()));
    }
    tokio::time::sleep(Duration::from_millis(random.u64(300..1_000))).await;
    let happening = troubles.iter().map(|trouble| stage.make(*trouble, market, seed));
    futures::future::join_all(happening).await;
    tokio::time::sleep(Duration::from_millis(random.u64(AFTERMATH_MS))).await;
    is_over.store(true, Ordering::Relaxed);
    while let Some(ended) = buyers.join_next().await {
        ended.expect("a buyer");
    }
}
