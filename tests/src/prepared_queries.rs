//! `.sqlx/`: what it says about each query is what a database with today's migrations says.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use sqlx::{
    AssertSqlSafe, Column as _, Connection as _, Either, Executor as _, PgConnection, SqlSafeStr as _, Statement as _, TypeInfo as _,
    migrate::Migrator,
};

use crate::database::Database;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Each file with the query and its description.
fn prepared() -> Vec<(String, Value)> {
    let folder = root().join(".sqlx");
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}: run script/sqlx", folder.display()));
    let files = entries.map(|entry| entry.expect("a file").path());
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a readable file");
        (path.file_name().unwrap().to_string_lossy().into_owned(), serde_json::from_str(&text).expect("JSON"))
    };
    files.filter(|path| path.extension().is_some_and(|end| end == "json")).map(read).collect()
}

/// A type's name as `.sqlx` writes it (`Int8`, `TextArray`), from the name that Postgres has for it (`INT8`, `TEXT[]`); case is left out.
fn type_name(name: &str) -> String {
    name.trim_matches('"').replace("[]", "array").to_lowercase()
}

fn type_in_file(of: &Value) -> String {
    let name = of.as_str().or_else(|| of["Custom"]["name"].as_str()).unwrap_or_else(|| panic!("a type is {of}"));
    type_name(name)
}

#[tokio::test]
async fn every_file_says_what_the_database_says() {
    let Some(database) = Database::create().await else { return };
    let mut connection = PgConnection::connect_with(&database.options).await.expect("a connection");
    let migrator = Migrator::new(root().join("migrations")).await.expect("migrations");
    migrator.run(&mut connection).await.expect("migrated");
    // Projections name their tables without a schema, as a rebuild fills others of the same names; `script/sqlx` sets the same.
    connection.execute("set search_path = read_model, public").await.expect("a search path");
    let (mut stale, files) = (Vec::new(), prepared());
    assert!(files.len() > 20, "only {} queries", files.len());
    for (name, file) in files {
        let text = file["query"].as_str().expect("a query").to_owned();
        let statement = match connection.prepare(AssertSqlSafe(text).into_sql_str()).await {
            Ok(statement) => statement,
            Err(error) => {
                stale.push(format!("{name}: {error}"));
                continue;
            }
        };
        let of_file = |column: &Value| (column["name"].as_str().unwrap_or_default().to_owned(), type_in_file(&column["type_info"]));
        let in_file: Vec<_> = file["describe"]["columns"].as_array().expect("columns").iter().map(of_file).collect();
        let now: Vec<_> =
            statement.columns().iter().map(|column| (column.name().to_owned(), type_name(column.type_info().name()))).collect();
        if in_file != now {
            stale.push(format!("{name}: its columns are {now:?}, not {in_file:?}"));
        }
        let in_file: Vec<_> = file["describe"]["parameters"]["Left"].as_array().expect("parameters").iter().map(type_in_file).collect();
        let now: Vec<_> = match statement.parameters() {
            Some(Either::Left(types)) => types.iter().map(|of| type_name(of.name())).collect(),
            _ => Vec::new(),
        };
        if in_file != now {
            stale.push(format!("{name}: its parameters are {now:?}, not {in_file:?}"));
        }
    }
    assert!(stale.is_empty(), ".sqlx is stale, run script/sqlx:\n{}", stale.join("\n"));
    connection.close().await.expect("closed");
}

fn sources(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let is_source = path.extension().is_some_and(|end| end == "rs");
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            sources(&path, found);
        } else if is_source {
            found.push(fs::read_to_string(&path).expect("a source"));
        }
    }
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn every_file_is_of_a_query_that_there_is() {
    let mut texts = Vec::new();
    sources(&root(), &mut texts);
    let texts: Vec<String> = texts.iter().map(|text| words(&text.replace("\\\"", "\"").replace("\\\n", "\n"))).collect();
    let mut gone = Vec::new();
    let files = prepared();
    for (name, file) in &files {
        let query = words(file["query"].as_str().expect("a query"));
        if !texts.iter().any(|text| text.contains(&query)) {
            gone.push(format!("{name}: {query}"));
        }
    }
    assert!(gone.is_empty(), "no source has these queries any more, run script/sqlx:\n{}", gone.join("\n"));
    let distinct: HashSet<_> = files.iter().map(|(_, file)| file["query"].as_str()).collect();
    assert_eq!(distinct.len(), files.len(), "a query stands in two files");
}
