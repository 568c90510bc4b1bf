use event_schemas::{
    events::category::{CategoryCreated, CategoryMoved, CategoryRenamed, Event},
    ids::CategoryId,
};

use super::{Category, Command, MAX_DEPTH, Refusal};
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
    Command::Change { name: Some(name.to_owned()), parent: None, lineage: vec![], height: 0 }
}

fn hang(parent: Option<&str>, lineage: &[&str]) -> Command {
    hang_branch(parent, lineage, 0)
}

fn hang_branch(parent: Option<&str>, lineage: &[&str], height: usize) -> Command {
    let lineage = lineage.iter().map(|code| category(code)).collect();
    Command::Change { name: None, parent: Some(parent.map(category)), lineage, height }
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

#[test]
fn what_stands_below_a_category_counts_where_it_is_moved_to() {
    let above: Vec<String> = (1..=MAX_DEPTH).map(|n| format!("c{n}")).collect();
    let lineage = |levels: usize| above[..levels].iter().map(String::as_str).collect::<Vec<_>>();
    let moved = || CategoryMoved { parent: Some(category("c1")) }.into();
    let too_deep = |depth| Refusal::TooDeep { parent: category("c1"), depth };
    for (levels, height) in [(1, 30), (20, 11), (31, 0)] {
        given::<Category>([created(None)]).when(hang_branch(Some("c1"), &lineage(levels), height)).then([moved()]);
        let deeper = hang_branch(Some("c1"), &lineage(levels), height + 1);
        given::<Category>([created(None)]).when(deeper).then_refused(too_deep(33));
    }
    given::<Category>([]).when(create(Some("c1"), &lineage(31))).then([created(Some("c1"))]);
    given::<Category>([]).when(create(Some("c1"), &lineage(32))).then_refused(too_deep(33));
    // A branch that is too deep since before the rule can be moved to the top, and renamed.
    given::<Category>([created(Some("c1"))]).when(hang_branch(None, &[], 40)).then([CategoryMoved { parent: None }.into()]);
    given::<Category>([created(Some("c1"))]).when(rename("Cups")).then([CategoryRenamed { name: "Cups".to_owned() }.into()]);
}
