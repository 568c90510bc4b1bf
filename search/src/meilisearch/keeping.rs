//! Documents into an index, an index filled anew beside the one in use, and how far each has come.

use meilisearch_sdk::{client::SwapIndexes, indexes::IndexesQuery, task_info::TaskInfo, tasks::Task};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{
    EARLIER_SHAPE, Meilisearch, SHAPE, key, record,
    server::{Failed, QUESTION_LIMIT, SENDING_LIMIT, TASK_INTERVAL, TASK_LIMIT, found, within},
    settings::settings,
};
use crate::{Changes, Document, Error, Place, Refused};

/// The most bytes of documents that are sent at once; Meilisearch takes 100 MB, and many at once in much less time than one by one.
const BATCH_BYTES: usize = 48 << 20;
/// The most removed documents that are named at once.
const BATCH_REMOVED: usize = 10_000;
/// The most indexes that are looked through for those that a crash has left.
const MOST_INDEXES: usize = 1_000;
/// The id of the only document of the index that says how far another one has come.
const PLACE: &str = "place";

/// How far an index has come, and by which settings and records it was made.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    id: String,
    shape: u32,
    place: Place,
}

/// An index that is filled anew, beside the one in use.
#[derive(Debug)]
pub struct Rebuild {
    index: String,
    documents: usize,
}

/// The index that searches are answered from.
#[derive(Debug, Clone)]
pub struct Serving {
    pub index: String,
    pub place: Place,
    /// True where it is of the shape before this one.
    pub is_earlier: bool,
}

/// The index in which it stands how far `index` has come. The two are swapped together.
fn places(index: &str) -> String {
    format!("{index}-{PLACE}")
}

impl Meilisearch {
    /// Where the index in use stands; none where there is none, or one of another shape.
    pub(super) async fn kept_place(&self) -> Result<Option<Place>, Error> {
        self.kept(&self.index, SHAPE).await
    }

    async fn kept(&self, index: &str, shape: u32) -> Result<Option<Place>, Error> {
        let index = self.server.client.index(places(index));
        let kept: Option<Kept> = found(QUESTION_LIMIT, index.get_document(PLACE)).await?;
        Ok(kept.filter(|kept| kept.shape == shape).map(|kept| kept.place))
    }

    /// The index that searches are answered from: as long as there is none of this shape, that of the shape before; else none.
    pub(super) async fn serving(&self) -> Result<Option<Serving>, Error> {
        if let Some(place) = self.kept_place().await? {
            return Ok(Some(Serving { index: self.index.clone(), place, is_earlier: false }));
        }
        let place = self.kept(&self.earlier, EARLIER_SHAPE).await?;
        Ok(place.map(|place| Serving { index: self.earlier.clone(), place, is_earlier: true }))
    }

    pub(super) async fn put_place(&self, index: &str, place: Place) -> Result<(), Error> {
        let kept = [Kept { id: PLACE.to_owned(), shape: SHAPE, place }];
        let index = self.server.client.index(places(index));
        self.server.surely_done(index.add_or_replace(&kept, Some(record::ID))).await
    }

    /// Pushes the settings, and removes what rebuilds have left that were broken off.
    pub(super) async fn put_in_order(&self) -> Result<(), Error> {
        self.server.check_version().await?;
        *self.rebuild.lock().await = None;
        let begun = format!("{}-new-", self.index);
        let mut query = IndexesQuery::new(&self.server.client);
        query.with_limit(MOST_INDEXES);
        let all = within(QUESTION_LIMIT, self.server.client.list_all_indexes_with(&query)).await?;
        for index in all.results.iter().filter(|index| index.uid.starts_with(&begun)) {
            self.server.remove(&index.uid).await?;
        }
        if all.results.iter().any(|index| index.uid == self.index) && self.kept_place().await?.is_some() {
            // Where nothing has changed, as nearly always, this changes nothing.
            self.server.surely_done(self.server.client.index(&self.index).set_settings(&settings())).await?;
        }
        Ok(())
    }

    pub(super) async fn remove_all(&self) -> Result<(), Error> {
        self.put_in_order().await?;
        for index in [&self.index, &self.earlier].into_iter().flat_map(|index| [index.clone(), places(index)]) {
            self.server.remove(&index).await?;
        }
        Ok(())
    }

    pub(super) async fn take_changes(&self, changes: Changes) -> Result<Vec<Refused>, Error> {
        for removed in changes.removed.chunks(BATCH_REMOVED) {
            let ids: Vec<String> = removed.iter().map(|sku| key::of(sku)).collect();
            let index = self.server.client.index(&self.index);
            self.server.surely_done(index.delete_documents(&ids)).await?;
        }
        self.send(&self.index, &changes.documents).await
    }

