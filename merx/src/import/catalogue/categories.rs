//! Which category a name of the file means.
//!
//! A name that is a code is the id itself. Of any other an id is made: its letters in Latin ones (`Кухня` is `kukhnia`, `台所 1` is
//! `tai-suo-1`), joined by `-`. Where that id is another name's already, a digest of the name stands behind it, so that each name has an id of
//! its own. Names are compared without regard to case, spaces or the way that Unicode spells them.
//!
//! Earlier decisions stay: a category is recognised by any name that it has or had, whichever file brought it, under the ids that earlier
//! versions made too (they left out what is not ASCII: `Küche` was `k-che`).

use std::collections::{BTreeMap, HashMap};

use command_api::handler::Handler;
use deunicode::deunicode;
use domain::category::{Category, Command, Refusal};
use event_schemas::{
    Event, StreamId,
    events::category::{self, CategoryCreated, CategoryRenamed},
    ids::CategoryId,
};
use event_store::EventStore;
use futures::TryStreamExt as _;
use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;

use crate::import::{
    Error, Tally,
    run::{CACHED_STREAMS, Run, decided},
};

/// The most categories of a file.
pub const MAX_CATEGORIES: usize = 100_000;
/// The most characters of an id.
const MAX_ID_CHARS: usize = 64;
/// Characters of the digest that tell names apart.
const DIGEST_CHARS: usize = 12;
/// Beginning of the id of a name that has no letters or digits that Latin has anything for.
const NAMELESS: &str = "category";
/// The most events of a category that are searched for its names.
const MAX_EVENTS: i64 = 1_000;

/// The names of categories that a file has, each as it was spelled first.
#[derive(Debug, Default)]
pub struct Names(BTreeMap<String, String>);

impl Names {
    /// Takes in a name, and says whether there is room for it.
    pub fn add(&mut self, name: &str) -> bool {
        let key = key(name);
        if !self.0.contains_key(&key) {
            if self.0.len() == MAX_CATEGORIES {
                return false;
            }
            self.0.insert(key, name.to_owned());
        }
        true
    }
}

/// Which category each name of a file means.
#[derive(Debug, Default)]
pub struct Categories(HashMap<String, CategoryId>);

impl Categories {
    /// The category that `name` means; none where the file did not have it before.
    pub fn of(&self, name: &str) -> Option<CategoryId> {
        self.0.get(&key(name)).cloned()
    }
}

/// Finds the categories of `names` in the log of `store`, and makes those that are not there.
pub async fn write(store: &EventStore, run: &Run, names: Names) -> Result<(Categories, Tally), Error> {
    let writer = Writer { store, run, categories: Handler::new(store.clone(), CACHED_STREAMS) };
    let (mut known, mut tally) = (Categories::default(), Tally::default());
    // Codes first: what is made of another name gives way to them.
    let (codes, others): (Vec<_>, Vec<_>) = names.0.into_iter().partition(|(_, name)| is_code(name));
    for (key, name) in codes.into_iter().chain(others) {
        let (id, is_new) = writer.find_or_make(&key, &name).await?;
        known.0.insert(key, id);
        tally.count(is_new);
    }
    Ok((known, tally))
}

struct Writer<'r> {
    store: &'r EventStore,
    run: &'r Run,
    categories: Handler<Category>,
}

