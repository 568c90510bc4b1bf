//! `merx import`, with a server that runs on the same database.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use rust_decimal::Decimal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    client::Client,
    database::skipped,
    server::merx,
    shop::{Shop, confirmed, money, stock_becomes},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn excerpt() -> PathBuf {
    root().join("demo/online-retail-excerpt.csv")
}

fn run(shop: &Shop, source: &str, file: &Path, more: &[&str]) -> Output {
    merx(&["import", source]).arg(file).args(more).env("DATABASE_URL", &shop.database.url).output().expect("merx import")
}

/// What it printed, if it went well.
fn import(shop: &Shop, source: &str, file: &Path, more: &[&str]) -> String {
    let output = run(shop, source, file, more);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

async fn head(client: &Client) -> i64 {
    client.get("/v1/projections").await.expect(200)["head"].as_i64().expect("the head")
}

fn decimal(value: &Value) -> Decimal {
    value["amount"].as_str().unwrap_or_else(|| panic!("no amount: {value}")).parse().expect("a decimal")
}

/// Gross, returned and net.
fn sums(line: &Value) -> [Decimal; 3] {
    ["gross", "returned", "net"].map(|name| decimal(&line[name]))
}

/// What rows are summed up by.
type Key = fn(&csv::StringRecord) -> String;

/// What the rows of a file come to by a key, counted here.
fn counted(file: &Path, key: impl Fn(&csv::StringRecord) -> String) -> BTreeMap<String, [Decimal; 3]> {
    let mut found = BTreeMap::<String, [Decimal; 3]>::new();
    for row in csv::Reader::from_path(file).expect("the file").records() {
        let row = row.expect("a row");
        let (quantity, price): (Decimal, Decimal) = (row[3].parse().expect("a quantity"), row[5].parse().expect("a price"));
        let amount = quantity * price;
        if amount.is_zero() {
            continue;
        }
        let line = found.entry(key(&row)).or_default();
        if row[0].starts_with('C') {
            line[1] += amount;
        } else {
            line[0] += amount;
        }
        line[2] += amount;
    }
    found
}

/// What `/v1/sales` says by a key.
async fn reported(client: &Client, by: &str) -> BTreeMap<String, [Decimal; 3]> {
    let lines = client.all(&format!("/v1/sales?by={by}")).await;
    lines
        .iter()
        .map(|line| (line["key"].as_str().expect("a key").to_owned(), sums(line)))
        .filter(|(_, sums)| !sums.iter().all(Decimal::is_zero))
        .collect()
}

#[tokio::test]
async fn the_history_of_a_shop_is_told_by_its_sales() {
    let Some(shop) = Shop::open().await else { return };
    let told = import(&shop, "online-retail", &excerpt(), &["--stock", "7"]);
    assert!(told.contains("688"), "it does not say how many rows: {told}");
    let by: [(&str, Key); 4] = [
        ("month", |row| row[4][..7].to_owned()),
        ("day", |row| row[4][..10].to_owned()),
        ("country", |row| row[7].to_owned()),
        ("product", |row| row[1].to_owned()),
    ];
    for (by, key) in by {
        assert_eq!(reported(&shop, by).await, counted(&excerpt(), key), "by {by}");
    }
    let whole = counted(&excerpt(), |_| String::new());
    let report = shop.get("/v1/sales?by=month&limit=1").await.expect(200);
    assert_eq!((sums(&report["total"]), &report["currency"]), (whole[""], &json!("GBP")), "{report}");
    let january = shop.get("/v1/sales?by=day&from=2011-01-01&to=2011-01-31").await.expect(200);
    assert_eq!(sums(&january["total"]), counted(&excerpt(), |row| row[4][..7].to_owned())["2011-01"], "{january}");
    let countries: Vec<_> = shop.all("/v1/sales?by=country").await.iter().map(|line| decimal(&line["net"])).collect();
    assert!(countries.is_sorted_by(|a, b| a >= b), "{countries:?}");
    // What was imported can be sold, and history is closed.
    let product = shop.get("/v1/products/85123A").await.expect(200);
    assert_eq!(product["stock"]["available"], 7, "{product}");
    confirmed(&shop, &[("85123A", 2)]).await;
    stock_becomes(&shop, "85123A", 5, 0).await;
    let imported = shop.all("/v1/orders").await.into_iter().find(|order| order["invoice"].is_string()).expect("an imported order");
    let cancel = format!("/v1/orders/{}/cancel", imported["id"].as_str().unwrap());
    shop.post(&cancel, json!({})).await.refused(409, "order_imported");
    let before = head(&shop).await;
    import(&shop, "online-retail", &excerpt(), &["--stock", "7"]);
    assert_eq!(head(&shop).await, before, "the same file again changed something");
}

#[tokio::test]
async fn a_catalogue_is_imported_and_changed_by_the_next_file() {
    let Some(shop) = Shop::open().await else { return };
    let file = root().join("demo/catalogue.csv");
    import(&shop, "catalogue", &file, &[]);
    let rows: Vec<_> = csv::Reader::from_path(&file).expect("the file").records().map(|row| row.expect("a row")).collect();
    let products = shop.all("/v1/products").await;
    assert_eq!(products.len(), rows.len());
    for row in &rows {
        let product = products.iter().find(|product| product["sku"] == row[0]).unwrap_or_else(|| panic!("no {}", &row[0]));
        assert_eq!((&product["title"], &product["description"], &product["brand"]), (&json!(row[1]), &json!(row[2]), &json!(row[4])));
        assert_eq!(product["price"], json!({"amount": row[5], "currency": row[6]}));
        assert_eq!(product["stock"]["available"].to_string(), row[7]);
        for (name, value) in ["colour", "material", "size"].into_iter().zip([&row[8], &row[9], &row[10]]) {
            let expected = if value.is_empty() { Value::Null } else { json!(value) };
            assert_eq!(product["attributes"][name], expected, "{product}");
        }
        let category = product["category"].as_str().expect("a category");
        assert_eq!(shop.get(&format!("/v1/categories/{category}")).await.expect(200)["name"], row[3]);
    }
    let before = head(&shop).await;
    import(&shop, "catalogue", &file, &[]);
    assert_eq!(head(&shop).await, before, "the same file again changed something");
    let folder = TempDir::new().expect("a folder");
    let changed = folder.path().join("changed.csv");
    fs::write(&changed, "sku,title,description,category,brand,price,currency,stock\nMUG-STONE-01,Mug,,,,13,GBP,\n").expect("a file");
    import(&shop, "catalogue", &changed, &[]);
    let product = shop.get("/v1/products/MUG-STONE-01").await.expect(200);
    assert_eq!((&product["title"], &product["price"], &product["stock"]["available"]), (&json!("Mug"), &money("13"), &json!(120)));
}

#[tokio::test]
async fn a_damaged_file_is_refused_whole() {
    let Some(shop) = Shop::open().await else { return };
    let folder = TempDir::new().expect("a folder");
    let before = head(&shop).await;
    let text = fs::read(excerpt()).expect("the excerpt");
    let (header, rows) = text.split_at(text.iter().position(|byte| *byte == b'\n').expect("a line") + 1);
    let with = |more: &[u8]| [header, more].concat();
    let cases = [
        ("cut.csv", text[..text.len() / 2].to_vec()),
        ("quote.csv", [&text[..], b"536999,85123A,\"NEVER CLOSED,6,2010-12-01 08:26:00,2.55,1,France\n"].concat()),
        ("latin1.csv", with(b"536999,85123A,CAF\xc9,6,2010-12-01 08:26:00,2.55,1,France\n")),
        ("headless.csv", rows.to_vec()),
        ("other.csv", fs::read(root().join("demo/catalogue.csv")).expect("the catalogue")),
        ("empty.csv", Vec::new()),
        ("cut.csv.xz", vec![0xfd, b'7', b'z', b'X', b'Z', 0, 0, 4]),
    ];
    for (name, bytes) in cases {
        let file = folder.path().join(name);
        fs::write(&file, bytes).expect("a file");
        let output = run(&shop, "online-retail", &file, &[]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.contains("merx: ") && told.contains(name), "{name}: {}: {told}", output.status);
        assert!(!told.contains("panicked"), "{name}: {told}");
        assert_eq!(head(&shop).await, before, "{name} changed something");
    }
    let missing = run(&shop, "online-retail", &folder.path().join("missing.csv"), &[]);
    assert!(!missing.status.success() && String::from_utf8_lossy(&missing.stderr).contains("missing.csv"));
    for source in ["catalogue", "online-retail"] {
        let output = run(&shop, source, folder.path(), &[]);
        assert!(!output.status.success(), "a folder was imported as {source}");
    }
    let output = run(&shop, "catalogue", &excerpt(), &[]);
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(head(&shop).await, before);
}

const HEADER: &str = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country";

fn written(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let file = folder.path().join(name);
    fs::write(&file, bytes).expect("a file");
    file
}

#[tokio::test]
async fn rows_that_are_left_out_make_the_exit_code_1_after_the_rest_is_done() {
    let Some(shop) = Shop::open().await else { return };
    let folder = TempDir::new().expect("a folder");
    let text = "sku,title,price,currency\nGOOD-1,Mug,4.50,GBP\nBAD,Mug,4 50,GBP\nGOOD-2,Cup,4.50,GBP\n";
    let output = run(&shop, "catalogue", &written(&folder, "some.csv", text.as_bytes()), &[]);
    let (told, error) = (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned());
    assert_eq!(output.status.code(), Some(1), "{told}{error}");
    assert!(told.contains("line 3: price") && error.contains("merx: 1 rows were left out"), "{told}{error}");
    for sku in ["GOOD-1", "GOOD-2"] {
        shop.get(&format!("/v1/products/{sku}")).await.expect(200);
    }
    let rows = format!("{HEADER}\n1,21212,Cake cases,1,2011-02-01 11:19:00,2,,UK\n1,21212,Cake cases,-3,2011-02-01 11:19:00,2,,UK\n");
    let output = run(&shop, "online-retail", &written(&folder, "history.csv", rows.as_bytes()), &[]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(shop.get("/v1/sales?by=product").await.expect(200).items().len(), 1);
}

#[tokio::test]
async fn invoices_that_adjust_accounts_count_in_net_only() {
    let Some(shop) = Shop::open().await else { return };
    let folder = TempDir::new().expect("a folder");
    let rows = "1,21212,Cake cases,2,2011-08-12 14:50:00,5,7.0,United Kingdom\n\
                A563185,B,Adjust bad debt,1,2011-08-12 14:50:00,11062.06,,United Kingdom\n\
                A563186,B,Adjust bad debt,1,2011-08-12 14:51:00,-11062.06,,United Kingdom\n\
                A563187,B,Adjust bad debt,1,2011-08-12 14:52:00,-3.50,,United Kingdom\n\
                C2,21212,Cake cases,-1,2011-08-12 15:00:00,5,7.0,United Kingdom\n";
    let told = import(&shop, "online-retail", &written(&folder, "adjusted.csv", format!("{HEADER}\n{rows}").as_bytes()), &[]);
    assert!(told.contains("orders: 1 new") && told.contains("adjustments of accounts: 3 new"), "{told}");
    assert!(told.contains("gross 10, returned -5, net 1.50"), "{told}");
    for by in ["month", "country", "product", "category"] {
        let total = shop.get(&format!("/v1/sales?by={by}")).await.expect(200)["total"].clone();
        assert_eq!(
            (&total["orders"], &total["units"], sums(&total)),
            (&json!(1), &json!(2), ["10", "-5", "1.5"].map(|n| n.parse().unwrap())),
            "{by}"
        );
    }
}

#[tokio::test]
async fn the_stock_of_a_catalogue_is_what_is_on_hand_afterwards() {
    let Some(shop) = Shop::open().await else { return };
    let folder = TempDir::new().expect("a folder");
    let catalogue = |units: u32| format!("SKU;Title;Price;Currency;Stock\nCOUNTED;Mug;4.50;GBP;{units}\n");
    let file = |units| written(&folder, &format!("{units}.csv"), catalogue(units).as_bytes());
    for (units, on_hand) in [(10, 10), (10, 10), (4, 4), (10, 10)] {
        import(&shop, "catalogue", &file(units), &[]);
        stock_becomes(&shop, "COUNTED", on_hand, 0).await;
    }
    confirmed(&shop, &[("COUNTED", 3)]).await;
    stock_becomes(&shop, "COUNTED", 7, 0).await;
    import(&shop, "catalogue", &file(10), &["--delimiter", ";"]);
    stock_becomes(&shop, "COUNTED", 10, 0).await;
    let before = head(&shop).await;
    import(&shop, "catalogue", &file(10), &[]);
    assert_eq!(head(&shop).await, before, "the same file again changed something");
}

#[tokio::test]
async fn files_of_other_programs_are_read_or_told_what_is_wrong_with_them() {
    let Some(shop) = Shop::open().await else { return };
    let folder = TempDir::new().expect("a folder");
    let text = |sku: &str| format!("sku;title;category;price;currency\n{sku};Küchenmesser;Küche;4.50;GBP\n");
    let utf_16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let files = [
        ("OLD-MAC", text("OLD-MAC").replace('\n', "\r").into_bytes()),
        ("WINDOWS", [&b"\xff\xfe"[..], &utf_16(&text("WINDOWS").replace('\n', "\r\n"))].concat()),
        ("UPPER", text("UPPER").replace("sku;title", "SKU;TITLE").into_bytes()),
    ];
    for (sku, bytes) in files {
        import(&shop, "catalogue", &written(&folder, &format!("{sku}.csv"), &bytes), &[]);
        let product = shop.get(&format!("/v1/products/{sku}")).await.expect(200);
        assert_eq!((&product["title"], &product["category"]), (&json!("Küchenmesser"), &json!("kuche")), "{product}");
    }
    let before = head(&shop).await;
    let output = run(&shop, "catalogue", &written(&folder, "book.csv", b"PK\x03\x04\x14\0\x06\0[Content_Types].xml"), &[]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains("workbook (.xlsx") && told.contains("CSV UTF-8"), "{told}");
    assert_eq!(head(&shop).await, before);
}

/// Month, gross and net.
const MONTHS: [(&str, &str, &str); 6] = [
    ("2010-12", "823746.14", "748957.02"),
    ("2011-01", "691364.56", "560000.26"),
    ("2011-02", "523631.89", "498062.65"),
    ("2011-03", "717639.36", "683267.08"),
    ("2011-04", "537808.621", "493207.121"),
    ("2011-05", "770536.02", "723333.51"),
];
const COUNTRIES: [(&str, &str); 5] = [
    ("United Kingdom", "3117720.121"),
    ("Netherlands", "112906.68"),
    ("Germany", "91688.25"),
    ("EIRE", "84635.69"),
    ("France", "71756.53"),
];
const UNITS: [(&str, i64); 5] = [("23166", 75_016), ("84077", 29_281), ("85123A", 21_009), ("21212", 20_072), ("85099B", 19_335)];

#[tokio::test]
async fn the_whole_history_comes_to_what_is_published() {
    let file = root().join("../shared/data/online_retail_2010-12_to_2011-05.csv.xz");
    if !file.is_file() {
        return skipped(&file.display().to_string());
    }
    let Some(shop) = Shop::open().await else { return };
    import(&shop, "online-retail", &file, &[]);
    let report = shop.get("/v1/sales?by=month").await.expect(200);
    let total = ["gross", "returned", "net"].map(|name| report["total"][name]["amount"].clone());
    assert_eq!(total, ["4064726.591", "-357898.95", "3706827.641"].map(|amount| json!(amount)));
    let months: Vec<_> =
        report.items().iter().map(|line| (line["key"].clone(), line["gross"]["amount"].clone(), line["net"]["amount"].clone())).collect();
    assert_eq!(months, MONTHS.map(|(month, gross, net)| (json!(month), json!(gross), json!(net))));
    let countries = shop.get("/v1/sales?by=country&limit=5").await.expect(200);
    let countries: Vec<_> = countries.items().iter().map(|line| (line["key"].clone(), line["net"]["amount"].clone())).collect();
    assert_eq!(countries, COUNTRIES.map(|(country, net)| (json!(country), json!(net))));
    let mut units: Vec<_> =
        shop.all("/v1/sales?by=product").await.iter().map(|line| (line["units"].as_i64().unwrap(), line["key"].clone())).collect();
    units.sort_by_key(|(units, _)| -units);
    units.truncate(5);
    assert_eq!(units, UNITS.map(|(sku, units)| (units, json!(sku))));
    let before = head(&shop).await;
    import(&shop, "online-retail", &file, &[]);
    assert_eq!(head(&shop).await, before, "the same file again changed something");
}

#[tokio::test]
async fn a_server_may_begin_with_a_demo() {
    let Some(mut shop) = Shop::open().await else { return };
    let launch = shop.server().launch().clone().flag("--demo");
    for _ in 0..2 {
        assert!(shop.server().stop().success());
        shop.server().start_again_as(launch.clone()).await;
        let products =
            shop.until("/v1/products?limit=200", |products| products.items().iter().any(|one| one["sku"] == "MUG-STONE-01")).await;
        assert!(products.items().len() > 37, "{}", products.items().len());
        let sold = shop.until("/v1/sales?by=country", |sales| sales["total"]["orders"].as_i64() > Some(10)).await;
        assert_eq!(sums(&sold["total"]), counted(&excerpt(), |_| String::new())[""]);
    }
}
