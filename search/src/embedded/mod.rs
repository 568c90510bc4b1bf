//! An index inside the process: Tantivy, in files of its own.
//!
//! - `fields`: a document in the index
//! - `files`: opened, or made anew
//! - `slots`: what may stand for each word of a query; `matching`: which documents have how much of it; `rank`: in which order they come
//! - `narrow`: filters and facets; `prices`: what is charged at a moment; `suggest`: completions
//! - `candidates`: the same order for what another index has found
//!
//! Postings and columns are Tantivy's; matching is ours, since words must count by the best of their places, spellings and forms, and what is
//! found must be counted exactly anyway.

mod candidates;
mod fields;
mod files;
mod matching;
mod narrow;
mod prices;
mod rank;
mod slots;
mod suggest;

use std::{
    fs::File,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{FutureExt as _, future::BoxFuture};
use parking_lot::{Mutex, RwLock};
use tantivy::{DocAddress, IndexReader, IndexWriter, ReloadPolicy, Searcher, TantivyDocument, schema::Value};
use tokio::task::spawn_blocking;

use crate::{
    Answer, Changes, Document, Error, Index, Place, Refused, Request, Suggestion,
    query::{After, Sort},
};
use fields::Fields;
use files::{Opened, Payload};
use matching::Statistics;
use rank::Ranked;

pub(crate) use candidates::in_order;
pub(crate) use rank::Vocabulary;
pub(crate) use suggest::has_all;

/// How much longer than it took to count the vocabulary nothing is counted again.
const VOCABULARY_REST: u32 = 200;
/// The most bytes of documents that wait to be written.
const QUEUED_BYTES: usize = 8 << 20;

/// The index, for as long as the process lives. Cheap to clone.
#[derive(Clone)]
pub struct Embedded(Arc<Inner>);

struct Inner {
    fields: Fields,
    index: tantivy::Index,
    reader: IndexReader,
    writer: Mutex<Writer>,
    place: RwLock<Option<Place>>,
    vocabulary: RwLock<Arc<Vocabulary>>,
    counting: Mutex<Counting>,
    _lock: File,
}

struct Writer {
    /// None after it has failed.
    index: Option<IndexWriter>,
    pending: Pending,
    /// Bytes of the documents that its thread may not have come to.
    queued_bytes: usize,
}

/// Schedule of counting the words: not before a rest has passed, and only while something that is found is uncounted.
struct Counting {
    not_before: Instant,
    /// True where something is found that was not counted.
    is_behind: bool,
}

/// What was written and is not committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pending {
    Nothing,
    Changes,
    Rebuild,
}

impl Pending {
    /// Returns true where what is written next is not committed together with this. A writer that has written nothing stays: another one
    /// would cost five threads with each batch, and the merges that are under way.
    fn is_broken_off_by(self, next: Self) -> bool {
        self != Self::Nothing && self != next
    }
}

impl Embedded {
    /// The index in `directory`, which is made where there is none; another process that has it too gets one of its own. Damaged files,
    /// or those of another version, are thrown away: then the index is empty and at no place.
    ///
    /// # Errors
    /// The directory can't be written.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        let fields = Fields::new();
        let Opened { index, place, lock } = files::open(directory, &fields)?;
        let writer = files::writer(&index)?;
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
        let vocabulary = Arc::new(Vocabulary::of(&reader.searcher(), &fields)?);
        let inner = Inner {
            fields,
            index,
            reader,
            writer: Mutex::new(Writer { index: Some(writer), pending: Pending::Nothing, queued_bytes: 0 }),
            place: RwLock::new(place),
            vocabulary: RwLock::new(vocabulary),
            counting: Mutex::new(Counting { not_before: Instant::now(), is_behind: false }),
            _lock: lock,
        };
        Ok(Self(Arc::new(inner)))
    }

    /// Runs `work` where it may take its time.
    fn apart<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, Error> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, Error>> {
        let inner = self.0.clone();
        async move { spawn_blocking(move || work(&inner)).await.map_err(|panic| Error::Panicked(panic.to_string()))? }.boxed()
    }
}

