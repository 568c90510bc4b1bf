//! Read models compared with a fold of the log.
//!
//! The log is folded anew into temporary tables of one connection, by the code that keeps the read model, and the two are compared row by row. Of the
//! shop nothing is written. The log is read in pages; one snapshot is held for as long as the rows are compared.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use event_schemas::Recorded;
use event_store::{Batch, Checkpoint, EventStore, kafka::places};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use tokio::time::sleep;

use crate::{
    Error, Projection, careful,
    consumer::{BATCH_POSITIONS, LIVE_SCHEMA, connect},
};

/// The schema of tables that nobody else sees, and that end with their connection.
const OWN_SCHEMA: &str = "pg_temp";
/// The most times that the fold is begun anew, where an operator mended streams or rebuilt the read model meanwhile.
const FOLDS: u32 = 3;
/// The most looks, and the pauses between them, for a moment in which no partition of Kafka is ahead of the checkpoint.
const LOOKS: u32 = 400;
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// The most characters of a row that are shown.
const ROW_CHARACTERS: usize = 1_000;

/// The first row that is not what the log makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The table.
    pub table: &'static str,
    /// The row's primary key.
    pub key: String,
    /// The row that the log makes, as Postgres writes a row; none where it makes none.
    pub expected: Option<String>,
    /// The row that is there; none where there is none.
    pub found: Option<String>,
    /// The position that both are of.
    pub position: i64,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown =
            |row: &Option<String>| row.as_ref().map_or_else(|| "no row".to_owned(), |row| row.chars().take(ROW_CHARACTERS).collect());
        let Self { table, key, expected, found, position } = self;
        write!(f, "table {table}, key {key}: expected {} at position {position}, found {}", shown(expected), shown(found))
    }
}

/// Compares the read model of `projection` with a fold of the log up to its checkpoint; the position, or the first difference in the order of its
/// tables and of their keys. Events that it has parked, and those that were skipped since nobody can take them, are left out as it left them
/// out. Calls `progressed` with the position and the head of the log.
///
/// # Errors
/// [`Error::OtherVersion`]; [`Error::NoTemporaryTables`]; [`Error::NeverStill`]; the database can't be reached.
pub async fn compare(
    store: &EventStore,
    projection: &Arc<dyn Projection>,
    progressed: impl Fn(i64, i64),
) -> Result<Result<i64, Difference>, Error> {
    let mut connection = connect(store, &**projection, OWN_SCHEMA).await?;
    make_tables(&mut connection, &**projection).await.map_err(|source| Error::NoTemporaryTables { source })?;
    let mut fold = Fold { store, projection, connection, at: 0 };
    for _ in 0..FOLDS {
        fold.begin_anew().await?;
        if let Some(compared) = fold.run(&progressed).await? {
            return Ok(compared);
        }
    }
    Err(Error::NeverStill { projection: projection.name().to_owned() })
}

async fn make_tables(connection: &mut PgConnection, projection: &dyn Projection) -> Result<(), sqlx::Error> {
    // A program that only reads may have said so for all of its connections.
    sqlx::query("set default_transaction_read_only = off").execute(&mut *connection).await?;
    for table in projection.tables() {
        let statement = format!("create temporary table {table} (like {LIVE_SCHEMA}.{table} including all)");
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *connection).await?;
    }
    Ok(())
}

/// The things that a read model depends on besides the log.
struct Basis {
    /// Streams that are left out from a position on.
    parked: HashMap<String, i64>,
    /// Others than the consumer itself change it where they change what it applies.
    checkpoint: Checkpoint,
}

impl Basis {
    async fn read(connection: &mut PgConnection, projection: &dyn Projection) -> Result<Option<Self>, Error> {
        let (name, kept) = (projection.name(), projection.version());
        let Some(checkpoint) = Checkpoint::read(connection, name).await? else { return Ok(None) };
        if checkpoint.version != kept {
            return Err(Error::OtherVersion { found: checkpoint.version, kept });
        }
        let rows = sqlx::query!("select stream_id, position from parked_streams where consumer = $1", name).fetch_all(connection).await?;
        Ok(Some(Self { parked: rows.into_iter().map(|row| (row.stream_id, row.position)).collect(), checkpoint }))
    }

    /// True where nothing but its position is another one in `later`. Streams may have been parked since, beyond what was folded.
    fn goes_on_in(&self, later: &Self, folded_up_to: i64) -> bool {
        let stay = self.parked.iter().all(|(stream, position)| later.parked.get(stream) == Some(position));
        self.checkpoint.goes_on_in(&later.checkpoint)
            && stay
            && later.parked.iter().all(|(stream, position)| self.parked.contains_key(stream) || *position > folded_up_to)
    }

    /// The events of `batch` that the consumer has taken, or tried to.
    fn left_in(&self, batch: Batch) -> Vec<Arc<Recorded>> {
        let is_taken = |event: &Arc<Recorded>| self.parked.get(event.stream.as_str()).is_none_or(|parked_at| event.position < *parked_at);
        batch.events.into_iter().filter(is_taken).collect()
    }
}

struct Fold<'a> {
    store: &'a EventStore,
    projection: &'a Arc<dyn Projection>,
    connection: PgConnection,
    /// The position up to which events have been folded, and rows committed.
    at: i64,
}

