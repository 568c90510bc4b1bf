//! The columns of a catalogue, and a row of it.

use std::collections::BTreeMap;

use domain::product::MAX_ATTRIBUTES;
use event_schemas::{Currency, Money, ids::Sku, money::parse_amount, text};
use rust_decimal::Decimal;

use crate::import::{Rejection, rows::Record};

/// The columns that have a meaning of their own, in upper or lower case; any other is an attribute.
const KNOWN: [&str; 8] = ["sku", "title", "description", "category", "brand", "price", "currency", "stock"];
/// The columns whose texts have one line.
const LINES: [&str; 3] = ["title", "category", "brand"];
/// The columns that must be there.
const REQUIRED: [&str; 4] = ["sku", "title", "price", "currency"];

// The limits are those of `POST /v1/products` and `POST /v1/categories`.
const MAX_TITLE_CHARS: usize = 500;
const MAX_DESCRIPTION_CHARS: usize = 20_000;
const MAX_NAME_CHARS: usize = 200;
const MAX_ATTRIBUTE_NAME_CHARS: usize = 100;
const MAX_ATTRIBUTE_CHARS: usize = 1_000;
const MAX_UNITS: u32 = 1_000_000_000;

/// Which column is what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    count: usize,
    known: BTreeMap<&'static str, usize>,
    attributes: Vec<(String, usize)>,
}

/// What a row says of something that a product need not have: of a column that is not there nothing, of an empty cell that it has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said<T> {
    /// Nothing.
    Nothing,
    /// That the product has none.
    Without,
    /// This.
    This(T),
}

impl<T> Said<T> {
    /// What a new product gets.
    pub fn given(self) -> Option<T> {
        match self {
            Self::This(this) => Some(this),
            Self::Nothing | Self::Without => None,
        }
    }
}

/// A row that makes sense.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its line in the file.
    pub line: u64,
    /// The product.
    pub sku: Sku,
    /// Its name.
    pub title: String,
    /// What people read about it.
    pub description: Said<String>,
    /// The name of its category.
    pub category: Said<String>,
    /// Its maker.
    pub brand: Said<String>,
    /// What one unit costs.
    pub price: Money,
    /// Named properties.
    pub attributes: BTreeMap<String, Option<String>>,
    /// Units on hand afterwards, from 0 to 1,000,000,000; none where the file does not say.
    pub stock: Option<u32>,
}

impl Row {
    /// About how many bytes of text it has.
    pub fn bytes(&self) -> usize {
        let said = |text: &Said<String>| if let Said::This(text) = text { text.len() } else { 0 };
        let attributes: usize = self.attributes.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, String::len)).sum();
        self.title.len() + said(&self.description) + said(&self.category) + said(&self.brand) + attributes
    }
}

impl Columns {
    /// Reads the first line, or says what is wrong with it.
    pub fn read(header: &[String]) -> Result<Self, String> {
        let mut columns = Self { count: header.len(), known: BTreeMap::new(), attributes: Vec::new() };
        for (index, name) in header.iter().map(|name| name.trim()).enumerate() {
            let again = if let Some(known) = KNOWN.into_iter().find(|known| known.eq_ignore_ascii_case(name)) {
                columns.known.insert(known, index).is_some()
            } else if name.is_empty() || name.chars().count() > MAX_ATTRIBUTE_NAME_CHARS || name.contains('\0') {
                return Err(format!("column {} must have a name of 1 to {MAX_ATTRIBUTE_NAME_CHARS} characters", index + 1));
            } else {
                let again = columns.attributes.iter().any(|(other, _)| other == name);
                columns.attributes.push((name.to_owned(), index));
                again
            };
            if again {
                return Err(format!("column {name:?} comes twice"));
            }
        }
        if let Some(missing) = REQUIRED.into_iter().find(|required| !columns.known.contains_key(required)) {
            let expected = KNOWN.join(",");
            return Err(format!("column {missing:?} is missing: the first line is {expected:?}, and further columns are attributes"));
        }
        if columns.attributes.len() > MAX_ATTRIBUTES {
            return Err(format!("{} columns of attributes, the most is {MAX_ATTRIBUTES}", columns.attributes.len()));
        }
        Ok(columns)
    }

