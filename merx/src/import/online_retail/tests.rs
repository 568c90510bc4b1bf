//! What a row is, and which invoice it belongs to.

use std::io::Write;

use event_schemas::events::order::ImportedLineKind;

use super::{
    invoice::{Body, Document, Invoices},
    reading::{Listing, Survey, send_documents},
    row::{HEADER, Kind, Row},
};
use crate::import::{
    Error, Rejections,
    rows::{Damage, Record},
    source::Source,
};

fn read(row: &str) -> Result<Row, String> {
    let fields = row.split(',').map(str::to_owned).collect();
    Row::read(Record { line: 7, fields, is_terminated: true }).map_err(|rejection| rejection.reason)
}

/// A file of `rows` below the right header.
fn file(rows: &str) -> (tempfile::NamedTempFile, Source) {
    raw_file(format!("{}\n{rows}", HEADER.join(",")).as_bytes())
}

fn raw_file(bytes: &[u8]) -> (tempfile::NamedTempFile, Source) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let source = Source::File { path: file.path().to_owned(), separator: None };
    (file, source)
}

fn documents(rows: &str) -> (Vec<Document>, Rejections) {
    let (_file, source) = file(rows);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _entered = runtime.enter();
    let (to, mut from) = tokio::sync::mpsc::channel(10_000);
    let rejected = send_documents(&source, "GBP".parse().unwrap(), &to).unwrap();
    let mut sent = Vec::new();
    while let Ok((document, _)) = from.try_recv() {
        sent.push(document);
    }
    (sent, rejected)
}

#[test]
fn a_sale_is_read_to_the_last_decimal() {
    let row = read("550193,21212, CASES ,3,2011-04-15 09:27:00,0.001,13952.0,United Kingdom").unwrap();
    assert_eq!((row.kind, row.quantity, row.amount.to_string().as_str()), (Kind::Sale, 3, "0.003"));
    assert_eq!(row.at.to_string(), "2011-04-15T09:27:00.000000Z");
    assert_eq!((row.customer.as_deref(), row.description.as_str()), (Some("13952"), " CASES "));
    assert_eq!(row.sku.unwrap().as_str(), "21212");
}

#[test]
fn codes_with_four_digits_name_products_and_others_charges() {
    let is_product = |code: &str| read(&format!("1,{code},x,1,2011-04-15 09:27:00,1,,UK")).unwrap().sku.is_some();
    assert!(["21212", "85123A", "15056BL", "47503j", "DCGS0076", "gift_0001_20"].into_iter().all(is_product));
    assert!(!["POST", "DOT", "M", "m", "D", "S", "C2", "BANK CHARGES", "AMAZONFEE", "PADS", "12345 A"].into_iter().any(is_product));
}

#[test]
fn the_kind_of_a_row_follows_from_its_invoice_its_quantity_and_its_price() {
    let kind = |invoice: &str, code: &str, quantity: &str, price: &str| {
        read(&format!("{invoice},{code},x,{quantity},2011-04-15 09:27:00,{price},,UK")).map(|row| row.kind)
    };
    assert_eq!(kind("1", "21212", "1", "0.0"), Ok(Kind::Sale), "a gift");
    assert_eq!(kind("A1", "B", "1", "-11062.06"), Ok(Kind::Adjustment), "a debt that is written off");
    assert_eq!(kind("C1", "21212", "-1", "2.5"), Ok(Kind::Return));
    assert_eq!(kind("C1", "D", "-1", "2.5"), Ok(Kind::Return));
    assert_eq!(kind("1", "21212", "-1", "0.0"), Ok(Kind::Correction));
    for (invoice, code, quantity, price, reason) in [
        ("1", "21212", "0", "1", "quantity of 0"),
        ("1", "21212", "-1", "1", "below zero, -1, at a price"),
        ("1", "POST", "-1", "0", "names no product"),
        ("1", "21212", "1", "-1", "price below zero"),
        ("C1", "21212", "1", "1", "which is a return"),
        ("1", "21212", "one", "1", "Quantity \"one\""),
        ("1", "21212", "1.0", "1", "Quantity \"1.0\""),
        ("1", "21212", "9999999999", "1", "more than"),
        ("1", "21212", "1", "1e3", "UnitPrice \"1e3\""),
        ("1", "21212", "1", "", "UnitPrice \"\""),
        ("", "21212", "1", "1", "InvoiceNo is empty"),
        ("1", " ", "1", "1", "StockCode is empty"),
    ] {
        let told = kind(invoice, code, quantity, price).unwrap_err();
        assert!(told.contains(reason), "{invoice} {code} {quantity} {price}: {told}");
    }
    assert!(read("1,21212,x,1,01/12/2010 08:26,1,,UK").unwrap_err().contains("InvoiceDate"));
    assert!(read("1,21212,x,1,2010-12-01 08:26:00,1,").unwrap_err().contains("7 fields"));
}

