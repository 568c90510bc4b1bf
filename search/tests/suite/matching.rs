use search::Document;

use crate::{
    indexes,
    shop::{ask, asking, category, fill, found, product},
};

#[tokio::test]
async fn words_are_found_however_they_are_written() {
    for made in indexes::all().await {
        fill(
            &made.index,
            vec![
                product("M", "Stoneware Mug"),
                product("B", "Crème Brûlée Dishes"),
                product("T", "Wireless Headphones"),
                Document { description: "Holds berries and glasses.".into(), ..product("D", "Basket") },
            ],
        )
        .await;
        for (asked, sku) in [
            ("mug", "M"),
            ("MUGS", "M"),
            ("stoneware", "M"),
            ("stonew", "M"),
            ("stonewear", "M"),
            ("creme brulee", "B"),
            ("CRÈME", "B"),
            ("dish", "B"),
            ("wireles", "T"),
            ("headphnoes", "T"),
            ("haedphonse", "T"),
            ("berry", "D"),
            ("glass", "D"),
        ] {
            assert_eq!(found(&made.index, asked).await, [sku], "{asked}");
        }
        for asked in ["mugg x", "dush", "kettle"] {
            assert_eq!(found(&made.index, asked).await, Vec::<String>::new(), "{asked}");
        }
    }
}

#[tokio::test]
async fn model_numbers_are_found_however_they_are_cut() {
    for made in indexes::all().await {
        let all = vec![
            product("1", "Sony PS-LX350H Turntable"),
            product("2", "Sony PSLX300USB Turntable"),
            product("3", "Xbox 360 Console"),
            product("AB-12.X", "Something else"),
        ];
        fill(&made.index, all).await;
        for asked in ["PSLX350H", "PS-LX350H", "ps lx 350h", "ps lx 350 h", "pslx 350h", "pslx350"] {
            assert_eq!(found(&made.index, asked).await.first().map(String::as_str), Some("1"), "{asked}");
        }
        for (asked, sku) in [("ps-lx300usb", "2"), ("xbox360", "3"), ("ab12x", "AB-12.X"), ("AB-12.X", "AB-12.X")] {
            assert_eq!(found(&made.index, asked).await.first().map(String::as_str), Some(sku), "{asked}");
        }
        // A digit that is wrong is another model, and no typo.
        assert_eq!(found(&made.index, "PSLX351H").await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn the_title_counts_more_than_what_is_written_below_it() {
    for made in indexes::all().await {
        fill(
            &made.index,
            vec![
                Document { description: "Goes with any teapot.".into(), ..product("described", "Cosy") },
                Document { attributes: vec![("for".into(), "teapot".into())], ..product("attribute", "Lid") },
                Document { categories: vec![category("t", "Teapot")], ..product("category", "Strainer") },
                Document { brand: Some("Teapot & Co".into()), ..product("brand", "Cup") },
                product("title", "Teapot"),
                product("long", "Teapot with a blue lid and a wooden handle"),
            ],
        )
        .await;
        let found = found(&made.index, "teapot").await;
        assert_eq!(found[..2], ["title", "long"]);
        assert_eq!(found[2], "brand");
        assert_eq!(found[5], "described");
    }
}

#[tokio::test]
async fn what_has_every_word_comes_before_what_has_some_and_unknown_words_cost_nothing() {
    for made in indexes::all().await {
        fill(
            &made.index,
            vec![
                product("mug", "Mug"),
                Document { description: "A stoneware thing to drink from: a mug.".into(), ..product("both", "Cup of many uses for tea") },
                product("stoneware", "Stoneware Plate"),
                product("other", "Tea Towel"),
            ],
        )
        .await;
        let found_both = found(&made.index, "stoneware mug").await;
        assert_eq!(found_both[0], "both");
        assert_eq!(found_both.len(), 3);
        assert_eq!(found(&made.index, "qwertzuiop stoneware plate zzz").await[0], "stoneware");
    }
}

#[tokio::test]
async fn long_queries_and_strange_ones_are_answered() {
    for made in indexes::all().await {
        fill(&made.index, vec![product("1", "Adobe Photoshop Elements 5.0"), product("2", "Adobe Premiere Elements 3.0")]).await;
        let long =
            "adobe photoshop elements version 5.0 full retail box for windows xp and vista english dvd single user new sealed (65020123)";
        assert_eq!(found(&made.index, long).await[0], "1");
        for asked in ["()[]{}\"'*:^~!", "AND OR NOT", "title:x", "\u{1}", &"a ".repeat(400), &"x".repeat(1_000), "東京", "🫖"] {
            ask(&made.index, &asking(asked)).await;
        }
    }
}
