//! The files of the embedded index: closed, killed, damaged.

use std::{fs, path::Path, sync::Arc};

use search::{Changes, Embedded, Index};
use tempfile::tempdir;

use crate::shop::{at, change, fill, found, product};

fn open(folder: &Path) -> Arc<dyn Index> {
    Arc::new(Embedded::open(folder).expect("an index"))
}

#[tokio::test]
async fn what_was_committed_is_there_when_it_is_opened_again() {
    let folder = tempdir().expect("a folder");
    let index = open(folder.path());
    fill(&index, vec![product("1", "Kettle")]).await;
    index.begin_rebuild().await.expect("begun");
    index.rebuild(vec![product("2", "Kettle")]).await.expect("added");
    drop(index);
    let index = open(folder.path());
    assert_eq!(found(&index, "kettle").await, ["1"]);
    assert_eq!(index.place().await.expect("a place"), Some(at(1)));
}

#[tokio::test]
async fn another_process_in_the_same_folder_has_an_index_of_its_own() {
    let folder = tempdir().expect("a folder");
    let (one, other) = (open(folder.path()), open(folder.path()));
    fill(&one, vec![product("1", "Kettle")]).await;
    assert_eq!(other.place().await.expect("a place"), None);
    fill(&other, vec![product("2", "Kettle")]).await;
    assert_eq!(found(&one, "kettle").await, ["1"]);
    assert_eq!(found(&other, "kettle").await, ["2"]);
}

#[tokio::test]
async fn damaged_files_are_thrown_away() {
    for damage in [truncate as fn(&Path), overwrite, remove] {
        let folder = tempdir().expect("a folder");
        let index = open(folder.path());
        for nth in 0..3 {
            fill(&index, vec![product(&nth.to_string(), "Kettle")]).await;
        }
        drop(index);
        let files: Vec<_> = files_below(folder.path());
        assert!(files.len() > 5, "{files:?}");
        for file in files {
            if file.extension().is_some_and(|ending| ending == "lock") {
                continue;
            }
            let copy = tempdir().expect("a folder");
            copy_below(folder.path(), copy.path());
            damage(&copy.path().join(file.strip_prefix(folder.path()).expect("below")));
            let index = open(copy.path());
            let place = index.place().await.expect("a place");
            if place.is_some() {
                assert_eq!(found(&index, "kettle").await.len(), 3, "{file:?}");
            } else {
                assert_eq!(found(&index, "kettle").await.len(), 0, "{file:?}");
            }
            change(&index, Changes { documents: vec![product("9", "Pan")], removed: Vec::new() }, 2).await;
            assert_eq!(found(&index, "pan").await, ["9"]);
        }
    }
}

fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}

fn copy_below(from: &Path, to: &Path) {
    for file in files_below(from) {
        let target = to.join(file.strip_prefix(from).expect("below"));
        fs::create_dir_all(target.parent().expect("a folder")).expect("a folder");
        fs::copy(&file, &target).expect("a copy");
    }
}

fn truncate(file: &Path) {
    let bytes = fs::read(file).expect("a file");
    fs::write(file, &bytes[..bytes.len() / 2]).expect("written");
}

fn overwrite(file: &Path) {
    let mut bytes = fs::read(file).expect("a file");
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 0xff;
    }
    fs::write(file, bytes).expect("written");
}

fn remove(file: &Path) {
    fs::remove_file(file).expect("removed");
}
