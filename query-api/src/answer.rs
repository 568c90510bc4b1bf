//! What GETs answer with: documents as they are stored, each with the position it was read at.

use axum::response::{IntoResponse, Response};
use gateway::{ETag, IfNoneMatch, Limit, Position, Problem, position::POSITION};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::error::Error;

/// Something, and the position of the log that it is as new as.
#[derive(Debug, Clone, Copy)]
pub struct At<T> {
    /// Everything up to here is in it.
    pub position: i64,
    /// What was read.
    pub found: T,
}

/// What a read ends in.
pub type Read<T> = Result<At<T>, Error>;

/// One resource as a read model has it, if it does.
#[derive(Debug)]
pub struct Resource {
    /// Everything up to here is in it, but for what is parked.
    pub position: i64,
    /// The first event that should be in it and is not, since its stream is parked.
    pub parked_at: Option<i64>,
    /// The resource; none where there is none.
    pub found: Option<One>,
}

/// The outcome of a read of one resource.
pub type ReadOne = Result<Resource, Error>;

impl<T> At<Option<T>> {
    /// What was found, or 404.
    pub fn or_not_found(self, detail: impl FnOnce() -> String) -> Result<At<T>, Problem> {
        let position = self.position;
        self.found.map(|found| At { position, found }).ok_or_else(|| not_found(position, detail()))
    }
}

/// 404, as it was at `position`.
pub fn not_found(position: i64, detail: String) -> Problem {
    Problem::not_found(detail).header(POSITION, position.into())
}

/// One resource: JSON text and its entity tag.
#[derive(Debug, Clone)]
pub struct One {
    tag: ETag,
    json: String,
}

impl One {
    /// A resource that shows the stream of `version` and nothing else, as it is stored.
    pub fn stored(version: i64, json: String) -> Self {
        Self { tag: ETag::of(version), json }
    }

    /// A resource that shows the stream of `version` and nothing else.
    pub fn of(version: i64, resource: &impl Serialize) -> Result<Self, Error> {
        Ok(Self::stored(version, serde_json::to_string(resource)?))
    }

    /// A resource that shows more than the stream of `version`: what other streams say, or what time it is.
    pub fn composed(version: i64, resource: &impl Serialize) -> Result<Self, Error> {
        let json = serde_json::to_string(resource)?;
        Ok(Self { tag: ETag::of_body(version, json.as_bytes()), json })
    }
}

impl At<One> {
    /// 200 with the resource, or 304 where the client has it.
    pub fn answer(self, known: &IfNoneMatch) -> Response {
        let Self { position, found: One { tag, json } } = self;
        if known.has(&tag) {
            return (StatusCode::NOT_MODIFIED, Position(position), tag, ()).into_response();
        }
        (Position(position), tag, raw_json(json)).into_response()
    }
}

/// JSON that is text already.
pub fn raw_json(json: String) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], json)
}

/// A page of documents as they are stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Documents {
    items: Vec<String>,
    next_cursor: Option<String>,
}

impl Documents {
    /// A page of `limit` out of `rows` that were read with one more than that, or of all of them where the reading `is_cut` since they have the bytes of a
    /// page; `cursor` makes the cursor out of a row's key.
    pub fn cut<K>((rows, is_cut): (Vec<(String, K)>, bool), limit: Limit, cursor: impl FnOnce(&K) -> String) -> Self {
        let most = if is_cut { usize::from(limit).min(rows.len()) } else { limit.into() };
        let has_more = is_cut || rows.len() > most;
        let last = if has_more { rows.get(most.wrapping_sub(1)) } else { None };
        let next_cursor = last.map(|(_, key)| cursor(key));
        Self { items: rows.into_iter().take(most).map(|(json, _)| json).collect(), next_cursor }
    }

    /// The page as JSON. Documents are not read again: Postgres refuses to keep what is no JSON.
    fn json(&self) -> String {
        let length: usize = self.items.iter().map(|item| item.len() + 1).sum();
        let mut json = String::with_capacity(length + 128);
        json.push_str(r#"{"items":["#);
        for (index, item) in self.items.iter().enumerate() {
            if index > 0 {
                json.push(',');
            }
            json.push_str(item);
        }
        json.push_str(r#"],"next_cursor":"#);
        match &self.next_cursor {
            // A cursor is base64, which needs no escapes.
            Some(cursor) => json.extend(["\"", cursor, "\""]),
            None => json.push_str("null"),
        }
        json.push('}');
        json
    }
}

impl At<Documents> {
    /// 200 with the page.
    pub fn answer(&self) -> Response {
        (Position(self.position), raw_json(self.found.json())).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_documents_is_json_and_says_where_the_next_one_starts() {
        let limit: Limit = serde_json::from_str("2").unwrap();
        let rows = |n: i32| (1..=n).map(|i| (format!("{{\"n\":{i}}}"), i)).collect::<Vec<_>>();
        let page = |n, is_cut| Documents::cut((rows(n), is_cut), limit, |key| format!("after-{key}")).json();
        assert_eq!(page(0, false), r#"{"items":[],"next_cursor":null}"#);
        assert_eq!(page(2, false), r#"{"items":[{"n":1},{"n":2}],"next_cursor":null}"#);
        for is_cut in [false, true] {
            assert_eq!(page(3, is_cut), r#"{"items":[{"n":1},{"n":2}],"next_cursor":"after-2"}"#);
        }
        assert_eq!(page(1, true), r#"{"items":[{"n":1}],"next_cursor":"after-1"}"#, "it has the bytes of a page");
    }
}
