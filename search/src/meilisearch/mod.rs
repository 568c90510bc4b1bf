//! An index of a Meilisearch server, by its own client.
//!
//! - `settings`, `record`, `key`: what it is told and given, and names that it takes
//! - `server`: requests with limits, tasks
//! - `keeping`: documents in, rebuilds beside the index in use
//! - `asked`: a request in its terms; `charge`: what is charged at a moment; `vocabulary`: how frequent words are; `answering`: what it finds, in our order
//!
//! Meilisearch finds, narrows, counts and sorts. How well its first hundred match is told here, by the rules of the embedded index: its own
//! rules know nothing of what a title says besides.

mod answering;
mod asked;
mod charge;
mod keeping;
mod key;
mod record;
mod server;
mod settings;
mod vocabulary;

use std::sync::Arc;

use futures::{FutureExt as _, future::BoxFuture};
use tokio::sync::Mutex;

use crate::{Answer, Changes, Document, Error, Index, Place, Refused, Request, Suggestion};
use keeping::Rebuild;
use server::Server;
use vocabulary::Counted;

pub use server::Settings;

/// The shape of what is in the index. Raise it with every change of the settings or the records. Each shape has an index of its own: while a shop
/// goes from one version to the next, each version keeps its own index and answers from it.
pub const SHAPE: u32 = 2;
/// The shape before. Until the index of this one is filled for the first time, searches are answered from that one.
const EARLIER_SHAPE: u32 = 1;

/// The index.
pub struct Meilisearch {
    server: Server,
    index: String,
    /// The index of the shape before.
    earlier: String,
    rebuild: Mutex<Option<Rebuild>>,
    counted: Arc<Counted>,
}

impl Meilisearch {
    /// The index that `settings` name. The server need not be up.
    ///
    /// # Errors
    /// [`Error::Settings`].
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        let is_url = settings
            .url
            .parse::<http::Uri>()
            .is_ok_and(|url| matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some() && url.query().is_none());
        if !is_url {
            return Err(Error::Settings(format!("MEILI_URL is {:?}: it must be a URL, as in http://127.0.0.1:7700", settings.url)));
        }
        let server = Server::new(settings)?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if settings.index.is_empty() || settings.index.len() > 200 || !settings.index.chars().all(is_name) {
            let wrong = format!("MEILI_INDEX is {:?}: it must be 1 to 200 letters, digits, - and _", settings.index);
            return Err(Error::Settings(wrong));
        }
        Ok(Self {
            server,
            index: format!("{}-v{SHAPE}", settings.index),
            // The first shape bore no number.
            earlier: settings.index.clone(),
            rebuild: Mutex::new(None),
            counted: Arc::default(),
        })
    }
}

impl Meilisearch {
    /// Removes the index, and what stands beside it.
    ///
    /// # Errors
    /// The server does not answer, or not to us.
    pub async fn remove(&self) -> Result<(), Error> {
        self.remove_all().await
    }
}

impl Index for Meilisearch {
    fn name(&self) -> &'static str {
        "meilisearch"
    }

    fn place(&self) -> BoxFuture<'_, Result<Option<Place>, Error>> {
        self.kept_place().boxed()
    }

    fn prepare(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.put_in_order().boxed()
    }

    fn take(&self, changes: Changes) -> BoxFuture<'_, Result<Vec<Refused>, Error>> {
        self.take_changes(changes).boxed()
    }

    fn reach(&self, place: Place) -> BoxFuture<'_, Result<(), Error>> {
        async move {
            if self.kept_place().await?.is_none() {
                // Whatever was sent meanwhile has made an index of its own, without settings and with nothing else in it.
                return Err(Error::Unavailable("the server has lost the index".to_owned()));
            }
            self.put_place(&self.index, place).await
        }
        .boxed()
    }

    fn begin_rebuild(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.begin().boxed()
    }

    fn rebuild(&self, documents: Vec<Document>) -> BoxFuture<'_, Result<Vec<Refused>, Error>> {
        async move { self.add(&documents).await }.boxed()
    }

    fn finish_rebuild(&self, place: Place) -> BoxFuture<'_, Result<(), Error>> {
        self.finish(place).boxed()
    }

    fn serves(&self) -> BoxFuture<'_, Result<Option<Place>, Error>> {
        async move { Ok(self.serving().await?.map(|serving| serving.place)) }.boxed()
    }

    fn search<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Answer, Error>> {
        self.answer(request).boxed()
    }

    fn suggest<'a>(&'a self, text: &'a str, most: usize) -> BoxFuture<'a, Result<Vec<Suggestion>, Error>> {
        self.suggestions(text, most).boxed()
    }
}
