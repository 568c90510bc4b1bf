//! What stands on the topics of a Kafka, beside what stands in the log.

use std::collections::{BTreeMap, HashMap};

use sqlx::PgConnection;

use crate::kafka::{self, Message};

const SHOWN: usize = 10;

/// An event as the log has it.
#[derive(sqlx::FromRow)]
struct Logged {
    position: i64,
    stream_id: String,
    version: i64,
    event_id: String,
    event_type: String,
    payload: String,
}

/// What was compared, and what was wrong with it.
pub struct Comparison {
    pub events: usize,
    /// Messages that repeat one before them: those of a crash.
    pub repeated: usize,
    pub wrong: Vec<String>,
}

impl Comparison {
    pub fn pass(&self) {
        assert!(
            self.wrong.is_empty(),
            "{} things are wrong on the topics, as\n{}",
            self.wrong.len(),
            self.wrong[..self.wrong.len().min(SHOWN)].join("\n")
        );
    }
}

/// Compares all that stands on the topics of `prefix` with the whole log.
pub async fn compare(brokers: &str, prefix: &str, log: &mut PgConnection) -> Comparison {
    let logged =
        "select position, stream_id, version, event_id::text, type as event_type, payload::text as payload from events order by position";
    let logged: Vec<Logged> = sqlx::query_as(logged).fetch_all(log).await.expect("the log");
    judge(&logged, &kafka::everything(brokers, prefix).await, prefix)
}

/// A consumer that drops the positions that it has seen of a partition must see every event once, and each stream in order.
fn judge(logged: &[Logged], seen: &[Message], prefix: &str) -> Comparison {
    let (mut wrong, mut repeated) = (Vec::new(), 0);
    let mut reached: HashMap<(&str, i32), i64> = HashMap::new();
    let mut versions: HashMap<&str, (i64, i32)> = HashMap::new();
    let mut taken: BTreeMap<i64, &Message> = BTreeMap::new();
    for message in seen {
        let (position, previous) = (message.position(), number(message, "ce_previousposition"));
        let place = (message.topic.as_str(), message.partition);
        let before = reached.get(&place).copied().unwrap_or(0);
        if position <= before {
            repeated += 1;
            if !taken.contains_key(&position) {
                wrong.push(format!("{place:?} comes to position {before} and then, for the first time, to {position}"));
            }
            continue;
        }
        if previous > before {
            wrong.push(format!("{place:?} lacks something between {before} and {position}: before that is {previous}"));
        }
        reached.insert(place, position);
        let version = number(message, "ce_streamversion");
        let (last, partition) = versions.get(message.key.as_str()).copied().unwrap_or((0, message.partition));
        if version != last + 1 || partition != message.partition {
            wrong.push(format!("{} goes from version {last} in partition {partition} to {version} in {}", message.key, message.partition));
        }
        versions.insert(&message.key, (version, message.partition));
        taken.insert(position, message);
    }
    for event in logged {
        match taken.remove(&event.position) {
            None => wrong.push(format!("event {} of {} is on no topic", event.position, event.stream_id)),
            Some(message) => wrong.extend(difference(event, message, prefix)),
        }
    }
    wrong.extend(taken.keys().map(|position| format!("position {position} is on a topic and not in the log")));
    Comparison { events: logged.len(), repeated, wrong }
}

fn number(message: &Message, header: &str) -> i64 {
    message.header(header).parse().unwrap_or_else(|_| panic!("{header} of {message:?}"))
}

fn difference(event: &Logged, message: &Message, prefix: &str) -> Option<String> {
    let category = event.stream_id.split_once('-').map_or("", |(category, _)| category);
    let header = |name: &str| message.headers.get(name).map(String::as_str).unwrap_or_default();
    let is_same = message.topic == format!("{prefix}.{category}")
        && message.key == event.stream_id
        && message.value == event.payload
        && header("ce_specversion") == "1.0"
        && header("ce_id") == event.event_id
        && header("ce_type") == event.event_type
        && header("ce_subject") == event.stream_id
        && header("ce_streamversion") == event.version.to_string()
        && ["ce_source", "ce_time", "content-type"].iter().all(|name| !header(name).is_empty());
    (!is_same)
        .then(|| format!("event {} of {} is another one on {}: {:?}", event.position, event.stream_id, message.topic, message.headers))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(position: i64, stream: &str, version: i64) -> Logged {
        let (stream_id, event_id) = (stream.to_owned(), format!("id-{position}"));
        Logged { position, stream_id, version, event_id, event_type: "OrderPlaced".into(), payload: "{}".into() }
    }

    fn seen(of: &Logged, previous: i64) -> Message {
        let headers = [
            ("content-type", "application/json".to_owned()),
            ("ce_specversion", "1.0".to_owned()),
            ("ce_id", of.event_id.clone()),
            ("ce_type", of.event_type.clone()),
            ("ce_source", "/shop".to_owned()),
            ("ce_subject", of.stream_id.clone()),
            ("ce_time", "2026-01-01T00:00:00Z".to_owned()),
            ("ce_position", of.position.to_string()),
            ("ce_streamversion", of.version.to_string()),
            ("ce_previousposition", previous.to_string()),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value)).into();
        Message {
            topic: "shop.order".into(),
            partition: 0,
            offset: 0,
            key: of.stream_id.clone(),
            headers,
            value: of.payload.clone(),
            data: serde_json::json!({}),
        }
    }

    fn log() -> [Logged; 3] {
        [logged(1, "order-a", 1), logged(2, "order-b", 1), logged(3, "order-a", 2)]
    }

    #[test]
    fn late_repetitions_are_no_harm() {
        let [a, b, c] = &log();
        let found = judge(&log(), &[seen(a, 0), seen(b, 1), seen(a, 0), seen(b, 1), seen(c, 2), seen(b, 1)], "shop");
        assert_eq!((found.events, found.repeated, found.wrong), (3, 3, Vec::new()));
    }

    #[test]
    fn what_is_lost_out_of_order_or_changed_is_found() {
        let [a, b, c] = &log();
        let wrong = |messages: &[Message]| judge(&log(), messages, "shop").wrong.len();
        assert_eq!(wrong(&[seen(a, 0), seen(b, 1)]), 1, "lost");
        assert!(wrong(&[seen(a, 0), seen(c, 2), seen(b, 1)]) >= 2, "out of order");
        assert!(wrong(&[seen(b, 1), seen(c, 2)]) >= 2, "the beginning is lost");
        let mut changed = seen(b, 1);
        changed.value = "[]".into();
        assert_eq!(wrong(&[seen(a, 0), changed, seen(c, 2)]), 1, "changed");
    }
}
