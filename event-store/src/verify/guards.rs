//! The guards of the log in the database: each function, trigger and constraint is compared with what the migrations make. A function that was
//! replaced by an empty one guards as little as one that is gone.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use super::Finding;
use crate::MIGRATIONS;

/// The tables that are guarded.
const TABLES: [&str; 3] = ["events", "log_head", "log_digests"];

/// The triggers by table, as Postgres writes them: each is in force, and always.
const TRIGGERS: [(&str, &str, &str); 5] = [
    (
        "events",
        "events_are_never_changed",
        "CREATE TRIGGER events_are_never_changed BEFORE DELETE OR UPDATE OR TRUNCATE ON events FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()",
    ),
    (
        "events",
        "appended_events_go_on_where_the_log_ended",
        "CREATE TRIGGER appended_events_go_on_where_the_log_ended AFTER INSERT ON events REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION check_appended()",
    ),
    (
        "log_head",
        "log_head_is_never_removed",
        "CREATE TRIGGER log_head_is_never_removed BEFORE DELETE OR TRUNCATE ON log_head FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()",
    ),
    (
        "log_head",
        "log_head_never_goes_back",
        "CREATE TRIGGER log_head_never_goes_back BEFORE UPDATE ON log_head FOR EACH ROW WHEN (new.position < old.position) EXECUTE FUNCTION refuse_to_go_back()",
    ),
    (
        "log_digests",
        "log_digests_are_never_changed",
        "CREATE TRIGGER log_digests_are_never_changed BEFORE DELETE OR UPDATE OR TRUNCATE ON log_digests FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()",
    ),
];

/// The constraints by table, as Postgres writes them.
const CONSTRAINTS: [(&str, &str, &str); 13] = [
    ("events", "events_pkey", "PRIMARY KEY (position)"),
    ("events", "events_stream_version", "UNIQUE (stream_id, version)"),
    ("events", "events_event_id", "UNIQUE (event_id)"),
    ("events", "events_hash_check", "CHECK ((length(hash) = 32))"),
    ("events", "events_schema_version_check", "CHECK ((schema_version >= 1))"),
    ("events", "events_stream_id_check", "CHECK (((stream_id ~ '^[a-z]+-.'::text) AND (length(stream_id) <= 80)))"),
    ("events", "events_version_check", "CHECK ((version >= 1))"),
    ("log_head", "log_head_pkey", "PRIMARY KEY (only_row)"),
    ("log_head", "log_head_only_row_check", "CHECK (only_row)"),
    ("log_head", "log_head_position_check", "CHECK ((position >= 0))"),
    ("log_digests", "log_digests_pkey", "PRIMARY KEY (position)"),
    ("log_digests", "log_digests_digest_check", "CHECK ((length(digest) = 32))"),
    ("log_digests", "log_digests_position_check", "CHECK ((position >= 1))"),
];

/// The functions that triggers call, and those that these call.
const FUNCTIONS: [&str; 4] = ["refuse_change", "check_appended", "refuse_to_go_back", "event_hash"];

/// The first guard that is not as the migrations make it.
pub(super) async fn missing(connection: &mut PgConnection) -> Result<Option<Finding>, sqlx::Error> {
    let checks = [triggers(connection).await?, constraints(connection).await?, functions(connection).await?, tables(connection).await?];
    Ok(checks.into_iter().flatten().next())
}

async fn triggers(connection: &mut PgConnection) -> Result<Option<Finding>, sqlx::Error> {
    let found = sqlx::query!(
        r#"
        select c.relname::text as "table!", t.tgname::text as "name!", t.tgenabled = 'A' as "always!",
               replace(pg_get_triggerdef(t.oid, true), '"', '') as "definition!"
        from pg_trigger t join pg_class c on c.oid = t.tgrelid
        where c.oid = any($1::text[]::regclass[]) and not t.tgisinternal
        order by c.relname, t.tgname
        "#,
        &TABLES.map(str::to_owned),
    )
    .fetch_all(connection)
    .await?;
    for (table, name, definition) in TRIGGERS {
        match found.iter().find(|row| row.table == table && row.name == name) {
            Some(row) if !row.always => return Ok(Some(Finding::Unguarded { table, what: name })),
            Some(row) if row.definition != definition => return Ok(Some(altered("the trigger", &format!("{name} of table {table}")))),
            Some(_) => {}
            None => return Ok(Some(Finding::Unguarded { table, what: name })),
        }
    }
    let stranger = found.iter().find(|row| !TRIGGERS.iter().any(|(table, name, _)| row.table == *table && row.name == *name));
    Ok(stranger.map(|row| altered("the trigger", &format!("{} of table {}", row.name, row.table))))
}

