use event_schemas::{
    events::review::{Event, ReviewPosted},
    ids::ReviewId,
};

use super::{Command, Refusal, Review};
use crate::harness::{after, given, id, sku, t};

fn post(rating: u8) -> Command {
    let (title, text, author) = ("Fine".to_owned(), "It works.".to_owned(), "ann".to_owned());
    Command::Post { sku: sku("A"), rating, title, text, author }
}

fn posted(rating: u8) -> Event {
    let (title, text, author) = ("Fine".to_owned(), "It works.".to_owned(), "ann".to_owned());
    ReviewPosted { sku: sku("A"), rating, title, text, author }.into()
}

/// One event of each type.
pub(crate) fn events() -> Vec<Event> {
    vec![posted(5)]
}

#[test]
fn a_review_is_posted_once() {
    given::<Review>([]).when(post(5)).then([posted(5)]);
    given::<Review>([posted(5)]).when(post(4)).then_nothing();
}

#[test]
fn a_rating_is_from_1_to_5() {
    for rating in [0, 6] {
        given::<Review>([]).when(post(rating)).then_refused(Refusal::InvalidRating { sku: sku("A"), rating });
    }
}

#[test]
fn clients_see_what_was_posted_and_when() {
    let review = after::<Review>([(7, posted(4))]).resource(ReviewId(id(1)), 1).unwrap();
    assert_eq!((review.rating, review.author.as_str(), review.created_at), (4, "ann", t(7)));
    assert_eq!(super::State::default().resource(ReviewId(id(1)), 0), None);
}
