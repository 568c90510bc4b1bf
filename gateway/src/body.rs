//! Request bodies: JSON of a known shape, everything wrong with it told at once.

use std::time::Duration;

use axum::{
    body::{Body, BodyDataStream, HttpBody},
    extract::{FromRequest, Request},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    FieldError, Problem, json,
    refusal::{self, push},
    shape,
};

/// The longest body that is read.
pub const LIMIT_BYTES: usize = 1024 * 1024;

/// How long a client may take to send it.
const TIMEOUT: Duration = Duration::from_secs(20);
/// A refused body is still taken off the wire for a while, or the client, busy sending, would see a reset connection and no answer.
const LINGER: Duration = Duration::from_secs(5);
const LINGER_BYTES: usize = 64 * LIMIT_BYTES;

/// A JSON body that is a `T`; as an answer, a `T` written as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Json<T>(pub T);

/// The same with the bytes that were sent, for whoever compares requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonBytes<T> {
    /// The body, read.
    pub value: T,
    /// The body as it came; `{}` where a POST had none.
    pub bytes: Bytes,
}

impl<T: DeserializeOwned + JsonSchema + 'static, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        JsonBytes::from_request(request, state).await.map(|body| Self(body.value))
    }
}

impl<T: DeserializeOwned + JsonSchema + 'static, S: Send + Sync> FromRequest<S> for JsonBytes<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let bytes = read(request).await?;
        Ok(Self { value: parse(&bytes)?, bytes })
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response(),
            Err(error) => {
                tracing::error!(%error, "an answer can't be written as JSON");
                Problem::internal().into_response()
            }
        }
    }
}

/// For a field of a JSON Merge Patch that may be removed: `#[serde(default, deserialize_with = "gateway::body::present")]` on an
/// `Option<Option<T>>` gives `Some(None)` for null and `None` for a field that was not sent.
///
/// A field that may be changed but not removed is an `Option<T>` with `#[serde(default)] #[schemars(with = "T")]`: null is refused.
pub fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Takes in a body: its size, its media type and its arrival are checked, not yet that it is JSON. A POST may come without one.
pub async fn read(request: Request) -> Result<Bytes, Problem> {
    let refused = media_type(request.method(), request.headers());
    let method = request.method().clone();
    let bytes = take(request, refused).await?;
    Ok(if bytes.is_empty() { unsent(&method) } else { bytes })
}

/// Takes in a body whatever it is, for whoever compares requests; it is read and checked by the handler.
pub async fn read_unchecked(request: Request) -> Result<Bytes, Problem> {
    take(request, None).await
}

/// A body that was not sent, as it is read: that of a POST has no fields.
pub fn unsent(method: &Method) -> Bytes {
    Bytes::from_static(if *method == Method::POST { b"{}" } else { b"" })
}

/// `refused` is why the body can't be read, if there is one: what is empty has no media type.
async fn take(request: Request, refused: Option<Problem>) -> Result<Bytes, Problem> {
    let (parts, body) = request.into_parts();
    let is_expected = parts.headers.contains_key(header::EXPECT);
    let refused_unread =
        if body.size_hint().lower() > LIMIT_BYTES as u64 { Some(too_large()) } else { refused.clone().filter(|_| is_expected) };
    if let Some(problem) = refused_unread {
        if !is_expected {
            linger(body.into_data_stream());
        }
        return Err(problem);
    }
    timeout(TIMEOUT, collect(body, refused)).await.unwrap_or_else(|_| Err(too_slow()))
}

