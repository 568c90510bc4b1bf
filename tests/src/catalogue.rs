//! Categories and products.

use serde_json::{Value, json};

use crate::shop::{Shop, money, product, receive};

#[tokio::test]
async fn a_category_lists_what_is_below_it() {
    let Some(shop) = Shop::open().await else { return };
    for (id, parent) in [("home", Value::Null), ("light", json!("home")), ("lamps", json!("light")), ("garden", Value::Null)] {
        shop.post("/v1/categories", json!({"id": id, "name": id, "parent": parent})).await.expect(201);
    }
    for (sku, category) in [("a", "home"), ("b", "lamps"), ("c", "garden"), ("d", "light")] {
        shop.post("/v1/products", json!({"sku": sku, "title": sku, "price": money("1"), "category": category})).await.expect(201);
    }
    shop.patch("/v1/products/d", json!({"status": "archived"})).await.expect(200);
    let moved = async |patch: Value| shop.patch("/v1/categories/lamps", patch).await.expect(200).position();
    let listed = async |query: &str, position: i64| -> Vec<String> {
        let page = shop.get_at(&format!("/v1/products?{query}"), position).await.expect(200);
        page.items().iter().map(|item| item["sku"].as_str().unwrap().to_owned()).collect()
    };
    let now = moved(json!({"name": "Lamps"})).await;
    assert_eq!(listed("category=home", now).await, ["a", "b", "d"]);
    assert_eq!(listed("category=light", now).await, ["b", "d"]);
    assert_eq!(listed("category=light&status=active", now).await, ["b"]);
    assert_eq!(listed("status=archived", now).await, ["d"]);
    assert_eq!(listed("category=nowhere", now).await.len(), 0);
    let now = moved(json!({"parent": "garden"})).await;
    assert_eq!(listed("category=home", now).await, ["a", "d"]);
    assert_eq!(listed("category=garden", now).await, ["b", "c"]);
}

