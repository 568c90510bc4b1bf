//! Clients that connect and ask nothing, or never come to the end of what they ask.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    database::skipped,
    shop::{Shop, confirmed, product},
};

const IDLE: usize = 5_000;

/// Asks for so many open files, and returns true where this process may have them.
fn may_open(files: u64) -> bool {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return false };
    soft >= files || (hard >= files && setrlimit(Resource::RLIMIT_NOFILE, files, hard).is_ok())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_idle_connections_keep_nobody_out() {
    if !may_open(IDLE as u64 + 1_000) {
        return skipped("6,000 open files");
    }
    let Some(shop) = Shop::open().await else { return };
    let address = format!("127.0.0.1:{}", shop.servers[0].port());
    let mut idle = Vec::with_capacity(IDLE);
    for nth in 0..IDLE {
        let mut stream = TcpStream::connect(&address).await.expect("a connection");
        if nth % 2 == 0 {
            // The longest idle ones may have been ended by now.
            let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: te").await;
        }
        idle.push(stream);
    }
    for _ in 0..20 {
        // A connection each.
        shop.servers[0].client().get("/healthz").await.expect(200);
    }
    let sku = product(&shop, "1.00", 5).await;
    confirmed(&shop, &[(&sku, 1)]).await;
    let mut end = Vec::new();
    let ended = tokio::time::timeout(std::time::Duration::from_mins(1), idle[0].read_to_end(&mut end)).await;
    assert!(ended.is_ok() && end.is_empty(), "the first one was not ended");
}
