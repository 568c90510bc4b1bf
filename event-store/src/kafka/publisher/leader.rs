//! One term of a leader: a producer that begins at the checkpoint, sends everything after it in order, and is given up as soon as anything is amiss.

use std::{sync::Arc, time::Duration};

use futures::future::{self, Either};
use rdkafka::producer::{Producer as _, ThreadedProducer};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, spawn_blocking},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{
    again::{self, Again},
    flight::Flight,
    health::{Reporter, Source, Trouble},
    places::{self, Layout, Start, Step},
    sender::{Sender, Sending, SentAgain},
};
use crate::{
    Checkpoint, Error, EventStore, StoredEvent,
    kafka::{Settings, client::Complaint, message, topics},
    read,
};

/// The most events and bytes of data that are read at a time.
const PAGE_EVENTS: i64 = 2_000;
const PAGE_BYTES: i64 = 8 << 20;
/// Another page is sent while less than this is under way.
const UNDER_WAY_EVENTS: usize = 20_000;
const UNDER_WAY_BYTES: usize = 32 << 20;
/// The shortest time between two commits.
const COMMIT_INTERVAL: Duration = Duration::from_millis(5);
/// How long the producer gathers before it sends.
const LINGER_MS: &str = "2";
/// The largest message. What topics are made with leaves room for its headers.
const MESSAGE_BYTES: &str = "4000000";
/// After so long without an acknowledgement something is wrong.
const SILENCE_LIMIT: Duration = Duration::from_secs(3);
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// How long what is under way may take when the process is to stop. What is not acknowledged by then is sent again by the next leader.
const FINISH_LIMIT: Duration = Duration::from_secs(3);

/// Why a term ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// The process is to stop.
    Shutdown,
    /// Somebody else leads.
    LeaseLost,
    /// The checkpoint was moved by somebody else: publishing goes on from there.
    Revised,
    /// The log has a category that no topic is prepared for.
    NewCategory(String),
}

/// What a term needs to know.
pub struct Term<'p> {
    pub store: &'p EventStore,
    pub settings: &'p Settings,
    pub reporter: &'p Reporter,
    pub layout: &'p Layout,
    pub fence: i64,
    /// Number of times the log had been found to have gone back when the term began.
    pub breaks: u64,
}

