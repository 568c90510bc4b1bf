use search::Changes;

use crate::{
    indexes,
    shop::{at, change, fill, found, product},
};

#[tokio::test]
async fn changes_take_the_place_of_what_was_there() {
    for made in indexes::all().await {
        let index = &made.index;
        assert_eq!(index.place().await.expect("a place"), None);
        fill(index, vec![product("1", "Kettle"), product("2", "Teapot")]).await;
        let changes = Changes { documents: vec![product("1", "Toaster")], removed: vec!["2".into(), "none".into()] };
        change(index, changes, 9).await;
        assert_eq!(index.place().await.expect("a place"), Some(at(9)));
        assert_eq!(found(index, "").await, ["1"]);
        assert_eq!(found(index, "toaster").await, ["1"]);
        assert_eq!(found(index, "kettle").await, Vec::<String>::new());
        change(index, Changes::default(), 12).await;
        assert_eq!(index.place().await.expect("a place"), Some(at(12)));
    }
}

#[tokio::test]
async fn a_rebuild_is_seen_all_at_once() {
    for made in indexes::all().await {
        let index = &made.index;
        fill(index, vec![product("old", "Kettle")]).await;
        index.begin_rebuild().await.expect("begun");
        index.rebuild(vec![product("new", "Kettle")]).await.expect("added");
        assert_eq!(found(index, "kettle").await, ["old"]);
        // Broken off, and begun again.
        index.begin_rebuild().await.expect("begun");
        index.rebuild(vec![product("newer", "Kettle")]).await.expect("added");
        index.rebuild(vec![product("newest", "Pan")]).await.expect("added");
        assert_eq!(found(index, "kettle").await, ["old"]);
        index.finish_rebuild(at(20)).await.expect("finished");
        assert_eq!(found(index, "kettle").await, ["newer"]);
        assert_eq!(index.place().await.expect("a place"), Some(at(20)));
    }
}
