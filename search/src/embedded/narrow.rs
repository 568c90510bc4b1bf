//! Filters and facets: which of what was found stays, and how often each value occurs.

use std::collections::HashMap;

use event_schemas::Money;
use tantivy::{
    DocId, Searcher, SegmentReader, Term,
    schema::{Field, IndexRecordOption},
};

use super::{
    fields::{Fields, SEPARATOR},
    matching::Matched,
    prices::{Asked, Prices, Range},
};
use crate::{
    Error, Facet,
    document::micros,
    query::{FacetName, Filters, MOST_FACET_VALUES, Request},
};

/// A filter, by the facet that it narrows; prices have none.
struct Dimension {
    facet: Option<FacetName>,
    test: Test,
}

enum Test {
    /// One of these terms.
    Terms(Vec<Term>),
    /// A price, in millionths.
    Price(i64, i64),
}

/// What stays, and what was counted meanwhile.
#[derive(Default)]
pub struct Narrowed {
    pub matched: Vec<Vec<Matched>>,
    pub facets: Vec<Facet>,
    pub price: Option<(Money, Money)>,
}

/// Refuses attributes and facets that no product has.
pub fn known(searcher: &Searcher, fields: &Fields, request: &Request) -> Result<(), Error> {
    let filtered = request.filters.attributes.keys().map(|name| (format!("attributes.{name}"), name));
    let counted = request.facets.iter().filter_map(|facet| match facet {
        FacetName::Attribute(name) => Some(("facets".to_owned(), name)),
        _ => None,
    });
    for (parameter, name) in filtered.chain(counted) {
        let mut is_known = false;
        for segment in searcher.segment_readers() {
            let index = segment.inverted_index(fields.attribute)?;
            let range = index.terms().range().ge(format!("{name}{SEPARATOR}")).lt(format!("{name}\u{1}"));
            is_known = is_known || range.into_stream()?.next().is_some();
        }
        if !is_known {
            return Err(Error::Unknown { parameter, name: format!("the attribute {name:?}") });
        }
    }
    Ok(())
}

/// Narrows `matched` to what `request` filters by at the prices that are `asked` about, and counts its facets.
pub fn narrow(
    searcher: &Searcher,
    fields: &Fields,
    (request, asked): (&Request, Asked),
    matched: Vec<Vec<Matched>>,
) -> Result<Narrowed, Error> {
    let dimensions = dimensions(fields, &request.filters);
    let mut counts: Vec<HashMap<String, u64>> = vec![HashMap::new(); request.facets.len()];
    let mut narrowed = Narrowed::default();
    let mut range = Range::default();
    for (segment, matched) in searcher.segment_readers().iter().zip(matched) {
        let prices = Prices::open(segment, asked)?;
        let missed = missed(segment, &dimensions, &prices, &matched)?;
        for (facet, counts) in request.facets.iter().zip(&mut counts) {
            let own = dimensions.iter().position(|dimension| dimension.facet.as_ref() == Some(facet)).map_or(0, |bit| 1_u32 << bit);
            let docs = matched.iter().zip(&missed).filter(|(_, missed)| **missed & !own == 0).map(|(found, _)| found.doc);
            count(segment, facet, docs, counts)?;
        }
        let kept: Vec<Matched> = matched.into_iter().zip(missed).filter(|(_, missed)| *missed == 0).map(|(found, _)| found).collect();
        for found in &kept {
            range.add(&prices, found.doc);
        }
        narrowed.matched.push(kept);
    }
    narrowed.price = range.money();
    narrowed.facets = request.facets.iter().zip(counts).map(|(name, counts)| facet(name, counts)).collect();
    Ok(narrowed)
}

