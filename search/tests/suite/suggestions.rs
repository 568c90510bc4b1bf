use search::Kind;

use crate::{
    indexes,
    shop::{fill, kitchen, product},
};

#[tokio::test]
async fn titles_brands_and_categories_are_completed() {
    for made in indexes::all().await {
        let all = vec![
            kitchen("1", "Cast Iron Teapot", "Teapots", "Ironworks", "black", "48.00"),
            kitchen("2", "Stoneware Mug", "Mugs", "Hearth", "sand", "12.50"),
            product("3", "Stoneware Mug"),
            product("4", "Teaspoon"),
        ];
        fill(&made.index, all).await;
        let suggest = async |text: &str| {
            let suggestions = made.index.suggest(text, 10).await.expect("suggestions");
            suggestions.into_iter().map(|s| (s.kind, s.text)).collect::<Vec<_>>()
        };
        let of = |kind, text: &str| (kind, text.to_owned());
        let tea = suggest("tea").await;
        assert_eq!(tea[0], of(Kind::Category, "Teapots"));
        assert!(tea.contains(&of(Kind::Product, "Cast Iron Teapot")) && tea.contains(&of(Kind::Product, "Teaspoon")), "{tea:?}");
        assert_eq!(suggest("iron").await, [of(Kind::Brand, "Ironworks"), of(Kind::Product, "Cast Iron Teapot")]);
        assert_eq!(suggest("stoneware m").await, [of(Kind::Product, "Stoneware Mug")]);
        assert_eq!(suggest("kitc").await, [of(Kind::Category, "Kitchen")]);
        assert_eq!(suggest("").await, []);
        assert_eq!(suggest("zzzz").await, []);
    }
}