impl Term<'_> {
    /// Publishes from `start` on, until the lease is no longer `held`, `shutdown`, or something is amiss.
    pub async fn lead(&self, start: Start, held: &mut watch::Receiver<bool>, shutdown: &CancellationToken) -> Result<End, Trouble> {
        let Start { checkpoint, timeline, places } = start;
        let last: Vec<i64> = places.iter().map(|place| place.position).collect();
        let flight = Arc::new(Flight::new(checkpoint.mark(), places));
        let again = Arc::new(Again::default());
        again.sent_new(checkpoint.position);
        let (pages, again_pages) = mpsc::channel(1);
        let producer = Arc::new(self.producer(&flight, &again)?);
        let topics =
            (0..).zip(&self.layout.topics).filter_map(|(nth, topic)| Some((topics::category(&self.layout.prefix, topic)?.to_owned(), nth)));
        let sender = Sender {
            producer: producer.clone(),
            flight: flight.clone(),
            layout: self.layout.clone(),
            topics: topics.collect(),
            sent_again: SentAgain::new(again.clone()),
            last,
            source: message::source(&self.layout.prefix),
            timeline,
        };
        let finish = async {
            shutdown.cancelled().await;
            flight.stop();
            sleep(FINISH_LIMIT).await;
        };
        let ended = tokio::select! {
            ended = self.send(sender, again_pages, &flight, checkpoint.position) => ended,
            Err(trouble) = again::carry_out(self.store.pool(), self.layout, &again, &pages) => Err(trouble),
            ended = self.commit(&flight, checkpoint.clone()) => ended,
            ended = self.look_after(&flight, &producer, &checkpoint) => Ok(ended),
            _ = held.wait_for(|held| !held) => Ok(End::LeaseLost),
            () = finish => Ok(End::Shutdown),
        };
        flight.stop();
        metrics::gauge!("merx_publisher_in_flight_events").set(0);
        // What is in its queue is thrown away, which takes a moment. A page that is being sent has it too, and stops at its next event.
        let _ = spawn_blocking(move || drop(producer)).await;
        ended
    }

    fn producer(&self, flight: &Arc<Flight>, again: &Arc<Again>) -> Result<ThreadedProducer<Sending>, Trouble> {
        let mut config = self.settings.client_config();
        config
            // No event is left out, doubled or overtaken within what one producer sends, whatever it has to try again; and it tries for ever.
            .set("enable.idempotence", "true")
            .set("enable.gapless.guarantee", "true")
            .set("acks", "all")
            .set("message.timeout.ms", "0")
            .set("request.timeout.ms", "10000")
            .set("retry.backoff.ms", "50")
            .set("compression.codec", "lz4")
            .set("linger.ms", LINGER_MS)
            .set("message.max.bytes", MESSAGE_BYTES)
            .set("queue.buffering.max.messages", "50000")
            .set("queue.buffering.max.kbytes", "131072");
        let context = Sending { flight: flight.clone(), again: again.clone(), complaint: Complaint::default() };
        config.create_with_context(context).map_err(|error| Trouble::Unreachable(error.to_string()))
    }

    /// Sends everything after position `after`, a page at a time; the next one is read meanwhile. Pages to be sent `again` come in between where there
    /// is nothing new.
    async fn send(
        &self,
        mut sender: Sender,
        mut again: mpsc::Receiver<again::Page>,
        flight: &Flight,
        mut after: i64,
    ) -> Result<End, Trouble> {
        let mut next = Box::pin(future::maybe_done(self.page(after)));
        loop {
            let once_more = tokio::select! {
                biased;
                () = next.as_mut() => None,
                page = again.recv() => page,
            };
            if let Some(page) = once_more {
                let sending = spawn_blocking(move || {
                    sender.send_again(page);
                    sender
                });
                sender = alongside(sending, next.as_mut()).await?;
                continue;
            }
            let Some(page) = next.as_mut().take_output() else { continue };
            let page = page?;
            if let Some(unknown) =
                page.iter().map(|event| topics::category_of_stream(&event.stream_id)).find(|c| !sender.topics.contains_key(*c))
            {
                return Ok(End::NewCategory(unknown.to_owned()));
            }
            after = page.last().map_or(after, |event| event.position);
            flight.room(UNDER_WAY_EVENTS, UNDER_WAY_BYTES).await;
            if flight.is_stopped() {
                // Whoever commits finishes, or says why not.
                return std::future::pending().await;
            }
            let sending = spawn_blocking(move || {
                sender.send(page);
                sender
            });
            next = Box::pin(future::maybe_done(self.page(after)));
            sender = alongside(sending, next.as_mut()).await?;
        }
    }

    /// The events after position `after`, at least one: waits for it.
    async fn page(&self, after: i64) -> Result<Vec<StoredEvent>, Trouble> {
        let head = self.store.inner.hub.reached(after, self.breaks).await?;
        let page = read::page(self.store.pool(), after, head.min(after + PAGE_EVENTS), PAGE_BYTES).await?;
        let follows = page.iter().zip(after + 1..).all(|(event, position)| event.position == position);
        if page.is_empty() || !follows {
            return Err(Error::Refused(format!("the log has a gap after position {after}: see `merx verify`")).into());
        }
        Ok(page)
    }

    /// Keeps how far everything has been acknowledged.
    async fn commit(&self, flight: &Flight, mut checkpoint: Checkpoint) -> Result<End, Trouble> {
        loop {
            flight.news().await;
            if let Some(progress) = flight.progress() {
                let before = checkpoint.position;
                match places::step(self.store, self.fence, &mut checkpoint, self.layout, &progress).await? {
                    Step::Done => metrics::counter!("merx_published_events_total").increment((checkpoint.position - before).unsigned_abs()),
                    Step::NotOurs => return Ok(End::LeaseLost),
                    Step::Revised => return Ok(End::Revised),
                }
            }
            if let Some(failure) = flight.failure() {
                return Err(Trouble::Refused(failure));
            }
            if flight.is_stopped() && flight.under_way().0 == 0 {
                return Ok(End::Shutdown);
            }
            sleep(COMMIT_INTERVAL).await;
        }
    }

    /// Measures, says so when no acknowledgement comes, and sees, with nothing to commit, that the checkpoint was moved by somebody else.
    async fn look_after(&self, flight: &Flight, producer: &ThreadedProducer<Sending>, checkpoint: &Checkpoint) -> End {
        let complaint = &producer.context().complaint;
        let mut silent = false;
        loop {
            sleep(LOOK_INTERVAL).await;
            let under_way = u32::try_from(flight.under_way().0).unwrap_or(u32::MAX);
            metrics::gauge!("merx_publisher_in_flight_events").set(under_way);
            if self.is_revised(checkpoint).await {
                return End::Revised;
            }
            let is_silent = flight.waiting().is_some_and(|waiting| waiting > SILENCE_LIMIT);
            if is_silent == silent {
                continue;
            }
            silent = is_silent;
            if !silent {
                complaint.forget();
            }
            let trouble = silent.then(|| Trouble::Silent(complaint.or(&"there is no answer")));
            // As for any failure: if this can't be written, it is the database that is away.
            let _ = places::note(self.store, trouble.as_ref()).await;
            self.reporter.report(Source::Leader, trouble);
        }
    }

    /// Whether the checkpoint was moved by somebody else, as far as can be told.
    async fn is_revised(&self, checkpoint: &Checkpoint) -> bool {
        let Ok(mut connection) = self.store.pool().acquire().await else { return false };
        checkpoint.is_revised(&mut connection).await.unwrap_or(false)
    }
}

/// Waits for what is being sent, while the next page is read.
async fn alongside(sending: JoinHandle<Sender>, reading: impl Future<Output = ()> + Unpin) -> Result<Sender, Trouble> {
    let sent = match future::select(sending, reading).await {
        Either::Left((sent, _)) => sent,
        Either::Right(((), sending)) => sending.await,
    };
    sent.map_err(|panic| Trouble::Refused(panic.to_string()))
}
