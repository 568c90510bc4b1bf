//! Whether events get to Kafka, and why not.

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::Error;

/// Whether a publisher can do its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It can't, and why.
    Away(String),
    /// It can.
    Ready,
}

/// Why events don't get to Kafka.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Trouble {
    /// No broker answers, or none lets us in.
    #[error("Kafka can't be reached: {0}")]
    Unreachable(String),
    /// Events have been sent, and no acknowledgement comes.
    #[error("Kafka does not acknowledge what is sent: {0}")]
    Silent(String),
    /// Topics are not as they have to be, or not as the settings say.
    #[error("{0}")]
    Topics(String),
    /// Kafka refuses an event.
    #[error("Kafka refuses events: {0}")]
    Refused(String),
    /// The log can't be read, or how far it has been published can't be written.
    #[error("{0}")]
    Log(#[from] Error),
}

impl From<sqlx::Error> for Trouble {
    fn from(error: sqlx::Error) -> Self {
        Self::Log(error.into())
    }
}

impl Trouble {
    /// Troubles of one kind are one outage, in whichever words.
    fn kind(&self) -> u8 {
        match self {
            Self::Unreachable(_) | Self::Silent(_) => 0,
            Self::Topics(_) => 1,
            Self::Refused(_) => 2,
            Self::Log(_) => 3,
        }
    }
}

/// Who noticed.
#[derive(Debug, Clone, Copy)]
pub enum Source {
    /// Whoever asks the brokers now and then.
    Probe,
    /// Whoever leads.
    Leader,
}

/// Puts together what is noticed, and tells the log of each change once.
pub struct Reporter {
    health: watch::Sender<Health>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    probe: Option<Trouble>,
    leader: Option<Trouble>,
    /// The kind that was told of last, if it has not passed.
    told: Option<u8>,
}

impl Reporter {
    /// Nothing is known yet.
    pub fn new(health: watch::Sender<Health>) -> Self {
        health.send_replace(Health::Away("Kafka has not been reached yet".into()));
        Self { health, state: Mutex::default() }
    }

    /// What `source` notices now: `None` if nothing.
    pub fn report(&self, source: Source, trouble: Option<Trouble>) {
        let mut state = self.state.lock();
        match source {
            Source::Probe => state.probe = trouble,
            Source::Leader => state.leader = trouble,
        }
        let trouble = state.leader.clone().or_else(|| state.probe.clone());
        let kind = trouble.as_ref().map(Trouble::kind);
        let was_ready = *self.health.borrow() == Health::Ready;
        match &trouble {
            Some(trouble) if state.told != kind => {
                tracing::warn!(reason = %trouble, "events are not published; this is tried again and again");
            }
            None if !was_ready => tracing::info!("Kafka is there: events are published"),
            _ => {}
        }
        state.told = kind;
        let now = trouble.map_or(Health::Ready, |trouble| Health::Away(trouble.to_string()));
        self.health.send_if_modified(|before| {
            let changed = *before != now;
            *before = now;
            changed
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_ready_when_nobody_notices_anything() {
        let (sender, health) = watch::channel(Health::Ready);
        let reporter = Reporter::new(sender);
        assert!(matches!(&*health.borrow(), Health::Away(_)), "until the first answer");
        reporter.report(Source::Probe, None);
        assert_eq!(*health.borrow(), Health::Ready);
        reporter.report(Source::Leader, Some(Trouble::Topics("too few".into())));
        reporter.report(Source::Probe, Some(Trouble::Unreachable("refused".into())));
        assert_eq!(*health.borrow(), Health::Away("too few".into()), "who leads knows better");
        reporter.report(Source::Leader, None);
        assert_eq!(*health.borrow(), Health::Away("Kafka can't be reached: refused".into()));
        reporter.report(Source::Probe, None);
        assert_eq!(*health.borrow(), Health::Ready);
    }
}