fn dimensions(fields: &Fields, filters: &Filters) -> Vec<Dimension> {
    let Filters { categories, brands, currency: _, price_min, price_max, in_stock, attributes } = filters;
    let terms = |field: Field, values: &[String]| Test::Terms(values.iter().map(|value| Term::from_field_text(field, value)).collect());
    let mut dimensions = Vec::new();
    let mut add = |facet, test| dimensions.push(Dimension { facet, test });
    if !categories.is_empty() {
        add(Some(FacetName::Category), terms(fields.category, categories));
    }
    if !brands.is_empty() {
        add(Some(FacetName::Brand), terms(fields.brand, brands));
    }
    if let Some(in_stock) = in_stock {
        add(Some(FacetName::InStock), terms(fields.stock, &[in_stock.to_string()]));
    }
    if price_min.is_some() || price_max.is_some() {
        add(None, Test::Price(price_min.map_or(i64::MIN, micros), price_max.map_or(i64::MAX, micros)));
    }
    for (name, values) in attributes {
        let values: Vec<String> = values.iter().map(|value| format!("{name}{SEPARATOR}{value}")).collect();
        add(Some(FacetName::Attribute(name.clone())), terms(fields.attribute, &values));
    }
    dimensions
}

/// For each document the filters that it does not meet, a bit for each.
fn missed(segment: &SegmentReader, dimensions: &[Dimension], prices: &Prices, matched: &[Matched]) -> Result<Vec<u32>, Error> {
    let mut missed = vec![0_u32; matched.len()];
    for (bit, dimension) in dimensions.iter().enumerate() {
        let flag = 1_u32 << bit;
        match &dimension.test {
            Test::Price(least, most) => {
                for (found, missed) in matched.iter().zip(&mut missed) {
                    let is_within = prices.of(found.doc).is_some_and(|price| (*least..=*most).contains(&price));
                    *missed |= if is_within { 0 } else { flag };
                }
            }
            Test::Terms(terms) => {
                let holders = holders(segment, terms)?;
                for (found, missed) in matched.iter().zip(&mut missed) {
                    let is_held = holders.get(found.doc as usize).copied().unwrap_or_default();
                    *missed |= if is_held { 0 } else { flag };
                }
            }
        }
    }
    Ok(missed)
}

fn holders(segment: &SegmentReader, terms: &[Term]) -> Result<Vec<bool>, Error> {
    let mut holders = vec![false; segment.max_doc() as usize];
    for term in terms {
        let Some(mut postings) = segment.inverted_index(term.field())?.read_block_postings(term, IndexRecordOption::Basic)? else {
            continue;
        };
        while !postings.docs().is_empty() {
            for doc in postings.docs() {
                if let Some(held) = holders.get_mut(*doc as usize) {
                    *held = true;
                }
            }
            postings.advance();
        }
    }
    Ok(holders)
}

fn count(
    segment: &SegmentReader,
    facet: &FacetName,
    docs: impl Iterator<Item = DocId>,
    counts: &mut HashMap<String, u64>,
) -> Result<(), Error> {
    let (column, prefix) = match facet {
        FacetName::Category => ("category", String::new()),
        FacetName::Brand => ("brand", String::new()),
        FacetName::InStock => ("stock", String::new()),
        FacetName::Attribute(name) => ("attribute", format!("{name}{SEPARATOR}")),
    };
    let Some(column) = segment.fast_fields().str(column)? else { return Ok(()) };
    let mut of_ord = vec![0_u64; column.num_terms()];
    for doc in docs {
        for ord in column.term_ords(doc) {
            if let Some(count) = usize::try_from(ord).ok().and_then(|ord| of_ord.get_mut(ord)) {
                *count += 1;
            }
        }
    }
    let mut text = String::new();
    for (ord, count) in (0..).zip(of_ord).filter(|(_, count)| *count > 0) {
        if column.ord_to_str(ord, &mut text)?
            && let Some(value) = text.strip_prefix(&prefix)
        {
            *counts.entry(value.to_owned()).or_default() += count;
        }
    }
    Ok(())
}

fn facet(name: &FacetName, counts: HashMap<String, u64>) -> Facet {
    let mut values: Vec<(String, u64)> = counts.into_iter().collect();
    values.sort_unstable_by(|(a, many_a), (b, many_b)| many_b.cmp(many_a).then_with(|| a.cmp(b)));
    values.truncate(MOST_FACET_VALUES);
    Facet { name: name.to_string(), values }
}
