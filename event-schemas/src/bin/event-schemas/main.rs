//! `cargo run -p event-schemas`: writes `schemas/` and `examples/` from the event types and their samples.
//!
//! A version of an event type that is in a log is frozen; `docs/changing-an-event.md` tells how to change an event.

mod files;

use std::{env, error::Error, path::Path, process::ExitCode};

use event_schemas::{events::descriptors, samples, schemas};

const USAGE: &str = "usage: cargo run -p event-schemas [-- --force TYPE...]

Writes the schema and the examples of the current version of every event type. What is frozen is refused, and then nothing is written.
--force overwrites what is frozen of the named types: only while no log anywhere holds an event of that version.";

fn main() -> ExitCode {
    match run(env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: impl Iterator<Item = String>) -> Result<(), Box<dyn Error>> {
    let forced = parse(arguments)?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let plan = files::plan(root, &schemas::current(), &samples::examples()?, &forced)?;
    if !plan.conflicts.is_empty() {
        return Err(format!("{}\nnothing was written; see docs/changing-an-event.md", plan.conflicts.join("\n")).into());
    }
    files::write(root, &plan.writes)?;
    for path in plan.writes.keys() {
        println!("wrote {path}");
    }
    println!("{} event types, {} files written", descriptors().count(), plan.writes.len());
    Ok(())
}

/// The types whose files may be overwritten.
fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Vec<String>, String> {
    match arguments.next().as_deref() {
        None => return Ok(Vec::new()),
        Some("--force") => {}
        Some(_) => return Err(USAGE.to_owned()),
    }
    let forced: Vec<String> = arguments.collect();
    let is_known = |name: &String| descriptors().any(|d| d.event_type == name);
    match forced.iter().find(|name| !is_known(name)) {
        Some(unknown) => Err(format!("{unknown} is no event type\n\n{USAGE}")),
        None if forced.is_empty() => Err(USAGE.to_owned()),
        None => Ok(forced),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Vec<String>, String> {
        parse(arguments.iter().map(|&argument| argument.to_owned()))
    }

    #[test]
    fn force_names_the_types_it_is_for() {
        assert_eq!(parsed(&[]), Ok(vec![]));
        assert_eq!(parsed(&["--force", "OrderPlaced", "CartCreated"]), Ok(vec!["OrderPlaced".to_owned(), "CartCreated".to_owned()]));
        for wrong in [&["--force"][..], &["--help"], &["OrderPlaced"], &["--force", "OrderEaten"]] {
            assert!(parsed(wrong).unwrap_err().contains("usage:"), "{wrong:?}");
        }
    }
}
