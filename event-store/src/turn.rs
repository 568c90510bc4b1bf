//! Turns: for rules that span streams, one command at a time, whichever server it reached.
//!
//! A command that waits for a turn holds nothing that its holder may need: within a process they wait in memory, and the first in line
//! waits for those of other processes on a connection of its own, never on one of the pool. However many wait, the pool stays free.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::{
    runtime::Handle,
    sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::Error;

/// The most that wait for turns in a process, holders included; one more is refused at once.
const MOST_WAITING: usize = 256;
/// The longest wait for a turn.
const WAIT_LIMIT: Duration = Duration::from_secs(20);
/// The longest that making a connection, or giving a turn back, may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// After so long Postgres ends a turn whose holder has been silent: its process is frozen, or its machine is gone. Longer than any append takes.
/// It ends a connection that waits for the next turn, too.
const SILENCE_LIMIT_MS: &str = "60000";

/// The turn within this process, held by its lock, and the connection that gets it in the database, where there is one already.
type Line = Arc<tokio::sync::Mutex<Option<PgConnection>>>;

/// The turns of a process.
pub(crate) struct Turns {
    pool: PgPool,
    waiting: Arc<Semaphore>,
    /// By name; names are part of the program, so there are few.
    lines: Mutex<HashMap<&'static str, Line>>,
}

impl Turns {
    /// Turns that are kept in the database of `pool`.
    pub fn new(pool: PgPool) -> Self {
        Self { pool, waiting: Arc::new(Semaphore::new(MOST_WAITING)), lines: Mutex::default() }
    }

    /// Waits for the turn `name`, and takes it.
    pub async fn take(&self, name: &'static str) -> Result<Turn, Error> {
        let place = self.waiting.clone().try_acquire_owned().map_err(|_| Error::Overloaded)?;
        let line = self.lines.lock().entry(name).or_default().clone();
        let taken = async {
            let mut line = line.lock_owned().await;
            let connection = self.lock(name, line.take()).await?;
            Ok(Turn { connection: Some(connection), line: Some(line), _place: place })
        };
        timeout(WAIT_LIMIT, taken).await.unwrap_or(Err(Error::Overloaded))
    }

    /// A connection that has the turn in the database, until it gives it back or ends: the one that is `kept`, if that is still good.
    async fn lock(&self, name: &str, kept: Option<PgConnection>) -> Result<PgConnection, Error> {
        if let Some(mut kept) = kept
            && lock(&mut kept, name).await.is_ok()
        {
            return Ok(kept);
        }
        let mut connection = connect(&self.pool, &[("idle_session_timeout", SILENCE_LIMIT_MS)]).await?;
        lock(&mut connection, name).await?;
        Ok(connection)
    }
}

async fn lock(connection: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    sqlx::query("select pg_advisory_lock(hashtextextended($1, 0))").bind(name).execute(connection).await.map(|_| ())
}

/// A connection of the caller's own to the database of `pool`, with `settings`: for whoever holds something while it waits for others, who may
/// need the pool to go on.
pub(crate) async fn connect(pool: &PgPool, settings: &[(&str, &str)]) -> Result<PgConnection, Error> {
    let options = pool.connect_options().as_ref().clone().options(settings.iter().copied());
    let connected = timeout(CONNECT_LIMIT, PgConnection::connect_with(&options)).await;
    Ok(connected.map_err(|_| Error::Unavailable(format!("no connection within {} seconds", CONNECT_LIMIT.as_secs())))??)
}

/// A turn that was taken; dropping it gives it back.
pub struct Turn {
    connection: Option<PgConnection>,
    line: Option<OwnedMutexGuard<Option<PgConnection>>>,
    _place: OwnedSemaphorePermit,
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Where it can't be given back, the end of the connection does it.
        if let (Some(mut connection), Some(mut line), Ok(runtime)) = (self.connection.take(), self.line.take(), Handle::try_current()) {
            runtime.spawn(async move {
                let given_back = sqlx::query("select pg_advisory_unlock_all()").execute(&mut connection);
                if let Ok(Ok(_)) = timeout(CONNECT_LIMIT, given_back).await {
                    *line = Some(connection);
                }
            });
        }
    }
}
