use event_schemas::{Money, Timestamp};
use search::{
    Document, Error, Request, Sale, Sort,
    query::{At, Filters},
};

use crate::{
    indexes,
    shop::{ask, asking, fill, price, product},
};

fn money(amount: &str, currency: &str) -> Money {
    Money::new(amount.parse().expect("an amount"), currency.parse().expect("a currency"))
}

fn second(second: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + second * 1_000_000)
}

fn sale(from: i64, until: i64, price: Money) -> Sale {
    Sale { starts_at: second(from), ends_at: second(until), price }
}

fn priced(sku: &str, price: Money, sales: Vec<Sale>) -> Document {
    Document { price, sales, ..product(sku, "Lamp") }
}

fn by(sort: Sort, at: i64) -> Request {
    Request { sort, at: At(second(at)), ..asking("lamp") }
}

fn between(least: Option<&str>, most: Option<&str>, at: i64) -> Request {
    let amount = |text: &str| text.parse().expect("an amount");
    let filters = Filters { price_min: least.map(amount), price_max: most.map(amount), ..Filters::default() };
    Request { filters, ..by(Sort::Price, at) }
}

#[tokio::test]
async fn a_sale_counts_for_filters_and_order_from_its_first_moment_to_its_last() {
    for made in indexes::all().await {
        let two = vec![sale(10, 20, price("5.00")), sale(20, 30, price("55.00"))];
        let all = vec![
            priced("LOW", price("10.00"), Vec::new()),
            priced("SALE", price("30.00"), two),
            priced("TOP", price("50.00"), vec![sale(100, 110, price("1.00"))]),
        ];
        fill(&made.index, all).await;
        for (at, cheapest_first, up_to_12) in [
            (9, ["LOW", "SALE", "TOP"], &["LOW"][..]),
            (10, ["SALE", "LOW", "TOP"], &["SALE", "LOW"]),
            (19, ["SALE", "LOW", "TOP"], &["SALE", "LOW"]),
            (20, ["LOW", "TOP", "SALE"], &["LOW"]),
            (30, ["LOW", "SALE", "TOP"], &["LOW"]),
            (105, ["TOP", "LOW", "SALE"], &["TOP", "LOW"]),
        ] {
            assert_eq!(ask(&made.index, &by(Sort::Price, at)).await.skus, cheapest_first, "at {at}");
            let dearest_first: Vec<&str> = cheapest_first.into_iter().rev().collect();
            assert_eq!(ask(&made.index, &by(Sort::PriceDown, at)).await.skus, dearest_first, "at {at}");
            assert_eq!(ask(&made.index, &between(None, Some("12"), at)).await.skus, up_to_12, "at {at}");
        }
        let dear = ask(&made.index, &between(Some("40"), None, 25)).await;
        assert_eq!((dear.skus, dear.total, dear.price), (vec!["TOP".into(), "SALE".into()], 2, Some((price("50.00"), price("55.00")))));
        let any = ask(&made.index, &Request { at: At(second(15)), ..asking("lamp") }).await;
        assert_eq!(any.price, Some((price("5.00"), price("50.00"))));
    }
}

#[tokio::test]
async fn pages_by_price_follow_one_another_while_sales_run() {
    for made in indexes::all().await {
        let documents = (0..30).map(|nth: i64| {
            let sales = if nth % 3 == 0 { vec![sale(0, 10, price(&format!("{}.50", 30 - nth)))] } else { Vec::new() };
            Document { created: nth, ..priced(&format!("L{nth}"), price(&nth.to_string()), sales) }
        });
        fill(&made.index, documents.collect()).await;
        let whole = ask(&made.index, &by(Sort::Price, 5)).await;
        let (mut paged, mut after) = (Vec::new(), None);
        loop {
            let page = ask(&made.index, &Request { limit: 7, after, ..by(Sort::Price, 5) }).await;
            paged.extend(page.skus);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!((paged.len(), &paged), (30, &whole.skus));
        assert_eq!(whole.skus[..3], ["L1", "L2", "L27"], "27 costs 3.50 while its sale runs");
    }
}

#[tokio::test]
async fn prices_of_several_currencies_are_not_compared() {
    for made in indexes::all().await {
        let pounds = vec![priced("A", price("5.00"), Vec::new()), priced("B", price("4.00"), vec![sale(10, 20, money("3.00", "EUR"))])];
        fill(&made.index, pounds).await;
        assert!(matches!(made.index.search(&by(Sort::Price, 5)).await, Err(Error::CurrencyRequired(codes)) if codes == ["EUR", "GBP"]));
        fill(&made.index, vec![priced("B", price("4.00"), Vec::new())]).await;
        assert_eq!(ask(&made.index, &by(Sort::Price, 5)).await.skus, ["B", "A"], "there is one currency only");
        fill(&made.index, vec![priced("YEN", money("500", "JPY"), Vec::new())]).await;
        for request in [by(Sort::Price, 5), by(Sort::PriceDown, 5), Request { sort: Sort::Newest, ..between(None, Some("9"), 5) }] {
            let refused = made.index.search(&request).await;
            assert!(matches!(refused, Err(Error::CurrencyRequired(codes)) if codes == ["GBP", "JPY"]));
        }
        let in_currency = |code: &str, request: Request| {
            let filters = Filters { currency: Some(code.parse().expect("a currency")), ..request.filters.clone() };
            Request { filters, ..request }
        };
        for (code, cheapest, dearest) in [("GBP", ["B", "A", "YEN"], ["A", "B", "YEN"]), ("JPY", ["YEN", "", ""], ["YEN", "", ""])] {
            for (sort, expected) in [(Sort::Price, cheapest), (Sort::PriceDown, dearest)] {
                let found = ask(&made.index, &in_currency(code, by(sort, 5))).await.skus;
                assert_eq!(found.len(), 3);
                let same = expected.iter().zip(&found).filter(|(expected, _)| !expected.is_empty());
                assert!(same.clone().all(|(expected, found)| expected == found), "{code}: {found:?}");
            }
        }
        assert_eq!(ask(&made.index, &in_currency("GBP", between(None, Some("600"), 5))).await.skus, ["B", "A"]);
        assert_eq!(ask(&made.index, &in_currency("JPY", between(Some("100"), None, 5))).await.skus, ["YEN"]);
        assert_eq!(ask(&made.index, &asking("lamp")).await.total, 3, "nobody compares prices");
    }
}

#[tokio::test]
async fn a_query_of_nothing_but_signs_finds_nothing() {
    for made in indexes::all().await {
        fill(&made.index, vec![product("M", "Stoneware Mug")]).await;
        for signs in ["%", "*", "\"", " % ", "_", "(", "'", "…", "\u{200b}"] {
            let answer = ask(&made.index, &asking(signs)).await;
            assert_eq!((answer.skus.len(), answer.total, answer.price), (0, 0, None), "{signs:?}");
            assert_eq!(made.index.suggest(signs, 5).await.expect("suggestions"), [], "{signs:?}");
        }
        assert_eq!(ask(&made.index, &asking(" ")).await.total, 1);
        assert_eq!(ask(&made.index, &asking("% mug")).await.total, 1);
    }
}
