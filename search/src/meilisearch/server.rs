//! The server: asked with a limit on every wait, its tasks waited for, its refusals told apart from its failures.

use std::{
    fmt,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use meilisearch_sdk::{
    client::Client,
    errors::{Error as Answered, ErrorCode, ErrorType, MeilisearchError},
    task_info::TaskInfo,
    tasks::Task,
};

use crate::Error;

/// The oldest version of major version 1 that has all we use: patterns of filterable attributes.
const LEAST_MINOR: u32 = 14;
/// How long a question may take.
pub const QUESTION_LIMIT: Duration = Duration::from_secs(3);
/// How long sending documents may take.
pub const SENDING_LIMIT: Duration = Duration::from_secs(30);
/// How long a task may wait for its turn and be worked off.
pub const TASK_LIMIT: Duration = Duration::from_mins(2);
/// How often it is looked whether a task is done.
pub const TASK_INTERVAL: Duration = Duration::from_millis(10);

/// How a Meilisearch server is reached.
#[derive(Clone)]
pub struct Settings {
    /// Its URL: `http://127.0.0.1:7700`.
    pub url: String,
    /// The key that it is asked with; a server without a master key needs none.
    pub key: Option<String>,
    /// The index; what is filled anew and how far it has come are in others whose names begin with it.
    pub index: String,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, key, index } = self;
        f.debug_struct("Settings").field("url", url).field("has_key", &key.is_some()).field("index", index).finish()
    }
}

/// A task that failed because of what it was asked.
#[derive(Debug)]
pub struct Failed(pub MeilisearchError);

/// The server.
pub struct Server {
    pub client: Client,
    is_checked: AtomicBool,
}

impl Server {
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        let url = settings.url.trim_end_matches('/');
        let client = Client::new(url, settings.key.as_deref()).map_err(|error| Error::Settings(format!("Meilisearch: {error}")))?;
        Ok(Self { client, is_checked: AtomicBool::new(false) })
    }

    /// Makes sure that the server is of a version that answers as is expected here. To a key that is good for some indexes only it does not tell
    /// its version: then it is taken as it is.
    pub async fn check_version(&self) -> Result<(), Error> {
        if self.is_checked.load(Ordering::Acquire) {
            return Ok(());
        }
        let asked = async {
            match self.client.get_version().await {
                Ok(version) => Ok(Some(version.pkg_version)),
                Err(Answered::Meilisearch(error)) if error.error_code == ErrorCode::InvalidApiKey => Ok(None),
                Err(error) => Err(error),
            }
        };
        match within(QUESTION_LIMIT, asked).await? {
            Some(version) if is_known(&version) => {}
            Some(version) => {
                let wanted = format!("Meilisearch {version} is not known to work: it must be 1.{LEAST_MINOR} or a newer one of version 1");
                return Err(Error::Unavailable(wanted));
            }
            None => tracing::info!("the key does not allow to ask Meilisearch for its version, which is not checked"),
        }
        self.is_checked.store(true, Ordering::Release);
        Ok(())
    }

    /// Sends something that makes a task, and waits until it is done.
    pub async fn done(&self, sent: impl Future<Output = Result<TaskInfo, Answered>>) -> Result<Result<(), Failed>, Error> {
        let task = within(SENDING_LIMIT, sent).await?;
        let waiting = self.client.wait_for_task(task, Some(TASK_INTERVAL), Some(TASK_LIMIT));
        match within(2 * TASK_LIMIT, waiting).await? {
            Task::Succeeded { .. } => Ok(Ok(())),
            Task::Failed { content } if content.error.error_type == ErrorType::InvalidRequest => Ok(Err(Failed(content.error))),
            Task::Failed { content } => Err(Error::Unavailable(content.error.to_string())),
            Task::Enqueued { .. } | Task::Processing { .. } => Err(Error::Unavailable("a task of Meilisearch does not end".to_owned())),
        }
    }

    /// As [`Self::done`], where nothing that is asked can be wrong.
    pub async fn surely_done(&self, sent: impl Future<Output = Result<TaskInfo, Answered>>) -> Result<(), Error> {
        self.done(sent).await?.map_err(|Failed(error)| Error::Unavailable(error.to_string()))
    }

    /// Removes an index that there may be.
    pub async fn remove(&self, index: &str) -> Result<(), Error> {
        match self.done(self.client.delete_index(index)).await? {
            Err(Failed(error)) if error.error_code != ErrorCode::IndexNotFound => Err(Error::Unavailable(error.to_string())),
            _ => Ok(()),
        }
    }
}

fn is_known(version: &str) -> bool {
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().ok());
    numbers.next().flatten() == Some(1) && numbers.next().flatten().is_some_and(|minor| minor >= LEAST_MINOR)
}

/// What the server answers in time. Whatever it answers instead, or not at all, makes it unavailable: our requests are right.
pub async fn within<T>(limit: Duration, asked: impl Future<Output = Result<T, Answered>>) -> Result<T, Error> {
    match tokio::time::timeout(limit, asked).await {
        Ok(answered) => answered.map_err(|error| Error::Unavailable(told(&error))),
        Err(_) => Err(Error::Unavailable(format!("Meilisearch did not answer in {} s", limit.as_secs()))),
    }
}

/// As [`within`]; none where the server says that it has not got what was asked for.
pub async fn found<T>(limit: Duration, asked: impl Future<Output = Result<T, Answered>>) -> Result<Option<T>, Error> {
    let asked = async {
        match asked.await {
            Ok(found) => Ok(Some(found)),
            Err(Answered::Meilisearch(error))
                if matches!(error.error_code, ErrorCode::IndexNotFound | ErrorCode::DocumentNotFound | ErrorCode::TaskNotFound) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    };
    within(limit, asked).await
}

/// The whole reason: the library names only the uppermost.
fn told(error: &Answered) -> String {
    let mut reason = error.to_string().replace('\n', " ");
    let mut source = std::error::Error::source(error);
    while let Some(below) = source {
        let text = below.to_string();
        if !reason.contains(&text) {
            reason = format!("{reason}: {text}");
        }
        source = below.source();
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::is_known;

    #[test]
    fn versions_are_told_apart() {
        for (version, known) in [("1.50.0", true), ("1.14.2", true), ("1.13.9", false), ("2.0.0", false), ("", false), ("v1", false)] {
            assert_eq!(is_known(version), known, "{version}");
        }
    }
}
