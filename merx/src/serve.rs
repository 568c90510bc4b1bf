//! `merx serve`: the roles of a server in one process.

mod connections;
mod health;
mod operations;
mod projections;
mod roles;

use std::{io, net::SocketAddr, path::PathBuf, time::Duration};

use axum::{Router, middleware};
use command_api::{Settings, Shop, idempotency};
use event_schemas::{Currency, asyncapi::Topics};
use event_store::kafka as cluster;
use gateway::{Routes, listener, problem::Kind};
use query_api::Queries;
use serde_json::Value;
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::projections::Tending;
use crate::{
    Location,
    database::{self, Database},
    import, kafka, postgres,
    search::{self, Search},
};
use health::Health;
pub use roles::{Kafka, Role, start as start_roles};

/// Connections that GETs read with, apart from those that writes need.
const READ_CONNECTIONS: u32 = 8;
/// How long requests and workers may take to finish once the server is told to stop.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// How to serve.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The address to listen on.
    #[arg(long, env = "MERX_LISTEN", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// What this process does of a server's work; all of it by default.
    #[arg(long, value_enum, value_delimiter = ',')]
    role: Vec<Role>,
    /// Begin with something to see: a catalogue, and some of a real shop's order history.
    #[arg(long)]
    demo: bool,
    /// Currency that prices are compared in where nobody says in which, as in GBP.
    #[arg(long, env = "MERX_CURRENCY", value_name = "CODE")]
    currency: Option<Currency>,
    #[command(flatten)]
    connections: connections::Options,
    #[command(flatten)]
    kafka: kafka::Options,
    #[command(flatten)]
    search: search::Options,
    /// A key with every permission; better given by the variable, which other users of the machine don't see.
    #[arg(long, env = "MERX_ADMIN_KEY", hide_env_values = true, value_name = "KEY")]
    admin_key: Option<String>,
    /// How long a payment may take before its order is cancelled, in seconds.
    #[arg(long, env = "MERX_PAYMENT_DEADLINE_S", default_value_t = 900, value_parser = clap::value_parser!(i64).range(1..=86_400 * 30))]
    payment_deadline_s: i64,
}

