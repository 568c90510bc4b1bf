//! Read models that are built anew beside those in use.

use event_store::EventStore;
use projections::{Error, Source, catch_up, rebuild};
use sqlx::{Connection as _, PgConnection};
use tokio_util::sync::CancellationToken;

use crate::{
    database::{Database, TABLES, projection},
    story,
};

async fn open(database: &Database) -> EventStore {
    EventStore::open(database.pool.clone()).await.expect("the log")
}

async fn rebuilt(store: &EventStore, name: &str) -> Result<i64, Error> {
    rebuild::rebuild(store, &projection(name), &CancellationToken::new(), |_, _| ()).await
}

async fn strings(database: &Database, sql: &'static str) -> Vec<String> {
    sqlx::query_scalar(sql).fetch_all(&database.pool).await.expect("rows")
}

const INDEXES: &str = "select indexdef from pg_indexes where schemaname = 'read_model' order by indexdef";
const REBUILDS: &str = "select schema_name::text from information_schema.schemata where schema_name like 'rebuild%'
    union all select name from checkpoints where name like '%:rebuild'";

#[tokio::test]
async fn a_rebuilt_read_model_equals_the_one_that_grew_in_rows_and_in_indexes() {
    let Some(database) = Database::create().await else { return };
    let (store, log) = (open(&database).await, story::shop(120));
    log.append_to(&store).await;
    for projection in projections::all() {
        catch_up(&store, &projection).await.expect("caught up");
    }
    let (grown, indexes) = (database.everything().await, strings(&database, INDEXES).await);
    for projection in projections::all() {
        let position = rebuilt(&store, projection.name()).await.expect("rebuilt");
        assert_eq!(position, log.events.len() as i64);
    }
    assert_eq!(database.everything().await, grown);
    assert_eq!(strings(&database, INDEXES).await, indexes);
    assert_eq!(strings(&database, REBUILDS).await, Vec::<String>::new(), "nothing of them is left");
}

#[tokio::test]
async fn every_table_of_the_read_model_belongs_to_one_projection() {
    let Some(database) = Database::create().await else { return };
    let mut own: Vec<&str> = projections::all().iter().flat_map(|projection| projection.tables().to_vec()).collect();
    own.sort_unstable();
    let there =
        strings(&database, "select table_name::text from information_schema.tables where table_schema = 'read_model' order by 1").await;
    assert_eq!(own, there);
    assert_eq!(own.len(), TABLES.len());
}

#[tokio::test]
async fn rows_of_an_older_version_are_rebuilt() {
    let Some(database) = Database::create().await else { return };
    let (store, log) = (open(&database).await, story::shop(40));
    log.append_to(&store).await;
    catch_up(&store, &projection("stock")).await.expect("caught up");
    let grown = database.rows("stock").await;
    let older = "with spoilt as (update read_model.stock set on_hand = 7) update checkpoints set version = 0 where name = 'stock'";
    sqlx::query(older).execute(&database.pool).await.expect("spoilt");
    assert_ne!(database.rows("stock").await, grown);
    catch_up(&store, &projection("stock")).await.expect("rebuilt");
    assert_eq!(database.rows("stock").await, grown);
    assert_eq!(strings(&database, "select version::text from checkpoints where name = 'stock'").await, ["1"]);
}

#[tokio::test]
async fn a_rebuild_that_was_broken_off_goes_on_where_it_was_and_reads_go_on_meanwhile() {
    let Some(database) = Database::create().await else { return };
    let (store, log) = (open(&database).await, story::shop(60));
    log.append_to(&store).await;
    catch_up(&store, &projection("orders")).await.expect("caught up");
    let grown = database.rows("orders").await;
    let stop = CancellationToken::new();
    let broken_off = rebuild::rebuild(&store, &projection("orders"), &stop, |_, _| stop.cancel()).await;
    assert!(matches!(broken_off, Err(Error::Stopped)), "{broken_off:?}");
    assert_eq!(database.rows("orders").await, grown, "the one in use is untouched");
    assert!(rebuild::is_begun(&database.pool, &*projection("orders")).await.expect("known"));
    // What was built before is not built again: it shows that this row survives.
    let marked = "update rebuild_orders.orders set status = 'marked' where id = (select min(id::text)::uuid from rebuild_orders.orders)";
    sqlx::query(marked).execute(&database.pool).await.expect("marked");
    assert_eq!(rebuilt(&store, "orders").await.expect("rebuilt"), log.events.len() as i64);
    assert_eq!(strings(&database, "select status from read_model.orders where status = 'marked'").await, ["marked"]);
    assert_eq!(database.rows("orders").await.len(), grown.len());
}