impl Index for Embedded {
    fn name(&self) -> &'static str {
        "embedded"
    }

    fn place(&self) -> BoxFuture<'_, Result<Option<Place>, Error>> {
        let place = *self.0.place.read();
        std::future::ready(Ok(place)).boxed()
    }

    fn prepare(&self) -> BoxFuture<'_, Result<(), Error>> {
        std::future::ready(Ok(())).boxed()
    }

    fn take(&self, changes: Changes) -> BoxFuture<'_, Result<Vec<Refused>, Error>> {
        self.apart(move |inner| {
            inner.write(Pending::Changes, |writer, queued_bytes| {
                for sku in &changes.removed {
                    writer.delete_term(inner.fields.key(sku));
                }
                inner.add(writer, queued_bytes, changes.documents)
            })?;
            Ok(Vec::new())
        })
    }

    fn reach(&self, place: Place) -> BoxFuture<'_, Result<(), Error>> {
        if self.0.writer.lock().pending == Pending::Nothing && self.0.place.read().is_some() {
            // What comes after an older place that is in the files is taken in again, which changes nothing.
            *self.0.place.write() = Some(place);
            return std::future::ready(Ok(())).boxed();
        }
        self.apart(move |inner| inner.commit(Pending::Changes, place))
    }

    fn rest(&self) -> BoxFuture<'_, Result<(), Error>> {
        if self.0.counting.lock().is_behind {
            return self.apart(Inner::count_where_due);
        }
        std::future::ready(Ok(())).boxed()
    }

    fn begin_rebuild(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.apart(|inner| {
            inner.write(Pending::Nothing, |_, _| Ok(()))?;
            inner.write(Pending::Rebuild, |writer, _| {
                writer.delete_all_documents()?;
                Ok(())
            })
        })
    }

    fn rebuild(&self, documents: Vec<Document>) -> BoxFuture<'_, Result<Vec<Refused>, Error>> {
        self.apart(move |inner| {
            inner.write(Pending::Rebuild, |writer, queued_bytes| inner.add(writer, queued_bytes, documents))?;
            Ok(Vec::new())
        })
    }

    fn finish_rebuild(&self, place: Place) -> BoxFuture<'_, Result<(), Error>> {
        self.apart(move |inner| inner.commit(Pending::Rebuild, place))
    }

    fn search<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Answer, Error>> {
        let request = request.clone();
        self.apart(move |inner| inner.search(&request))
    }

    fn suggest<'a>(&'a self, text: &'a str, most: usize) -> BoxFuture<'a, Result<Vec<Suggestion>, Error>> {
        let text = text.to_owned();
        self.apart(move |inner| {
            let vocabulary = inner.vocabulary.read().clone();
            suggest::suggest(&inner.reader.searcher(), &inner.fields, &vocabulary, &text, most)
        })
    }
}

impl Inner {
    /// Lets `work` write what is committed later together with what is pending; what is pending of another kind was broken off, and goes. A
    /// writer that has failed is made anew the next time: what it had not committed is lost, and its caller told.
    fn write(&self, kind: Pending, work: impl FnOnce(&mut IndexWriter, &mut usize) -> Result<(), Error>) -> Result<(), Error> {
        let mut writer = self.writer.lock();
        let is_broken_off = std::mem::replace(&mut writer.pending, Pending::Nothing).is_broken_off_by(kind);
        let mut index = match writer.index.take() {
            Some(index) if !is_broken_off => index,
            // Another one rather than `rollback`, which forgets the merge policy. The first must be gone before: it has the lock.
            before => {
                drop(before);
                writer.queued_bytes = 0;
                files::writer(&self.index)?
            }
        };
        let worked = work(&mut index, &mut writer.queued_bytes);
        if worked.is_ok() {
            (writer.index, writer.pending) = (Some(index), kind);
        }
        worked
    }

    /// Adds `documents` to what the writer's thread has to come to. Its queue is bounded in number alone, by ten thousand: where it has many bytes it is
    /// waited for.
    fn add(&self, writer: &mut IndexWriter, queued_bytes: &mut usize, documents: Vec<Document>) -> Result<(), Error> {
        for document in documents {
            *queued_bytes += document.bytes();
            writer.delete_term(self.fields.key(&document.sku));
            writer.add_document(self.fields.document(&document))?;
            if *queued_bytes >= QUEUED_BYTES {
                // Its thread ends with the queue, and what it has written waits for the commit: nothing is committed by this.
                drop(writer.prepare_commit()?);
                *queued_bytes = 0;
            }
        }
        Ok(())
    }

    fn commit(&self, kind: Pending, place: Place) -> Result<(), Error> {
        self.write(kind, |writer, queued_bytes| {
            let mut prepared = writer.prepare_commit()?;
            prepared.set_payload(&Payload::text(place));
            prepared.commit()?;
            *queued_bytes = 0;
            Ok(())
        })?;
        self.writer.lock().pending = Pending::Nothing;
        self.show(place)
    }

