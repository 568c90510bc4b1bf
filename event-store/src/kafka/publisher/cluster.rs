//! The cluster as the publisher needs it: reached, with a topic for each category that has enough partitions.

use std::{sync::Arc, time::Duration};

use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    error::KafkaError,
    producer::{Producer as _, ThreadedProducer},
    types::{RDKafkaErrorCode, RDKafkaRespErr},
};
use tokio::task::spawn_blocking;

use super::health::Trouble;
use crate::kafka::{Settings, client::Context};

/// How long the brokers may take to answer a question.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// How long they may take to make topics.
const CREATION_LIMIT: Duration = Duration::from_secs(15);
/// How often a topic that was just made is looked for before that counts as failed.
const LOOKS: u32 = 20;
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// What a topic is made with. It is kept whole, as the log is, whose old events bear old times; whoever operates it may shorten that, and consumers
/// find what is missing in the log. The largest event and its headers fit.
const TOPIC_CONFIG: [(&str, &str); 3] = [("cleanup.policy", "delete"), ("retention.ms", "-1"), ("max.message.bytes", "4194304")];

/// A connection that asks and sends nothing.
pub struct Cluster {
    client: ThreadedProducer<Context>,
    settings: Arc<Settings>,
}

impl Cluster {
    /// Begins to look for the brokers of `settings`.
    ///
    /// # Errors
    /// The settings are refused by librdkafka.
    pub fn new(settings: Arc<Settings>) -> Result<Self, Trouble> {
        let client = settings.client_config().create_with_context(Context::default());
        let client = client.map_err(|error| Trouble::Unreachable(error.to_string()))?;
        Ok(Self { client, settings })
    }

    /// Whether the brokers answer.
    ///
    /// # Errors
    /// They don't.
    pub async fn probe(self: &Arc<Self>, topic: String) -> Result<(), Trouble> {
        self.partitions(topic).await.map(|_| ())
    }

    /// How many partitions `topic` has; `None` where there is no such topic.
    ///
    /// # Errors
    /// The brokers don't answer.
    async fn partitions(self: &Arc<Self>, topic: String) -> Result<Option<usize>, Trouble> {
        let cluster = self.clone();
        blocking(move || {
            let metadata =
                cluster.client.client().fetch_metadata(Some(&topic), ANSWER_LIMIT).map_err(|error| cluster.unreachable(&error))?;
            cluster.client.context().complaint.forget();
            let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else { return Ok(None) };
            match found.error() {
                None | Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE) => {
                    Ok(Some(found.partitions().len()).filter(|partitions| *partitions > 0))
                }
                Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) => Ok(None),
                Some(error) => Err(Trouble::Topics(format!("the topic {topic} can't be used: {}", RDKafkaErrorCode::from(error)))),
            }
        })
        .await
    }

    /// The offset after the last message of a partition.
    ///
    /// # Errors
    /// The brokers don't answer.
    pub async fn end_offset(self: &Arc<Self>, topic: String, partition: i32) -> Result<i64, Trouble> {
        let cluster = self.clone();
        blocking(move || match cluster.client.client().fetch_watermarks(&topic, partition, ANSWER_LIMIT) {
            Ok((_, end)) => Ok(end.max(0)),
            Err(error) => Err(cluster.unreachable(&error)),
        })
        .await
    }

    fn unreachable(&self, error: &KafkaError) -> Trouble {
        Trouble::Unreachable(format!("{} ({})", self.client.context().complaint.or(error), self.settings.brokers))
    }

    /// Sees to it that each of `topics` is there and has enough partitions. Those that a topic has beyond [`Settings::partitions`] are left unused.
    ///
    /// # Errors
    /// The brokers don't answer, a topic can't be made, or it has too few partitions.
    pub async fn prepare(self: &Arc<Self>, topics: &[String]) -> Result<(), Trouble> {
        let mut missing = Vec::new();
        for topic in topics {
            match self.partitions(topic.clone()).await? {
                Some(partitions) => self.check(topic, partitions)?,
                None => missing.push(topic.clone()),
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        self.create(&missing).await?;
        for topic in &missing {
            let partitions = self.look_for(topic).await?;
            self.check(topic, partitions)?;
        }
        Ok(())
    }

    fn check(&self, topic: &str, partitions: usize) -> Result<(), Trouble> {
        let wanted = self.settings.partitions;
        if i32::try_from(partitions).is_ok_and(|partitions| partitions < wanted) {
            return Err(Trouble::Topics(format!(
                "the topic {topic} has {partitions} partitions and KAFKA_PARTITIONS is {wanted}: give it that many \
                 (kafka-topics.sh --alter --topic {topic} --partitions {wanted})"
            )));
        }
        Ok(())
    }

    async fn create(&self, topics: &[String]) -> Result<(), Trouble> {
        let replicas = self.settings.replication_factor.unwrap_or(-1);
        let admin: Result<AdminClient<_>, _> = self.settings.client_config().create_with_context(Context::default());
        let admin = admin.map_err(|error| Trouble::Unreachable(error.to_string()))?;
        let wanted: Vec<NewTopic<'_>> = topics
            .iter()
            .map(|topic| {
                let topic = NewTopic::new(topic, self.settings.partitions, TopicReplication::Fixed(replicas));
                TOPIC_CONFIG.into_iter().fold(topic, |topic, (key, value)| topic.set(key, value))
            })
            .collect();
        let options = AdminOptions::new().request_timeout(Some(CREATION_LIMIT)).operation_timeout(Some(CREATION_LIMIT));
        let made = admin.create_topics(&wanted, &options).await;
        // Dropping it waits for its thread.
        let _ = spawn_blocking(move || drop(admin)).await;
        for result in made.map_err(|error| Trouble::Topics(format!("topics can't be made: {error}")))? {
            match result {
                Ok(topic) => tracing::info!(topic, partitions = self.settings.partitions, "made a topic"),
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, code)) => return Err(Trouble::Topics(self.not_made(&topic, code))),
            }
        }
        Ok(())
    }

    fn not_made(&self, topic: &str, code: RDKafkaErrorCode) -> String {
        let partitions = self.settings.partitions;
        let hint = match code {
            RDKafkaErrorCode::InvalidReplicationFactor => "set KAFKA_REPLICATION_FACTOR to what the brokers can do".to_owned(),
            _ => format!("allow it, or make the topic by hand with {partitions} partitions"),
        };
        format!("the topic {topic} can't be made ({code}): {hint}")
    }

    /// How many partitions a topic has that was just made: brokers hear of it one after the other.
    async fn look_for(self: &Arc<Self>, topic: &str) -> Result<usize, Trouble> {
        for _ in 0..LOOKS {
            if let Some(partitions) = self.partitions(topic.to_owned()).await? {
                return Ok(partitions);
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        Err(Trouble::Topics(format!("the topic {topic} was made and has not appeared")))
    }
}

async fn blocking<T: Send + 'static>(ask: impl FnOnce() -> Result<T, Trouble> + Send + 'static) -> Result<T, Trouble> {
    spawn_blocking(ask).await.unwrap_or_else(|panic| Err(Trouble::Unreachable(panic.to_string())))
}
