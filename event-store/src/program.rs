//! Whether this program knows all that stands in a database: its migrations and its versions of event types.
//!
//! Every program that starts fills in what it knows under its own version. One that finds more than it knows is older than the database:
//! it changes nothing, and says which version it takes.

use sqlx::{PgPool, migrate::MigrateError};

use crate::MIGRATIONS;

/// Why a program can't work on a database.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A newer program has been here.
    #[error("the log is from a newer version of merx: {found}. This is merx {this}, and {needed} is needed; nothing was changed")]
    Newer {
        /// What this program does not know.
        found: String,
        /// This program's version.
        this: String,
        /// The version that knows it.
        needed: String,
    },
    /// The tables can't be brought up to date.
    #[error("the database can't be migrated: {0}")]
    Migration(#[from] MigrateError),
    /// The database can't be reached, or refuses.
    #[error("the database can't be read: {0}")]
    Database(#[from] sqlx::Error),
}

/// A version of an event type.
pub type EventSchema<'a> = (&'a str, i16);

/// Brings the database behind `pool` up to date for this program of version `this`.
///
/// # Errors
/// Any [`Error`]; nothing was changed then.
pub async fn prepare(pool: &PgPool, this: &str) -> Result<(), Error> {
    let known: Vec<EventSchema<'_>> =
        event_schemas::events::descriptors().map(|descriptor| (descriptor.event_type, descriptor.schema_version)).collect();
    // Before anything is migrated: what can't be read must not be changed either.
    refuse_newer_migrations(pool, this).await?;
    if has_table(pool).await? {
        refuse_newer_events(pool, this, &known).await?;
    }
    MIGRATIONS.run(pool).await?;
    register_migrations(pool, this).await?;
    register_events(pool, this, &known).await
}

async fn refuse_newer_migrations(pool: &PgPool, this: &str) -> Result<(), Error> {
    let is_new: bool = sqlx::query_scalar("select to_regclass('_sqlx_migrations') is null").fetch_one(pool).await?;
    if is_new {
        return Ok(());
    }
    let known: Vec<i64> = MIGRATIONS.iter().map(|migration| migration.version).collect();
    // sqlx's own table: it is not there when queries are checked.
    let unknown: Option<i64> =
        sqlx::query_scalar("select max(version) from _sqlx_migrations where version <> all($1)").bind(&known).fetch_one(pool).await?;
    let Some(migration) = unknown else { return Ok(()) };
    let by = if has_table(pool).await? {
        sqlx::query_scalar!("select program_version from program_migrations where migration = $1", migration).fetch_optional(pool).await?
    } else {
        None
    };
    // Its program may have been killed between migrating and filling in.
    let needed = by.map_or_else(|| "a newer one".to_owned(), |version| format!("merx {version} or newer"));
    Err(Error::Newer { found: format!("it has migration {migration}"), this: this.to_owned(), needed })
}

async fn has_table(pool: &PgPool) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select to_regclass('program_event_schemas') is not null").fetch_one(pool).await
}

async fn register_migrations(pool: &PgPool, this: &str) -> Result<(), Error> {
    let known: Vec<i64> = MIGRATIONS.iter().map(|migration| migration.version).collect();
    sqlx::query!(
        "insert into program_migrations (migration, program_version) select unnest($1::bigint[]), $2 on conflict do nothing",
        &known,
        this
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Refuses where a program has written what is not among `known`.
async fn refuse_newer_events(pool: &PgPool, this: &str, known: &[EventSchema<'_>]) -> Result<(), Error> {
    let (types, versions): (Vec<&str>, Vec<i16>) = known.iter().copied().unzip();
    let unknown = sqlx::query!(
        r#"
        select s.event_type, s.schema_version, s.program_version from program_event_schemas s
        where not exists (
            select from unnest($1::text[], $2::smallint[]) as k (event_type, schema_version)
            where k.event_type = s.event_type and k.schema_version >= s.schema_version
        )
        order by s.event_type, s.schema_version
        "#,
        &types as &[&str],
        &versions,
    )
    .fetch_all(pool)
    .await?;
    let Some(newest) = unknown.iter().max_by_key(|row| comparable(&row.program_version)) else { return Ok(()) };
    Err(Error::Newer {
        found: format!("it may hold {} of schema version {}", newest.event_type, newest.schema_version),
        this: this.to_owned(),
        needed: format!("merx {} or newer", newest.program_version),
    })
}

/// Fills in that the program of version `this` writes the event types `known`, unless one that knows more came first: then it is refused.
///
/// # Errors
/// [`Error::Newer`], or the database can't be reached.
pub async fn register_events(pool: &PgPool, this: &str, known: &[EventSchema<'_>]) -> Result<(), Error> {
    refuse_newer_events(pool, this, known).await?;
    let (types, versions): (Vec<&str>, Vec<i16>) = known.iter().copied().unzip();
    sqlx::query!(
        r#"
        insert into program_event_schemas (event_type, schema_version, program_version)
        select k.event_type, k.schema_version, $3 from unnest($1::text[], $2::smallint[]) as k (event_type, schema_version)
        on conflict do nothing
        "#,
        &types as &[&str],
        &versions,
        this
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// `1.10.0` comes after `1.9.0`.
fn comparable(version: &str) -> Vec<u64> {
    version.split(['.', '-', '+']).map_while(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::comparable;

    #[test]
    fn versions_are_compared_by_number() {
        assert!(comparable("1.10.0") > comparable("1.9.3"));
        assert!(comparable("2.0.0-rc.1") > comparable("1.99.99"));
    }
}