impl Writer<'_> {
    /// The category of a name, and whether it was made just now.
    async fn find_or_make(&self, key: &str, name: &str) -> Result<(CategoryId, bool), Error> {
        if let Ok(id) = name.parse::<CategoryId>() {
            let is_new = self.make(&id, name).await?;
            return Ok((id, is_new));
        }
        let made = made_ids(key, name)?;
        for id in earlier_id(name).iter().chain(&made) {
            if self.names(id).await?.iter().any(|known| self::key(known) == key) {
                return Ok((id.clone(), false));
            }
        }
        for id in made {
            // Another import may make it at the same time, for this name or for another one.
            if self.make(&id, name).await? {
                return Ok((id, true));
            }
            if self.names(&id).await?.iter().any(|known| self::key(known) == key) {
                return Ok((id, false));
            }
        }
        Err(Error::Internal(format!("every id that could be made of the category {name:?} is another's")))
    }

    /// Every name that a category has or had; none where there is no such category.
    async fn names(&self, id: &CategoryId) -> Result<Vec<String>, Error> {
        let (stream, mut names) = (StreamId::category_of(id), Vec::new());
        let mut events = self.store.stream_up_to(&stream, MAX_EVENTS);
        while let Some(stored) = events.try_next().await? {
            let event = stored.decode().map_err(event_store::Error::from)?.event;
            if let Event::Category(
                category::Event::Created(CategoryCreated { name, .. }) | category::Event::Renamed(CategoryRenamed { name }),
            ) = event
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Makes a category, and says whether it was not there.
    async fn make(&self, id: &CategoryId, name: &str) -> Result<bool, Error> {
        let command = Command::Create { id: id.clone(), name: name.to_owned(), parent: None, lineage: Vec::new() };
        match decided(self.categories.run(&StreamId::category_of(id), &command, &self.run.again(), |_, _| ()).await)? {
            Ok(_) => Ok(true),
            Err(Refusal::Taken { .. }) => Ok(false),
            Err(refusal) => Err(Error::Internal(refusal.to_string())),
        }
    }
}

fn is_code(name: &str) -> bool {
    name.parse::<CategoryId>().is_ok()
}

/// Key that names are told apart by: codes as they are, others without regard to case, spaces or spelling in Unicode.
fn key(name: &str) -> String {
    if is_code(name) {
        return name.to_owned();
    }
    let folded = name.nfkc().collect::<String>().to_lowercase().nfkc().collect::<String>();
    // A space in front is in no code.
    format!(" {}", folded.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The ids that may be made of a name, the best one first.
fn made_ids(key: &str, name: &str) -> Result<Vec<CategoryId>, Error> {
    let slug = slug(&deunicode(name));
    let digest = format!("{:x}", Sha256::digest(key));
    let short = &digest[..DIGEST_CHARS];
    let room = MAX_ID_CHARS - DIGEST_CHARS - 1;
    let with_digest = if slug.is_empty() {
        format!("{NAMELESS}-{short}")
    } else {
        format!("{}-{short}", slug[..slug.len().min(room)].trim_end_matches('-'))
    };
    let ids = [slug, with_digest, digest].into_iter().filter(|id| !id.is_empty());
    ids.map(|id| id.parse()).collect::<Result<_, _>>().map_err(|error| Error::Internal(format!("{error}")))
}

/// The id that earlier versions made: what is not ASCII was left out.
fn earlier_id(name: &str) -> Option<CategoryId> {
    slug(name).parse().ok()
}

/// ASCII letters and digits in lower case, joined by `-`; may be empty.
fn slug(text: &str) -> String {
    let lower = text.to_lowercase();
    let words = lower.split(|char: char| !char.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let slug: String = words.collect::<Vec<_>>().join("-").chars().take(MAX_ID_CHARS).collect();
    slug.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(name: &str) -> Vec<String> {
        made_ids(&key(name), name).unwrap().iter().map(ToString::to_string).collect()
    }

    /// These are in logs: another version of the tables that letters are looked up in must not change them unnoticed.
    #[test]
    fn an_id_is_made_of_the_letters_of_any_script_and_stays_the_same() {
        let expected = [
            ("Home & Garden", "home-garden"),
            ("Küche", "kuche"),
            ("Кухня", "kukhnia"),
            ("台所 1", "tai-suo-1"),
            ("寝室 1", "qin-shi-1"),
            ("キッチン", "kitutin"),
            ("주방", "jubang"),
            ("Κουζίνα", "kouzina"),
            ("مطبخ", "mtbkh"),
            ("Thé & café", "the-cafe"),
        ];
        assert_eq!(expected.map(|(name, _)| ids(name).swap_remove(0)), expected.map(|(_, id)| id.to_owned()));
        assert_eq!(ids("&&&")[0], "category-58bd6e0e3ae2");
        assert_eq!(earlier_id("Küche").unwrap().as_str(), "k-che");
    }

    #[test]
    fn a_name_has_a_digest_of_its_own_behind_its_id() {
        let (one, other) = (ids("Home & Garden"), ids("Home / Garden"));
        assert_eq!(one[0], other[0]);
        assert_ne!(one[1], other[1]);
        assert!(one[1].starts_with("home-garden-") && one.iter().chain(&other).all(|id| id.len() <= 64));
        let long = ids(&"Ж ".repeat(100));
        assert!(long.iter().all(|id| id.len() <= 64 && !id.contains("--")), "{long:?}");
    }

    #[test]
    fn names_are_compared_without_case_spaces_or_spelling() {
        assert_eq!(key("Home & Garden"), key("home  &\u{a0}GARDEN"));
        assert_eq!(key("Küche"), key("Ku\u{308}che"));
        assert_ne!(key("Home"), key("home"), "codes are ids");
        assert_ne!(key("Home & Garden"), key("Home / Garden"));
    }
}
