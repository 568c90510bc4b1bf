use std::collections::BTreeMap;

use rust_decimal::Decimal;
use search::{
    Document, Error, Request, Sort,
    query::{Filters, Words},
};

use crate::{
    indexes,
    shop::{ask, asking, facet, fill, kitchen, price, product},
};

fn catalogue() -> Vec<Document> {
    vec![
        Document { created: 1, rating_sum: 5, rating_count: 1, ..kitchen("a", "Red Mug", "mugs", "Hearth, Clay", "red", "12.50") },
        Document { created: 2, in_stock: false, ..kitchen("b", "Blue Mug", "mugs", "Hearth, Clay", "blue", "8.00") },
        Document { created: 3, rating_sum: 9, rating_count: 2, ..kitchen("c", "Blue Teapot", "teapots", "Iron", "blue", "48.00") },
        Document { created: 4, rating_sum: 50, rating_count: 10, ..kitchen("d", "Red Teapot", "teapots", "Iron", "red", "30.00") },
        Document { created: 5, price: price("0.000001"), ..product("e", "Sticker") },
    ]
}

fn filtered(filters: Filters) -> Request {
    Request { filters, sort: Sort::Newest, limit: 50, ..Request::default() }
}

fn texts(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

fn coloured(values: &[&str]) -> BTreeMap<String, Vec<String>> {
    BTreeMap::from([("colour".to_owned(), texts(values))])
}

#[tokio::test]
async fn filters_narrow() {
    for made in indexes::all().await {
        fill(&made.index, catalogue()).await;
        let amount = |text: &str| text.parse::<Decimal>().ok();
        for (filters, skus) in [
            (Filters::default(), "edcba"),
            (Filters { categories: texts(&["kitchen"]), ..Filters::default() }, "dcba"),
            (Filters { categories: texts(&["mugs", "nowhere"]), ..Filters::default() }, "ba"),
            (Filters { brands: texts(&["Iron"]), ..Filters::default() }, "dc"),
            (Filters { brands: texts(&["Iron", "Hearth, Clay"]), ..Filters::default() }, "dcba"),
            (Filters { price_min: amount("12.5"), price_max: amount("30.00"), ..Filters::default() }, "da"),
            (Filters { price_max: amount("0.000001"), ..Filters::default() }, "e"),
            (Filters { in_stock: Some(true), ..Filters::default() }, "edca"),
            (Filters { in_stock: Some(false), ..Filters::default() }, "b"),
            (Filters { attributes: coloured(&["red"]), ..Filters::default() }, "da"),
            (Filters { attributes: coloured(&["red", "blue"]), brands: texts(&["Iron"]), ..Filters::default() }, "dc"),
            (Filters { categories: texts(&["\" OR 1 = 1"]), ..Filters::default() }, ""),
        ] {
            let answer = ask(&made.index, &filtered(filters.clone())).await;
            assert_eq!(answer.skus.concat(), skus, "{filters:?}");
            assert_eq!(answer.total, skus.len() as u64);
        }
    }
}

#[tokio::test]
async fn facets_leave_out_their_own_filter() {
    for made in indexes::all().await {
        fill(&made.index, catalogue()).await;
        let filters = Filters { brands: texts(&["Iron"]), attributes: coloured(&["red"]), ..Filters::default() };
        let facets = ["category", "brand", "attributes.colour", "in_stock"].map(facet).to_vec();
        let answer = ask(&made.index, &Request { facets, ..filtered(filters) }).await;
        assert_eq!(answer.skus, ["d"]);
        let values = |name: &str| {
            let facet = answer.facets.iter().find(|facet| facet.name == name).expect("the facet");
            facet.values.iter().map(|(value, count)| format!("{value} {count}")).collect::<Vec<_>>()
        };
        assert_eq!(values("category"), ["kitchen 1", "teapots 1"]);
        assert_eq!(values("brand"), ["Hearth, Clay 1", "Iron 1"]);
        assert_eq!(values("attributes.colour"), ["blue 1", "red 1"]);
        assert_eq!(values("in_stock"), ["true 1"]);
        assert_eq!(answer.price, Some((price("30.00"), price("30.00"))));
    }
}

#[tokio::test]
async fn what_no_product_has_is_named() {
    for made in indexes::all().await {
        fill(&made.index, catalogue()).await;
        let by_attribute = filtered(Filters { attributes: BTreeMap::from([("colou".to_owned(), texts(&["x"]))]), ..Filters::default() });
        let by_facet = Request { facets: vec![facet("attributes.size")], ..asking("") };
        for (request, named) in [(by_attribute, "attributes.colou"), (by_facet, "facets")] {
            let refused = made.index.search(&request).await;
            assert!(matches!(&refused, Err(Error::Unknown { parameter, .. }) if parameter == named), "{refused:?}");
        }
    }
}

#[tokio::test]
async fn everything_can_be_sorted_and_paged_through() {
    for made in indexes::all().await {
        fill(&made.index, catalogue()).await;
        for (sort, order) in [
            (Sort::Newest, "edcba"),
            (Sort::Price, "ebadc"),
            (Sort::PriceDown, "cdabe"),
            (Sort::Rating, "daceb"),
            (Sort::Relevance, "edcba"),
        ] {
            let (mut request, mut seen) = (Request { sort, limit: 2, ..Request::default() }, String::new());
            loop {
                let answer = ask(&made.index, &request).await;
                assert_eq!(answer.total, 5);
                seen.push_str(&answer.skus.concat());
                let Some(next) = answer.next else { break };
                request.after = Some(next);
            }
            assert_eq!(seen, order, "{sort:?}");
        }
        let dear = Request { words: Words::of("red teapot"), sort: Sort::Price, limit: 50, ..Request::default() };
        assert_eq!(ask(&made.index, &dear).await.skus, ["d"], "what has only one of the words is not sorted in between");
    }
}
