//! The tables of a rebuild, beside those that GETs are answered from.

use sqlx::{AssertSqlSafe, PgConnection};

use crate::{Error, Projection, consumer::LIVE_SCHEMA};

/// How long the swap waits for GETs to let go of the tables: less than it takes Postgres to look for deadlocks, so that it never costs
/// anybody a request.
const LOCK_LIMIT_MS: u32 = 250;

/// The schema that a projection is rebuilt in.
pub fn schema_of(projection: &dyn Projection) -> String {
    format!("rebuild_{}", projection.name().replace('-', "_"))
}

/// Makes the schema anew, with empty tables like the live ones. Indexes that only GETs need come last, in [`index`]: it is cheaper to
/// sort many rows once than to keep them sorted.
pub async fn create(connection: &mut PgConnection, projection: &dyn Projection) -> Result<(), Error> {
    let schema = schema_of(projection);
    run(connection, format!("drop schema if exists {schema} cascade")).await?;
    run(connection, format!("create schema {schema}")).await?;
    for table in projection.tables() {
        run(connection, format!("create table {schema}.{table} (like {LIVE_SCHEMA}.{table} including all excluding indexes)")).await?;
        for index in indexes(connection, table).await? {
            if let Some((name, definition)) = index.constraint {
                run(connection, format!("alter table {schema}.{table} add constraint {name} {definition}")).await?;
            }
        }
    }
    Ok(())
}

/// Adds the indexes that are missing, and counts rows for the planner.
pub async fn index(connection: &mut PgConnection, projection: &dyn Projection) -> Result<(), Error> {
    let schema = schema_of(projection);
    for table in projection.tables() {
        for index in indexes(connection, table).await?.into_iter().filter(|index| index.constraint.is_none()) {
            let there = format!("drop index if exists {schema}.{}", index.name);
            run(connection, there).await?;
            let (live, rebuilt) = (format!(" ON {LIVE_SCHEMA}.{table} USING "), format!(" ON {schema}.{table} USING "));
            run(connection, index.definition.replacen(&live, &rebuilt, 1)).await?;
        }
        run(connection, format!("analyze {schema}.{table}")).await?;
    }
    Ok(())
}

/// Puts the rebuilt tables in the place of the live ones, within the caller's transaction.
pub async fn swap(connection: &mut PgConnection, projection: &dyn Projection) -> Result<(), Error> {
    let schema = schema_of(projection);
    run(connection, format!("set local lock_timeout = '{LOCK_LIMIT_MS}ms'")).await?;
    for table in projection.tables() {
        run(connection, format!("drop table {LIVE_SCHEMA}.{table}")).await?;
        run(connection, format!("alter table {schema}.{table} set schema {LIVE_SCHEMA}")).await?;
    }
    run(connection, format!("drop schema {schema}")).await
}

/// Removes what there is of a rebuild.
pub async fn remove(connection: &mut PgConnection, projection: &dyn Projection) -> Result<(), Error> {
    run(connection, format!("drop schema if exists {} cascade", schema_of(projection))).await
}

struct Index {
    name: String,
    definition: String,
    /// Name and definition of the constraint that it belongs to.
    constraint: Option<(String, String)>,
}

async fn indexes(connection: &mut PgConnection, table: &str) -> Result<Vec<Index>, Error> {
    let rows = sqlx::query!(
        r#"
        select r.relname::text as "name!", pg_get_indexdef(i.indexrelid) as "definition!", c.conname::text as "constraint_name?",
               pg_get_constraintdef(c.oid) as "constraint_definition?"
        from pg_index i
        join pg_class r on r.oid = i.indexrelid
        left join pg_constraint c on c.conindid = i.indexrelid and c.contype in ('p', 'u')
        where i.indrelid = ('read_model.' || $1)::regclass
        order by r.relname
        "#,
        table
    )
    .fetch_all(connection)
    .await?;
    let index = |name, definition, constraint: Option<String>, text| Index { name, definition, constraint: constraint.zip(text) };
    Ok(rows.into_iter().map(|row| index(row.name, row.definition, row.constraint_name, row.constraint_definition)).collect())
}

/// Names of schemas and tables can't be parameters; those here are the program's own.
async fn run(connection: &mut PgConnection, statement: String) -> Result<(), Error> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await?;
    Ok(())
}