impl Fold<'_> {
    async fn begin_anew(&mut self) -> Result<(), Error> {
        for table in self.projection.tables() {
            sqlx::raw_sql(AssertSqlSafe(format!("truncate {OWN_SCHEMA}.{table}"))).execute(&mut self.connection).await?;
        }
        self.at = 0;
        Ok(())
    }

    /// Folds and compares; none where the read model was changed by others meanwhile.
    async fn run(&mut self, progressed: &impl Fn(i64, i64)) -> Result<Option<Result<i64, Difference>>, Error> {
        let Some(basis) = Basis::read(&mut self.connection, &**self.projection).await? else { return Ok(Some(Ok(0))) };
        let mut end = basis.checkpoint.position;
        while end - self.at > 0 {
            let mut transaction = self.connection.begin().await?;
            let at = fold(self.store, &**self.projection, &mut transaction, &basis, self.at, end).await?;
            transaction.commit().await?;
            self.at = at;
            progressed(at, end);
            if at == end && end == basis.checkpoint.position {
                // It took a while: once more for what came meanwhile, and the rest within the snapshot.
                end = Basis::read(&mut self.connection, &**self.projection).await?.map_or(end, |now| now.checkpoint.position.max(end));
            }
        }
        for _ in 0..LOOKS {
            sqlx::query("begin isolation level repeatable read").execute(&mut self.connection).await?;
            let compared = self.compare_now(&basis).await;
            sqlx::query("rollback").execute(&mut self.connection).await?;
            match compared? {
                Look::Compared(compared) => return Ok(Some(compared)),
                Look::Changed => return Ok(None),
                Look::AheadOnKafka => sleep(LOOK_PAUSE).await,
            }
        }
        Ok(None)
    }

    /// Within one snapshot: folds what is missing up to the checkpoint, and compares.
    async fn compare_now(&mut self, basis: &Basis) -> Result<Look, Error> {
        let Some(now) = Basis::read(&mut self.connection, &**self.projection).await? else { return Ok(Look::Changed) };
        if !basis.goes_on_in(&now, self.at) {
            return Ok(Look::Changed);
        }
        let position = now.checkpoint.position;
        let places = places::read(&mut self.connection, self.projection.name()).await?;
        if places.values().any(|place| place.position > position) {
            return Ok(Look::AheadOnKafka);
        }
        let mut at = self.at;
        while at < position {
            at = fold(self.store, &**self.projection, &mut self.connection, &now, at, position).await?;
        }
        for table in self.projection.tables() {
            if let Some(difference) = first_difference(&mut self.connection, table, position).await? {
                return Ok(Look::Compared(Err(difference)));
            }
        }
        Ok(Look::Compared(Ok(position)))
    }
}

/// The outcome of one look at the read model.
enum Look {
    Compared(Result<i64, Difference>),
    /// It is not the one any more that the fold was begun for.
    Changed,
    /// Its rows are of no one position.
    AheadOnKafka,
}

/// Folds a batch after `at`, not beyond `end`; where it ends.
async fn fold(
    store: &EventStore,
    projection: &dyn Projection,
    connection: &mut PgConnection,
    basis: &Basis,
    at: i64,
    end: i64,
) -> Result<i64, Error> {
    let most = BATCH_POSITIONS.min(usize::try_from(end - at).unwrap_or(BATCH_POSITIONS));
    let batch = store.feed(projection.categories()).read(at, most).await?;
    let up_to = batch.up_to;
    if up_to == at {
        // This process has not heard yet of what the checkpoint has seen.
        sleep(LOOK_PAUSE).await;
    }
    let mut events = basis.left_in(batch);
    while !events.is_empty() {
        // What can't be taken and is not parked was skipped: its stream goes on after it.
        let skipped = careful::apply(projection, connection, events.clone()).await?;
        events.retain(|event| skipped.iter().any(|bad| bad.stream == event.stream.as_str() && event.version > bad.version));
    }
    Ok(up_to)
}

async fn first_difference(connection: &mut PgConnection, table: &'static str, position: i64) -> Result<Option<Difference>, Error> {
    let key = sqlx::query_scalar!(
        r#"
        select string_agg(quote_ident(a.attname), ', ' order by array_position(i.indkey::int2[], a.attnum)) as "key!"
        from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any(i.indkey)
        where i.indrelid = ('read_model.' || $1)::regclass and i.indisprimary
        "#,
        table,
    )
    .fetch_one(&mut *connection)
    .await?;
    // Names of tables and columns can't be parameters; those here are the program's own.
    let statement = format!(
        "select concat_ws(', ', {key}) as key, f.row as found, e.row as expected
         from (select {key}, t::text as row from {LIVE_SCHEMA}.{table} t) f
         full join (select {key}, t::text as row from {OWN_SCHEMA}.{table} t) e using ({key})
         where f.row is distinct from e.row
         order by {key} limit 1"
    );
    let row = sqlx::query(AssertSqlSafe(statement)).fetch_optional(connection).await?;
    row.map(|row| {
        Ok(Difference { table, key: row.try_get("key")?, expected: row.try_get("expected")?, found: row.try_get("found")?, position })
    })
    .transpose()
}
