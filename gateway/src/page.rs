//! Lists come in pages: how long a page is, and where the next one starts.

use std::{borrow::Cow, ops::Deref};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned, de::Error as _};
use sha2::{Digest, Sha256};

use crate::{FieldError, Problem};

/// How many things a page has at most: 1 to 200, 50 if the client doesn't say. In a query: `#[serde(default)] limit: Limit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Limit(u32);

impl Limit {
    /// The longest page.
    pub const MAX: u32 = 200;

    /// The number itself.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(50)
    }
}

impl From<Limit> for i64 {
    fn from(limit: Limit) -> Self {
        Self::from(limit.0)
    }
}

impl From<Limit> for usize {
    fn from(limit: Limit) -> Self {
        limit.0 as Self
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let limit = u32::deserialize(deserializer)?;
        if (1..=Self::MAX).contains(&limit) { Ok(Self(limit)) } else { Err(D::Error::custom("must be 1 to 200")) }
    }
}

impl JsonSchema for Limit {
    fn schema_name() -> Cow<'static, str> {
        "Limit".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "minimum": 1, "maximum": 200, "default": 50, "description": "how many at most"})
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Page<T> {
    /// What is on the page.
    pub items: Vec<T>,
    /// What `cursor` must be for the next page; null on the last.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// A page of `limit` out of `items` that were read with one more than that; `key` makes the cursor out of the page's last item.
    #[must_use]
    pub fn cut(mut items: Vec<T>, limit: Limit, key: impl FnOnce(&T) -> String) -> Self {
        let more = items.len() > usize::from(limit);
        items.truncate(limit.into());
        let next_cursor = if more { items.last().map(key) } else { None };
        Self { items, next_cursor }
    }
}

/// A cursor as it is sent: `next_cursor` of the page before. In a query: `cursor: Option<CursorText>`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct CursorText(String);

impl Deref for CursorText {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl JsonSchema for CursorText {
    fn schema_name() -> Cow<'static, str> {
        "Cursor".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // The version and the check are seven characters, or a part of them.
        json_schema!({"type": "string", "pattern": "^A[Q-f][A-Za-z0-9_-]{5,}$", "maxLength": MAX_LEN})
    }
}

/// Where a page starts: opaque to clients, and good only for the list that gave it.
#[derive(Debug, Clone, Copy)]
pub struct Cursor;

const VERSION: u8 = 1;
const CHECK_LEN: usize = 4;
const MAX_LEN: usize = 4096;

impl Cursor {
    /// Wraps a position in the list `kind`. Lists filtered or sorted otherwise are other lists: let the position hold the filter.
    #[must_use]
    pub fn encode<T: Serialize>(kind: &'static str, at: &T) -> String {
        let json = serde_json::to_vec(at).unwrap_or_default();
        let mut bytes = Vec::with_capacity(1 + CHECK_LEN + json.len());
        bytes.push(VERSION);
        bytes.extend_from_slice(&check(kind, &json));
        bytes.extend_from_slice(&json);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Unwraps a position in the list `kind`; 422 for what was not given out for it.
    pub fn decode<T: DeserializeOwned>(kind: &'static str, cursor: &str) -> Result<T, Problem> {
        Self::open(kind, cursor).ok_or_else(|| {
            let detail = "must be the next_cursor of this same list, unchanged; start again without one";
            Problem::invalid(vec![FieldError::new("?cursor", "unknown_cursor", detail)])
        })
    }

    fn open<T: DeserializeOwned>(kind: &'static str, cursor: &str) -> Option<T> {
        if cursor.len() > MAX_LEN {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (&version, rest) = bytes.split_first()?;
        let (sent, json) = rest.split_at_checked(CHECK_LEN)?;
        if version != VERSION || sent != check(kind, json) {
            return None;
        }
        serde_json::from_slice(json).ok()
    }
}

/// Guards against mistakes, not against an attacker: a forged position shows nothing that a list would not.
fn check(kind: &str, json: &[u8]) -> [u8; CHECK_LEN] {
    let digest = Sha256::new().chain_update("merx cursor ").chain_update(kind).chain_update([0]).chain_update(json).finalize();
    [digest[0], digest[1], digest[2], digest[3]]
}