/// Why a server does not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken, or not ours.
    #[error("{address} can't be listened on: {source}. Choose another with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Variables for Kafka have values that can't be used.
    #[error(transparent)]
    Kafka(#[from] cluster::settings::Error),
    /// A role has nothing to work with.
    #[error("the role publisher needs KAFKA_BROKERS, as in KAFKA_BROKERS=127.0.0.1:9092")]
    NoKafka,
    /// Another server has the data directory, or it can't be used.
    #[error(transparent)]
    DataDirectory(#[from] postgres::Error),
    /// There is no database to work on.
    #[error(transparent)]
    Database(#[from] database::Error),
    /// The connections that GETs read with can't be made.
    #[error("the database can't be reached: {0}")]
    Reads(sqlx::Error),
    /// The demo data can't be loaded.
    #[error("the demo data can't be loaded: {0}")]
    Demo(#[from] import::Error),
    /// The events can't be described.
    #[error("the events can't be described: {0}")]
    Description(#[from] serde_json::Error),
    /// The search index can't be made.
    #[error("the search index can't be had: {0}")]
    Search(#[from] ::search::Error),
    /// The operating system does not let us hear signals, or the listener failed.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// Serves until SIGTERM or SIGINT, then lets what is under way finish.
pub async fn run(location: &Location, options: Options) -> Result<(), Error> {
    let mut signals = Signals::listen()?;
    let kafka = options.kafka.settings()?.map(Kafka::new);
    let roles = Role::of(&options.role, kafka.is_some());
    if roles.contains(&Role::Publisher) && kafka.is_none() {
        return Err(Error::NoKafka);
    }
    let _lock = match location.database_url {
        Some(_) => None,
        None => Some(postgres::lock(&location.data_dir)?),
    };
    let address = options.listen;
    let listener = TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })?;
    let database = tokio::select! {
        database = Database::open(location) => database?,
        () = signals.received() => return Ok(()),
    };
    let work = Work { roles, kafka, data_dir: location.data_dir.clone() };
    let served = serve(&options, &work, listener, &database, &mut signals).await;
    database.close().await;
    served
}

/// What this process does, and what with.
struct Work {
    roles: Vec<Role>,
    kafka: Option<Kafka>,
    data_dir: PathBuf,
}

async fn serve(options: &Options, work: &Work, listener: TcpListener, database: &Database, signals: &mut Signals) -> Result<(), Error> {
    let Work { roles, kafka, data_dir } = work;
    let store = database.log().await?;
    let reads = read_pool(&database.pool).await?;
    let settings = Settings { payment_deadline: chrono::Duration::seconds(options.payment_deadline_s) };
    let shop = Shop::new(store.clone(), settings);
    let search = Search::open(&options.search, data_dir, roles)?;
    let queries = Queries::new(&store, reads.clone(), search.as_ref().map(Search::index)).in_currency(options.currency);
    let published = kafka.as_ref().filter(|_| roles.contains(&Role::Publisher)).map(Kafka::health);
    let stopping = CancellationToken::new();
    let mut workers = JoinSet::new();
    let holder = Uuid::now_v7();
    let parts = health::Parts { roles: roles.clone(), holder, published, index: search.as_ref().and_then(Search::own_index) };
    let health = Health::new(store.clone(), gateway::metrics::install(), parts);
    roles::start(roles, &shop, holder, kafka.as_ref(), &stopping, &mut workers);
    if let Some(search) = &search {
        search.keep(roles, &database.pool, holder, &stopping, &mut workers).await.map_err(Error::Reads)?;
    }
    let local = listener.local_addr()?;
    let events = event_schemas::asyncapi::document(topics(kafka.as_ref().map(Kafka::settings)), env!("CARGO_PKG_VERSION"))?;
    let admin_key = options.admin_key.as_deref().filter(|key| !key.is_empty()).map(Into::into);
    let tending = Tending { shop: shop.clone(), index: search.as_ref().and_then(Search::shared_index), admin_key };
    let router = router(roles, &tending, &queries, &health, events);
    let mut server = tokio::spawn(listener::serve(listener, router, options.connections.limits(), stopping.clone()));
    let interrupted = tokio::select! {
        loaded = load_demo(options.demo, &shop) => {
            loaded?;
            false
        }
        () = signals.received() => true,
    };
    if !interrupted {
        health.set_ready();
        let roles: Vec<String> = roles.iter().map(ToString::to_string).collect();
        tracing::info!(address = %local, roles = roles.join(","), "merx is ready");
        tokio::select! {
            () = signals.received() => {}
            ended = &mut server => return ended.map_err(|panic| Error::System(io::Error::other(panic))),
        }
    }
    tracing::info!("merx is stopping");
    health.set_stopping();
    queries.close();
    stopping.cancel();
    if tokio::time::timeout(STOP_LIMIT, async { (server.await, while_running(&mut workers).await) }).await.is_err() {
        tracing::warn!("some requests or workers did not finish in time and were stopped");
    }
    reads.close().await;
    Ok(())
}

async fn while_running(workers: &mut JoinSet<()>) {
    while let Some(ended) = workers.join_next().await {
        if let Err(panic) = ended {
            tracing::error!(%panic, "a worker panicked");
        }
    }
}

async fn read_pool(pool: &PgPool) -> Result<PgPool, Error> {
    let options = (*pool.connect_options()).clone();
    PgPoolOptions::new()
        .max_connections(READ_CONNECTIONS)
        .test_before_acquire(false)
        .acquire_timeout(Duration::from_secs(10))
        .connect_with(options)
        .await
        .map_err(Error::Reads)
}

/// The routes of the roles that answer requests, and of the operator's questions, behind the edge.
fn router(roles: &[Role], tending: &Tending, queries: &Queries, health: &Health, events: Value) -> Router {
    let (shop, mut routes) = (&tending.shop, operations::routes(health.clone()));
    if roles.contains(&Role::CommandApi) {
        routes = routes.merge(command_api::routes(shop.clone())).merge(projections::routes(tending.clone()));
    }
    if roles.contains(&Role::QueryApi) {
        routes = routes.merge(query_api::routes(queries.clone()));
    }
    let everything = everything(tending, queries, health);
    let openapi = everything.openapi(&operations::INFORMATION);
    let routes = routes.merge(operations::descriptions(openapi, events)).merge(operations::problems(problems(&everything)));
    let idempotent = middleware::from_fn_with_state(shop.clone(), idempotency::layer);
    gateway::request::layer(routes.around_writes(|route| route.layer(idempotent.clone())).into_router())
}

/// The topics that this server's settings name; those of a server with Kafka and no other settings where it has none.
fn topics(kafka: Option<&cluster::Settings>) -> Topics<'_> {
    kafka.map_or(Topics { prefix: "merx", partitions: 12 }, |settings| Topics { prefix: &settings.prefix, partitions: settings.partitions })
}

/// Every route there is, whichever this process answers: what clients are told of.
fn everything(tending: &Tending, queries: &Queries, health: &Health) -> Routes {
    let writes = command_api::routes(tending.shop.clone()).merge(projections::routes(tending.clone()));
    let described = operations::descriptions(Value::Null, Value::Null).merge(operations::problems(Vec::new()));
    operations::routes(health.clone()).merge(writes).merge(query_api::routes(queries.clone())).merge(described)
}

/// Every refusal there is, by status and code.
fn problems(routes: &Routes) -> Vec<Kind> {
    let mut kinds = routes.problems();
    kinds.extend(idempotency::PROBLEMS);
    kinds.sort_by_key(|kind| (kind.status, kind.code));
    kinds
}

async fn load_demo(wanted: bool, shop: &Shop) -> Result<(), import::Error> {
    if wanted {
        let loaded = import::demo::load(&shop.store).await?;
        tracing::debug!(catalogue = %loaded.catalogue, history = %loaded.history, "loaded the demo data");
        tracing::info!("the demo data is there");
    }
    Ok(())
}

/// The signals that end a server.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
