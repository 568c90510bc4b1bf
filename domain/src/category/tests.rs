use event_schemas::{
    events::category::{CategoryCreated, CategoryMoved, CategoryRenamed, Event},
    ids::CategoryId,
};

use super::{Category, Command, Refusal};
use crate::harness::{after, given};

fn category(code: &str) -> CategoryId {
    code.parse().unwrap()
}

fn created(parent: Option<&str>) -> Event {
    CategoryCreated { id: category("mugs"), name: "Mugs".to_owned(), parent: parent.map(category) }.into()
}

fn create(parent: Option<&str>, lineage: &[&str]) -> Command {
    let lineage = lineage.iter().map(|code| category(code)).collect();
    Command::Create { id: category("mugs"), name: "Mugs".to_owned(), parent: parent.map(category), lineage }
}

fn rename(name: &str) -> Command {
    Command::Change { name: Some(name.to_owned()), parent: None, lineage: vec![] }
}

fn hang(parent: Option<&str>, lineage: &[&str]) -> Command {
    Command::Change { name: None, parent: Some(parent.map(category)), lineage: lineage.iter().map(|code| category(code)).collect() }
}

#[test]
fn a_category_is_created_once() {
    given::<Category>([]).when(create(Some("home"), &["home"])).then([created(Some("home"))]);
    given::<Category>([created(None)]).when(create(None, &[])).then_refused(Refusal::Taken { id: category("mugs") });
}

#[test]
fn a_category_that_is_not_there_can_t_be_changed() {
    given::<Category>([]).when(rename("Cups")).then_refused(Refusal::Unknown);
}

#[test]
fn a_category_gets_another_name() {
    given::<Category>([created(None)]).when(rename("Cups")).then([CategoryRenamed { name: "Cups".to_owned() }.into()]);
    given::<Category>([created(None)]).when(rename("Mugs")).then_nothing();
}

#[test]
fn a_category_gets_another_parent() {
    let moved = |parent: Option<&str>| CategoryMoved { parent: parent.map(category) }.into();
    given::<Category>([created(None)]).when(hang(Some("home"), &["home"])).then([moved(Some("home"))]);
    given::<Category>([created(Some("home"))]).when(hang(None, &[])).then([moved(None)]);
    given::<Category>([created(Some("home"))]).when(hang(Some("home"), &["home"])).then_nothing();
}

#[test]
fn a_category_is_never_its_own_ancestor() {
    let circle = |parent| Refusal::Circle { id: category("mugs"), parent: category(parent) };
    given::<Category>([]).when(create(Some("mugs"), &[])).then_refused(circle("mugs"));
    given::<Category>([created(None)]).when(hang(Some("mugs"), &["mugs"])).then_refused(circle("mugs"));
    given::<Category>([created(None)]).when(hang(Some("tea"), &["tea", "mugs", "home"])).then_refused(circle("tea"));
}

#[test]
fn clients_see_name_and_place() {
    let moved = CategoryMoved { parent: Some(category("home")) }.into();
    let renamed = CategoryRenamed { name: "Cups".to_owned() }.into();
    let seen = after::<Category>([(0, created(None)), (1, moved), (2, renamed)]).resource(3).unwrap();
    assert_eq!((seen.name.as_str(), seen.parent, seen.version), ("Cups", Some(category("home")), 3));
}
