//! Read models compared with a fold of the log.

use std::sync::Arc;

use event_store::{EventStore, parked::Mending};
use projections::{
    Projection, catch_up,
    compare::{Difference, compare},
    mend::mend,
};
use serde_json::json;
use sqlx::AssertSqlSafe;

use crate::{
    database::{Database, projection},
    log::Log,
    parking::Superstitious,
    story,
};

/// A shop's log, and all read models up to its end.
async fn with_read_models() -> Option<(Database, EventStore, Log)> {
    let database = Database::create().await?;
    let store = EventStore::open(database.pool.clone()).await.expect("the log");
    let log = story::shop(40);
    log.append_to(&store).await;
    for projection in projections::all() {
        catch_up(&store, &projection).await.expect("caught up");
    }
    Some((database, store, log))
}

async fn compared(store: &EventStore, name: &str) -> Result<i64, Difference> {
    compare(store, &projection(name), |_, _| ()).await.expect("compared")
}

async fn run(database: &Database, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&database.pool).await.expect("done");
}

#[tokio::test]
async fn read_models_that_nobody_touched_are_what_the_log_makes() {
    let Some((database, store, log)) = with_read_models().await else { return };
    let head = log.events.len() as i64;
    let before = database.everything().await;
    for projection in projections::all() {
        assert_eq!(compared(&store, projection.name()).await, Ok(head), "{}", projection.name());
    }
    assert_eq!(database.everything().await, before, "nothing was written");
    let made = "select count(*) from pg_class where relpersistence = 't'";
    let left: i64 = sqlx::query_scalar(made).fetch_one(&database.pool).await.expect("a count");
    assert_eq!(left, 0, "and nothing is left");
}

#[tokio::test]
async fn the_first_row_that_differs_is_named() {
    let Some((database, store, log)) = with_read_models().await else { return };
    let head = log.events.len() as i64;
    let first = "select sku from read_model.stock order by sku limit 1";
    let sku: String = sqlx::query_scalar(first).fetch_one(&database.pool).await.expect("stock");
    run(&database, "create table kept as select * from read_model.stock").await;
    for (change, expected, found) in [
        ("update read_model.stock set on_hand = on_hand + 1", true, true),
        (&format!("delete from read_model.stock where sku >= '{sku}'"), true, false),
        ("insert into read_model.stock values ('!', 1, 0, 1)", false, true),
    ] {
        run(&database, change).await;
        let difference = compared(&store, "stock").await.expect_err(change);
        let key = if expected { &sku } else { "!" };
        assert_eq!((difference.table, difference.key.as_str(), difference.position), ("stock", key, head));
        assert_eq!((difference.expected.is_some(), difference.found.is_some()), (expected, found), "{difference}");
        run(&database, "truncate read_model.stock; insert into read_model.stock select * from kept").await;
        assert_eq!(compared(&store, "stock").await, Ok(head));
    }
    run(&database, "update read_model.sales_totals set net = net + 1 where \"by\" = 'product'").await;
    let difference = compared(&store, "sales").await.expect_err("a total");
    assert!(difference.table == "sales_totals" && difference.key.starts_with("product, "), "{difference}");
}

#[tokio::test]
async fn what_is_parked_or_was_skipped_is_left_out_as_the_read_model_left_it_out() {
    let Some(database) = Database::create().await else { return };
    let store = EventStore::open(database.pool.clone()).await.expect("the log");
    let mut log = Log::default();
    for (sku, quantity) in [("A", 1), ("B", 2), ("A", 13), ("A", 3), ("B", 4), ("A", 14), ("A", 5)] {
        log.add(&format!("stock-{sku}"), "StockReceived", &json!({"quantity": quantity, "reference": ""}));
    }
    log.append_to(&store).await;
    let stock: Arc<dyn Projection> = Superstitious::new();
    let on_hand = async || {
        let of_a = "select on_hand from read_model.stock where sku = 'A'";
        sqlx::query_scalar::<_, i64>(of_a).fetch_one(&database.pool).await.expect("a row")
    };
    let compared = async || compare(&store, &stock, |_, _| ()).await.expect("compared");
    catch_up(&store, &stock).await.expect("caught up");
    assert_eq!((on_hand().await, compared().await), (1, Ok(7)), "the first one parks its stream");
    mend(&store, &*stock, "stock-A", Mending::Skip).await.expect("skipped");
    assert_eq!((on_hand().await, compared().await), (4, Ok(7)), "the second one, too");
    mend(&store, &*stock, "stock-A", Mending::Skip).await.expect("skipped");
    assert_eq!((on_hand().await, compared().await), (9, Ok(7)));
    run(&database, "update read_model.stock set on_hand = 22 where sku = 'A'").await;
    let told = compared().await.expect_err("as if nothing had been skipped").to_string();
    assert_eq!(told, "table stock, key A: expected (A,9,0,5) at position 7, found (A,22,0,5)");
}

#[tokio::test]
async fn a_read_model_is_compared_as_far_as_it_has_come_while_the_log_grows() {
    let Some((database, store, mut log)) = with_read_models().await else { return };
    let head = log.events.len() as i64;
    log.add(&story::order(900), "OrderSubmitted", &story::submitted(&[("A", None, 1, "2.50")], "GB"));
    log.append_after(&store, log.events.len() - 1).await;
    assert_eq!(compared(&store, "orders").await, Ok(head), "it has not come further");
    catch_up(&store, &projection("orders")).await.expect("caught up");
    assert_eq!(compared(&store, "orders").await, Ok(head + 1));
    run(&database, "update checkpoints set version = 99 where name = 'orders'").await;
    let refused = compare(&store, &projection("orders"), |_, _| ()).await.expect_err("another version").to_string();
    let kept = projection("orders").version();
    assert_eq!(refused, format!("the read model is of version 99 of the projection, this version of merx keeps version {kept}"));
    run(&database, "delete from checkpoints where name = 'orders'").await;
    assert_eq!(compared(&store, "orders").await, Ok(0), "a read model that is not begun");
}

#[tokio::test]
async fn who_may_not_make_temporary_tables_is_told() {
    let Some((_database, store, _)) = with_read_models().await else { return };
    let name: String = sqlx::query_scalar("select current_database()").fetch_one(store.pool()).await.expect("a name");
    let role = format!("reader_{}", uuid::Uuid::now_v7().simple());
    let grants = format!(
        "revoke temporary on database {name} from public; create role {role} login;
         grant usage on schema public, read_model to {role}; grant select on all tables in schema public, read_model to {role}"
    );
    sqlx::raw_sql(AssertSqlSafe(grants)).execute(store.pool()).await.expect("granted");
    let options = store.pool().connect_options().as_ref().clone().options([("role", role.as_str())]);
    let reader = EventStore::open(sqlx::PgPool::connect_with(options).await.expect("a reader")).await.expect("the log");
    let refused = compare(&reader, &projection("stock"), |_, _| ()).await.expect_err("no right").to_string();
    assert!(refused.starts_with("read models are compared by way of temporary tables, and none can be made here: "), "{refused}");
    let gone = format!("drop owned by {role}; drop role {role}");
    sqlx::raw_sql(AssertSqlSafe(gone)).execute(store.pool()).await.expect("gone");
}