#[test]
fn an_invoice_whose_number_begins_with_another_letter_adjusts_accounts() {
    let kind = |invoice: &str, code: &str, quantity: i64, price: &str| {
        read(&format!("{invoice},{code},x,{quantity},2011-08-12 14:50:00,{price},,UK")).map(|row| row.kind)
    };
    for (code, quantity, price) in [("B", 1, "11062.06"), ("B", 1, "-11062.06"), ("B", -1, "5"), ("21212", -2, "2.5"), ("21212", 2, "-1")] {
        assert_eq!(kind("A563185", code, quantity, price), Ok(Kind::Adjustment), "{code} {quantity} {price}");
    }
    assert_eq!(kind("A563185", "21212", -1, "0"), Ok(Kind::Correction));
    assert!(kind("A563185", "B", 0, "1").unwrap_err().contains("quantity of 0"));
    assert_eq!(kind("c1", "21212", -1, "2.5"), Ok(Kind::Return));
}

#[test]
fn a_header_in_other_letters_is_the_same_header() {
    let rows = "1,21212,a,1,2011-02-01 11:19:00,2,,UK\n";
    let upper = format!("{}\n{rows}", HEADER.join(",").to_uppercase());
    assert_eq!(Survey::of(&raw_file(upper.as_bytes()).1).unwrap().rows, 1);
    let separated = format!("{}\n{rows}", HEADER.join(",")).replace(',', ";");
    assert_eq!(Survey::of(&raw_file(separated.as_bytes()).1).unwrap().rows, 1);
}

#[test]
fn an_invoice_that_another_one_interrupts_is_one_order_with_the_time_of_its_first_row() {
    let (sent, rejected) = documents(
        "1,21212,a,1,2011-02-01 11:19:00,2,7.0,UK\nC2,21212,a,-1,2011-02-01 11:19:00,2,7.0,UK\n\
         1,POST,b,1,2011-02-01 11:20:00,3,7.0,UK\n1,21213,gone,-4,2011-02-01 11:21:00,0.0,7.0,UK\n",
    );
    assert_eq!(rejected.rows, 0);
    let [Document { body: Some(Body::Order(order)), corrections, rows: 3, .. }, Document { body: Some(Body::Return(returned)), .. }] =
        &sent[..]
    else {
        panic!("{sent:#?}")
    };
    assert_eq!(order.placed_at.to_string(), "2011-02-01T11:19:00.000000Z");
    assert_eq!(order.lines.iter().map(|line| line.kind).collect::<Vec<_>>(), [ImportedLineKind::Item, ImportedLineKind::Charge]);
    assert_eq!((order.total.to_string(), returned.total.to_string()), ("5".into(), "-2".into()));
    let (sku, correction) = &corrections[0];
    assert_eq!((sku.as_str(), correction.quantity, correction.reason.as_str()), ("21213", -4, "gone"));
    assert_eq!((correction.invoice.as_str(), correction.at.to_string().as_str()), ("1", "2011-02-01T11:21:00.000000Z"));
}

#[test]
fn an_invoice_of_nothing_but_corrections_makes_no_order() {
    let (sent, _) = documents("1,21212,?,-1,2011-02-01 11:19:00,0,,UK\n1,21212,?,-1,2011-02-01 11:19:00,0,,UK\n");
    assert!(matches!(&sent[..], [Document { body: None, corrections, .. }] if corrections.len() == 2));
}

