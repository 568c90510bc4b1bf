//! How far a consumer has come.

use sqlx::{PgConnection, PgPool};

use crate::{
    Error, EventStore,
    mark::{Hash, Mark},
};

/// The place of a consumer in the log, as it was read. It is committed with what its consumer wrote, so that nothing is applied twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Whose it is.
    pub name: String,
    /// The version of the consumer's code.
    pub version: i32,
    /// Everything up to here is done, parked streams left out.
    pub position: i64,
    /// Of the event there.
    pub hash: Hash,
    /// True where the log did not have that event when this was read: the consumer has done what is not in the log.
    pub is_astray: bool,
    revision: i64,
}

struct Row {
    name: String,
    version: i32,
    position: i64,
    hash: Vec<u8>,
    is_astray: bool,
    revision: i64,
}

impl From<Row> for Checkpoint {
    fn from(row: Row) -> Self {
        let Row { name, version, position, hash, is_astray, revision } = row;
        Self { name, version, position, hash: Mark::new(position, &hash).hash, is_astray, revision }
    }
}

impl Checkpoint {
    /// The checkpoint of `name`. Where there is none, one at position 0 for a consumer of `version` is made; where there is one, the version
    /// of the answer is the one that it was made for.
    ///
    /// # Errors
    /// The database can't be reached.
    pub async fn open(connection: &mut PgConnection, name: &str, version: i32) -> Result<Self, Error> {
        sqlx::query!("insert into checkpoints (name, version, position) values ($1, $2, 0) on conflict (name) do nothing", name, version)
            .execute(&mut *connection)
            .await?;
        Self::read(connection, name).await?.ok_or_else(|| Error::Unavailable(format!("the checkpoint {name} has just been removed")))
    }

    /// [`Self::open`], for a consumer that can be put back: where the log does not have the event that the checkpoint stands at, the log has gone
    /// back, and the checkpoint is put at the last event that it has in common with what is remembered. What comes after is done again.
    ///
    /// # Errors
    /// The database can't be reached.
    pub async fn resume(store: &EventStore, name: &str, version: i32) -> Result<Self, Error> {
        // So that nothing that is only in memory is handed out.
        store.look().await?;
        let mut connection = store.pool().acquire().await?;
        let found = Self::open(&mut connection, name, version).await?;
        if !found.is_astray {
            return Ok(found);
        }
        let common = store.part_at(found.mark()).await?;
        // Whoever else does the same finds another revision.
        sqlx::query!(
            r#"
            update checkpoints set position = $3, hash = $4, revision = revision + 1, updated_at = now()
            where name = $1 and revision = $2
            "#,
            name,
            found.revision,
            common.position,
            &common.hash[..],
        )
        .execute(&mut *connection)
        .await?;
        tracing::error!(
            consumer = name,
            stood_at = found.position,
            goes_on_after = common.position,
            "the log has gone back: the consumer goes on from the last common event"
        );
        Self::open(&mut connection, name, version).await
    }

    /// The checkpoint of `name`, if there is one.
    ///
    /// # Errors
    /// The database can't be reached.
    pub async fn read(connection: &mut PgConnection, name: &str) -> Result<Option<Self>, Error> {
        let row = sqlx::query_as!(
            Row,
            r#"select name, version, position, hash, revision, not log_has(position, hash) as "is_astray!" from checkpoints where name = $1"#,
            name
        )
        .fetch_optional(connection)
        .await?;
        Ok(row.map(Self::from))
    }

    /// The checkpoint of `name`, if there is one, locked until the end of the caller's transaction: its consumer waits.
    ///
    /// # Errors
    /// The database can't be reached.
    pub async fn lock(connection: &mut PgConnection, name: &str) -> Result<Option<Self>, Error> {
        let row = sqlx::query_as!(
            Row,
            r#"
            select name, version, position, hash, revision, not log_has(position, hash) as "is_astray!" from checkpoints where name = $1
            for update
            "#,
            name
        )
        .fetch_optional(connection)
        .await?;
        Ok(row.map(Self::from))
    }