async fn collect(body: Body, mut refused: Option<Problem>) -> Result<Bytes, Problem> {
    let mut stream = body.into_data_stream();
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "malformed_json", "The body broke off."))?;
        let is_too_large = first.len().max(all.len()) + chunk.len() > LIMIT_BYTES;
        if let Some(problem) = refused.take_if(|_| !chunk.is_empty()).or_else(|| is_too_large.then(too_large)) {
            linger(stream);
            return Err(problem);
        }
        if all.is_empty() && first.is_empty() {
            first = chunk; // Nearly always all there is: no copy.
        } else {
            if all.is_empty() {
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(&chunk);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

fn linger(mut stream: BodyDataStream) {
    tokio::spawn(timeout(LINGER, async move {
        let mut taken = 0;
        while let Some(Ok(chunk)) = stream.next().await {
            taken += chunk.len();
            if taken > LINGER_BYTES {
                break;
            }
        }
    }));
}

fn too_large() -> Problem {
    let problem = Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "The body is larger than 1 MiB.");
    problem.header(header::CONNECTION, HeaderValue::from_static("close"))
}

fn too_slow() -> Problem {
    Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", "The body did not arrive within 20 seconds.")
        .header(header::CONNECTION, HeaderValue::from_static("close"))
}

fn media_type(method: &Method, headers: &HeaderMap) -> Option<Problem> {
    let refused = |detail: &str| Some(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail));
    if headers.get(header::CONTENT_ENCODING).is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return refused("A compressed body is not read here; send it without Content-Encoding.");
    }
    let Some(sent) = headers.get(header::CONTENT_TYPE) else { return refused("The body has no Content-Type; send application/json.") };
    if sent.to_str().is_ok_and(|sent| is_json(method, sent)) {
        return None;
    }
    match *method {
        Method::PATCH => refused("The body must be application/merge-patch+json or application/json, in UTF-8."),
        _ => refused("The body must be application/json, in UTF-8."),
    }
}

fn is_json(method: &Method, sent: &str) -> bool {
    let mut parts = sent.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let charset = parts.find_map(|part| part.split_once('=').filter(|(name, _)| name.eq_ignore_ascii_case("charset")));
    if !charset.is_none_or(|(_, charset)| charset.trim_matches('"').eq_ignore_ascii_case("utf-8")) {
        return false;
    }
    match essence.as_str() {
        "application/json" => true,
        "application/merge-patch+json" => *method == Method::PATCH,
        "application/json-patch+json" => false,
        other => *method != Method::PATCH && other.starts_with("application/") && other.ends_with("+json"),
    }
}

/// Reads JSON as a `T`: 400 if it is none, 422 with everything that is wrong if it is another shape.
pub fn parse<T: DeserializeOwned + JsonSchema + 'static>(bytes: &[u8]) -> Result<T, Problem> {
    let shape = shape::of::<T>()?;
    let (value, mut errors) = json::parse(bytes).map_err(|error| not_json(bytes, &error))?;
    if may_hold_nul(bytes) {
        find_nul(&value, &mut String::new(), &mut errors);
    }
    refusal::read(shape, value, errors).map_err(Problem::invalid)
}

fn not_json(bytes: &[u8], error: &serde_json::Error) -> Problem {
    let text = error.to_string();
    if text.starts_with("recursion limit exceeded") {
        return Problem::invalid(vec![FieldError::new("", "too_deep", "The body is nested too deeply.")]);
    }
    if text.starts_with("number out of range") {
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        let path = serde_path_to_error::deserialize::<_, Value>(&mut deserializer).err().map(|error| refusal::pointer(error.path()));
        return Problem::invalid(vec![FieldError::new(path.unwrap_or_default(), "out_of_range", "is a number too great for any use")]);
    }
    let problem = Problem::new(StatusCode::BAD_REQUEST, "malformed_json", format!("The body is not JSON: {text}."));
    problem.with("line", error.line()).with("column", error.column())
}

/// NUL, which Postgres can't keep in a text, comes into a JSON string only by this escape.
fn may_hold_nul(bytes: &[u8]) -> bool {
    bytes.contains(&b'\\') && bytes.windows(6).any(|window| window == b"\\u0000")
}

/// Finds every string with a NUL in it.
pub(crate) fn find_nul(value: &Value, pointer: &mut String, errors: &mut Vec<FieldError>) {
    let refused = |pointer: &str| FieldError::new(pointer, "malformed", "must not hold the character U+0000");
    let len = pointer.len();
    match value {
        Value::String(text) if text.contains('\0') => errors.push(refused(pointer)),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                push(pointer, &index.to_string());
                find_nul(item, pointer, errors);
                pointer.truncate(len);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                push(pointer, name);
                if name.contains('\0') {
                    errors.push(refused(pointer));
                }
                find_nul(member, pointer, errors);
                pointer.truncate(len);
            }
        }
        _ => {}
    }
}
