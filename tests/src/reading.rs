//! Commands that only read: they change nothing and need no right but to read.

use std::process::Output;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::{
    campaign::postgres::Postgres,
    database::Database,
    server::{Launch, Server, merx},
    shop::{Shop, confirmed, product, room_for, unique},
};

const COMMANDS: [&[&str]; 4] = [&["verify"], &["events"], &["projections", "list"], &["projections"]];

fn run(arguments: &[&str], url: &str) -> Output {
    merx(arguments).env("DATABASE_URL", url).output().expect("merx")
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Asserts that each of them does its work on the database at `url`.
fn assert_they_work(url: &str, events: usize) {
    for arguments in COMMANDS {
        let output = run(arguments, url);
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && errors(&output).is_empty(), "{arguments:?}: {told}{}", errors(&output));
        let is_right = match arguments[0] {
            "verify" => told.contains("the log is whole"),
            "events" => told.lines().count() == events,
            _ => told.contains("catalogue") && told.contains("process-managers"),
        };
        assert!(is_right, "{arguments:?}: {told}");
    }
}

/// The definition of all tables, and the content of those that tell of programs.
async fn content(connection: &mut PgConnection) -> String {
    let mut content: String = sqlx::query_scalar(
        "select coalesce(string_agg(attrelid::regclass || ' ' || attname, ',' order by attrelid, attnum), '') from pg_attribute a
         join pg_class c on c.oid = a.attrelid where c.relnamespace::regnamespace::text not in ('pg_catalog', 'information_schema', 'pg_toast')",
    )
    .fetch_one(&mut *connection)
    .await
    .expect("the tables");
    for table in ["_sqlx_migrations", "program_migrations", "program_event_schemas", "checkpoints"] {
        if content.contains(&format!("{table} ")) {
            let read = format!("select coalesce(string_agg(to_jsonb(t)::text, '|' order by to_jsonb(t)::text), '') from {table} t");
            content += &sqlx::query_scalar::<_, String>(AssertSqlSafe(read)).fetch_one(&mut *connection).await.expect("rows");
        }
    }
    content
}

#[tokio::test]
async fn a_role_that_may_only_select_may_read_the_log_and_the_consumers_places() {
    let Some(mut shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 10).await;
    confirmed(&shop, &[(&sku, 1)]).await;
    assert!(shop.server().stop().success());
    let mut owner = shop.database.connect().await;
    let reader = unique("reader").replace('-', "_").to_lowercase();
    for statement in [
        format!("create role {reader} login password 'only-reads'"),
        format!("grant usage on schema public, read_model to {reader}"),
        format!("grant select on all tables in schema public, read_model to {reader}"),
    ] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut owner).await.expect("a role");
    }
    let (before, after) = shop.database.url.split_once("//").expect("a URL");
    let (_, place) = after.split_once('@').expect("a user");
    let events: i64 = sqlx::query_scalar("select position from log_head").fetch_one(&mut owner).await.expect("the head");
    let before_reading = content(&mut owner).await;
    assert_they_work(&format!("{before}//{reader}:only-reads@{place}"), usize::try_from(events).expect("a number"));
    assert_eq!(content(&mut owner).await, before_reading);
    for statement in [format!("drop owned by {reader}"), format!("drop role {reader}")] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut owner).await.expect("no role");
    }
}

#[tokio::test]
async fn a_database_that_no_program_has_prepared_stays_empty() {
    let Some(database) = Database::create().await else { return };
    for arguments in COMMANDS {
        let output = run(arguments, &database.url);
        let told = errors(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {told}");
        assert_eq!(told, "merx: there is no log in the database: `merx serve` makes one; nothing was changed\n", "{arguments:?}");
    }
    assert_eq!(content(&mut database.connect().await).await, "");
}

#[tokio::test]
async fn an_older_database_is_refused_and_stays_as_old_as_it_is() {
    let Some(mut shop) = Shop::open().await else { return };
    assert!(shop.server().stop().success());
    let mut owner = shop.database.connect().await;
    let newest: i64 =
        sqlx::query_scalar("delete from _sqlx_migrations where version = (select max(version) from _sqlx_migrations) returning version")
            .fetch_one(&mut owner)
            .await
            .expect("a migration");
    let before = content(&mut owner).await;
    for arguments in COMMANDS {
        let output = run(arguments, &shop.database.url);
        let told = errors(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {told}");
        let wanted = format!("merx: the log is from an older version of merx: it lacks migration {newest}, which came with merx ");
        assert!(told.starts_with(&wanted) && told.contains("`merx serve` of this version brings the database up to date"), "{told}");
    }
    assert_eq!(content(&mut owner).await, before);
}

#[tokio::test]
async fn a_standby_may_be_read() {
    if Database::create().await.is_none() {
        return;
    }
    let _room = room_for(1).await;
    let primary = Postgres::start().await;
    let mut server = Server::start(Launch::on_database(&primary.url)).await;
    let client = server.client();
    let sku = product(&client, "2", 10).await;
    confirmed(&client, &[(&sku, 1)]).await;
    assert!(server.stop().success());
    let standby = primary.standby().await;
    let mut connection = PgConnection::connect(standby.url()).await.expect("the standby");
    let (is_standby, events): (bool, i64) =
        sqlx::query_as("select pg_is_in_recovery(), position from log_head").fetch_one(&mut connection).await.expect("the standby's head");
    assert!(is_standby);
    assert_they_work(standby.url(), usize::try_from(events).expect("a number"));
}