    /// Reads a row, or says why it makes no product.
    pub fn row(&self, record: &Record) -> Result<Row, Rejection> {
        self.parse(record).map_err(|reason| Rejection { line: record.line, rows: 1, reason, amount: None })
    }

    fn parse(&self, record: &Record) -> Result<Row, String> {
        let fields = &record.fields;
        if fields.len() != self.count {
            return Err(format!("{} fields instead of {}", fields.len(), self.count));
        }
        if fields.iter().any(|field| field.contains('\0')) {
            return Err("a field has a NUL in it".into());
        }
        let cell = |column: &str| self.known.get(column).and_then(|index| fields.get(*index)).map(|field| field.trim());
        let required = |column: &str| cell(column).filter(|text| !text.is_empty()).ok_or_else(|| format!("{column} is empty"));
        let optional = |column: &str, max_chars: usize| match cell(column).map(|text| within(column, text, max_chars)).transpose()? {
            None => Ok::<_, String>(Said::Nothing),
            Some(None) => Ok(Said::Without),
            Some(Some(text)) => Ok(Said::This(text)),
        };
        let sku = required("sku")?.parse().map_err(|error| format!("sku {error}"))?;
        let title = required("title").and_then(|title| within("title", title, MAX_TITLE_CHARS))?.unwrap_or_default();
        let amount = price(required("price")?)?;
        let currency = Currency::in_use(required("currency")?).map_err(|error| format!("currency {error}"))?;
        let mut attributes = BTreeMap::new();
        for (name, index) in &self.attributes {
            let text = fields.get(*index).map_or("", |field| field.trim());
            attributes.insert(name.clone(), within(name, text, MAX_ATTRIBUTE_CHARS)?);
        }
        Ok(Row {
            line: record.line,
            sku,
            title,
            description: optional("description", MAX_DESCRIPTION_CHARS)?,
            category: optional("category", MAX_NAME_CHARS)?,
            brand: optional("brand", MAX_NAME_CHARS)?,
            price: Money::new(amount, currency),
            attributes,
            stock: units(cell("stock").unwrap_or_default())?,
        })
    }
}

/// `text`; none where it is empty.
fn within(column: &str, cell: &str, max_chars: usize) -> Result<Option<String>, String> {
    match cell.chars().count() {
        0 => Ok(None),
        chars if chars > max_chars => Err(format!("{column} is longer than {max_chars} characters")),
        _ if LINES.contains(&column) && !text::is_line(cell) => {
            Err(format!("{column} has control characters, a line break or nothing to be seen"))
        }
        _ if !text::is_prose(cell) => Err(format!("{column} has control characters")),
        _ if !cell.chars().any(text::is_visible) => Err(format!("{column} has nothing to be seen")),
        _ => Ok(Some(cell.to_owned())),
    }
}

fn price(text: &str) -> Result<Decimal, String> {
    parse_amount(text).map_err(|error| {
        let advice = if text.contains(',') { ": decimals stand behind a point, and nothing between thousands" } else { "" };
        format!("price {error}{advice}")
    })
}

