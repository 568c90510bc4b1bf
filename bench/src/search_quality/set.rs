//! A search set: a catalogue, queries, and for each query the products that answer it.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    path::{Path, PathBuf},
};

use event_schemas::{Currency, Money, money::parse_amount};
use search::{Category, Document};

/// Where a set is, and what its columns are called.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The folder with products.csv, queries.csv and qrels.csv.
    #[arg(long, default_value = "../shared/data/search")]
    pub set: PathBuf,
    /// What a column of the catalogue holds, as in `sku=id`; others keep their names, and unknown ones become attributes.
    #[arg(long, value_delimiter = ',', default_value = "sku=id,brand=manufacturer")]
    pub columns: Vec<String>,
}

/// What was read.
pub struct Set {
    pub documents: Vec<Document>,
    /// The queries by their ids.
    pub queries: BTreeMap<String, String>,
    /// The grade of each product that answers a query, by their ids.
    pub answers: HashMap<String, HashMap<String, f64>>,
}

/// Reads the set at `options`.
///
/// # Errors
/// A file can't be read, or lacks a column.
pub fn read(options: &Options) -> Result<Set, csv::Error> {
    let mut answers: HashMap<String, HashMap<String, f64>> = HashMap::new();
    for row in rows(&options.set.join("qrels.csv"))? {
        let field = |name: &str| row.get(name).cloned().unwrap_or_default();
        let grade = row.get("grade").and_then(|grade| grade.parse().ok()).unwrap_or(1.0);
        answers.entry(field("query_id")).or_default().insert(field("product_id"), grade);
    }
    let queries = rows(&options.set.join("queries.csv"))?;
    let query = |row: HashMap<String, String>| Some((row.get("query_id")?.clone(), row.get("query")?.clone()));
    let products = rows(&options.set.join("products.csv"))?;
    let documents = (1..).zip(products).filter_map(|(created, row)| document(row, &options.columns, created)).collect();
    Ok(Set { documents, queries: queries.into_iter().filter_map(query).collect(), answers })
}

fn rows(path: &Path) -> Result<Vec<HashMap<String, String>>, csv::Error> {
    csv::Reader::from_reader(File::open(path)?).deserialize().collect()
}

fn document(mut row: HashMap<String, String>, columns: &[String], created: i64) -> Option<Document> {
    for (ours, theirs) in columns.iter().filter_map(|mapped| mapped.split_once('=')) {
        if let Some(value) = row.remove(theirs) {
            row.insert(ours.to_owned(), value);
        }
    }
    let currency: Currency = row.remove("currency").unwrap_or_default().parse().or_else(|_| "GBP".parse()).ok()?;
    let amount = row.remove("price").and_then(|price| parse_amount(&price).ok()).unwrap_or_default();
    let mut taken = |name: &str| row.remove(name).filter(|value| !value.is_empty());
    let (sku, title) = (taken("sku")?, taken("title")?);
    let (description, brand, category) = (taken("description").unwrap_or_default(), taken("brand"), taken("category"));
    let in_stock = taken("stock").is_none_or(|stock| stock != "0");
    let attributes = row.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    Some(Document {
        sku,
        title,
        description,
        brand,
        categories: category.into_iter().map(|name| Category { id: name.clone(), name }).collect(),
        attributes,
        price: Money::new(amount, currency),
        sales: Vec::new(),
        in_stock,
        rating_sum: 0,
        rating_count: 0,
        created,
    })
}
