//! A small server that speaks as much of Meilisearch as Merx uses, and fails on demand. It finds a document by any of the words of its title, and
//! narrows, sorts and counts as it is asked.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, Query, Request, State},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, patch, post},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use super::asked;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Every request is answered with 500.
    Errors,
    /// No request is answered in time.
    Slow,
    /// Every task fails, by no fault of what was asked.
    Tasks,
}

#[derive(Debug, Default)]
struct Inner {
    fault: Fault,
    version: &'static str,
    indexes: BTreeMap<String, BTreeMap<String, Value>>,
    settings: HashMap<String, Value>,
    tasks: Vec<Value>,
    /// After so many pages of documents no more are answered.
    pages_left: Option<usize>,
    /// Pages that are asked for and not answered.
    pages_waiting: usize,
    most_pages_waiting: usize,
}

type Shared = Arc<std::sync::Mutex<Inner>>;

/// The server. It is gone when this is dropped.
pub struct Double {
    pub url: String,
    inner: Shared,
    serving: JoinHandle<()>,
}

/// A document with this word in its title makes the task fail that it is in.
pub const POISON: &str = "poison";

impl Double {
    pub async fn start() -> Self {
        let inner = Shared::default();
        inner.lock().unwrap().version = "1.50.0";
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = router(inner.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, inner, serving }
    }

    pub fn fail(&self, fault: Fault) {
        self.inner.lock().unwrap().fault = fault;
    }

    pub fn be_of_version(&self, version: &'static str) {
        self.inner.lock().unwrap().version = version;
    }

    /// The names of all indexes.
    pub fn indexes(&self) -> Vec<String> {
        self.inner.lock().unwrap().indexes.keys().cloned().collect()
    }

    /// The settings that an index was told, as they were sent.
    pub fn settings(&self, index: &str) -> Value {
        self.inner.lock().unwrap().settings.get(index).cloned().unwrap_or_default()
    }

    /// As if its disk had been lost, or as much of it as has such a name.
    pub fn lose(&self, which: impl Fn(&str) -> bool) {
        self.inner.lock().unwrap().indexes.retain(|name, _| !which(name));
    }

    /// Puts a document into an index, which is made where there is none.
    pub fn put(&self, index: &str, document: Value) {
        let id = document["id"].as_str().unwrap().to_owned();
        self.inner.lock().unwrap().indexes.entry(index.to_owned()).or_default().insert(id, document);
    }

    /// So many pages of documents are answered, and no more.
    pub fn stop_after_pages(&self, pages: usize) {
        self.inner.lock().unwrap().pages_left = Some(pages);
    }

    /// The most pages that were asked for and waited for an answer.
    pub fn most_pages_asked_at_once(&self) -> usize {
        self.inner.lock().unwrap().most_pages_waiting
    }