#[test]
fn what_fits_nowhere_is_counted_with_its_amount_and_the_rest_of_the_invoice_stays() {
    let (sent, rejected) = documents(
        "1,21212,a,1,2011-02-01 11:19:00,2,7.0,UK\n1,21212,a,-3,2011-02-01 11:19:00,2,7.0,UK\n\
         1,21212,a,5,2011-02-01 11:19:00,2,8.0,UK\n1,21212,a,x,2011-02-01 11:19:00,2,7.0,UK\n",
    );
    assert_eq!((rejected.rows, rejected.rows_without_amount, rejected.amount.to_string().as_str()), (3, 1, "4"));
    assert_eq!(rejected.listed().iter().map(|rejection| rejection.line).collect::<Vec<_>>(), [3, 4, 5]);
    assert!(rejected.listed()[1].reason.contains("another customer"));
    assert_eq!(sent[0].rows, 1);
    let told = rejected.to_string();
    assert!(told.contains("line 3: a quantity below zero, -3, at a price, on 1, which is no return [-6]"), "{told}");
}

#[test]
fn an_invoice_stays_open_for_a_thousand_rows_and_no_more() {
    let other =
        |count: usize| (0..count).map(|n| format!("X{},21212,a,1,2011-02-01 11:19:00,2,,UK\n", n / 40)).collect::<Vec<_>>().concat();
    let row = "1,21212,a,1,2011-02-01 11:19:00,2,,UK\n";
    let parts = |between: usize| {
        let (sent, _) = documents(&format!("{row}{}{row}", other(between)));
        sent.iter().filter(|document| document.invoice == "1").count()
    };
    assert_eq!((parts(998), parts(1_000)), (1, 2));
}

#[test]
fn open_invoices_are_bounded_in_bytes() {
    let mut invoices = Invoices::new("GBP".parse().unwrap());
    let description = "\u{1f600}".repeat(500);
    let row = |nth: usize| read(&format!("{},21212,{description},1,2011-02-01 11:19:00,2,,UK", nth % 4)).unwrap();
    let taken = (0..1_000_000).take_while(|nth| invoices.add(row(*nth)).is_ok()).count();
    assert!((12_000..17_000).contains(&taken), "{taken} rows of 2,000 bytes");
    for nth in 0..1_000 {
        let reason = invoices.add(row(nth)).unwrap_err().reason;
        assert_eq!(reason, "invoices whose rows are mixed have more than 32 MiB: sort the rows by InvoiceNo");
    }
    assert_eq!(invoices.complete().iter().map(|document| document.rows).sum::<u64>(), taken as u64);
    assert!(invoices.add(row(0)).is_ok(), "there is room again");
}

#[test]
fn a_product_has_the_title_and_the_price_of_its_last_row_at_a_price() {
    let (_file, source) = file(
        "1,21212,OLD,1,2011-02-01 11:19:00,2.0,,UK\n2,21212, NEW ,1,2011-02-01 11:19:00,3.0,,UK\n3,21212,damaged,-1,2011-02-01 11:19:00,0.0,,UK\n\
         4,21213,,-1,2011-02-01 11:19:00,0.0,,UK\n4,84030e,lower,1,2011-02-01 11:19:00,1,,UK\n4,84030E,upper,1,2011-02-01 11:19:00,1,,UK\n",
    );
    let survey = Survey::of(&source).unwrap();
    let listing = |title: &str, price: &str| Listing { title: Some(title.into()), price: Some(price.parse().unwrap()) };
    let found: Vec<_> = survey.products.iter().map(|(sku, listing)| (sku.as_str(), listing.clone())).collect();
    let expected = [
        ("21212", listing("NEW", "3.0")),
        ("21213", Listing::default()),
        ("84030E", listing("upper", "1")),
        ("84030e", listing("lower", "1")),
    ];
    assert_eq!((survey.rows, &found[..]), (6, &expected[..]));
}

#[test]
fn a_damaged_file_is_told_with_its_line() {
    let whole = "1,21212,a,1,2011-02-01 11:19:00,2,,United Kingdom\n2,21212,a,1,2011-02-01 11:19:00,2,,United Kingdom";
    let damage = |rows: &str| match Survey::of(&file(rows).1) {
        Ok(survey) => Err(survey.rows),
        Err(Error::Damaged { line, damage, .. }) => Ok((line, damage)),
        Err(other) => panic!("{other}"),
    };
    assert_eq!(damage(whole), Err(2), "the last line break may be missing");
    assert_eq!(damage(&whole[..whole.len() - 1]), Ok((3, Damage::CutOff)), "in the middle of a country that is known");
    assert_eq!(damage(&whole[..whole.len() - 20]), Ok((3, Damage::CutOff)));
    assert_eq!(damage(&whole.replace("2,21212,a", "2,21212,\"a")), Ok((3, Damage::Unclosed)));
    let mut latin1 = format!("{}\n{whole}\n", HEADER.join(",")).replace(",a,", ",~,").into_bytes();
    latin1.iter_mut().filter(|byte| **byte == b'~').for_each(|byte| *byte = 0xa3);
    assert!(matches!(Survey::of(&raw_file(&latin1).1), Err(Error::Damaged { line: 2, damage: Damage::NotUtf8, .. })));
}

