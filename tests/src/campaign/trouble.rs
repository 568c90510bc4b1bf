//! What happens to servers, to Postgres and to what is between them.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{sync::Mutex, task::JoinSet};

use super::{
    KAFKA_ROLES, WORKING_ROLES,
    market::{Market, fighter},
    postgres::Postgres,
    proxy::Proxy,
};
use crate::{broker::Kafka, server::Server, shop::unique};

/// Longer than any lease (5 s).
const FREEZE_TIME: Duration = Duration::from_millis(6_500);
const CUT_TIME: Duration = Duration::from_secs(2);
const FIGHT_TIME: Duration = Duration::from_secs(2);
const FIGHTERS: u64 = 12;
/// Longer than a payment may take (10 s) and a reservation holds (a third more).
const ABSENCE_TIME: Duration = Duration::from_secs(15);
/// Roles that servers go on with while nobody is process manager, payment worker or projector.
const OTHER_ROLES: [&str; 3] = [
    "command-api,query-api,projector,payment-worker",
    "command-api,query-api,projector,process-manager",
    "command-api,query-api,payment-worker,process-manager",
];
/// How long a full disk may take to be felt, and how long it stays.
const FULL_DISK_LIMIT: Duration = Duration::from_secs(15);
const FULL_DISK_TIME: Duration = Duration::from_secs(2);
const PROBE_LIMIT: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// `kill -9` of a server, which is started again.
    Kill,
    /// SIGSTOP of a server for longer than any lease, then SIGCONT.
    Freeze,
    /// `pg_ctl restart --mode immediate`.
    RestartPostgres,
    /// Connections that are cut after a message reached Postgres and before its answer is back, or in the middle of a message; and backends
    /// that are terminated.
    CutConnections,
    /// No byte is left on Postgres's disk.
    FillDisk,
    /// Both servers write to one SKU and one cart as fast as they can.
    Fight,
    /// Kafka is restarted, or killed with -9 and started again after a while.
    RestartKafka,
    /// Nobody has one of the roles until every deadline has passed.
    Absence,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "kill -9",
            Self::Freeze => "SIGSTOP",
            Self::RestartPostgres => "immediate restart",
            Self::CutConnections => "cut connections",
            Self::FillDisk => "full disk",
            Self::Fight => "fight",
            Self::RestartKafka => "Kafka's restart",
            Self::Absence => "a role's absence",
        })
    }
}

impl Trouble {
    const ALL: [Self; 7] =
        [Self::Kill, Self::Freeze, Self::RestartPostgres, Self::CutConnections, Self::FillDisk, Self::Fight, Self::Absence];

    /// One or two troubles: seven seeds in a row have each as their first, so that a short campaign leaves none out.
    pub fn chosen(seed: u64, random: &mut fastrand::Rng, can_fill_disk: bool) -> Vec<Self> {
        let possible = |trouble| if trouble == Self::FillDisk && !can_fill_disk { Self::RestartPostgres } else { trouble };
        let first = Self::ALL[usize::try_from(seed % 7).expect("below seven")];
        let mut chosen = vec![possible(first)];
        // A server that is frozen is as good as killed; and what Postgres does on a full disk is to be seen by itself.
        let seconds: &[Self] = match first {
            Self::FillDisk => &[Self::Kill, Self::Fight],
            Self::Freeze | Self::Absence => &[Self::RestartPostgres, Self::CutConnections, Self::Fight],
            _ => &[Self::Kill, Self::RestartPostgres, Self::CutConnections, Self::Fight],
        };
        let second = seconds[random.usize(0..seconds.len())];
        if random.bool() && !chosen.contains(&second) {
            chosen.push(second);
        }
        chosen
    }

    /// The same where roles are processes and Kafka is between them: five seeds in a row have each as their first, and what is killed or frozen
    /// first goes round ([`victim`]).
    pub fn chosen_over_kafka(seed: u64, random: &mut fastrand::Rng) -> Vec<Self> {
        const FIRST: [Trouble; 5] = [Trouble::Kill, Trouble::Freeze, Trouble::RestartKafka, Trouble::RestartPostgres, Trouble::Absence];
        let first = FIRST[usize::try_from(seed % 5).expect("below five")];
        let seconds = [Self::Kill, Self::RestartKafka, Self::RestartPostgres, Self::CutConnections];
        let second = seconds[random.usize(0..seconds.len())];
        // A frozen process that is killed meanwhile would not go on late, and one that is away would come back early.
        let is_apart = second == first || ([Self::Freeze, Self::Absence].contains(&first) && second == Self::Kill);
        if random.bool() && !is_apart { vec![first, second] } else { vec![first] }
    }
}

/// Which of so many processes a seed kills or freezes first: each in turn.
fn victim(seed: u64, processes: usize) -> usize {
    usize::try_from(seed / 5).expect("a seed") % processes
}

/// What troubles happen to.
pub struct Stage {
    pub postgres: Postgres,
    pub proxy: Proxy,
    pub servers: Vec<Mutex<Server>>,
    pub kafka: Option<Kafka>,
}

