//! Telling other processes that the log has grown, and hearing it from them.
//!
//! `NOTIFY` takes a lock that is global to the cluster until its transaction ends, so it never stands in an append: it is sent once
//! for whatever was committed in the last few milliseconds, from another connection. Nobody relies on it: the poll is the truth.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use sqlx::postgres::PgListener;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout_at},
};

use super::{Hub, HubInner, POLL_INTERVAL};

/// The shortest time between two signals of one process.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(10);
const CHANNEL: &str = "merx_log";

/// Starts the tasks that signal, listen and poll. They end with the runtime, or when nobody else holds the hub.
pub(super) fn start(hub: &Hub) {
    tokio::spawn(signal(Arc::downgrade(&hub.inner), hub.inner.committed.subscribe()));
    tokio::spawn(listen(Arc::downgrade(&hub.inner)));
}

async fn signal(hub: Weak<HubInner>, mut committed: watch::Receiver<i64>) {
    while committed.changed().await.is_ok() {
        let head = *committed.borrow_and_update();
        let Some(pool) = hub.upgrade().map(|hub| hub.pool.clone()) else { return };
        let sent = sqlx::query_scalar!(r#"select pg_notify('merx_log', $1::text)::text"#, head.to_string()).fetch_one(&pool).await;
        if let Err(error) = sent {
            tracing::debug!(%error, "the signal that the log has grown was not sent");
        }
        sleep(SIGNAL_INTERVAL).await;
    }
}

async fn listen(hub: Weak<HubInner>) {
    let (mut listener, mut is_failing) = (None, false);
    let mut due = Instant::now();
    loop {
        let Some(hub) = hub.upgrade().map(|inner| Hub { inner }) else { return };
        if listener.is_none() {
            listener = connect(&hub).await;
        }
        let heard = async {
            match listener.as_mut() {
                Some(heard) => heard.recv().await,
                None => std::future::pending().await,
            }
        };
        match timeout_at(due, heard).await {
            // Anybody may send a signal: it is a reason to look, no more.
            Ok(Ok(notification)) if notification.payload().parse().is_ok_and(|head: i64| head <= hub.head()) => {}
            Ok(Err(_)) | Err(_) if hub.inner.store.is_closed() => return,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the connection that listens for appends is lost");
                hub.lost();
                listener = None;
            }
            Ok(Ok(_)) | Err(_) => {
                due = Instant::now() + POLL_INTERVAL;
                match hub.poll().await {
                    Ok(()) => is_failing = false,
                    Err(error) => {
                        hub.lost();
                        // Connections that an outage has broken are found one by one.
                        if !std::mem::replace(&mut is_failing, true) {
                            tracing::warn!(%error, "the head of the log can't be read; trying again");
                        }
                        sleep(POLL_INTERVAL).await;
                    }
                }
            }
        }
    }
}

async fn connect(hub: &Hub) -> Option<PgListener> {
    let mut listener = PgListener::connect_with(&hub.inner.pool).await.ok()?;
    listener.listen(CHANNEL).await.ok()?;
    Some(listener)
}
