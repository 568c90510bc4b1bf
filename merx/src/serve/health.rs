//! Health of this server: whether it can do what it is for, and how its consumers do.

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use ::search::Index;
use event_schemas::Timestamp;
use event_store::{
    EventStore,
    kafka::publisher,
    progress::{self, Consumer, Progress},
};
use gateway::{Problem, metrics::Handle};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::{sync::watch, time::timeout};
use uuid::Uuid;

use super::Role;
use crate::search;

const STARTING: u8 = 0;
const READY: u8 = 1;
const STOPPING: u8 = 2;
/// The longest that the database may take to say how far everybody has come.
const LOOK_LIMIT: Duration = Duration::from_secs(2);
/// The time that a process is degraded for once the log was found to have gone back: long enough for whoever looks at it to be told.
const WENT_BACK_IS_NEWS: chrono::TimeDelta = chrono::TimeDelta::minutes(10);

/// Health of this server, as probes and metrics tell it. Cheap to clone.
#[derive(Clone)]
pub struct Health(Arc<Inner>);

struct Inner {
    store: EventStore,
    metrics: Handle,
    phase: AtomicU8,
    parts: Parts,
}

/// Parts of a process: what it does, and what with.
pub struct Parts {
    /// Its roles.
    pub roles: Vec<Role>,
    /// Id that it holds leases under.
    pub holder: Uuid,
    /// Health of the publisher, where it publishes.
    pub published: Option<watch::Receiver<publisher::Health>>,
    /// The search index that is its own.
    pub index: Option<Arc<dyn Index>>,
}

/// Readiness of a process for what it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Readiness {
    /// Of all of it.
    status: Status,
    /// Of each of its roles.
    roles: Vec<RoleState>,
    /// The newest break in the history of the log; null where there was none.
    went_back: Option<WentBack>,
}

/// A break in the history of the log: it was restored from a backup, or a standby took over without its newest events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
struct WentBack {
    /// The last position of the history before it that is still in the log. What was acknowledged after it is lost.
    since: i64,
    /// The time at which it was found.
    at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ReadinessStatus")]
enum Status {
    /// Every role works.
    Ready,
    /// Something does not work; what the process is for does.
    Degraded,
}

/// State of a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
struct RoleState {
    /// The role, as `--role` has it.
    name: String,
    /// State of its work.
    state: State,
    /// Trouble that it has; null where it works.
    detail: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "RoleStatus")]
enum State {
    /// It works.
    Ready,
    /// A part of it does not.
    Degraded,
    /// It can't do what it is for.
    Failing,
}

/// Observations of everything that roles depend on.
struct Seen {
    progress: Progress,
    publisher: Option<publisher::Health>,
    /// True where the index of this process was ever filled, or there is nothing to fill it with; none where it has none.
    is_index_filled: Option<bool>,
    went_back: Option<WentBack>,
    now: Timestamp,
}

impl Health {
    /// A server that is starting.
    pub fn new(store: EventStore, metrics: Handle, parts: Parts) -> Self {
        Self(Arc::new(Inner { store, metrics, phase: AtomicU8::new(STARTING), parts }))
    }

    /// Every role is up.
    pub fn set_ready(&self) {
        self.0.phase.store(READY, Ordering::Release);
    }

    /// It answers what is under way, and nothing more.
    pub fn set_stopping(&self) {
        self.0.phase.store(STOPPING, Ordering::Release);
    }

    /// Readiness of every role; 503 where the process is starting or stopping, or can't do what it is for.
    pub async fn readiness(&self) -> Result<Readiness, Problem> {
        match self.0.phase.load(Ordering::Acquire) {
            STARTING => return Err(Problem::unavailable("The server is starting.")),
            STOPPING => return Err(Problem::unavailable("The server is stopping.")),
            _ => {}
        }
        let parts = &self.0.parts;
        let progress = self.progress().await.ok_or_else(|| Problem::unavailable("The database does not answer."))?;
        let publisher = parts.published.as_ref().map(|published| published.borrow().clone());
        let has_rows = progress.consumers.iter().any(|consumer| consumer.name == "search");
        let is_index_filled = match &parts.index {
            Some(index) => Some(!has_rows || index.place().await.is_ok_and(|place| place.is_some())),
            None => None,
        };
        let (went_back, now) = (self.went_back(), chrono::Utc::now().into());
        judge(&parts.roles, parts.holder, &Seen { progress, publisher, is_index_filled, went_back, now })
    }