impl Stage {
    /// Makes the trouble and mends it.
    pub async fn make(&self, trouble: Trouble, market: &Market, seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed ^ trouble as u64);
        match trouble {
            Trouble::Kill if random.u32(0..3) == 0 => {
                // All at once, as when the machine they run on fails.
                futures::future::join_all(self.servers.iter().map(|server| kill(server, Duration::ZERO))).await;
            }
            Trouble::Kill => {
                for nth in 0..random.u32(1..4) {
                    let chosen = if nth == 0 { victim(seed, self.servers.len()) } else { random.usize(0..self.servers.len()) };
                    kill(&self.servers[chosen], Duration::from_millis(random.u64(0..1_500))).await;
                }
            }
            Trouble::Freeze => {
                let server = self.servers[victim(seed, self.servers.len())].lock().await;
                server.freeze();
                tokio::time::sleep(FREEZE_TIME).await;
                server.thaw();
            }
            Trouble::RestartPostgres => {
                for _ in 0..random.u32(1..3) {
                    self.postgres.restart_immediately().await;
                    tokio::time::sleep(Duration::from_millis(random.u64(0..1_000))).await;
                }
            }
            Trouble::CutConnections => self.cut_connections(&mut random).await,
            Trouble::FillDisk => self.fill_disk(market).await,
            Trouble::Fight => fight(market, seed).await,
            Trouble::RestartKafka => self.restart_kafka(&mut random).await,
            Trouble::Absence => self.be_absent(seed).await,
        }
    }

    /// Takes a role away for a while: where each role is a process of its own, all that have it are down; otherwise all servers go on
    /// without it.
    async fn be_absent(&self, seed: u64) {
        let turn = usize::try_from(seed / 5).expect("a seed");
        if self.kafka.is_some() {
            let absent = WORKING_ROLES[turn % WORKING_ROLES.len()];
            let having = KAFKA_ROLES.iter().zip(&self.servers).filter(|(role, _)| **role == absent).map(|(_, server)| server);
            futures::future::join_all(having.map(|server| kill(server, ABSENCE_TIME))).await;
        } else {
            let without = OTHER_ROLES[turn % OTHER_ROLES.len()];
            futures::future::join_all(self.servers.iter().map(|server| go_on_as(server, without))).await;
        }
    }

    async fn restart_kafka(&self, random: &mut fastrand::Rng) {
        let kafka = self.kafka.as_ref().expect("a campaign over Kafka");
        if random.bool() {
            kafka.restart().await;
        } else {
            kafka.kill().await;
            tokio::time::sleep(Duration::from_millis(random.u64(0..4_000))).await;
            kafka.start_again().await;
        }
    }

    async fn cut_connections(&self, random: &mut fastrand::Rng) {
        self.proxy.cut_one_in(random.u32(5..60));
        let limit = Instant::now() + CUT_TIME;
        while Instant::now() < limit {
            tokio::time::sleep(Duration::from_millis(random.u64(50..400))).await;
            let mut connection = self.postgres.connect().await;
            // Every few of them, by chance of their numbers; Postgres may be restarting.
            let _ = sqlx::query("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'merx' and pid % 5 = $1")
                .bind(random.i32(0..5))
                .execute(&mut connection)
                .await;
        }
        self.proxy.cut_one_in(0);
    }

    async fn fill_disk(&self, market: &Market) {
        self.postgres.fill_disk().await;
        let limit = Instant::now() + FULL_DISK_LIMIT;
        // Buyers write meanwhile; this is to see that it is felt. A product takes more than is left in pages that are there already.
        loop {
            let product = json!({"sku": unique("P"), "title": "x".repeat(200), "description": "x".repeat(4_000),
                                 "price": crate::shop::money("1")});
            let tried = tokio::time::timeout(PROBE_LIMIT, market.clients[0].post("/v1/products", product).try_send()).await;
            match tried {
                Ok(Ok(answer)) if answer.status == 201 => {}
                Ok(Ok(answer)) => {
                    assert_eq!(answer.status, 503, "a full disk is an outage: {answer}");
                    break;
                }
                Ok(Err(_)) | Err(_) => break,
            }
            assert!(Instant::now() < limit, "Postgres's disk is full, and writes go on");
        }
        tokio::time::sleep(FULL_DISK_TIME).await;
        self.postgres.free_disk();
        self.postgres.see_that_it_runs().await;
    }
}

/// `kill -9`, and a new start some time later.
async fn kill(server: &Mutex<Server>, down: Duration) {
    let mut server = server.lock().await;
    server.end();
    tokio::time::sleep(down).await;
    server.revive().await;
}

/// A server goes on with some roles only, and with all of them again once every deadline has passed.
async fn go_on_as(server: &Mutex<Server>, roles: &str) {
    let mut server = server.lock().await;
    let whole = server.launch().clone();
    server.end();
    server.revive_as(whole.clone().argument("--role", roles)).await;
    tokio::time::sleep(ABSENCE_TIME).await;
    server.end();
    server.revive_as(whole).await;
}

async fn fight(market: &Market, seed: u64) {
    let (mut fighters, is_over) = (JoinSet::new(), Arc::new(AtomicBool::new(false)));
    for number in 0..FIGHTERS {
        fighters.spawn(fighter(market.clone(), seed ^ (number << 32), is_over.clone()));
    }
    tokio::time::sleep(FIGHT_TIME).await;
    is_over.store(true, Ordering::Relaxed);
    while let Some(ended) = fighters.join_next().await {
        ended.expect("a fighter");
    }
}
