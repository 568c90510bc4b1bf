use std::time::{Duration, Instant};

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

#[tokio::test]
async fn what_came_last_counts_for_the_order_even_where_nothing_comes_after_it() {
    for made in indexes::all().await {
        let index = &made.index;
        let mut products = vec![product("r", "Lamp Red"), product("b", "Lamp Blue")];
        products.extend((0..5).map(|nth| product(&format!("b{nth}"), "Kettle Blue")));
        fill(index, products).await;
        // Less than there was, and at once: nothing is counted again for that alone.
        let documents = (0..6).map(|nth| product(&format!("r{nth}"), "Kettle Red")).collect();
        change(index, Changes { documents, removed: Vec::new() }, 9).await;
        let limit = Instant::now() + Duration::from_mins(5);
        while found(index, "lamp").await != ["r", "b"] {
            assert!(Instant::now() < limit, "red is the more frequent word by now, and says less");
            index.rest().await.expect("rest");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