    /// The position that it stands at, with the hash of the event there.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark { position: self.position, hash: self.hash }
    }

    /// It stands at `mark`, as was committed.
    pub fn moved(&mut self, mark: Mark) {
        (self.position, self.hash) = (mark.position, mark.hash);
    }

    /// True where nobody but its consumer has changed it until `later` was read.
    #[must_use]
    pub fn goes_on_in(&self, later: &Self) -> bool {
        self.version == later.version && self.revision == later.revision
    }

    /// Whether somebody else than its consumer has changed it since it was read.
    ///
    /// # Errors
    /// The database can't be reached.
    pub async fn is_revised(&self, connection: &mut PgConnection) -> Result<bool, Error> {
        let revision =
            sqlx::query_scalar!("select revision from checkpoints where name = $1", self.name).fetch_optional(connection).await?;
        Ok(revision != Some(self.revision))
    }

    /// Moves the checkpoint to `to`, within the caller's transaction; whether it stood as it was read and the log has `to`. Where not, somebody else
    /// has changed it, or the log has gone back, and the caller must write nothing. After the commit the caller says that it has [`Self::moved`].
    ///
    /// # Errors
    /// The database can't be reached.
    pub async fn advance(&self, connection: &mut PgConnection, to: Mark) -> Result<bool, Error> {
        let moved = sqlx::query!(
            r#"
            update checkpoints set position = $5, hash = $6, updated_at = now(), failure = null
            where name = $1 and version = $2 and position = $3 and revision = $4 and hash = $7 and log_has($5, $6)
            "#,
            self.name,
            self.version,
            self.position,
            self.revision,
            to.position,
            &to.hash[..],
            &self.hash[..],
        )
        .execute(connection)
        .await?;
        Ok(moved.rows_affected() == 1)
    }

    /// Whether it is still of the version and revision that were read, wherever it stands, asked within the caller's transaction: until that ends
    /// nobody locks it. Where it is not, somebody else has changed what is applied, and the caller must write nothing.
    ///
    /// # Errors
    /// The database can't be reached.
    pub async fn stands(&self, connection: &mut PgConnection) -> Result<bool, Error> {
        let found = sqlx::query_scalar!(
            r#"select 1 as "one!" from checkpoints where name = $1 and version = $2 and revision = $3 for key share"#,
            self.name,
            self.version,
            self.revision,
        )
        .fetch_optional(connection)
        .await?;
        Ok(found.is_some())
    }
}

/// Moves the checkpoint of `name`, which the caller has locked, and makes its consumer read its place anew.
///
/// # Errors
/// The database can't be reached.
pub async fn put(connection: &mut PgConnection, name: &str, position: i64) -> Result<(), Error> {
    sqlx::query!(
        "update checkpoints set position = $2, revision = revision + 1, failure = null, updated_at = now() where name = $1",
        name,
        position,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Makes the consumer of `name` read its place anew before it writes anything more, from the end of the caller's transaction on.
///
/// # Errors
/// The database can't be reached.
pub async fn revise(connection: &mut PgConnection, name: &str) -> Result<(), Error> {
    sqlx::query!("update checkpoints set revision = revision + 1 where name = $1", name).execute(connection).await?;
    Ok(())
}

/// Says why the consumer of `name` does not go on. Its next step forward takes it back.
///
/// # Errors
/// The database can't be reached.
pub async fn note_failure(connection: &mut PgConnection, name: &str, failure: &str) -> Result<(), Error> {
    sqlx::query!("update checkpoints set failure = $2, updated_at = now() where name = $1", name, failure).execute(connection).await?;
    Ok(())
}

/// Says, in the log of the program and in the checkpoint of `name`, that an event of a newer program stands in front of its consumer.
pub async fn tell_newer(pool: &PgPool, name: &str, error: &Error) {
    tracing::warn!(consumer = name, %error, "the work is left to a newer version");
    let noted = async { note_failure(&mut *pool.acquire().await?, name, &error.to_string()).await };
    if let Err(error) = noted.await {
        tracing::debug!(%error, name, "the failure was not noted");
    }
}

/// Takes back that the consumer of `name` does not go on.
///
/// # Errors
/// The database can't be reached.
pub async fn note_recovery(connection: &mut PgConnection, name: &str) -> Result<(), Error> {
    sqlx::query!("update checkpoints set failure = null, updated_at = now() where name = $1 and failure is not null", name)
        .execute(connection)
        .await?;
    Ok(())
}
