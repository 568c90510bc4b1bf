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
