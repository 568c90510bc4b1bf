//! Cold loads of streams of 10, 1,000 and 100,000 events: a handler that knows nothing, beside a plain fold of the log.
//!
//! After the newest snapshot of a stream there are as many events as there may be without a load taking the next one.

use std::time::{Duration, Instant};

use command_api::handler::Handler;
use domain::{
    Aggregate,
    stock::{State, Stock},
};
use event_schemas::{
    Event, Metadata, StreamId, Timestamp,
    events::stock::{StockCommitted, StockReceived, StockReleased, StockReserved},
    ids::{CommandId, OrderId, Sku},
};
use event_store::{EventStore, Lineage, Part, Unit};
use uuid::Uuid;

use crate::{
    Extent, append,
    error::Error,
    load::{Caller, Load},
    report::{Report, Run},
    server::Server,
};

/// How long the streams are, and the columns of each.
const LENGTHS: [(usize, Columns); 3] = [
    (
        10,
        Columns {
            p50: "events_10_p50_ms",
            p99: "events_10_p99_ms",
            folded_p50: "events_10_baseline_p50_ms",
            folded_p99: "events_10_baseline_p99_ms",
        },
    ),
    (
        1_000,
        Columns {
            p50: "events_1000_p50_ms",
            p99: "events_1000_p99_ms",
            folded_p50: "events_1000_baseline_p50_ms",
            folded_p99: "events_1000_baseline_p99_ms",
        },
    ),
    (
        100_000,
        Columns {
            p50: "events_100000_p50_ms",
            p99: "events_100000_p99_ms",
            folded_p50: "events_100000_baseline_p50_ms",
            folded_p99: "events_100000_baseline_p99_ms",
        },
    ),
];
/// How many orders hold units at a time.
const OPEN_ORDERS: usize = 20;
/// Events after the newest snapshot: one more, and a load would take the next one.
const AFTER_SNAPSHOT: usize = 99;
/// How long a snapshot may take to be there.
const PATIENCE: Duration = Duration::from_secs(30);

struct Columns {
    p50: &'static str,
    p99: &'static str,
    folded_p50: &'static str,
    folded_p99: &'static str,
}

/// Measures cold loads in turns with plain folds; fails where they do not come to the same state.
pub async fn run(server: &Server, extent: Extent) -> Result<Report, Error> {
    let store = append::open(server.database("merx").await?).await?;
    let mut streams = Vec::new();
    for (length, columns) in &LENGTHS {
        streams.push((make(&store, *length).await?, columns));
    }
    let mut runs = Vec::new();
    for nth in 1..=extent.runs {
        let mut run = Run::new();
        let mut longest = None;
        let mut shortest_ms = None;
        for (stream, columns) in &streams {
            let reader = || Reader { store: store.clone(), stream: stream.clone() };
            let folded = append::turn(server, extent, vec![Folding(reader())]).await?;
            let loaded = append::turn(server, extent, vec![Loading(reader())]).await?;
            run.extend([
                (columns.p50, Some(loaded.quantile_ms(500))),
                (columns.p99, Some(loaded.quantile_ms(990))),
                (columns.folded_p50, Some(folded.quantile_ms(500))),
                (columns.folded_p99, Some(folded.quantile_ms(990))),
            ]);
            eprintln!("run {nth}: {stream}: folded {:.2} ms, loaded {:.2} ms", folded.quantile_ms(500), loaded.quantile_ms(500));
            shortest_ms.get_or_insert(loaded.quantile_ms(500));
            longest = Some((loaded, folded));
        }
        if let Some((loaded, folded)) = longest {
            run.extend(of_the_longest(&loaded, &folded, shortest_ms.unwrap_or_default()));
        }
        runs.push(run);
    }
    Ok(Report::of("load-stream", runs))
}

fn of_the_longest(loaded: &Load, folded: &Load, shortest_ms: f64) -> Run {
    vec![
        ("per_second", Some(loaded.per_second())),
        ("baseline_per_second", Some(folded.per_second())),
        ("p50_ms", Some(loaded.quantile_ms(500))),
        ("p99_ms", Some(loaded.quantile_ms(990))),
        ("cpu_ms_each", loaded.cpu_ms_each()),
        ("baseline_p99_ms", Some(folded.quantile_ms(990))),
        ("baseline_cpu_ms_each", folded.cpu_ms_each()),
        ("longest_to_shortest", Some(loaded.quantile_ms(500) / shortest_ms)),
    ]
}

