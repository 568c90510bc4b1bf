//! The runner on a real log.

use chrono::Duration;
use event_store::EventStore;
use uuid::Uuid;

use super::{Changes, Reminder, reminders, runner::Runner};
use crate::{
    shop::{Settings, Shop, now},
    test_database::Database,
};

async fn shop(database: &Database) -> Shop {
    Shop::new(EventStore::open(database.pool.clone()).await.unwrap(), Settings::default())
}

/// Another server gets the leases, as it does when their holder has not renewed them for too long.
async fn leases_run_out(database: &Database) {
    sqlx::query("update leases set expires_at = now() - interval '1 millisecond'").execute(&database.pool).await.unwrap();
}

#[tokio::test]
async fn a_runner_that_wakes_up_late_does_not_remove_reminders_that_its_successor_counts_on() {
    let Some(database) = Database::make().await else { return };
    let shop = shop(&database).await;
    let mut late = Runner::start(shop.clone(), Uuid::now_v7()).await.unwrap();
    let (reminder, due) = (Reminder::Reservations("A".parse().unwrap()), now().plus(Duration::seconds(-1)));
    let mut connection = database.pool.acquire().await.unwrap();
    let mut changes = Changes::default();
    changes.set(reminder.clone(), due);
    reminders::write(&changes, &mut connection).await.unwrap();
    leases_run_out(&database).await;
    let mut successor = Runner::start(shop, Uuid::now_v7()).await.unwrap();
    // Neither has moved the checkpoint, so that it can't tell who is late.
    assert!(matches!(late.see_to_reminders().await, Err(event_store::Error::Conflict)));
    assert_eq!(reminders::all(&database.pool).await.unwrap().get(&reminder), Some(&due));
    successor.see_to_reminders().await.unwrap();
    assert!(reminders::all(&database.pool).await.unwrap().is_empty());
}
