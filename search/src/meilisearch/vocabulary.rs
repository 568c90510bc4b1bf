//! How frequent words are: counted in the documents of the server, now and then, since it tells nobody.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use meilisearch_sdk::documents::DocumentsQuery;
use parking_lot::Mutex;
use serde::Deserialize;

use super::{Meilisearch, record::Shown, server::within};
use crate::{Error, Place, embedded::Vocabulary};

/// The documents of one request.
const PAGE: usize = 1_000;
/// The most documents that are counted: in more of them no word is much rarer or more frequent.
const MOST_DOCUMENTS: usize = 200_000;
/// How long a page may take.
const PAGE_LIMIT: Duration = Duration::from_secs(10);
/// How much longer than it took to count nothing is counted again.
const REST: u32 = 200;
/// The shortest and the longest rest.
const RESTS: [Duration; 2] = [Duration::from_millis(500), Duration::from_mins(10)];

/// What was counted last.
#[derive(Default)]
pub struct Counted {
    last: Mutex<Option<Last>>,
    counting: tokio::sync::Mutex<()>,
}

struct Last {
    vocabulary: Arc<Vocabulary>,
    place: Place,
    again_at: Instant,
}

#[derive(Debug, Deserialize)]
struct Listed {
    shown: Shown,
}

impl Meilisearch {
    /// How frequent words were when the index was at `place`, or not long before. Whoever comes first counts; meanwhile the others go by what
    /// was counted before.
    pub(super) async fn vocabulary(&self, place: Place) -> Result<Arc<Vocabulary>, Error> {
        if let Some(last) = &*self.counted.last.lock()
            && (last.place == place || Instant::now() < last.again_at)
        {
            return Ok(last.vocabulary.clone());
        }
        let known = self.counted.last.lock().as_ref().map(|last| last.vocabulary.clone());
        let _counting = match (self.counted.counting.try_lock(), known) {
            (Ok(counting), _) => counting,
            (Err(_), Some(known)) => return Ok(known),
            (Err(_), None) => self.counted.counting.lock().await,
        };
        if let Some(last) = &*self.counted.last.lock()
            && last.place == place
        {
            return Ok(last.vocabulary.clone());
        }
        let began = Instant::now();
        let vocabulary = Arc::new(self.count().await?);
        let again_at = Instant::now() + (began.elapsed() * REST).clamp(RESTS[0], RESTS[1]);
        *self.counted.last.lock() = Some(Last { vocabulary: vocabulary.clone(), place, again_at });
        Ok(vocabulary)
    }

    async fn count(&self) -> Result<Vocabulary, Error> {
        let index = self.server.client.index(&self.index);
        let mut vocabulary = Vocabulary::default();
        for offset in (0..MOST_DOCUMENTS).step_by(PAGE) {
            let mut query = DocumentsQuery::new(&index);
            query.with_offset(offset).with_limit(PAGE).with_fields(["shown"]);
            let page = within(PAGE_LIMIT, index.get_documents_with::<Listed>(&query)).await?.results;
            let many = page.len();
            let documents: Vec<_> = page.into_iter().map(|listed| listed.shown.document(String::new(), 0)).collect();
            vocabulary.count(documents.iter());
            if many < PAGE {
                break;
            }
        }
        Ok(vocabulary)
    }
}
