use event_schemas::DecodeError;
use rdkafka::message::OwnedMessage;

use super::*;

const SOURCE: &str = "/merx";

fn timeline() -> Timeline {
    let id = "019cae0e-0000-7000-8000-000000000007".parse().unwrap();
    Timeline { id, since: 1_100, begun_at: Timestamp::from_micros(0) }
}

fn stored() -> StoredEvent {
    let id = "019cae0e-03c0-7651-8317-1ff4a6a3a450";
    StoredEvent {
        position: 1_204,
        stream_id: "stock-TEAPOT".into(),
        version: 2,
        event_id: id.parse().unwrap(),
        event_type: "StockReceived".into(),
        schema_version: 1,
        payload: r#"{"quantity":  5, "reference":"Größe ☃"}"#.into(),
        metadata: format!(r#"{{"command_id":"{id}","correlation_id":"{id}","causation_id":null,"actor":"client"}}"#),
        recorded_at: "2026-03-02T10:18:02.000125Z".parse().unwrap(),
        hash: (0..32).map(|byte| byte * 8).collect(),
    }
}

fn message_of(event: &StoredEvent, headers: OwnedHeaders) -> OwnedMessage {
    let (key, value) = (event.stream_id.clone().into_bytes(), event.payload.clone().into_bytes());
    OwnedMessage::new(Some(value), Some(key), "merx.stock".into(), rdkafka::Timestamp::NotAvailable, 3, 7, Some(headers))
}

fn message(event: &StoredEvent) -> OwnedMessage {
    message_of(event, headers(event, SOURCE, &timeline(), 1_199))
}

/// The headers of the event, `change`d by name: to another value, or away.
fn changed(name: &str, change: Option<&str>) -> OwnedMessage {
    let event = stored();
    let mut changed = OwnedHeaders::new();
    for header in headers(&event, SOURCE, &timeline(), 1_199).iter() {
        let value = if header.key == name { change } else { header.value.map(|value| std::str::from_utf8(value).unwrap()) };
        if let Some(value) = value {
            changed = with(changed, header.key, value);
        }
    }
    message_of(&event, changed)
}

fn reason(message: &OwnedMessage) -> Reason {
    decode(message, SOURCE).unwrap_err().reason
}

#[test]
fn a_message_says_what_cloudevents_ask_for() {
    let message = message(&stored());
    let headers: Vec<(&str, &str)> =
        message.headers().unwrap().iter().map(|header| (header.key, std::str::from_utf8(header.value.unwrap()).unwrap())).collect();
    assert_eq!(
        headers,
        [
            ("content-type", "application/json"),
            ("ce_specversion", "1.0"),
            ("ce_id", "019cae0e-03c0-7651-8317-1ff4a6a3a450"),
            ("ce_type", "StockReceived"),
            ("ce_source", "/merx"),
            ("ce_subject", "stock-TEAPOT"),
            ("ce_time", "2026-03-02T10:18:02.000125Z"),
            ("ce_position", "1204"),
            ("ce_previousposition", "1199"),
            ("ce_timeline", "019cae0e-0000-7000-8000-000000000007"),
            ("ce_timelinesince", "1100"),
            ("ce_streamversion", "2"),
            ("ce_schemaversion", "1"),
            ("ce_hash", "0008101820283038404850586068707880889098a0a8b0b8c0c8d0d8e0e8f0f8"),
            ("ce_commandid", "019cae0e-03c0-7651-8317-1ff4a6a3a450"),
            ("ce_correlationid", "019cae0e-03c0-7651-8317-1ff4a6a3a450"),
            ("ce_actor", "client"),
        ]
    );
}

#[test]
fn an_event_comes_back_as_it_was() {
    let event = stored();
    let of = Some(timeline().id);
    assert_eq!(decode(&message(&event), SOURCE), Ok(Received { previous_position: 1_199, timeline: of, event: event.clone() }));
    let of_older_programs = decode(&changed("ce_timeline", None), SOURCE).unwrap();
    assert_eq!(of_older_programs, Received { previous_position: 1_199, timeline: None, event: event.clone() });
    let caused = StoredEvent { metadata: event.metadata.replace("null", r#""019cae0e-03c0-7651-8317-1ff4a6a3a451""#), ..event };
    assert!(headers(&caused, SOURCE, &timeline(), 0).iter().any(|header| header.key == header::CAUSATION_ID));
    let received = decode(&message(&caused), SOURCE).unwrap();
    assert_eq!(received.event, caused);
    assert_eq!(received.event.decode().unwrap(), caused.decode().unwrap());
}

#[test]
fn metadata_that_headers_do_not_say_comes_back_too() {
    let event = stored();
    for metadata in [event.metadata.replace(',', ", "), event.metadata.replace('}', r#","tenant":"x"}"#), "[]".into()] {
        let event = StoredEvent { metadata, ..event.clone() };
        assert_eq!(decode(&message(&event), SOURCE).unwrap().event, event);
    }
}

#[test]
fn what_this_program_does_not_know_fails_as_on_the_log() {
    let newer = StoredEvent { event_type: "StockTeleported".into(), ..stored() };
    let received = decode(&message(&newer), SOURCE).unwrap();
    let undecodable = received.event.decode().unwrap_err();
    assert_eq!((undecodable.position, undecodable.stream.as_str(), undecodable.version), (1_204, "stock-TEAPOT", 2));
    assert_eq!(undecodable.source, DecodeError::UnknownType("StockTeleported".into()));
    let unknown = StoredEvent { stream_id: "warehouse-1".into(), ..stored() };
    assert_eq!(decode(&message(&unknown), SOURCE).unwrap().event, unknown);
}

#[test]
fn a_message_that_lacks_something_is_foreign() {
    for name in [
        header::ID,
        header::TYPE,
        header::SOURCE,
        header::SUBJECT,
        header::TIME,
        header::POSITION,
        header::PREVIOUS_POSITION,
        header::STREAM_VERSION,
        header::SCHEMA_VERSION,
        header::COMMAND_ID,
        header::CORRELATION_ID,
        header::ACTOR,
        header::HASH,
    ] {
        assert_eq!(reason(&changed(name, None)), Reason::Missing(name));
    }
    let bare = OwnedMessage::new(Some(b"{}".to_vec()), None, "merx.stock".into(), rdkafka::Timestamp::NotAvailable, 0, 0, None);
    assert_eq!(reason(&bare), Reason::Missing(header::SOURCE));
}

#[test]
fn a_message_with_a_value_that_no_event_has_is_foreign_and_says_where_it_stands() {
    for (name, value) in [
        (header::ID, "1"),
        (header::TIME, "yesterday"),
        (header::POSITION, "0"),
        (header::POSITION, "12.5"),
        (header::PREVIOUS_POSITION, "-1"),
        (header::PREVIOUS_POSITION, "1204"),
        (header::STREAM_VERSION, "0"),
        (header::SCHEMA_VERSION, "70000"),
        (header::COMMAND_ID, "x"),
        (header::HASH, "abc"),
        (header::HASH, "zz"),
    ] {
        assert_eq!(reason(&changed(name, Some(value))), Reason::Malformed(name), "{value}");
    }
    assert_eq!(reason(&changed(header::SOURCE, Some("/other"))), Reason::Source("/other".into()));
    assert_eq!(reason(&changed(header::SUBJECT, Some("stock-KETTLE"))), Reason::Key);
    let event = stored();
    let kept = Some(headers(&event, SOURCE, &timeline(), 0));
    let (key, topic) = (Some(event.stream_id.into_bytes()), "merx.stock".to_owned());
    let garbled = OwnedMessage::new(Some(vec![0xff]), key, topic, rdkafka::Timestamp::NotAvailable, 3, 7, kept);
    let foreign = decode(&garbled, SOURCE).unwrap_err();
    assert_eq!(
        foreign.to_string(),
        "the message at offset 7 of partition 3 of merx.stock is no event of this log: its value is no text in UTF-8"
    );
}

#[test]
fn the_timestamp_is_when_it_was_recorded_but_never_ahead() {
    let event = stored();
    let later = event.recorded_at.plus(chrono::Duration::days(1));
    assert_eq!(timestamp_ms(&event, later), event.recorded_at.micros() / 1_000);
    let earlier = event.recorded_at.plus(chrono::Duration::days(-1));
    assert_eq!(timestamp_ms(&event, earlier), earlier.micros() / 1_000);
    assert_eq!(timestamp_ms(&StoredEvent { recorded_at: Timestamp::from_micros(-1), ..event }, later), 1);
}
