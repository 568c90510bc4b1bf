//! `merx verify`, and a log from a newer version of the program.

use std::process::Output;

use sqlx::{Connection as _, PgConnection};

use crate::{
    server::merx,
    shop::{Shop, confirmed, product},
};

fn verify(shop: &Shop) -> Output {
    merx(&["verify"]).env("DATABASE_URL", &shop.database.url).output().expect("merx verify")
}

fn said(output: &Output) -> (String, String) {
    (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn a_log_is_said_to_be_whole_or_what_is_wrong_first() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 10).await;
    confirmed(&shop, &[(&sku, 3)]).await;
    let output = verify(&shop);
    let (told, errors) = said(&output);
    assert!(output.status.success() && told.ends_with(" events/s: the log is whole\n"), "{told}{errors}");
    assert_eq!((told.lines().count(), errors.as_str()), (1, ""), "quiet where nobody watches");
    let mut owner = PgConnection::connect_with(&shop.database.options).await.expect("the database");
    let tampering = "alter table events disable trigger events_are_never_changed;
                     update events set payload = '{}' where position = 2;
                     alter table events enable always trigger events_are_never_changed";
    sqlx::raw_sql(tampering).execute(&mut owner).await.expect("the owner may switch the law off");
    let output = verify(&shop);
    let (told, errors) = said(&output);
    assert_eq!((output.status.code(), told.as_str()), (Some(1), ""), "{errors}");
    assert!(errors.starts_with("merx: the log is not whole: position 2, stream ") && errors.lines().count() == 1, "{errors}");
}

#[tokio::test]
async fn a_log_is_compared_with_a_digest_that_was_noted_and_read_models_with_the_log() {
    let Some(mut shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 10).await;
    confirmed(&shop, &[(&sku, 3)]).await;
    // Every read model has something to be compared.
    let models = ["catalogue", "stock", "flash-sales", "reviews", "carts", "orders", "sales", "search"];
    shop.until("/v1/projections", |progress| {
        let items = progress["items"].as_array().expect("items");
        models.iter().all(|name| items.iter().any(|item| item["name"] == *name && item["position"] == progress["head"]))
    })
    .await;
    assert!(shop.server().stop().success());
    let verify = |arguments: &[&str]| {
        let arguments: Vec<&str> = ["verify"].into_iter().chain(arguments.iter().copied()).collect();
        merx(&arguments).env("DATABASE_URL", &shop.database.url).output().expect("merx verify")
    };
    let (told, errors) = said(&verify(&[]));
    let digest =
        told.split(", digest ").nth(1).and_then(|rest| rest.split(',').next()).unwrap_or_else(|| panic!("{told}{errors}")).to_owned();
    assert!(verify(&["--digest", &digest]).status.success(), "the log has not changed");
    let mut owner = PgConnection::connect_with(&shop.database.options).await.expect("the database");
    let kept: i64 = sqlx::query_scalar("select max(position) from log_digests").fetch_one(&mut owner).await.expect("a digest");
    assert!(digest.starts_with(&format!("{kept}:")), "a server that stops leaves nothing without a digest: {digest}");
    let (position, digits) = digest.split_once(':').expect("a position");
    let another = format!("{position}:{}", digits.chars().rev().collect::<String>());
    let (told, errors) = said(&verify(&["--digest", &another]));
    assert!(
        told.is_empty() && errors.starts_with(&format!("merx: the log is not whole: position {position}: expected the digest")),
        "{told}{errors}"
    );
    let malformed = verify(&["--digest", "1234"]);
    assert!(!malformed.status.success() && said(&malformed).1.contains("is no digest of a log"), "{malformed:?}");

    let (told, errors) = said(&verify(&["--read-models"]));
    for name in models {
        assert!(told.contains(&format!("\n{name}: what the log makes, up to position ")), "{name}: {told}{errors}");
    }
    sqlx::raw_sql("update read_model.stock set on_hand = on_hand + 1").execute(&mut owner).await.expect("a wrong row");
    let output = verify(&["--read-models"]);
    let (told, errors) = said(&output);
    let wrong = format!("merx: the read model stock is not what the log makes: table stock, key {sku}: expected ({sku},7,0,");
    assert!(output.status.code() == Some(1) && errors.starts_with(&wrong), "{told}{errors}");
}

#[tokio::test]
async fn a_log_from_a_newer_program_is_refused_by_every_command() {
    let Some(mut shop) = Shop::open().await else { return };
    product(&shop, "2", 10).await;
    assert!(shop.server().stop().success());
    let mut newer = PgConnection::connect_with(&shop.database.options).await.expect("the database");
    let cases = [
        (
            "insert into program_event_schemas values ('OrderGiftWrapped', 1, '77.0.0')",
            "it may hold OrderGiftWrapped of schema version 1",
            "77.0.0",
        ),
        (
            "insert into _sqlx_migrations (version, description, success, checksum, execution_time) values (9001, 'later', true, '', 0);
             insert into program_migrations values (9001, '78.1.0')",
            "it has migration 9001",
            "78.1.0",
        ),
    ];
    for (statements, found, needed) in cases {
        sqlx::raw_sql(statements).execute(&mut newer).await.expect("what a newer program does");
        let commands: [&[&str]; 5] =
            [&["serve", "--listen", "127.0.0.1:0"], &["events"], &["verify"], &["projections"], &["import", "catalogue", "none.csv"]];
        for command in commands {
            let output = merx(command).env("DATABASE_URL", &shop.database.url).output().expect("merx");
            let (told, errors) = said(&output);
            assert_eq!((output.status.code(), told.as_str()), (Some(1), ""), "{command:?}: {errors}");
            assert!(
                errors.starts_with("merx: the log is from a newer version of merx: ") && errors.lines().count() == 1,
                "{command:?}: {errors}"
            );
            assert!(
                errors.contains(found) && errors.contains(&format!("and merx {needed} or newer is needed; nothing was changed")),
                "{errors}"
            );
        }
    }
}
