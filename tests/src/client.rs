//! An HTTP client that sends what a test says, and answers whose parts are easy to look at.

use std::{fmt, ops::Index, pin::Pin, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client as Connections, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;

/// The key that the servers of tests are started with.
pub const ADMIN_KEY: &str = "test-key";
/// More than any answer may take: the longest poll is 20 seconds, a request 30.
const ANSWER_LIMIT: Duration = Duration::from_mins(1);
/// The longest that a connection is kept which asks nothing: less than servers keep it, or a request could be sent into one that is just being closed.
const IDLE_LIMIT: Duration = Duration::from_secs(30);
/// The longest wait, over all tries, for a read to be as new as it must.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sends requests to one server. Cheap to clone; belongs to the runtime that first uses it.
#[derive(Clone)]
pub struct Client {
    base: String,
    bearer: Option<String>,
    connections: Connections<HttpConnector, Full<Bytes>>,
}

impl Client {
    /// With the admin key.
    pub fn new(port: u16) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let connections = Connections::builder(TokioExecutor::new()).pool_idle_timeout(IDLE_LIMIT).build(connector);
        Self { base: format!("http://127.0.0.1:{port}"), bearer: Some(ADMIN_KEY.to_owned()), connections }
    }

    /// The address of a path, for programs that ask for it themselves.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// The same with another credential, or none.
    pub fn with_bearer(&self, bearer: Option<&str>) -> Self {
        Self { bearer: bearer.map(str::to_owned), ..self.clone() }
    }

    pub fn request(&self, method: Method, path: &str) -> Request {
        let mut headers = HeaderMap::new();
        if let Some(bearer) = &self.bearer {
            headers.insert(header::AUTHORIZATION, format!("Bearer {bearer}").parse().unwrap());
        }
        Request { client: self.clone(), method, path: path.to_owned(), headers, body: Bytes::new(), is_patient: false }
    }

    pub fn get(&self, path: &str) -> Request {
        self.request(Method::GET, path)
    }

    /// A GET whose answer is at least as new as `position`, sent again as long as nothing so new is there yet: a busy machine takes longer.
    pub fn get_at(&self, path: &str, position: i64) -> Request {
        Request { is_patient: true, ..self.get_once_at(path, position) }
    }

    /// The same, sent once.
    pub fn get_once_at(&self, path: &str, position: i64) -> Request {
        self.get(path).header("merx-min-position", &position.to_string())
    }

    pub fn post(&self, path: &str, body: impl Into<Value>) -> Request {
        self.request(Method::POST, path).json(&body.into())
    }

    pub fn put(&self, path: &str, body: impl Into<Value>) -> Request {
        self.request(Method::PUT, path).json(&body.into())
    }

    pub fn patch(&self, path: &str, body: impl Into<Value>) -> Request {
        self.request(Method::PATCH, path).raw("application/merge-patch+json", serde_json::to_vec(&body.into()).unwrap())
    }

    pub fn delete(&self, path: &str) -> Request {
        self.request(Method::DELETE, path)
    }

    /// GETs until `holds`, for at most 30 seconds; then it panics with the last answer.
    pub async fn until(&self, path: &str, holds: impl Fn(&Answer) -> bool) -> Answer {
        let limit = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            let answer = self.get(path).await;
            if answer.status == 200 && holds(&answer) {
                return answer;
            }
            assert!(tokio::time::Instant::now() < limit, "{path} did not come to what was waited for: {answer}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// GETs until the answer is as new as `position`, for at most 30 seconds; then it panics with the last answer.
    pub async fn seen_at(&self, path: &str, position: i64) -> Answer {
        self.until(path, |answer| answer.position() >= position).await
    }

    /// Everything in a list, page by page.
    pub async fn all(&self, path: &str) -> Vec<Value> {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        let separator = if path.contains('?') { '&' } else { '?' };
        loop {
            let page = self.get(&format!("{path}{separator}limit=200{cursor}")).await.expect(200);
            items.extend(page["items"].as_array().expect("a list").iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }
}

/// A request to be sent by awaiting it; a request that gets no answer panics.
pub struct Request {
    client: Client,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
    /// True for a read that is sent again as long as what it asks for can't be seen yet.
    is_patient: bool,
}

impl Request {
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.append(name, value.parse().expect("a header's value"));
        self
    }

    /// With an `Idempotency-Key`.
    pub fn key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    /// With an `If-Match` of this version.
    pub fn if_match(self, version: i64) -> Self {
        self.header("if-match", &format!("\"{version}\""))
    }

    pub fn raw(mut self, media_type: &str, body: impl Into<Bytes>) -> Self {
        self.headers.insert(header::CONTENT_TYPE, media_type.parse().expect("a media type"));
        self.body = body.into();
        self
    }

    fn json(self, body: &Value) -> Self {
        self.raw("application/json", serde_json::to_vec(body).unwrap())
    }

    /// The answer, or why there is none.
    pub async fn try_send(self) -> Result<Answer, String> {
        let limit = tokio::time::Instant::now() + PATIENCE;
        loop {
            let answer = self.send_once().await?;
            let is_early = answer.status == 503 && answer["code"] == "not_yet_visible";
            if !(self.is_patient && is_early) || tokio::time::Instant::now() > limit {
                return Ok(answer);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn send_once(&self) -> Result<Answer, String> {
        let told = format!("{} {}", self.method, self.path);
        let uri: Uri = format!("{}{}", self.client.base, self.path).parse().map_err(|error| format!("{told}: {error}"))?;
        let mut request = http::Request::new(Full::new(self.body.clone()));
        (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (self.method.clone(), uri, self.headers.clone());
        let exchange = async {
            let response = self.client.connections.request(request).await.map_err(|error| format!("{told}: {error:?}"))?;
            let (parts, body) = response.into_parts();
            let bytes = body.collect().await.map_err(|error| format!("{told}: {error}"))?.to_bytes();
            let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            Ok(Answer { request: told.clone(), status: parts.status.as_u16(), headers: parts.headers, bytes, body })
        };
        tokio::time::timeout(ANSWER_LIMIT, exchange).await.unwrap_or_else(|_| Err(format!("{told}: no answer within a minute")))
    }
}

impl IntoFuture for Request {
    type Output = Answer;
    type IntoFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async { self.try_send().await.unwrap_or_else(|error| panic!("{error}")) })
    }
}

/// What a server said.
#[derive(Clone)]
pub struct Answer {
    request: String,
    pub status: u16,
    pub headers: HeaderMap,
    pub bytes: Bytes,
    /// The body as JSON; null where it is none.
    pub body: Value,
}

impl Answer {
    /// The same, if its status is this one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self}");
        self
    }

    /// The same, if it is a problem of this status and code, with all that problems have.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Self {
        assert_eq!((self.status, self["code"].as_str()), (status, Some(code)), "{self}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self}");
        assert_eq!(self["status"], status, "{self}");
        for member in ["type", "title", "detail", "request_id"] {
            assert!(self[member].as_str().is_some_and(|text| !text.is_empty()), "no {member}: {self}");
        }
        self
    }

    /// The pointers of a problem's errors, sorted.
    pub fn pointers(&self) -> Vec<&str> {
        let mut pointers: Vec<_> = self["errors"].as_array().into_iter().flatten().filter_map(|error| error["pointer"].as_str()).collect();
        pointers.sort_unstable();
        pointers
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("a readable header"))
    }

    #[track_caller]
    pub fn position(&self) -> i64 {
        let position = self.header("merx-position").and_then(|text| text.parse().ok());
        position.unwrap_or_else(|| panic!("no Merx-Position: {self}"))
    }

    #[track_caller]
    pub fn location(&self) -> &str {
        self.header("location").unwrap_or_else(|| panic!("no Location: {self}"))
    }

    /// The member `id`.
    #[track_caller]
    pub fn id(&self) -> String {
        self["id"].as_str().unwrap_or_else(|| panic!("no id: {self}")).to_owned()
    }

    /// The member `version`.
    #[track_caller]
    pub fn version(&self) -> i64 {
        self["version"].as_i64().unwrap_or_else(|| panic!("no version: {self}"))
    }

    /// The member `status`.
    pub fn state(&self) -> &str {
        self["status"].as_str().unwrap_or_default()
    }

    /// The items of a list.
    #[track_caller]
    pub fn items(&self) -> &Vec<Value> {
        self["items"].as_array().unwrap_or_else(|| panic!("no list: {self}"))
    }
}

impl Index<&str> for Answer {
    type Output = Value;

    fn index(&self, name: &str) -> &Value {
        &self.body[name]
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: String = String::from_utf8_lossy(&self.bytes).chars().take(2_000).collect();
        write!(f, "{} -> {} {text}\n{:?}", self.request, self.status, self.headers)
    }
}
