//! `merx import`: a file becomes commands, and the read models are brought up to date.

use std::{error::Error, path::PathBuf, time::Duration};

use command_api::Shop;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    Location,
    database::Database,
    import::{catalogue, online_retail, progress},
    serve::Role,
};

/// What to import.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    #[command(subcommand)]
    source: Source,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum Source {
    /// Half a year of a real shop's invoices: CSV in the form of UCI's Online Retail data set, packed (.xz, .gz) or not.
    OnlineRetail {
        /// The file.
        file: PathBuf,
        /// Receive so many units of each product, so that it can be sold.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000_000))]
        stock: Option<u32>,
    },
    /// Products: CSV with sku,title,description,category,brand,price,currency,stock, packed (.xz, .gz) or not; further columns become attributes.
    /// `stock` is what is on hand afterwards.
    Catalogue {
        /// The file.
        file: PathBuf,
        /// Separator of its fields, or `tab`; by default what its first line has most of: a comma, a semicolon, a tab or `|`.
        #[arg(long, value_name = "CHARACTER", value_parser = separator)]
        delimiter: Option<char>,
    },
}

fn separator(text: &str) -> Result<char, String> {
    let mut chars = text.chars();
    match (text, chars.next(), chars.next()) {
        ("tab" | "\\t", ..) => Ok('\t'),
        (_, Some(char), None) if !matches!(char, '"' | '\r' | '\n') => Ok(char),
        _ => Err("one character that is no quote, or tab".to_owned()),
    }
}

/// Imports what `options` name and waits until the read models show it. What could not be imported is an error, after the rest was done.
pub async fn run(location: &Location, options: Options) -> Result<(), Box<dyn Error>> {
    let database = Database::open(location).await?;
    let imported = import(&database, &options.source).await;
    database.close().await;
    imported
}

async fn import(database: &Database, source: &Source) -> Result<(), Box<dyn Error>> {
    let shop = Shop::new(database.log().await?, command_api::Settings::default());
    // With no server running nobody else keeps the read models; with one, it has their leases and these idle.
    let (stopping, mut projectors) = (CancellationToken::new(), JoinSet::new());
    crate::serve::start_roles(&[Role::Projector], &shop, Uuid::now_v7(), None, &stopping, &mut projectors);
    let bar = progress::bar();
    let imported = match source {
        Source::OnlineRetail { file, stock } => {
            let options = online_retail::Options { stock: *stock };
            online_retail::run(&shop.store, file, options, &bar).await.map(|summary| (summary.to_string(), summary.rejected))
        }
        Source::Catalogue { file, delimiter } => {
            catalogue::run(&shop.store, file, *delimiter, &bar).await.map(|summary| (summary.to_string(), summary.rejected))
        }
    };
    bar.finish_and_clear();
    let caught_up = match &imported {
        Ok(_) => wait_for_read_models(&shop).await,
        Err(_) => Ok(()),
    };
    stopping.cancel();
    while projectors.join_next().await.is_some() {}
    let (summary, rejected) = imported?;
    println!("{summary}");
    caught_up?;
    if rejected.is_none() { Ok(()) } else { Err(rejected.left_out().into()) }
}

/// Waits until every read model has come to where the log ends now.
async fn wait_for_read_models(shop: &Shop) -> Result<(), Box<dyn Error>> {
    let head = shop.store.head().await?;
    let names: Vec<String> = projections::all().iter().map(|projection| projection.name().to_owned()).collect();
    loop {
        let behind = sqlx::query_scalar!(
            r#"select count(*) as "count!" from unnest($1::text[]) as n (name) left join checkpoints c using (name) where coalesce(c.position, 0) < $2"#,
            &names,
            head
        )
        .fetch_one(shop.store.pool())
        .await?;
        if behind == 0 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