async fn constraints(connection: &mut PgConnection) -> Result<Option<Finding>, sqlx::Error> {
    // A unique index that is not valid, or that is looked at late, keeps nothing out at the time of an append.
    let found = sqlx::query!(
        r#"
        select t.relname::text as "table!", c.conname::text as "name!", replace(pg_get_constraintdef(c.oid), '"', '') as "definition!",
               c.convalidated and coalesce(i.indisunique and i.indisvalid and i.indimmediate, true) as "in_force!"
        from pg_constraint c join pg_class t on t.oid = c.conrelid left join pg_index i on i.indexrelid = c.conindid
        where t.oid = any($1::text[]::regclass[])
        "#,
        &TABLES.map(str::to_owned),
    )
    .fetch_all(connection)
    .await?;
    for (table, name, definition) in CONSTRAINTS {
        match found.iter().find(|row| row.table == table && row.name == name) {
            Some(row) if !row.in_force => return Ok(Some(Finding::Unguarded { table, what: name })),
            Some(row) if row.definition != definition => return Ok(Some(altered("the constraint", &format!("{name} of table {table}")))),
            Some(_) => {}
            None => return Ok(Some(Finding::Unguarded { table, what: name })),
        }
    }
    Ok(None)
}

async fn functions(connection: &mut PgConnection) -> Result<Option<Finding>, sqlx::Error> {
    let found = sqlx::query!(
        r#"
        select p.proname::text as "name!", p.prosrc as "source!",
               l.lanname in ('sql', 'plpgsql') and p.proconfig is null and not p.prosecdef as "plain!"
        from pg_proc p join pg_language l on l.oid = p.prolang
        where p.proname = any($1::text[]) and p.pronamespace = (select relnamespace from pg_class where oid = 'events'::regclass)
        "#,
        &FUNCTIONS.map(str::to_owned),
    )
    .fetch_all(connection)
    .await?;
    let made = made_by_migrations();
    for name in FUNCTIONS {
        let mut of_name = found.iter().filter(|row| row.name == name);
        let is_as_made = |source: &str| made.get(name).is_some_and(|made| *made == source);
        // One, and no other beside it that a call might mean.
        match (of_name.next(), of_name.next()) {
            (Some(row), None) if row.plain && is_as_made(&row.source) => {}
            _ => return Ok(Some(altered("the function", name))),
        }
    }
    Ok(None)
}

async fn tables(connection: &mut PgConnection) -> Result<Option<Finding>, sqlx::Error> {
    // Rules change statements, policies hide rows, children add some.
    let changed = sqlx::query_scalar!(
        r#"
        select relname::text as "name!" from pg_class
        where oid = any($1::text[]::regclass[])
          and (relkind <> 'r' or relpersistence <> 'p' or relhasrules or relrowsecurity or relispartition
               or exists (select from pg_inherits where inhparent = pg_class.oid))
        order by relname limit 1
        "#,
        &TABLES.map(str::to_owned),
    )
    .fetch_optional(connection)
    .await?;
    Ok(changed.map(|name| altered("the table", &name)))
}

fn altered(kind: &'static str, name: &str) -> Finding {
    Finding::Altered { kind, name: name.to_owned() }
}

/// The body of each function, as the last migration that makes it says.
fn made_by_migrations() -> BTreeMap<&'static str, &'static str> {
    let mut made = BTreeMap::new();
    for migration in MIGRATIONS.iter() {
        for name in FUNCTIONS {
            if let Some(body) = body(migration.sql.as_str(), name) {
                made.insert(name, body);
            }
        }
    }
    made
}

/// The text between the dollars of the function `name`, where `sql` makes it.
fn body<'a>(sql: &'a str, name: &str) -> Option<&'a str> {
    let begin = ["create function ", "create or replace function "].into_iter().find_map(|create| sql.find(&format!("{create}{name}(")))?;
    let (_, rest) = sql[begin..].split_once("$$")?;
    rest.split_once("$$").map(|(body, _)| body)
}