    /// Everything that was measured, in the text of Prometheus, and how those consumers do whose leases this process holds.
    pub async fn metrics(&self) -> String {
        let mut text = self.0.metrics.render();
        if let Some(progress) = self.progress().await {
            let holder = self.0.parts.holder;
            let own: Vec<&Consumer> = progress.consumers.iter().filter(|consumer| consumer.holder == Some(holder)).collect();
            write_gauges(&mut text, &own);
        }
        text
    }

    async fn progress(&self) -> Option<Progress> {
        timeout(LOOK_LIMIT, query_api::answered(|| progress::read(self.0.store.pool()))).await.ok()?.ok()
    }

    /// The newest break in the history of the log, whoever found it.
    fn went_back(&self) -> Option<WentBack> {
        let timeline = self.0.store.timeline();
        let is_first = timeline.since == 0 && self.0.store.breaks() == 0;
        (!is_first).then_some(WentBack { since: timeline.since, at: timeline.begun_at })
    }
}

/// Readiness of `roles` by what was `seen`; the refusal where one of them fails in a process without the role command-api.
fn judge(roles: &[Role], holder: Uuid, seen: &Seen) -> Result<Readiness, Problem> {
    let roles_of: Vec<RoleState> = roles.iter().map(|role| state_of(*role, holder, seen)).collect();
    let worst = roles_of.iter().map(|role| role.state).find(|state| *state == State::Failing);
    if worst.is_some() && !roles.contains(&Role::CommandApi) {
        let told = roles_of.iter().filter(|role| role.state == State::Failing);
        let told: Vec<String> = told.map(|role| format!("{}: {}", role.name, role.detail.as_deref().unwrap_or_default())).collect();
        return Err(Problem::unavailable(format!("Not all roles work: {}.", told.join("; "))).with("roles", &roles_of));
    }
    let is_news = seen.went_back.as_ref().is_some_and(|broken| seen.now.since(broken.at) < WENT_BACK_IS_NEWS);
    let is_ready = !is_news && roles_of.iter().all(|role| role.state == State::Ready);
    let status = if is_ready { Status::Ready } else { Status::Degraded };
    Ok(Readiness { status, roles: roles_of, went_back: seen.went_back.clone() })
}

fn state_of(role: Role, holder: Uuid, seen: &Seen) -> RoleState {
    let of_consumers = |names: &[&str]| {
        // What others work for is their trouble; what nobody works for is everybody's who could.
        let own = seen.progress.consumers.iter().filter(|consumer| consumer.holder.is_none_or(|by| by == holder));
        let troubles: Vec<String> = own.filter(|own| names.contains(&own.name.as_str())).filter_map(Consumer::trouble).collect();
        if troubles.is_empty() { (State::Ready, None) } else { (State::Failing, Some(troubles.join("; "))) }
    };
    let (state, detail) = match role {
        Role::CommandApi => (State::Ready, None),
        Role::QueryApi if seen.is_index_filled == Some(false) => (State::Failing, Some("its search index is not filled yet".to_owned())),
        Role::QueryApi => {
            let shared = seen.progress.consumers.iter().find(|consumer| consumer.name == search::NAME && seen.is_index_filled.is_none());
            match shared.and_then(Consumer::trouble) {
                Some(trouble) => (State::Degraded, Some(trouble)),
                None => (State::Ready, None),
            }
        }
        Role::Projector => {
            let projections = projections::all();
            let names: Vec<&str> = projections.iter().map(|projection| projection.name()).chain([search::NAME]).collect();
            of_consumers(&names)
        }
        Role::Publisher => match &seen.publisher {
            Some(publisher::Health::Away(reason)) => (State::Failing, Some(format!("events are not published: {reason}"))),
            Some(publisher::Health::Ready) | None => of_consumers(&[publisher::NAME]),
        },
        Role::PaymentWorker => of_consumers(&[command_api::payment_gateway::worker::NAME]),
        Role::ProcessManager => of_consumers(&[command_api::process::NAME]),
    };
    RoleState { name: role.to_string(), state, detail }
}