/// Units in a cell; none where it is empty. Anything but a whole number from 0 to `MAX_UNITS` is an error.
fn units(text: &str) -> Result<Option<u32>, String> {
    let is_digits = text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u32>() {
        _ if text.is_empty() => Ok(None),
        Ok(units) if is_digits && units <= MAX_UNITS => Ok(Some(units)),
        _ => Err(format!("stock {text:?} is no whole number from 0 to {MAX_UNITS}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(header: &str) -> Result<Columns, String> {
        Columns::read(&header.split(',').map(str::to_owned).collect::<Vec<_>>())
    }

    fn row(header: &str, fields: &str) -> Result<Row, String> {
        let record = Record { line: 2, fields: fields.split(',').map(str::to_owned).collect(), is_terminated: true };
        columns(header).unwrap().row(&record).map_err(|rejection| rejection.reason)
    }

    const HEADER: &str = "sku,title,description,category,brand,price,currency,stock,colour";

    #[test]
    fn a_row_becomes_a_product_and_further_columns_attributes() {
        let read = row(HEADER, "MUG-1, Mug ,Holds tea,Home & Garden,,4.50,GBP,10,blue").unwrap();
        assert_eq!((read.sku.as_str(), read.title.as_str(), read.stock), ("MUG-1", "Mug", Some(10)));
        assert_eq!((read.description, read.brand), (Said::This("Holds tea".to_owned()), Said::Without));
        assert_eq!(read.category, Said::This("Home & Garden".to_owned()));
        assert_eq!(read.price.to_string(), "4.50 GBP");
        assert_eq!(read.attributes["colour"].as_deref(), Some("blue"));
    }

    #[test]
    fn of_columns_that_are_not_there_nothing_is_said() {
        let read = row("price,currency,title,sku", "4,GBP,Mug,M").unwrap();
        assert_eq!((read.description, read.category, read.brand, read.stock), (Said::Nothing, Said::Nothing, Said::Nothing, None));
        assert_eq!(row(HEADER, "M,Mug,,,,4,GBP,0,").unwrap().stock, Some(0));
        assert_eq!(row(HEADER, "M,Mug,,,,4,GBP,,").unwrap().stock, None);
    }

    #[test]
    fn a_row_that_makes_no_product_says_why() {
        for (fields, reason) in [
            ("M,Mug,,,,4.50,GBP,10", "8 fields"),
            (",Mug,,,,4.50,GBP,10,", "sku is empty"),
            ("M M,Mug,,,,4.50,GBP,10,", "sku \"M M\""),
            ("M,,,,,4.50,GBP,10,", "title is empty"),
            ("M,Mug,,,,-4.50,GBP,10,", "price \"-4.50\""),
            ("M,Mug,,,,4.50,QQQ,10,", "currency \"QQQ\""),
            ("M,Mug,,,,4.50,XAU,10,", "currency XAU is no currency in use"),
            ("M,Mug,,,,4.50,GBP,1.5,", "stock \"1.5\""),
            ("M,Mug,,,,4.50,GBP,-1,", "stock \"-1\""),
            ("M,\u{200b},,,,4.50,GBP,1,", "title has"),
            ("M,Mu\u{7}g,,,,4.50,GBP,1,", "title has control"),
            ("M,Mug,Holds \u{1b}[31mtea,,,4.50,GBP,1,", "description has control"),
        ] {
            let told = row(HEADER, fields).unwrap_err();
            assert!(told.contains(reason), "{fields}: {told}");
        }
    }

    #[test]
    fn a_header_in_upper_case_is_the_same_header_and_attributes_keep_theirs() {
        let read = row("SKU,Title,PRICE,Currency,Stock,Colour", "M,Mug,4,GBP,3,blue").unwrap();
        assert_eq!((read.title.as_str(), read.stock, read.attributes["Colour"].as_deref()), ("Mug", Some(3), Some("blue")));
        assert!(columns("sku,title,price,currency,SKU").unwrap_err().contains("twice"));
    }

    #[test]
    fn a_price_with_a_comma_says_so() {
        let fields = ["M", "Mug", "4,50", "GBP"].map(str::to_owned).to_vec();
        let told = columns("sku,title,price,currency").unwrap().row(&Record { line: 2, fields, is_terminated: true }).unwrap_err();
        assert!(told.reason.contains("behind a point"), "{}", told.reason);
    }

    #[test]
    fn a_header_that_lacks_a_column_or_has_one_twice_is_refused() {
        assert!(columns("sku,title,price").unwrap_err().contains("currency"));
        assert!(columns("sku,title,price,currency,sku").unwrap_err().contains("twice"));
        assert!(columns("sku,title,price,currency,colour,colour").unwrap_err().contains("twice"));
        assert!(columns("sku,title,price,currency,").unwrap_err().contains("column 5"));
    }
}