#[tokio::test]
async fn two_rebuilds_of_one_projection_exclude_each_other() {
    let Some(database) = Database::create().await else { return };
    let store = open(&database).await;
    let mut other = PgConnection::connect_with(&database.pool.connect_options()).await.expect("a connection");
    sqlx::query("select pg_advisory_lock(hashtextextended('merx rebuild stock', 0))").execute(&mut other).await.expect("taken");
    let refused = rebuilt(&store, "stock").await.expect_err("under way");
    assert_eq!(refused.to_string(), "a rebuild of stock is under way already");
    rebuilt(&store, "carts").await.expect("another one's is not in the way");
    other.close().await.expect("gone");
    rebuilt(&store, "stock").await.expect("its turn");
}

#[tokio::test]
async fn who_comes_right_after_another_one_is_not_told_that_a_rebuild_is_under_way() {
    let Some(database) = Database::create().await else { return };
    let store = open(&database).await;
    let held = "select count(*)::text from pg_locks where locktype = 'advisory'
                and database = (select oid from pg_database where datname = current_database())";
    let stock = projection("stock");
    for _ in 0..20 {
        rebuild::require_possible(&store, &*stock).await.expect("possible");
        assert_eq!(strings(&database, held).await, ["0"]);
        rebuild::begin(&store, &*stock).await.expect("begun");
        assert_eq!(strings(&database, held).await, ["0"]);
        rebuilt(&store, "stock").await.expect("rebuilt");
        assert_eq!(strings(&database, held).await, ["0"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_on_during_a_rebuild_and_nothing_is_lost_or_applied_twice() {
    let Some(database) = Database::create().await else { return };
    let (store, log) = (open(&database).await, story::shop(120));
    let shutdown = CancellationToken::new();
    let mut workers = tokio::task::JoinSet::new();
    for projection in projections::all() {
        workers.spawn(projections::run(store.clone(), projection, Source::Log, uuid::Uuid::now_v7(), shutdown.clone()));
    }
    let rebuilding = async {
        for _ in 0..3 {
            for projection in projections::all() {
                rebuilt(&store, projection.name()).await.expect("rebuilt");
            }
        }
    };
    tokio::join!(log.append_to(&store), rebuilding);
    let head = log.events.len() as i64;
    for projection in projections::all() {
        let position = "select position from checkpoints where name = $1";
        while sqlx::query_scalar::<_, i64>(position).bind(projection.name()).fetch_one(&database.pool).await.expect("there") < head {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
    shutdown.cancel();
    workers.join_all().await;
    let there = database.everything().await;
    let Some(wanted) = Database::create().await else { return };
    for projection in projections::all() {
        wanted.apply(projection.name(), &log.events, 1000).await;
    }
    assert_eq!(there, wanted.everything().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_made_from_events_that_the_log_has_lost_is_rebuilt_under_running_workers() {
    let Some(database) = Database::create().await else { return };
    let (store, log) = (open(&database).await, story::shop(60));
    let shutdown = CancellationToken::new();
    let mut workers = tokio::task::JoinSet::new();
    for projection in projections::all() {
        workers.spawn(projections::run(store.clone(), projection, Source::Log, uuid::Uuid::now_v7(), shutdown.clone()));
    }
    log.append_to(&store).await;
    let head = log.events.len();
    let reached = async |position: usize| {
        let all =
            "select count(*) filter (where position = $1 and log_has(position, hash)) from checkpoints where name not like '%:rebuild'";
        while sqlx::query_scalar::<_, i64>(all).bind(position as i64).fetch_one(&database.pool).await.expect("counted") < 8 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    reached(head).await;
    database.put_back((head / 2) as i64).await;
    tokio::time::timeout(std::time::Duration::from_mins(1), reached(head / 2)).await.expect("they are never rebuilt");
    shutdown.cancel();
    workers.join_all().await;
    let there = database.everything().await;
    let Some(wanted) = Database::create().await else { return };
    for projection in projections::all() {
        wanted.apply(projection.name(), &log.events[..head / 2], 1000).await;
    }
    assert_eq!(there, wanted.everything().await);
}