    /// Has what is committed found from now on.
    fn show(&self, place: Place) -> Result<(), Error> {
        self.reader.reload()?;
        *self.place.write() = Some(place);
        self.counting.lock().is_behind = true;
        self.count_where_due()
    }

    /// Counts the words of what is found, unless that was done not long ago and half of it is counted.
    fn count_where_due(&self) -> Result<(), Error> {
        let mut counting = self.counting.lock();
        let (began, searcher) = (Instant::now(), self.reader.searcher());
        if began >= counting.not_before || self.vocabulary.read().documents * 2 < searcher.num_docs() {
            *self.vocabulary.write() = Arc::new(Vocabulary::of(&searcher, &self.fields)?);
            *counting =
                Counting { not_before: Instant::now() + began.elapsed() * VOCABULARY_REST + Duration::from_secs(1), is_behind: false };
        }
        Ok(())
    }

    fn search(&self, request: &Request) -> Result<Answer, Error> {
        // The place first: what is found is at least as new.
        let position = self.place.read().map_or(0, |place| place.position);
        let searcher = self.reader.searcher();
        narrow::known(&searcher, &self.fields, request)?;
        let prices = prices::Asked::of(&searcher, &self.fields, request)?;
        let slots = if request.words.list().is_empty() {
            None
        } else {
            Some(slots::of(&searcher, &self.fields, &self.fields.sources(), &request.words)?)
        };
        let mut matched = match &slots {
            Some(slots) => matching::matching(&searcher, slots, &Statistics::Index)?,
            None if request.words.is_signs() => searcher.segment_readers().iter().map(|_| Vec::new()).collect(),
            None => matching::everything(&searcher),
        };
        if request.sort != Sort::Relevance && matched.iter().flatten().any(|found| found.is_full) {
            // Sorted by anything else, what is only partly meant would stand before what is.
            for segment in &mut matched {
                segment.retain(|found| found.is_full);
            }
        }
        let narrowed = narrow::narrow(&searcher, &self.fields, (request, prices), matched)?;
        let vocabulary = self.vocabulary.read().clone();
        let ranked = rank::ranked(&searcher, &narrowed.matched, (request.sort, slots.as_ref(), prices), &vocabulary, rank::MOST_TITLES)?;
        let total = ranked.len() as u64;
        let (page, next) = page(ranked, request);
        let skus = page.iter().map(|found| self.sku(&searcher, found)).collect::<Result<_, _>>()?;
        Ok(Answer { skus, total, facets: narrowed.facets, price: narrowed.price, next, position })
    }

    fn sku(&self, searcher: &Searcher, found: &Ranked) -> Result<String, Error> {
        let document: TantivyDocument = searcher.doc(DocAddress::new(found.segment, found.doc))?;
        Ok(document.get_first(self.fields.sku).and_then(|value| value.as_str()).unwrap_or_default().to_owned())
    }
}

/// The page that was asked for, and where the next one begins.
fn page(mut ranked: Vec<Ranked>, request: &Request) -> (Vec<Ranked>, Option<After>) {
    let after = |found: &Ranked| After { key: found.key, created: found.created };
    if let Some(start) = request.after {
        ranked.retain(|found| after(found) < start);
    }
    let limit = request.limit;
    let descending = |a: &Ranked, b: &Ranked| after(b).cmp(&after(a));
    let has_more = ranked.len() > limit;
    if has_more {
        ranked.select_nth_unstable_by(limit, descending);
        ranked.truncate(limit);
    }
    ranked.sort_unstable_by(descending);
    let next = if has_more { ranked.last().map(after) } else { None };
    (ranked, next)
}

#[cfg(test)]
mod tests {
    use super::Pending::{Changes, Nothing, Rebuild};

    #[test]
    fn a_writer_is_given_up_for_what_it_has_not_committed_and_for_nothing_else() {
        assert!([Changes, Rebuild, Nothing].iter().all(|next| !Nothing.is_broken_off_by(*next)));
        assert!(!Changes.is_broken_off_by(Changes) && !Rebuild.is_broken_off_by(Rebuild));
        assert!(Changes.is_broken_off_by(Rebuild) && Rebuild.is_broken_off_by(Changes) && Rebuild.is_broken_off_by(Nothing));
    }
}
