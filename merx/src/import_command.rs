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
    /// Half a year of a real shop's invoices: CSV or .csv.xz in the form of UCI's Online Retail data set.
    OnlineRetail {
        /// The file.
        file: PathBuf,
        /// Receive so many units of each product, so that it can be sold.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000_000))]
        stock: Option<u32>,
        #[command(flatten)]
        location: Location,
    },
    /// Products: CSV with sku,title,description,category,brand,price,currency,stock; further columns become attributes.
    Catalogue {
        /// The file.
        file: PathBuf,
        #[command(flatten)]
        location: Location,
    },
}

impl Source {
    fn location(&self) -> &Location {
        match self {
            Self::OnlineRetail { location, .. } | Self::Catalogue { location, .. } => location,
        }
    }
}

/// Imports what `options` name and waits until the read models show it.
pub async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let database = Database::open(options.source.location()).await?;
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
        Source::OnlineRetail { file, stock, .. } => {
            online_retail::run(&shop.store, file, online_retail::Options { stock: *stock }, &bar).await.map(|summary| summary.to_string())
        }
        Source::Catalogue { file, .. } => catalogue::run(&shop.store, file, &bar).await.map(|summary| summary.to_string()),
    };
    bar.finish_and_clear();
    let caught_up = match &imported {
        Ok(_) => wait_for_read_models(&shop).await,
        Err(_) => Ok(()),
    };
    stopping.cancel();
    while projectors.join_next().await.is_some() {}
    println!("{}", imported?);
    caught_up
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
