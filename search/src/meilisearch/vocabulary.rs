//! How frequent words are: counted in the documents of the server, now and then, since it tells nobody.
//!
//! Nobody who searches waits for that: it is counted in the background, and meanwhile what was counted before is good enough; at the very first a few
//! documents are.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use meilisearch_sdk::{client::Client, documents::DocumentsQuery};
use parking_lot::Mutex;
use serde::Deserialize;

use super::{
    Meilisearch,
    keeping::Serving,
    record::Shown,
    server::{QUESTION_LIMIT, within},
};
use crate::{Error, Place, embedded::Vocabulary};

/// The documents of one request.
const PAGE: usize = 1_000;
/// The most documents that are counted: in more of them no word is much rarer or more frequent.
const MOST_DOCUMENTS: usize = 200_000;
/// As many are counted while somebody waits, where nothing was counted before.
const SAMPLE_DOCUMENTS: usize = PAGE;
/// The longest that a page may take in the background.
const PAGE_LIMIT: Duration = Duration::from_secs(10);
/// How much longer than it took to count nothing is counted again.
const REST: u32 = 200;
/// The shortest and the longest rest.
const RESTS: [Duration; 2] = [Duration::from_millis(500), Duration::from_mins(10)];

/// What was counted last.
#[derive(Default)]
pub struct Counted {
    last: Mutex<Option<Last>>,
    /// Held by whoever counts in the background.
    counting: Arc<tokio::sync::Mutex<()>>,
    sampling: tokio::sync::Mutex<()>,
}

struct Last {
    vocabulary: Arc<Vocabulary>,
    /// The index and place that it was counted in; none for a sample.
    of: Option<(String, Place)>,
    again_at: Instant,
}

impl Counted {
    fn known(&self) -> Option<Arc<Vocabulary>> {
        self.last.lock().as_ref().map(|last| last.vocabulary.clone())
    }

    fn is_due(&self, serving: &Serving) -> bool {
        self.last.lock().as_ref().is_none_or(|last| {
            let is_same = last.of.as_ref().is_some_and(|(index, place)| (index, place) == (&serving.index, &serving.place));
            !is_same && Instant::now() >= last.again_at
        })
    }
}

#[derive(Debug, Deserialize)]
struct Listed {
    shown: Shown,
}

impl Meilisearch {
    /// Frequencies of words in what is served, or was not long ago; in a sample of it where nothing was counted before.
    pub(super) async fn vocabulary(&self, serving: &Serving) -> Result<Arc<Vocabulary>, Error> {
        let known = self.counted.known();
        if let Some(known) = known {
            self.count_again(serving);
            return Ok(known);
        }
        let sampling = self.counted.sampling.lock().await;
        if let Some(known) = self.counted.known() {
            return Ok(known);
        }
        let (sample, is_all) = count(&self.server.client, &serving.index, SAMPLE_DOCUMENTS, QUESTION_LIMIT).await?;
        let of = is_all.then(|| (serving.index.clone(), serving.place));
        *self.counted.last.lock() = Some(Last { vocabulary: Arc::new(sample), of, again_at: Instant::now() });
        drop(sampling);
        self.count_again(serving);
        self.counted.known().ok_or_else(|| Error::Unavailable("no words were counted".to_owned()))
    }

    /// Has the words counted in the background, where that is due and nobody does.
    fn count_again(&self, serving: &Serving) {
        if !self.counted.is_due(serving) {
            return;
        }
        let Ok(counting) = self.counted.counting.clone().try_lock_owned() else { return };
        let (client, counted, serving) = (self.server.client.clone(), self.counted.clone(), serving.clone());
        tokio::spawn(async move {
            let began = Instant::now();
            let found = count(&client, &serving.index, MOST_DOCUMENTS, PAGE_LIMIT).await;
            let again_at = Instant::now() + (began.elapsed() * REST).clamp(RESTS[0], RESTS[1]);
            match found {
                Ok((vocabulary, _)) => {
                    let of = Some((serving.index, serving.place));
                    *counted.last.lock() = Some(Last { vocabulary: Arc::new(vocabulary), of, again_at });
                }
                Err(error) => {
                    tracing::debug!(%error, "words are counted again later");
                    if let Some(last) = &mut *counted.last.lock() {
                        last.again_at = again_at;
                    }
                }
            }
            drop(counting);
        });
    }
}

/// Counts the words of up to `most` documents, and says whether these are all.
async fn count(client: &Client, index: &str, most: usize, page_limit: Duration) -> Result<(Vocabulary, bool), Error> {
    let index = client.index(index);
    let mut vocabulary = Vocabulary::default();
    for offset in (0..most).step_by(PAGE) {
        let mut query = DocumentsQuery::new(&index);
        query.with_offset(offset).with_limit(PAGE).with_fields(["shown"]);
        let page = within(page_limit, index.get_documents_with::<Listed>(&query)).await?.results;
        let many = page.len();
        let documents: Vec<_> = page.into_iter().map(|listed| listed.shown.document(String::new(), 0)).collect();
        vocabulary.count(documents.iter());
        if many < PAGE {
            return Ok((vocabulary, true));
        }
    }
    Ok((vocabulary, false))
}
