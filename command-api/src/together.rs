//! Two commands of different aggregates in one transaction: both or neither.
//!
//! Only for what must never be seen apart; everything else is a process manager's business.

use domain::Aggregate;
use event_schemas::StreamId;
use event_store::{EventStore, KeyedAnswer, Unit};
use gateway::Problem;

use crate::{
    handler::{Basis, Context, Entity, Failure, Handler, MAX_ATTEMPTS, Staging, Tail},
    refusals::{Told, problem, unstored},
    write::{Answer, Draft},
};

/// One of the commands. Those of one unit are staged in the alphabetical order of their categories, so that two units never wait for each
/// other's streams.
pub struct Step<'a, A: Aggregate> {
    /// Who decides it.
    pub handler: &'a Handler<A>,
    /// On what.
    pub stream: &'a StreamId,
    /// What is asked.
    pub command: &'a A::Command,
    /// By whom and when.
    pub context: &'a Context,
}

impl<A: Aggregate> Clone for Step<'_, A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A: Aggregate> Copy for Step<'_, A> {}

enum Outcome<'a, A: Aggregate> {
    Again,
    Unchanged(Basis),
    Refused(Basis, Failure<A::Refusal>),
    Staged(crate::handler::Staged<'a, A>),
}

fn stage<'a, A: Aggregate>(entity: &'a Entity<A>, step: Step<'a, A>) -> Outcome<'a, A> {
    match entity.stage(step.command, step.context) {
        Staging::Stale => Outcome::Again,
        Staging::Unchanged(basis) => Outcome::Unchanged(basis),
        Staging::Refused(basis, refusal) => Outcome::Refused(basis, Failure::Refused(refusal)),
        Staging::Mismatch(basis) => {
            let version = basis.version;
            Outcome::Refused(basis, Failure::VersionMismatch(version))
        }
        Staging::Staged(staged) => Outcome::Staged(staged),
    }
}

/// Runs `first` and `second` in one transaction and answers with what `render` makes of both states after them: an answer to keep and a
/// draft. Where the second one has nothing to change, the first one stands alone.
///
/// # Errors
/// What one of them was refused for; then neither happened.
pub async fn together<A: Aggregate, B: Aggregate>(
    store: &EventStore,
    first: Step<'_, A>,
    second: Step<'_, B>,
    render: impl Fn(&A::State, i64, Option<&B::State>, i64) -> Option<(Option<KeyedAnswer>, Draft)>,
) -> Result<Answer, Problem>
where
    A::Refusal: Told,
    B::Refusal: Told,
{
    // The version at which the log has said that the second one has nothing to change.
    let mut standing = None;
    for _ in 0..MAX_ATTEMPTS {
        let a = first.handler.entity(first.stream).await.map_err(|error| unstored(&error))?;
        let b = second.handler.entity(second.stream).await.map_err(|error| unstored(&error))?;
        let submitted = match (stage(&a, first), stage(&b, second)) {
            (Outcome::Again, _) | (_, Outcome::Again) => continue,
            (Outcome::Refused(basis, failure), _) => Err(Confirm::First(basis, Some(problem(failure)))),
            (_, Outcome::Refused(basis, failure)) => Err(Confirm::Second(basis, Some(problem(failure)))),
            (Outcome::Unchanged(basis), _) => Err(Confirm::First(basis, None)),
            (_, Outcome::Unchanged(basis)) if standing != Some(basis.version) => Err(Confirm::Second(basis, None)),
            (Outcome::Staged(one), two) => {
                let mut parts = vec![one.part().map_err(|error| unstored(&error))?];
                let two = match two {
                    Outcome::Staged(two) => Some(two),
                    _ => None,
                };
                if let Some(two) = &two {
                    parts.push(two.part().map_err(|error| unstored(&error))?);
                }
                let other = two.as_ref().map(|two| (two.state(), two.version()));
                let versions = (one.version(), other.map_or(0, |(_, version)| version));
                let rendered = render(one.state(), versions.0, other.map(|(state, _)| state), versions.1);
                let (answer, draft) = rendered.ok_or_else(Problem::internal)?;
                let pending = store.submit(Unit { parts, answer }).map_err(|error| unstored(&error))?;
                one.submitted();
                if let Some(two) = two {
                    two.submitted();
                }
                Ok((pending, draft, versions))
            }
        };
        match submitted {
            Ok((pending, draft, versions)) => match pending.outcome().await {
                Ok(committed) => {
                    first.handler.committed(&a, versions.0);
                    second.handler.committed(&b, versions.1);
                    return Ok(draft.at(committed.position));
                }
                Err(event_store::Error::Conflict) => {}
                Err(error) => return Err(unstored(&error)),
            },
            Err(Confirm::First(basis, problem)) => {
                if a.confirm(store, &basis).await.map_err(|error| unstored(&error))? {
                    return match problem {
                        Some(problem) => Err(problem),
                        None => unchanged(store, &a, render).await,
                    };
                }
            }
            Err(Confirm::Second(basis, problem)) => {
                if b.confirm(store, &basis).await.map_err(|error| unstored(&error))? {
                    match problem {
                        Some(problem) => return Err(problem),
                        None => standing = Some(basis.version),
                    }
                }
            }
        }
    }
    Err(unstored(&event_store::Error::Overloaded))
}

/// A decision without events that is to be confirmed.
enum Confirm {
    First(Basis, Option<Problem>),
    Second(Basis, Option<Problem>),
}

/// Answers where the first command had nothing to change.
async fn unchanged<A: Aggregate, S>(
    store: &EventStore,
    entity: &Entity<A>,
    render: impl Fn(&A::State, i64, Option<&S>, i64) -> Option<(Option<KeyedAnswer>, Draft)>,
) -> Result<Answer, Problem> {
    let (rendered, _, position) = entity.look(Tail::empty(), |state, version| render(state, version, None, 0));
    let (answer, draft) = rendered.ok_or_else(Problem::internal)?;
    if let Some(answer) = answer {
        let kept = KeyedAnswer { position_without_events: position, ..answer };
        store.append(Unit { parts: Vec::new(), answer: Some(kept) }).await.map_err(|error| unstored(&error))?;
    }
    Ok(draft.at(position))
}