#[test]
fn a_wrong_header_is_told_with_the_right_one() {
    for header in ["", "Invoice,StockCode\n", "sku,title\n"] {
        let error = Survey::of(&raw_file(header.as_bytes()).1).unwrap_err().to_string();
        assert!(error.contains("InvoiceNo,StockCode,Description") && error.contains("Nothing was imported"), "{error}");
    }
    assert!(matches!(Survey::of(&Source::File { path: "/tmp".into(), separator: None }), Err(Error::NotAFile { .. })));
    assert!(matches!(Survey::of(&Source::File { path: "/nowhere".into(), separator: None }), Err(Error::Open { .. })));
}

#[test]
fn xz_is_known_by_its_content_and_a_cut_stream_is_told() {
    let rows: Vec<String> = (0..5_000).map(|n| format!("{n},21212,a{},1,2011-02-01 11:19:00,2,,UK\n", n * 7919 % 1_000)).collect();
    let text = format!("{}\n{}", HEADER.join(","), rows.concat());
    let packed = liblzma::encode_all(text.as_bytes(), 6).unwrap();
    assert_eq!(Survey::of(&raw_file(&packed).1).unwrap().rows, 5_000);
    let twice = [packed.clone(), liblzma::encode_all("5000,21212,a,1,2011-02-01 11:19:00,2,,UK\n".as_bytes(), 6).unwrap()].concat();
    assert_eq!(Survey::of(&raw_file(&twice).1).unwrap().rows, 5_001, "two streams in a row");
    let cut = Survey::of(&raw_file(&packed[..packed.len() / 2]).1).unwrap_err();
    assert!(matches!(cut, Error::Damaged { damage: Damage::Compressed(_) | Damage::CutOff, .. }), "{cut}");
    let mut rotten = packed;
    let middle = rotten.len() / 2;
    rotten[middle] ^= 0xff;
    let rotten = Survey::of(&raw_file(&rotten).1).unwrap_err();
    assert!(matches!(rotten, Error::Damaged { damage: Damage::Compressed(_), .. }), "{rotten}");
}

#[test]
fn gzip_and_utf_16_are_read_and_what_can_not_be_is_told_by_its_name() {
    let rows: Vec<String> = (0..5_000).map(|n| format!("{n},21212,Küche {},1,2011-02-01 11:19:00,2,,UK\n", n * 7919 % 1_000)).collect();
    let text = format!("{}\n{}", HEADER.join(","), rows.concat());
    let gzip = |bytes: &[u8]| {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    };
    let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let (with_mark, big_with_mark) = ([b"\xff\xfe", &little[..]].concat(), [b"\xfe\xff", &big[..]].concat());
    for bytes in [gzip(text.as_bytes()), gzip(&with_mark), little, big, with_mark.clone(), big_with_mark] {
        let survey = Survey::of(&raw_file(&bytes).1).unwrap();
        assert_eq!((survey.rows, survey.products.values().next().unwrap().title.as_deref()), (5_000, Some("Küche 81")));
    }
    let packed = gzip(text.as_bytes());
    let cut = Survey::of(&raw_file(&packed[..packed.len() / 2]).1).unwrap_err();
    assert!(matches!(cut, Error::Damaged { damage: Damage::Compressed(_), .. }), "{cut}");
    let odd = Survey::of(&raw_file(&with_mark[..with_mark.len() - 1]).1).unwrap_err();
    assert!(matches!(odd, Error::Damaged { line: 5_000.., damage: Damage::NotUtf16, .. }), "{odd}");
    for (bytes, told) in
        [(&b"PK\x03\x04[Content_Types].xml"[..], "workbook"), (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", ".xls"), (b"BZh91AY", "bunzip2")]
    {
        let error = Survey::of(&raw_file(bytes).1).unwrap_err().to_string();
        assert!(error.contains(told) && error.contains("Nothing was imported"), "{error}");
        let packed = Survey::of(&raw_file(&gzip(bytes)).1).unwrap_err().to_string();
        assert!(packed.contains(told), "{packed}");
    }
}
