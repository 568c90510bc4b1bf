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
    /// No program has prepared the database yet.
    #[error("there is no log in the database: `merx serve` makes one; nothing was changed")]
    Absent,
    /// A program that only reads finds tables that an older one has made.
    #[error(
        "the log is from an older version of merx: it lacks migration {lacking}, which came with merx {brought_by}. This is merx {this}: \
         `merx serve` of this version brings the database up to date; nothing was changed"
    )]
    Older {
        /// The first migration that is missing.
        lacking: i64,
        /// The version of the program that brought it.
        brought_by: &'static str,
        /// This program's version.
        this: String,
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

/// The version of the program that each migration came with, in order. A migration that is added takes the version of the workspace up, and a
/// line here: an older program can then name the version that it takes. Lines that have landed stay as they are.
pub const BROUGHT_BY: &[(i64, &str)] = &[
    (1, "0.1.0"),
    (2, "0.1.0"),
    (3, "0.1.0"),
    (4, "0.1.0"),
    (5, "0.1.0"),
    (6, "0.1.0"),
    (7, "0.1.0"),
    (8, "0.1.0"),
    (9, "0.1.0"),
    (10, "0.2.0"),
    (11, "0.2.0"),
    (12, "0.2.0"),
    (13, "0.2.0"),
    (14, "0.2.0"),
    (15, "0.2.0"),
    (16, "0.2.0"),
];

/// Refuses where the database behind `pool` is not just as this program of version `this` has it: for programs that read and change nothing.
/// It needs no right but to select, and may be asked of a standby.
///
/// # Errors
/// Any [`Error`] but `Migration`.
pub async fn check(pool: &PgPool, this: &str) -> Result<(), Error> {
    refuse_newer_migrations(pool, this).await?;
    if has_table(pool).await? {
        refuse_newer_events(pool, this, &known_events()).await?;
    }
    refuse_older_migrations(pool, this).await
}

async fn refuse_older_migrations(pool: &PgPool, this: &str) -> Result<(), Error> {
    if !has_migrations(pool).await? {
        return Err(Error::Absent);
    }
    // sqlx's own table: it is not there when queries are checked.
    let applied: Vec<i64> = sqlx::query_scalar("select version from _sqlx_migrations where success").fetch_all(pool).await?;
    if applied.is_empty() {
        return Err(Error::Absent);
    }
    let Some(lacking) = MIGRATIONS.iter().map(|migration| migration.version).find(|version| !applied.contains(version)) else {
        return Ok(());
    };
    let brought_by = BROUGHT_BY.iter().find(|(migration, _)| *migration == lacking).map_or("a newer version", |(_, version)| version);
    Err(Error::Older { lacking, brought_by, this: this.to_owned() })
}

fn known_events() -> Vec<EventSchema<'static>> {
    event_schemas::events::descriptors().map(|descriptor| (descriptor.event_type, descriptor.schema_version)).collect()
}

/// Brings the database behind `pool` up to date for this program of version `this`.
///
/// # Errors
/// Any [`Error`]; nothing was changed then.
pub async fn prepare(pool: &PgPool, this: &str) -> Result<(), Error> {
    let known = known_events();
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
    if !has_migrations(pool).await? {
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

async fn has_migrations(pool: &PgPool) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null").fetch_one(pool).await
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
    use super::{BROUGHT_BY, MIGRATIONS, comparable};

    #[test]
    fn the_version_goes_up_with_each_migration() {
        let listed: Vec<i64> = BROUGHT_BY.iter().map(|(migration, _)| *migration).collect();
        let there: Vec<i64> = MIGRATIONS.iter().map(|migration| migration.version).collect();
        assert_eq!(listed, there, "a migration was added: raise the version of the workspace, and add a line to BROUGHT_BY");
        assert!(
            BROUGHT_BY.is_sorted_by_key(|(_, version)| comparable(version)),
            "a migration came with an older version than the one before it"
        );
        let newest = BROUGHT_BY.last().unwrap().1;
        let this = env!("CARGO_PKG_VERSION");
        assert!(comparable(this) >= comparable(newest), "migrations came with {newest}, and the workspace is still at {this}");
    }

    #[test]
    fn versions_are_compared_by_number() {
        assert!(comparable("1.10.0") > comparable("1.9.3"));
        assert!(comparable("2.0.0-rc.1") > comparable("1.99.99"));
    }
}
