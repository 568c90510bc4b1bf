use event_schemas::events::projection::{
    Event, ProjectionPublishRequested, ProjectionRebuildRequested, ProjectionRetryRequested, ProjectionSkipRequested,
};

use super::{Command, Projection, State};
use crate::{
    Aggregate as _,
    harness::{after, t},
};

/// One event of each type.
pub(crate) fn events() -> Vec<Event> {
    let stream = || "order-1".parse().unwrap();
    vec![
        ProjectionRebuildRequested {}.into(),
        ProjectionRetryRequested { stream: stream(), position: 7 }.into(),
        ProjectionSkipRequested { stream: stream(), position: 7, reason: Some("a mistake".into()) }.into(),
        ProjectionPublishRequested { from: 3 }.into(),
    ]
}

#[test]
fn everything_that_is_asked_for_is_recorded_as_often_as_it_is() {
    let stream = || "order-1".parse().unwrap();
    let commands = [
        Command::Rebuild,
        Command::Retry { stream: stream(), position: 7 },
        Command::Skip { stream: stream(), position: 7, reason: Some("a mistake".into()) },
        Command::Publish { from: 3 },
    ];
    for (command, event) in commands.iter().zip(events()) {
        for state in [State::Untended, State::Tended { requests: 2, last_at: t(1) }] {
            assert_eq!(Projection::decide(&state, command, t(2)), Ok(vec![event.clone()]));
        }
    }
    let state = after::<Projection>(events().into_iter().zip(1..).map(|(event, second)| (second, event)));
    assert_eq!(state, State::Tended { requests: 4, last_at: t(4) });
}