/// A stream of `length` events, with the snapshot that a server would have left.
async fn make(store: &EventStore, length: usize) -> Result<StreamId, Error> {
    let malformed = |error: event_schemas::ids::MalformedCode| Error::Wrong(error.to_string());
    let sku: Sku = format!("LENGTH-{length}").parse().map_err(malformed)?;
    let reader = Reader { store: store.clone(), stream: StreamId::stock(&sku) };
    let history = history(length);
    let at_snapshot = length.saturating_sub(AFTER_SNAPSHOT);
    reader.append(&history[..at_snapshot]).await?;
    reader.load().await?;
    if at_snapshot > 0 {
        reader.await_snapshot(at_snapshot).await?;
    }
    reader.append(&history[at_snapshot..]).await?;
    if reader.load().await? == reader.fold().await? {
        return Ok(reader.stream);
    }
    Err(Error::Wrong(format!("{} is loaded as another state than its events amount to", reader.stream)))
}

/// What happens to a SKU: units come in, orders hold some for a while, and each hold ends.
fn history(length: usize) -> Vec<Event> {
    let mut events: Vec<event_schemas::events::stock::Event> =
        vec![StockReceived { quantity: 1_000_000_000, reference: "bench".into() }.into()];
    let order = |nth: usize| OrderId(Uuid::from_u128(nth as u128));
    for nth in 0.. {
        if events.len() >= length {
            break;
        }
        let customer = format!("customer-{nth}@shop.example");
        events.push(StockReserved { order: order(nth), quantity: 1, until: now(), customer, sale: None }.into());
        if let Some(ending) = nth.checked_sub(OPEN_ORDERS) {
            let (order, quantity, sale) = (order(ending), 1, None);
            events.push(match ending % 5 {
                0 => StockReleased { order, quantity, sale, to_allotment: false }.into(),
                _ => StockCommitted { order, quantity, sale }.into(),
            });
        }
    }
    events.truncate(length);
    events.into_iter().map(Event::Stock).collect()
}

fn now() -> Timestamp {
    command_api::shop::now()
}

/// Somebody who knows nothing of a stream.
struct Reader {
    store: EventStore,
    stream: StreamId,
}

impl Reader {
    /// As a server that has just started reads it.
    async fn load(&self) -> Result<State, Error> {
        let handler = Handler::<Stock>::new(self.store.clone(), 1);
        Ok(handler.current(&self.stream, |state, _| state.clone()).await?.0)
    }

    /// From its first event on.
    async fn fold(&self) -> Result<State, Error> {
        let events = self.store.tail(&self.stream, 0).await?;
        let own = events.iter().filter_map(|recorded| Some((Stock::own(&recorded.event)?, recorded.recorded_at)));
        Ok(own.fold(State::default(), |state, (event, at)| Stock::evolve(state, event, at)))
    }

    async fn append(&self, events: &[Event]) -> Result<(), Error> {
        for chunk in events.chunks(1_000) {
            let version = self.store.stream_version(&self.stream).await?;
            let id = Uuid::now_v7();
            let metadata = Metadata { command_id: CommandId(id), correlation_id: id, causation_id: None, actor: "bench".into() };
            let part = Part::new(self.stream.clone(), version, chunk.to_vec(), metadata, now(), Lineage::new(version, 0))?;
            self.store.append(Unit::of(part)).await?;
        }
        Ok(())
    }

    async fn await_snapshot(&self, version: usize) -> Result<(), Error> {
        let until = Instant::now() + PATIENCE;
        while self.store.snapshot(&self.stream, Stock::STATE_VERSION, version as i64).await?.is_none_or(|s| s.version < version as i64) {
            if Instant::now() > until {
                return Err(Error::Wrong(format!("no snapshot of {} at version {version} was taken", self.stream)));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

/// Loads a stream through a handler of its own, again and again.
struct Loading(Reader);

impl Caller for Loading {
    async fn call(&mut self) -> Result<(), Error> {
        self.0.load().await.map(drop)
    }
}

/// Folds a stream from its first event on, again and again.
struct Folding(Reader);

impl Caller for Folding {
    async fn call(&mut self) -> Result<(), Error> {
        self.0.fold().await.map(drop)
    }
}