#[tokio::test]
async fn a_parent_makes_no_circle() {
    let Some(shop) = Shop::open().await else { return };
    for (id, parent) in [("a", Value::Null), ("b", json!("a")), ("c", json!("b"))] {
        shop.post("/v1/categories", json!({"id": id, "name": id, "parent": parent})).await.expect(201);
    }
    for parent in ["a", "b", "c"] {
        shop.patch("/v1/categories/a", json!({"parent": parent})).await.refused(409, "category_circle");
    }
    shop.post("/v1/categories", json!({"id": "d", "name": "d", "parent": "d"})).await.expect(422);
    shop.patch("/v1/categories/c", json!({"parent": "a"})).await.expect(200);
    shop.patch("/v1/categories/b", json!({"parent": "c"})).await.expect(200);
    // Moves at once, each of which would be right alone.
    for round in 0..10 {
        let (x, y) = (format!("x{round}"), format!("y{round}"));
        for id in [&x, &y] {
            shop.post("/v1/categories", json!({"id": id, "name": id})).await.expect(201);
        }
        let path = |id: &str| format!("/v1/categories/{id}");
        let (one, other) = futures::join!(
            shop.patch(&path(&x), json!({"parent": y})).into_future(),
            shop.patch(&path(&y), json!({"parent": x})).into_future()
        );
        let mut statuses = [one.status, other.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409], "{one}\n{other}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forty_moves_at_once_are_made_one_after_the_other_and_all_other_writes_go_on() {
    let Some(shop) = Shop::open().await else { return };
    let ids: Vec<String> = (0..40).map(|nth| format!("moved-{nth}")).collect();
    for id in ["home", "garden"].into_iter().chain(ids.iter().map(String::as_str)) {
        shop.post("/v1/categories", json!({"id": id, "name": id})).await.expect(201);
    }
    let sku = product(&shop, "1.00", 5).await;
    let patches = ids.iter().map(|id| shop.patch(&format!("/v1/categories/{id}"), json!({"parent": "home"})).into_future());
    let others = (0..20).map(|_| shop.post("/v1/carts", json!({"currency": "GBP", "items": [{"sku": sku, "quantity": 1}]})).into_future());
    let (moved, made) = futures::join!(futures::future::join_all(patches), futures::future::join_all(others));
    for answer in moved {
        answer.expect(200);
    }
    for answer in made {
        answer.expect(201);
    }
}

/// Categories `prefix1`, `prefix2`, … each below the one before.
async fn chain(shop: &Shop, prefix: &str, levels: usize) {
    for level in 1..=levels {
        let parent = if level == 1 { Value::Null } else { json!(format!("{prefix}{}", level - 1)) };
        shop.post("/v1/categories", json!({"id": format!("{prefix}{level}"), "name": "x", "parent": parent})).await.expect(201);
    }
}

#[tokio::test]
async fn a_branch_is_not_moved_deeper_than_categories_are_nested() {
    let Some(shop) = Shop::open_with(2, &[]).await else { return };
    let other = shop.servers[1].client();
    chain(&shop, "a", 32).await;
    chain(&shop, "b", 16).await;
    let below = |parent: &str| json!({"parent": parent});
    let refused = shop.post("/v1/categories", json!({"id": "c", "name": "c", "parent": "a32"})).await.refused(422, "invalid_request");
    assert_eq!((refused.pointers(), &refused["errors"][0]["code"]), (vec!["/parent"], &json!("too_deep")));
    for client in [&other, &shop] {
        let refused = client.patch("/v1/categories/b1", below("a17")).await.refused(422, "invalid_request");
        assert_eq!((refused.pointers(), &refused["errors"][0]["code"]), (vec!["/parent"], &json!("too_deep")));
    }
    other.patch("/v1/categories/b1", below("a16")).await.expect(200);
    shop.post("/v1/categories", json!({"id": "c", "name": "c", "parent": "b16"})).await.expect(422);
    shop.patch("/v1/categories/b2", below("b1")).await.expect(200);
    shop.patch("/v1/categories/b1", json!({"name": "Renamed", "parent": null})).await.expect(200);
    shop.post("/v1/categories", json!({"id": "c", "name": "c", "parent": "b16"})).await.expect(201);
    shop.patch("/v1/categories/b1", below("a16")).await.expect(422);
}

#[tokio::test]
async fn two_changes_at_once_that_are_too_deep_together_are_not_both_made() {
    let Some(shop) = Shop::open_with(2, &[]).await else { return };
    let other = shop.servers[1].client();
    for round in 0..6 {
        let (a, b) = (format!("a{round}-"), format!("b{round}-"));
        chain(&shop, &a, 17).await;
        chain(&shop, &b, 15).await;
        let deepest = format!("{b}15");
        let moved = shop.patch(&format!("/v1/categories/{b}1"), json!({"parent": format!("{a}17")})).into_future();
        let grown = if round % 2 == 0 {
            other.post("/v1/categories", json!({"id": format!("c{round}"), "name": "c", "parent": deepest})).into_future()
        } else {
            shop.post("/v1/categories", json!({"id": format!("c{round}"), "name": "c"})).await.expect(201);
            other.patch(&format!("/v1/categories/c{round}"), json!({"parent": deepest})).into_future()
        };
        let (moved, grown) = futures::join!(moved, grown);
        let made = [&moved, &grown].iter().filter(|answer| answer.status < 300).count();
        assert_eq!(made, 1, "{moved}\n{grown}");
        for answer in [moved, grown].into_iter().filter(|answer| answer.status >= 300) {
            assert_eq!(answer.refused(422, "invalid_request")["errors"][0]["code"], "too_deep");
        }
    }
}

#[tokio::test]
async fn a_merge_patch_removes_what_is_null_and_keeps_the_rest() {
    let Some(shop) = Shop::open().await else { return };
    let whole = json!({"sku": "a", "title": "Lantern", "description": "Metal", "brand": "Lumen", "price": money("3.25"),
        "images": [{"url": "https://img.example/1.jpg", "alt": "front"}], "attributes": {"colour": "white"}});
    let made = shop.post("/v1/products", whole.clone()).await.expect(201);
    for (name, value) in whole.as_object().unwrap() {
        assert_eq!(&made[name], value);
    }
    assert_eq!(made["stock"], json!({"available": 0, "state": "out_of_stock"}));
    assert_eq!((&made["rating"], made.body.get("flash_sale")), (&json!({"average": null, "count": 0}), None));
    let patched =
        shop.patch("/v1/products/a", json!({"price": money("2.95"), "attributes": {"colour": null, "size": "L"}, "brand": null})).await;
    let patched = patched.expect(200);
    assert_eq!((&patched["attributes"], &patched["brand"], &patched["title"]), (&json!({"size": "L"}), &Value::Null, &json!("Lantern")));
    assert_eq!((&patched["images"], &patched["description"]), (&whole["images"], &whole["description"]));
    let json = shop.patch("/v1/products/a", json!({})).raw("application/json", &br#"{"title": "Lamp"}"#[..]).await.expect(200);
    assert_eq!(json["title"], "Lamp");
}

#[tokio::test]
async fn a_product_says_how_much_there_is() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "1", 0).await;
    for (units, available, state) in [(1, 1, "low"), (4, 5, "low"), (1, 6, "in_stock")] {
        let position = receive(&shop, &sku, units).await.position();
        let shown = shop.get_at(&format!("/v1/products/{sku}"), position).await.expect(200);
        assert_eq!(shown["stock"], json!({"available": available, "state": state}));
    }
    let never = product(&shop, "1", 0).await;
    let zeros = shop.get(&format!("/v1/stock/{never}")).await;
    let position = shop.post("/v1/carts", json!({"currency": "GBP"})).await.position();
    let zeros = if zeros.status == 200 { zeros } else { shop.get_at(&format!("/v1/stock/{never}"), position).await.expect(200) };
    assert_eq!((&zeros["on_hand"], &zeros["reserved"], &zeros["available"]), (&json!(0), &json!(0), &json!(0)));
}

#[tokio::test]
async fn what_is_archived_is_not_sold_until_it_is_active_again() {
    let Some(shop) = Shop::open().await else { return };
    let (sku, other) = (product(&shop, "1", 5).await, product(&shop, "1", 5).await);
    let cart = crate::shop::cart(&shop, &[(&sku, 1), (&other, 1)]).await;
    let status = async |status: &str| shop.patch(&format!("/v1/products/{sku}"), json!({"status": status})).await.expect(200);
    assert_eq!(status("archived").await["status"], "archived");
    shop.put(&format!("/v1/carts/{cart}/items/{sku}"), json!({"quantity": 2})).await.refused(409, "not_for_sale");
    let body = json!({"currency": "GBP", "items": [{"sku": sku, "quantity": 1}]});
    shop.post("/v1/carts", body).await.refused(409, "not_for_sale");
    let refused = crate::shop::check_out(&shop, &cart, "tok_ok").await.refused(409, "not_for_sale");
    assert_eq!(refused.pointers(), [format!("/items/{sku}")]);
    let shown = shop.get_at(&format!("/v1/products/{sku}"), status("archived").await.position()).await.expect(200);
    assert_eq!(shown["status"], "archived");
    status("active").await;
    crate::shop::check_out(&shop, &cart, "tok_ok").await.expect(201);
}
