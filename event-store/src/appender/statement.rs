//! The one statement that writes a group.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::Waiting;
use crate::append::event_id;

#[derive(Default)]
struct EventColumns<'a> {
    streams: Vec<&'a str>,
    versions: Vec<i64>,
    ids: Vec<Uuid>,
    types: Vec<&'a str>,
    schema_versions: Vec<i16>,
    payloads: Vec<&'a str>,
    metadata: Vec<&'a str>,
    recorded_at: Vec<DateTime<Utc>>,
    hashes: Vec<&'a [u8]>,
}

#[derive(Default)]
struct AnswerColumns<'a> {
    scopes: Vec<&'a [u8]>,
    fingerprints: Vec<&'a [u8]>,
    statuses: Vec<i16>,
    locations: Vec<Option<&'a str>>,
    versions: Vec<i64>,
    /// Counted from the position before the group; below zero where the answer stands for no events, then minus the position.
    offsets: Vec<i64>,
    bodies: Vec<&'a str>,
    created_at: Vec<DateTime<Utc>>,
}

/// Writes the group after the head of the log; the head as it was before.
pub(super) async fn append(connection: &mut PgConnection, group: &[Waiting]) -> Result<i64, sqlx::Error> {
    let mut events = EventColumns::default();
    let mut answers = AnswerColumns::default();
    for Waiting { unit, .. } in group {
        for part in &unit.parts {
            for (index, encoded) in part.events.iter().enumerate() {
                events.streams.push(part.stream.as_str());
                events.versions.push(part.expected_version + 1 + index as i64);
                events.ids.push(event_id(part.command, index));
                events.types.push(encoded.event.event_type());
                events.schema_versions.push(encoded.event.schema_version());
                events.payloads.push(&encoded.payload);
                events.metadata.push(&part.metadata_json);
                events.recorded_at.push(part.recorded_at.utc());
                events.hashes.push(&encoded.hash);
            }
        }
        if let Some(answer) = &unit.answer {
            answers.scopes.push(&answer.scope);
            answers.fingerprints.push(&answer.fingerprint);
            answers.statuses.push(answer.status);
            answers.locations.push(answer.location.as_deref());
            answers.versions.push(answer.version);
            answers.offsets.push(if unit.event_count() > 0 { events.ids.len() as i64 } else { -answer.position_without_events });
            answers.bodies.push(&answer.body);
            answers.created_at.push(answer.created_at.utc());
        }
    }
    if answers.scopes.is_empty() { write_events(connection, &events).await } else { write_both(connection, &events, &answers).await }
}

async fn write_events(connection: &mut PgConnection, events: &EventColumns<'_>) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        with head as (
            update log_head set position = position + cardinality($1::text[]) returning position - cardinality($1::text[]) as base
        ), appended as (
            insert into events (position, stream_id, version, event_id, type, schema_version, payload, metadata, recorded_at, hash)
            select head.base + e.nth, e.stream_id, e.version, e.event_id, e.type, e.schema_version, e.payload::json, e.metadata::json,
                   e.recorded_at, e.hash
            from head,
                 unnest($1::text[], $2::bigint[], $3::uuid[], $4::text[], $5::smallint[], $6::text[], $7::text[], $8::timestamptz[], $9::bytea[])
                 with ordinality as e (stream_id, version, event_id, type, schema_version, payload, metadata, recorded_at, hash, nth)
        )
        select base as "base!" from head
        "#,
        &events.streams as &[&str],
        &events.versions,
        &events.ids,
        &events.types as &[&str],
        &events.schema_versions,
        &events.payloads as &[&str],
        &events.metadata as &[&str],
        &events.recorded_at,
        &events.hashes as &[&[u8]],
    )
    .fetch_one(connection)
    .await
}

async fn write_both(connection: &mut PgConnection, events: &EventColumns<'_>, answers: &AnswerColumns<'_>) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        with head as (
            update log_head set position = position + cardinality($1::text[]) returning position - cardinality($1::text[]) as base
        ), appended as (
            insert into events (position, stream_id, version, event_id, type, schema_version, payload, metadata, recorded_at, hash)
            select head.base + e.nth, e.stream_id, e.version, e.event_id, e.type, e.schema_version, e.payload::json, e.metadata::json,
                   e.recorded_at, e.hash
            from head,
                 unnest($1::text[], $2::bigint[], $3::uuid[], $4::text[], $5::smallint[], $6::text[], $7::text[], $8::timestamptz[], $9::bytea[])
                 with ordinality as e (stream_id, version, event_id, type, schema_version, payload, metadata, recorded_at, hash, nth)
        ), answered as (
            insert into idempotency_keys (scope, fingerprint, status, location, version, position, body, created_at)
            select a.scope, a.fingerprint, a.status, a.location, a.version,
                   case when a.nth > 0 then head.base + a.nth else -a.nth end, a.body, a.created_at
            from head,
                 unnest($10::bytea[], $11::bytea[], $12::smallint[], $13::text[], $14::bigint[], $15::bigint[], $16::text[], $17::timestamptz[])
                 as a (scope, fingerprint, status, location, version, nth, body, created_at)
        )
        select base as "base!" from head
        "#,
        &events.streams as &[&str],
        &events.versions,
        &events.ids,
        &events.types as &[&str],
        &events.schema_versions,
        &events.payloads as &[&str],
        &events.metadata as &[&str],
        &events.recorded_at,
        &events.hashes as &[&[u8]],
        &answers.scopes as &[&[u8]],
        &answers.fingerprints as &[&[u8]],
        &answers.statuses,
        &answers.locations as &[Option<&str>],
        &answers.versions,
        &answers.offsets,
        &answers.bodies as &[&str],
        &answers.created_at,
    )
    .fetch_one(connection)
    .await
}
