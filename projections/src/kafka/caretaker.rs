//! Partitions that nobody looks after: the group has not been joined yet, or their owner has died and the group does not know it.
//!
//! Whoever has the lease of the projection applies from the log what such partitions lack of what is published. It takes no fence: places that an
//! owner moves meanwhile are left to that, and an owner whose place was moved reads it again.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use event_store::{
    EventStore,
    kafka::{
        Settings,
        places::{self, Layout, Part, Places},
    },
    lease,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{topics_of, writer::Writer};
use crate::{Error, Projection};

/// Who has a partition may take this long with what is published before it is helped. Shorter than a GET waits.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often places are looked at; and while there are partitions that nobody has ever owned.
const INTERVAL: Duration = Duration::from_millis(250);
const NEW_INTERVAL: Duration = Duration::from_millis(25);
/// Pause after a failure, or once the lease or the places are gone.
const PAUSE: Duration = Duration::from_secs(1);

/// Looks after the partitions of `projection` as long as `holder` has its lease, until `stop`. In front of an event of a newer program it gives the
/// lease away.
pub async fn care(store: &EventStore, projection: &Arc<dyn Projection>, settings: &Settings, holder: Uuid, stop: &CancellationToken) {
    while !stop.is_cancelled() {
        let candidacy = stop.child_token();
        let lease = format!("projection:{}", projection.name());
        let held = lease::keep(store.pool().clone(), lease, holder, candidacy.clone());
        take_turns(store, projection, settings, held.clone(), &candidacy).await;
        lease::give_away(&candidacy, held, stop).await;
    }
}

/// Looks after them whenever the lease is `held`, until `stop`, or until only a newer program can go on.
async fn take_turns(
    store: &EventStore,
    projection: &Arc<dyn Projection>,
    settings: &Settings,
    mut held: watch::Receiver<bool>,
    stop: &CancellationToken,
) {
    while matches!(stop.run_until_cancelled(held.wait_for(|held| *held)).await, Some(Ok(_))) {
        let watched = async {
            tokio::select! {
                watched = watch(store, projection, settings) => watched,
                _ = held.wait_for(|held| !*held) => Ok(()),
            }
        };
        if let Some(watched) = stop.run_until_cancelled(watched).await {
            if let Err(error) = watched {
                tracing::debug!(projection = projection.name(), %error, "partitions are not looked after");
                if error.is_newer() {
                    return;
                }
            }
            let _ = stop.run_until_cancelled(sleep(PAUSE)).await;
        }
    }
}

/// Ends where the projection has no places any more.
async fn watch(store: &EventStore, projection: &Arc<dyn Projection>, settings: &Settings) -> Result<(), Error> {
    let (topics, feed) = (topics_of(settings, &**projection), store.feed(projection.categories()));
    let mut writer = Writer::open(store, projection.clone()).await?;
    let mut waiting: BTreeMap<Part, (i64, Instant)> = BTreeMap::new();
    let mut settled_at = None;
    loop {
        let head = store.known_head();
        if settled_at == Some(head) {
            sleep(NEW_INTERVAL).await;
            continue;
        }
        let all = writer.read_again().await?;
        if all.is_empty() {
            return Ok(());
        }
        let published = places::published(&mut writer.connection, &topics).await?;
        let is_lacking = |part: &Part, position: i64| published.parts.get(part).is_some_and(|(_, last)| position < *last);
        let lacking: Places = all.iter().filter(|(part, place)| is_lacking(part, place.position)).map(|(p, at)| (p.clone(), *at)).collect();
        waiting.retain(|part, (position, _)| lacking.get(part).is_some_and(|place| place.position == *position));
        let now = Instant::now();
        let mut left = lacking.clone();
        left.retain(|part, place| {
            let since = waiting.entry(part.clone()).or_insert((place.position, now)).1;
            place.fence == 0 || since.elapsed() > PATIENCE
        });
        if !left.is_empty() {
            tracing::debug!(projection = projection.name(), parts = left.len(), "partitions are applied from the log");
            writer.fill(&feed, &Layout::of(all.keys()), &mut left, published.position, &published).await?;
        }
        settled_at = (lacking.is_empty() && published.position >= head).then_some(head);
        let is_new = all.values().any(|place| place.fence == 0);
        sleep(if is_new { NEW_INTERVAL } else { INTERVAL }).await;
    }
}
