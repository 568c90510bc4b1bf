//! `/openapi.json` says exactly what is read and answered: three tools that know the specification, and not Merx, find nothing.

mod schemathesis;

use std::{ffi::OsString, process::Output, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::{database::skipped, shop::Shop};

/// Time limit of a tool. Cases are counted, not timed; this only ends what hangs.
const LIMIT: Duration = Duration::from_mins(10);

/// The Python with the packages of `requirements.txt`; none, and a line that says so, where there is none.
fn python() -> Option<OsString> {
    let python = std::env::var_os("MERX_TEST_PYTHON");
    if python.is_none() {
        skipped("MERX_TEST_PYTHON");
    }
    python
}

async fn run(command: &mut Command) -> Output {
    let output = tokio::time::timeout(LIMIT, command.kill_on_drop(true).output()).await;
    output.expect("the tool did not end").expect("the tool")
}

fn told(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A folder with the document in it.
async fn document(shop: &Shop) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let document = shop.get("/openapi.json").await.expect(200);
    std::fs::write(folder.path().join("openapi.json"), &document.bytes).expect("the document");
    folder
}

#[tokio::test]
async fn the_validator_of_the_specification_finds_nothing() {
    let Some(python) = python() else { return };
    let Some(shop) = Shop::open().await else { return };
    let folder = document(&shop).await;
    let output = run(Command::new(python).args(["-m", "openapi_spec_validator"]).arg(folder.path().join("openapi.json"))).await;
    assert!(output.status.success(), "{}", told(&output));
}

#[tokio::test]
async fn redocly_finds_nothing() {
    let Some(redocly) = std::env::var_os("MERX_TEST_REDOCLY") else { return skipped("MERX_TEST_REDOCLY") };
    let Some(shop) = Shop::open().await else { return };
    let folder = document(&shop).await;
    let output = run(Command::new(redocly).args(["lint", "openapi.json", "--format", "json"]).current_dir(folder.path())).await;
    let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", told(&output)));
    assert_eq!((&found["totals"]["errors"], &found["totals"]["warnings"]), (&json!(0), &json!(0)), "{found:#}");
}