/// A gauge of a consumer: its name, what it says, and how it is read.
type Gauge = (&'static str, &'static str, fn(&Consumer) -> f64);

#[expect(clippy::cast_precision_loss, reason = "metrics are floats")]
const GAUGES: [Gauge; 4] = [
    ("merx_consumer_position", "The position that the consumer has come to.", |consumer| consumer.position as f64),
    ("merx_consumer_lag_events", "How many events the consumer lacks.", |consumer| consumer.lag as f64),
    ("merx_consumer_lag_seconds", "The age of the oldest event that the consumer lacks.", |consumer| consumer.lag_seconds),
    ("merx_parked_streams", "How many streams the consumer has parked.", |consumer| consumer.parked as f64),
];

/// Writes how `consumers` do as Prometheus reads it. Whoever loses a lease says no more of its consumer, whoever gets it does.
fn write_gauges(text: &mut String, consumers: &[&Consumer]) {
    // A String takes everything.
    for (name, help, value) in GAUGES {
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n");
        for consumer in consumers {
            let _ = writeln!(text, "{name}{{consumer=\"{}\"}} {}", consumer.name, value(consumer));
        }
    }
    let _ = write!(text, "# HELP merx_consumer_state 1 for the state that the consumer is in.\n# TYPE merx_consumer_state gauge\n");
    for consumer in consumers {
        for state in progress::State::ALL {
            let is_it = u8::from(consumer.state == state);
            let _ = writeln!(text, "merx_consumer_state{{consumer=\"{}\",state=\"{}\"}} {is_it}", consumer.name, state.name());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consumer(name: &str, state: progress::State, holder: Option<Uuid>) -> Consumer {
        let failure = (state == progress::State::Failing).then(|| "the disk is full".to_owned());
        Consumer {
            name: name.into(),
            version: 1,
            position: 7,
            lag: 3,
            lag_seconds: 1.5,
            state,
            failure,
            rebuild: None,
            parked: 2,
            updated_at: Timestamp::from_micros(0),
            holder,
        }
    }

    fn seen(consumers: Vec<Consumer>) -> Seen {
        let progress = Progress { head: 10, consumers };
        Seen { progress, publisher: None, is_index_filled: Some(true), went_back: None, now: Timestamp::from_micros(0) }
    }

    const ALL: [Role; 6] = [Role::CommandApi, Role::QueryApi, Role::Projector, Role::Publisher, Role::PaymentWorker, Role::ProcessManager];

    fn of(readiness: &Readiness, role: Role) -> (State, &str) {
        let state = readiness.roles.iter().find(|state| state.name == role.to_string()).unwrap();
        (state.state, state.detail.as_deref().unwrap_or_default())
    }

    #[test]
    fn who_takes_writes_is_degraded_by_whatever_fails_and_ready_otherwise() {
        let me = Uuid::now_v7();
        let ready = judge(&ALL, me, &seen(vec![consumer("orders", progress::State::Behind, Some(me))])).unwrap();
        assert_eq!((ready.status, ready.roles.len()), (Status::Ready, 6));
        let away = publisher::Health::Away("Kafka can't be reached".into());
        let failing = consumer("orders", progress::State::Failing, Some(me));
        let stalled = consumer("process-managers", progress::State::Stalled, None);
        let seen = Seen { publisher: Some(away), is_index_filled: Some(false), ..seen(vec![failing, stalled]) };
        let degraded = judge(&ALL, me, &seen).unwrap();
        assert_eq!(degraded.status, Status::Degraded);
        assert_eq!(of(&degraded, Role::CommandApi), (State::Ready, ""));
        assert_eq!(of(&degraded, Role::QueryApi), (State::Failing, "its search index is not filled yet"));
        assert_eq!(of(&degraded, Role::Projector), (State::Failing, "orders: the disk is full"));
        assert_eq!(of(&degraded, Role::Publisher), (State::Failing, "events are not published: Kafka can't be reached"));
        assert_eq!(of(&degraded, Role::PaymentWorker), (State::Ready, ""));
        assert_eq!(of(&degraded, Role::ProcessManager), (State::Failing, "process-managers lacks 3 events and does not move"));
    }

    #[test]
    fn who_takes_no_writes_is_not_ready_while_a_role_of_its_own_fails() {
        let (me, other) = (Uuid::now_v7(), Uuid::now_v7());
        let failing = |holder| seen(vec![consumer("orders", progress::State::Failing, holder)]);
        for holder in [Some(me), None] {
            let refused = judge(&[Role::Projector], me, &failing(holder)).unwrap_err();
            assert_eq!((refused.status().as_u16(), refused.detail()), (503, "Not all roles work: projector: orders: the disk is full."));
            assert_eq!(serde_json::to_value(&refused).unwrap()["roles"][0]["state"], "failing");
        }
        let ready = judge(&[Role::Projector], me, &failing(Some(other))).unwrap();
        assert_eq!(ready.status, Status::Ready, "another process fails at it");
        let ready = judge(&[Role::QueryApi], me, &failing(Some(me))).unwrap();
        assert_eq!(ready.status, Status::Ready, "it is not what the process is for");
        let unfilled = Seen { is_index_filled: Some(false), ..seen(Vec::new()) };
        assert!(judge(&[Role::QueryApi], me, &unfilled).is_err());
        let shared = consumer(search::NAME, progress::State::Failing, Some(other));
        let degraded = judge(&[Role::QueryApi], me, &Seen { is_index_filled: None, ..seen(vec![shared]) }).unwrap();
        assert_eq!(degraded.status, Status::Degraded, "all but search is answered");
    }

    #[test]
    fn a_log_that_went_back_is_told_of_and_degrades_for_ten_minutes() {
        let me = Uuid::now_v7();
        let broken = WentBack { since: 7, at: Timestamp::from_micros(1_000_000) };
        for (seconds, status) in [(600, Status::Degraded), (601, Status::Ready)] {
            let now = Timestamp::from_micros(seconds * 1_000_000);
            let seen = Seen { went_back: Some(broken.clone()), now, ..seen(Vec::new()) };
            for roles in [&ALL[..], &[Role::QueryApi], &[Role::Publisher]] {
                let readiness = judge(roles, me, &seen).unwrap();
                assert_eq!((readiness.status, readiness.went_back), (status, Some(broken.clone())), "{seconds}");
            }
        }
    }

    #[test]
    fn gauges_are_those_of_the_consumers_that_are_named() {
        let mut text = String::new();
        write_gauges(&mut text, &[&consumer("orders", progress::State::Stalled, None)]);
        for line in [
            "merx_consumer_position{consumer=\"orders\"} 7",
            "merx_consumer_lag_events{consumer=\"orders\"} 3",
            "merx_consumer_lag_seconds{consumer=\"orders\"} 1.5",
            "merx_parked_streams{consumer=\"orders\"} 2",
            "merx_consumer_state{consumer=\"orders\",state=\"stalled\"} 1",
            "merx_consumer_state{consumer=\"orders\",state=\"live\"} 0",
        ] {
            assert!(text.lines().any(|written| written == line), "{line} is not in\n{text}");
        }
        text.clear();
        write_gauges(&mut text, &[]);
        assert!(text.lines().all(|line| line.starts_with('#')), "{text}");
    }
}