    pub(super) async fn begin(&self) -> Result<(), Error> {
        self.put_in_order().await?;
        let index = format!("{}-new-{}", self.index, Uuid::now_v7().simple());
        for name in [&index, &places(&index)] {
            self.server.surely_done(self.server.client.create_index(name, Some(record::ID))).await?;
        }
        self.server.surely_done(self.server.client.index(&index).set_settings(&settings())).await?;
        *self.rebuild.lock().await = Some(Rebuild { index, documents: 0 });
        Ok(())
    }

    pub(super) async fn add(&self, documents: &[Document]) -> Result<Vec<Refused>, Error> {
        let mut rebuild = self.rebuild.lock().await;
        let rebuild = rebuild.as_mut().ok_or_else(not_begun)?;
        let refused = self.send(&rebuild.index, documents).await?;
        rebuild.documents += documents.len() - refused.len();
        Ok(refused)
    }

    /// Swaps the new index in, with how far it has come. One that has lost documents meanwhile, because its server was emptied, is not used.
    pub(super) async fn finish(&self, place: Place) -> Result<(), Error> {
        let Some(Rebuild { index, documents }) = self.rebuild.lock().await.take() else { return Err(not_begun()) };
        let stats = within(QUESTION_LIMIT, self.server.client.index(&index).get_stats()).await?;
        if stats.number_of_documents != documents {
            let found = stats.number_of_documents;
            return Err(Error::Unavailable(format!("the index that was filled anew has {found} documents instead of {documents}")));
        }
        self.put_place(&index, place).await?;
        for name in [self.index.clone(), places(&self.index)] {
            if found(QUESTION_LIMIT, self.server.client.get_raw_index(&name)).await?.is_none() {
                self.server.surely_done(self.server.client.create_index(&name, Some(record::ID))).await?;
            }
        }
        let swap = |one: &str, other: &str| SwapIndexes { indexes: (one.to_owned(), other.to_owned()), rename: None };
        let swaps = [swap(&self.index, &index), swap(&places(&self.index), &places(&index))];
        let task = within(SENDING_LIMIT, self.server.client.swap_indexes(&swaps)).await?;
        self.wait_for_swap(&task, place).await?;
        for name in [places(&index), index] {
            self.server.remove(&name).await?;
        }
        Ok(())
    }

    /// Waits until the index in use has come to `place`. The task of a swap belongs to no index, and is not shown to a key that is good for some
    /// indexes only.
    async fn wait_for_swap(&self, task: &TaskInfo, place: Place) -> Result<(), Error> {
        let deadline = Instant::now() + TASK_LIMIT;
        while self.kept_place().await? != Some(place) {
            if let Some(Task::Failed { content }) = found(QUESTION_LIMIT, self.server.client.get_task(task)).await? {
                return Err(Error::Unavailable(content.error.to_string()));
            }
            if Instant::now() >= deadline {
                return Err(Error::Unavailable("the index that was filled anew is not swapped in".to_owned()));
            }
            sleep(TASK_INTERVAL).await;
        }
        Ok(())
    }

    /// Sends `documents` in batches, and waits until each of them is found.
    async fn send(&self, index: &str, documents: &[Document]) -> Result<Vec<Refused>, Error> {
        let mut refused = Vec::new();
        let mut batch: Vec<(&str, Box<RawValue>)> = Vec::new();
        let mut bytes = 0;
        for document in documents {
            let record = record::of(document)?;
            if !batch.is_empty() && bytes + record.get().len() > BATCH_BYTES {
                refused.extend(self.send_batch(index, std::mem::take(&mut batch)).await?);
                bytes = 0;
            }
            bytes += record.get().len();
            batch.push((&document.sku, record));
        }
        refused.extend(self.send_batch(index, batch).await?);
        Ok(refused)
    }

    /// Sends a batch; if it is refused, halves of it, until what is to blame stands alone.
    async fn send_batch(&self, index: &str, batch: Vec<(&str, Box<RawValue>)>) -> Result<Vec<Refused>, Error> {
        let mut refused = Vec::new();
        let mut waiting = vec![batch];
        while let Some(mut batch) = waiting.pop() {
            if batch.is_empty() {
                continue;
            }
            let records: Vec<&RawValue> = batch.iter().map(|(_, record)| &**record).collect();
            let index = self.server.client.index(index);
            match self.server.done(index.add_or_replace(&records, Some(record::ID))).await? {
                Ok(()) => {}
                Err(Failed(error)) => {
                    if let [(sku, _)] = batch.as_slice() {
                        refused.push(Refused { sku: (*sku).to_owned(), reason: error.error_message });
                    } else {
                        let rest = batch.split_off(batch.len() / 2);
                        waiting.extend([rest, batch]);
                    }
                }
            }
        }
        Ok(refused)
    }
}

fn not_begun() -> Error {
    Error::Unavailable("the index is not being filled anew".to_owned())
}
