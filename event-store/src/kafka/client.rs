//! What clients of Kafka have in common: their lines go to our log, and what they complain of is kept for whoever has to say why.

use parking_lot::Mutex;
use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    error::KafkaError,
    producer::{DeliveryResult, ProducerContext},
};

/// Why a client could not reach its brokers, as it said last.
#[derive(Debug, Default)]
pub struct Complaint(Mutex<Option<String>>);

impl Complaint {
    /// Keeps what a client reports of its connections.
    pub fn note(&self, error: &KafkaError, reason: &str) {
        // Counters and times at the end would make each try a new reason.
        let reason = reason.split(" (after ").next().unwrap_or(reason);
        let reason = if reason.is_empty() { error.to_string() } else { reason.to_owned() };
        let mut kept = self.0.lock();
        // That all brokers are down is said after, and says less than, why the last one is.
        let says_less = error.rdkafka_error_code() == Some(rdkafka::types::RDKafkaErrorCode::AllBrokersDown);
        if !(says_less && kept.is_some()) {
            *kept = Some(reason);
        }
    }

    /// What it complains of, `or` else.
    #[must_use]
    pub fn or(&self, or: &impl ToString) -> String {
        self.0.lock().clone().unwrap_or_else(|| or.to_string())
    }

    /// All is well again.
    pub fn forget(&self) {
        *self.0.lock() = None;
    }
}

/// A line of librdkafka. It tells of each try to connect, so it is for those who look closely; what matters is said once by whoever uses the client.
pub fn log(level: RDKafkaLogLevel, facility: &str, line: &str) {
    tracing::debug!(?level, facility, "librdkafka: {line}");
}

/// The context of a client that has no other.
#[derive(Debug, Default)]
pub struct Context {
    /// What the client complains of.
    pub complaint: Complaint,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.complaint.note(&error, reason);
    }
}

/// For clients that ask and send nothing.
impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}
