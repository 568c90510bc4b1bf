//! What holds for every request, as `API.md` says under "Conventions".

mod conditional;
mod idempotency;
mod idempotency_races;
mod lists;
mod money;
mod positions;
mod refusals;
mod texts;
mod values;
