//! Search: the index that this server asks, and the workers that keep it.
//!
//! - `rows`: what the projection `search` has written
//! - `indexer`: the rows into an index
//! - `shared`: of an index that all servers share one of them at a time is the keeper; what it refuses is parked, and can be mended

mod indexer;
mod rows;
mod shared;

use std::{path::Path, sync::Arc};

use search::{Embedded, Index, Meilisearch, meilisearch};
use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::serve::Role;
pub use shared::{Error as MendError, NAME, mend};

/// Where search is kept. The same for every process of a shop.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Search")]
#[group(id = "search")] // the options it is part of have the name of this type, too
#[expect(clippy::struct_field_names, reason = "clap calls an option as its field is called, and they stand among others")]
pub struct Options {
    /// The Meilisearch server. Without it there is an index inside the binary, in the data directory.
    #[arg(long, env = "MEILI_URL", value_name = "URL")]
    meili_url: Option<String>,
    /// The key that the server is asked with; better given by the variable, which other users of the machine don't see.
    #[arg(long, env = "MEILI_KEY", hide_env_values = true, value_name = "KEY")]
    meili_key: Option<String>,
    /// The index; those beside it that are needed have names that begin with it.
    #[arg(long, env = "MEILI_INDEX", default_value = "merx-products", value_name = "NAME")]
    meili_index: String,
}

impl Options {
    /// The index of a Meilisearch server; none where no server is named.
    pub fn meilisearch(&self) -> Result<Option<Meilisearch>, search::Error> {
        let given = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        let Some(url) = given(&self.meili_url) else { return Ok(None) };
        let settings = meilisearch::Settings { url, key: given(&self.meili_key), index: self.meili_index.clone() };
        Meilisearch::new(&settings).map(Some)
    }
}

/// The index of a server, and who keeps it.
pub struct Search {
    index: Arc<dyn Index>,
    is_shared: bool,
}

impl Search {
    /// The index that `options` name, for a process with these roles: where it has an index of its own and answers no searches, none.
    pub fn open(options: &Options, data_dir: &Path, roles: &[Role]) -> Result<Option<Self>, search::Error> {
        if let Some(index) = options.meilisearch()? {
            return Ok(Some(Self { index: Arc::new(index), is_shared: true }));
        }
        if !roles.contains(&Role::QueryApi) {
            return Ok(None);
        }
        // Several processes that share a data directory have an index each.
        Ok(Some(Self { index: Arc::new(Embedded::open(&data_dir.join("search"))?), is_shared: false }))
    }

    /// What is asked.
    pub fn index(&self) -> Arc<dyn Index> {
        self.index.clone()
    }

    /// The same, where it is this process's own.
    pub fn own_index(&self) -> Option<Arc<dyn Index>> {
        (!self.is_shared).then(|| self.index.clone())
    }

    /// Index that is asked, where all servers share it.
    pub fn shared_index(&self) -> Option<Arc<dyn Index>> {
        self.is_shared.then(|| self.index.clone())
    }

    /// Starts what keeps it, as `holder` of a lease where it is shared.
    ///
    /// # Errors
    /// The database can't be reached.
    pub async fn keep(
        &self,
        roles: &[Role],
        pool: &PgPool,
        holder: Uuid,
        stopping: &CancellationToken,
        workers: &mut JoinSet<()>,
    ) -> Result<(), sqlx::Error> {
        let (index, own, stopping) = (self.index.clone(), pool.clone(), stopping.clone());
        if !self.is_shared {
            shared::forget(pool).await?;
            workers.spawn(indexer::run(index, own, stopping));
        } else if roles.contains(&Role::Projector) {
            workers.spawn(shared::run(index, own, holder, stopping));
        }
        Ok(())
    }
}
