//! The indexes that the suite is run against.

use std::{
    env,
    io::Write as _,
    sync::{Arc, Once},
};

use meilisearch_sdk::client::Client;
use search::{Embedded, Index, Meilisearch, meilisearch::Settings};
use uuid::Uuid;

/// Where a Meilisearch server is that the suite may use.
const URL: &str = "MEILI_URL";
const KEY: &str = "MEILI_KEY";

static SAYING: Once = Once::new();

/// An empty index for one test, and what must outlive it.
pub struct Made {
    pub index: Arc<dyn Index>,
    _folder: Option<tempfile::TempDir>,
    server: Option<Settings>,
}

/// One of each kind that can be had here.
pub async fn all() -> Vec<Made> {
    let folder = tempfile::tempdir().expect("a folder");
    let embedded = Embedded::open(folder.path()).expect("an index");
    let mut made = vec![Made { index: Arc::new(embedded), _folder: Some(folder), server: None }];
    match server() {
        Some(settings) => {
            let index = Meilisearch::new(&settings).expect("an index");
            index.prepare().await.expect("a Meilisearch server at MEILI_URL");
            made.push(Made { index: Arc::new(index), _folder: None, server: Some(settings) });
        }
        // Past the capturing of output, so that it is read.
        None => SAYING.call_once(|| {
            let _ = writeln!(std::io::stderr(), "SKIPPED: the suite is not run against Meilisearch: {URL} is not set");
        }),
    }
    made
}

/// An index that nobody else uses, of the server that was named.
pub fn server() -> Option<Settings> {
    let url = env::var(URL).ok().filter(|url| !url.is_empty())?;
    Some(Settings { url, key: env::var(KEY).ok().filter(|key| !key.is_empty()), index: format!("suite-{}", Uuid::now_v7().simple()) })
}

/// The names of the indexes there are that begin as that of `settings`.
pub async fn names(settings: &Settings) -> Vec<String> {
    let client = Client::new(&settings.url, settings.key.as_deref()).expect("a client");
    let mut query = meilisearch_sdk::indexes::IndexesQuery::new(&client);
    query.with_limit(1_000);
    let all = client.list_all_indexes_with(&query).await.expect("the indexes").results;
    all.into_iter().map(|index| index.uid).filter(|name| name.starts_with(&settings.index)).collect()
}

impl Drop for Made {
    fn drop(&mut self) {
        let Some(settings) = self.server.take() else { return };
        let cleaning = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let client = Client::new(&settings.url, settings.key.as_deref()).expect("a client");
                for name in names(&settings).await {
                    let _ = client.delete_index(&name).await;
                }
            });
        });
        let _ = cleaning.join();
    }
}