    /// What it keeps of a document.
    pub fn document(&self, index: &str, sku: &str) -> Option<Value> {
        let inner = self.inner.lock().unwrap();
        inner.indexes.get(index)?.values().find(|document| document["sku"] == sku).cloned()
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn router(inner: Shared) -> Router {
    Router::new()
        .route("/version", get(version))
        .route("/indexes", get(list).post(create))
        .route("/indexes/{uid}", get(one).delete(remove))
        .route("/indexes/{uid}/settings", patch(configure))
        .route("/indexes/{uid}/stats", get(stats))
        .route("/indexes/{uid}/documents", get(page).post(add))
        .route("/indexes/{uid}/documents/{id}", get(document))
        .route("/indexes/{uid}/documents/delete-batch", post(delete_batch))
        .route("/multi-search", post(multi_search))
        .route("/swap-indexes", post(swap))
        .route("/tasks/{id}", get(task))
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(inner.clone(), failing))
        .with_state(inner)
}

async fn failing(State(inner): State<Shared>, request: Request, next: Next) -> Response {
    let fault = inner.lock().unwrap().fault;
    match fault {
        Fault::Errors => (StatusCode::INTERNAL_SERVER_ERROR, "out of order").into_response(),
        Fault::Slow => {
            tokio::time::sleep(Duration::from_mins(1)).await;
            StatusCode::GATEWAY_TIMEOUT.into_response()
        }
        Fault::None | Fault::Tasks => next.run(request).await,
    }
}

fn error(status: StatusCode, code: &str) -> Response {
    (status, Json(said(code, "invalid_request", code))).into_response()
}

fn said(message: &str, kind: &str, code: &str) -> Value {
    json!({"message": message, "code": code, "type": kind, "link": "https://docs.meilisearch.com/errors"})
}

/// Keeps how a task ended, and answers that it was taken.
fn enqueued(inner: &mut Inner, kind: &str, failure: Option<Value>) -> Response {
    let failure = match inner.fault {
        Fault::Tasks => Some(said("the disk is full", "internal", "internal")),
        _ => failure,
    };
    let (uid, at) = (inner.tasks.len(), "2026-01-01T00:00:00.000000Z");
    let status = if failure.is_some() { "failed" } else { "succeeded" };
    inner.tasks.push(json!({
        "uid": uid, "indexUid": null, "status": status, "type": kind, "details": null, "error": failure, "duration": "PT0.001S",
        "enqueuedAt": at, "startedAt": at, "finishedAt": at, "canceledBy": null,
    }));
    let taken = json!({"taskUid": uid, "indexUid": null, "status": "enqueued", "type": kind, "enqueuedAt": at});
    (StatusCode::ACCEPTED, Json(taken)).into_response()
}

async fn version(State(inner): State<Shared>) -> Json<Value> {
    let version = inner.lock().unwrap().version;
    Json(json!({"commitSha": "0", "commitDate": "2026-01-01", "pkgVersion": version}))
}

fn described(uid: &str) -> Value {
    json!({"uid": uid, "primaryKey": "id", "createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-01T00:00:00Z"})
}

async fn list(State(inner): State<Shared>) -> Json<Value> {
    let all: Vec<Value> = inner.lock().unwrap().indexes.keys().map(|uid| described(uid)).collect();
    Json(json!({"total": all.len(), "limit": 1_000, "offset": 0, "results": all}))
}

async fn create(State(inner): State<Shared>, Json(body): Json<Value>) -> Response {
    let mut inner = inner.lock().unwrap();
    if inner.fault == Fault::None {
        inner.indexes.entry(body["uid"].as_str().unwrap().to_owned()).or_default();
    }
    enqueued(&mut inner, "indexCreation", None)
}

async fn one(State(inner): State<Shared>, Path(uid): Path<String>) -> Response {
    let is_there = inner.lock().unwrap().indexes.contains_key(&uid);
    if is_there { Json(described(&uid)).into_response() } else { error(StatusCode::NOT_FOUND, "index_not_found") }
}

async fn remove(State(inner): State<Shared>, Path(uid): Path<String>) -> Response {
    let mut inner = inner.lock().unwrap();
    let was_there = inner.indexes.remove(&uid).is_some();
    let failure = (!was_there).then(|| said("no such index", "invalid_request", "index_not_found"));
    enqueued(&mut inner, "indexDeletion", failure)
}

async fn configure(State(inner): State<Shared>, Path(uid): Path<String>, Json(body): Json<Value>) -> Response {
    let mut inner = inner.lock().unwrap();
    inner.settings.insert(uid, body);
    enqueued(&mut inner, "settingsUpdate", None)
}

async fn stats(State(inner): State<Shared>, Path(uid): Path<String>) -> Response {
    let many = inner.lock().unwrap().indexes.get(&uid).map(BTreeMap::len);
    let Some(many) = many else { return error(StatusCode::NOT_FOUND, "index_not_found") };
    let stats = json!({"numberOfDocuments": many, "isIndexing": false, "fieldDistribution": {}, "numberOfEmbeddedDocuments": 0,
                       "numberOfEmbeddings": 0, "rawDocumentDbSize": 0, "avgDocumentSize": 0});
    Json(stats).into_response()
}

fn title(document: &Value) -> String {
    document["shown"]["title"].as_str().unwrap_or_default().to_lowercase()
}

async fn add(State(inner): State<Shared>, Path(uid): Path<String>, Json(documents): Json<Vec<Value>>) -> Response {
    let mut inner = inner.lock().unwrap();
    let bad = documents.iter().find(|document| title(document).contains(POISON));
    let failure = bad.map(|bad| said(&format!("document {} can't be indexed", bad["sku"]), "invalid_request", "invalid_document_fields"));
    if failure.is_none() && inner.fault == Fault::None {
        let index = inner.indexes.entry(uid).or_default();
        index.extend(documents.into_iter().map(|document| (document["id"].as_str().unwrap().to_owned(), document)));
    }
    enqueued(&mut inner, "documentAdditionOrUpdate", failure)
}

async fn document(State(inner): State<Shared>, Path((uid, id)): Path<(String, String)>) -> Response {
    let inner = inner.lock().unwrap();
    let Some(index) = inner.indexes.get(&uid) else { return error(StatusCode::NOT_FOUND, "index_not_found") };
    index.get(&id).map_or_else(|| error(StatusCode::NOT_FOUND, "document_not_found"), |found| Json(found.clone()).into_response())
}

async fn delete_batch(State(inner): State<Shared>, Path(uid): Path<String>, Json(ids): Json<Vec<String>>) -> Response {
    let mut inner = inner.lock().unwrap();
    if let Some(index) = inner.indexes.get_mut(&uid) {
        index.retain(|id, _| !ids.contains(id));
    }
    enqueued(&mut inner, "documentDeletion", None)
}

async fn page(State(inner): State<Shared>, Path(uid): Path<String>, Query(asked): Query<HashMap<String, String>>) -> Response {
    let is_over = {
        let mut inner = inner.lock().unwrap();
        let is_over = inner.pages_left == Some(0);
        inner.pages_left = inner.pages_left.map(|left| left.saturating_sub(1));
        inner.pages_waiting += usize::from(is_over);
        inner.most_pages_waiting = inner.most_pages_waiting.max(inner.pages_waiting);
        is_over
    };
    if is_over {
        std::future::pending::<()>().await;
    }
    let inner = inner.lock().unwrap();
    let Some(index) = inner.indexes.get(&uid) else { return error(StatusCode::NOT_FOUND, "index_not_found") };
    let number = |name: &str| asked[name].parse::<usize>().unwrap();
    let page: Vec<&Value> = index.values().skip(number("offset")).take(number("limit")).collect();
    Json(json!({"results": page, "offset": number("offset"), "limit": number("limit"), "total": index.len()})).into_response()
}

async fn multi_search(State(inner): State<Shared>, Json(body): Json<Value>) -> Response {
    let inner = inner.lock().unwrap();
    let mut results = Vec::new();
    for query in body["queries"].as_array().unwrap() {
        let Some(index) = inner.indexes.get(query["indexUid"].as_str().unwrap()) else {
            return error(StatusCode::BAD_REQUEST, "index_not_found");
        };
        let words: Vec<&str> = query["q"].as_str().unwrap_or_default().split_whitespace().collect();
        let matches = |document: &&Value| words.is_empty() || words.iter().any(|word| title(document).contains(word));
        let fitting = index.values().filter(matches).filter(|document| asked::fits(&query["filter"], document));
        results.push(fitting.map(|document| (asked::sort_key(&query["sort"], document), document.clone())).collect::<Vec<_>>());
    }
    if body["federation"].is_null() {
        let each = |found: Vec<(_, Value)>| {
            let hits: Vec<Value> = found.into_iter().map(|(_, hit)| hit).collect();
            json!({"estimatedTotalHits": hits.len(), "hits": hits, "processingTimeMs": 0, "query": ""})
        };
        return Json(json!({"results": results.into_iter().map(each).collect::<Vec<_>>()})).into_response();
    }
    let mut found: Vec<(_, Value)> = Vec::new();
    for one in results.into_iter().flatten() {
        if !found.iter().any(|(_, hit)| *hit == one.1) {
            found.push(one);
        }
    }
    found.sort_by(|(one, _), (other, _)| asked::compare(one, other));
    let hits: Vec<Value> = found.into_iter().map(|(_, hit)| hit).collect();
    let facets: Vec<Value> = body["federation"]["facetsByIndex"]
        .as_object()
        .into_iter()
        .flatten()
        .flat_map(|(_, names)| names.as_array().cloned().unwrap_or_default())
        .collect();
    let (distribution, stats) = asked::facets(&facets, &hits);
    let number = |name: &str| usize::try_from(body["federation"][name].as_u64().unwrap_or(20)).unwrap();
    let (offset, limit) = (body["federation"]["offset"].as_u64().map_or(0, |offset| usize::try_from(offset).unwrap()), number("limit"));
    let page: Vec<&Value> = hits.iter().skip(offset).take(limit).collect();
    Json(json!({
        "estimatedTotalHits": hits.len(), "hits": page, "offset": offset, "limit": limit, "processingTimeMs": 0,
        "facetDistribution": distribution, "facetStats": stats,
    }))
    .into_response()
}

async fn swap(State(inner): State<Shared>, Json(pairs): Json<Vec<Value>>) -> Response {
    let mut inner = inner.lock().unwrap();
    let named = |pair: &Value, at: usize| pair["indexes"][at].as_str().unwrap().to_owned();
    let is_whole = pairs.iter().all(|pair| [0, 1].iter().all(|at| inner.indexes.contains_key(&named(pair, *at))));
    if !is_whole {
        return enqueued(&mut inner, "indexSwap", Some(said("no such index", "invalid_request", "index_not_found")));
    }
    for pair in &pairs {
        let (one, other) = (named(pair, 0), named(pair, 1));
        let (first, second) = (inner.indexes.remove(&one).unwrap(), inner.indexes.remove(&other).unwrap());
        inner.indexes.extend([(one, second), (other, first)]);
    }
    enqueued(&mut inner, "indexSwap", None)
}

async fn task(State(inner): State<Shared>, Path(id): Path<usize>) -> Response {
    let found = inner.lock().unwrap().tasks.get(id).cloned();
    found.map_or_else(|| error(StatusCode::NOT_FOUND, "task_not_found"), |task| Json(task).into_response())
}
