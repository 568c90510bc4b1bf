//! A server with no environment: it makes a Postgres of its own in its data directory.

use std::{
    fs::{self, Permissions},
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::SemaphorePermit;

use crate::{
    client::Client,
    server::{Launch, Server, merx},
    shop::{buy, confirmed, product, receive, room_for, settled, stock_becomes},
};

/// A data directory, and the server that made it. Nothing of it runs on after the test.
struct Embedded {
    server: Server,
    path: PathBuf,
    _folder: TempDir,
    _room: SemaphorePermit<'static>,
}

impl Embedded {
    async fn start() -> Self {
        let room = room_for(1).await;
        let folder = TempDir::new().expect("a folder");
        // As root the server runs Postgres as another user, which must be able to come here. The data directory it makes itself.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("its permissions");
        let path = folder.path().join("data");
        Self { server: Server::start(Launch::in_directory(&path)).await, path, _folder: folder, _room: room }
    }

    fn client(&self) -> Client {
        self.server.client()
    }

    /// The lines that `merx events` prints.
    fn events(&self, arguments: &[&str]) -> Vec<String> {
        let output = merx(&["events", "--data-dir"]).arg(&self.path).args(arguments).output().expect("merx events");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8").lines().map(str::to_owned).collect()
    }

    fn postgres(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.path.join("postgres/postmaster.pid")).ok()?;
        text.lines().next()?.trim().parse().ok().map(Pid::from_raw)
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.server.end();
        // Postgres outlives a server that is killed, and it would outlive this test.
        if let Some(postgres) = self.postgres() {
            let _ = kill(postgres, Signal::SIGQUIT);
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

#[tokio::test]
async fn it_sells_with_no_environment_at_all_and_stops_when_it_is_told_to() {
    let mut shop = Embedded::start().await;
    let client = shop.client();
    let sku = product(&client, "2", 10).await;
    confirmed(&client, &[(&sku, 3)]).await;
    stock_becomes(&client, &sku, 7, 0).await;
    let status = shop.server.stop();
    assert_eq!(status.code(), Some(0), "{status}");
    assert_eq!(shop.postgres(), None, "Postgres still runs");
    shop.server.start_again().await;
    stock_becomes(&client, &sku, 7, 0).await;
    confirmed(&client, &[(&sku, 7)]).await;
}

#[tokio::test]
async fn a_data_directory_has_one_server() {
    let mut shop = Embedded::start().await;
    let second = merx(&["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&shop.path).output().expect("a second server");
    let told = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && told.contains("another merx server"), "{}: {told}", second.status);
    assert!(told.contains(&shop.path.display().to_string()), "it does not say where: {told}");
    let client = shop.client();
    let sku = product(&client, "2", 1).await;
    confirmed(&client, &[(&sku, 1)]).await;
    assert!(shop.server.stop().success());
}

#[tokio::test]
async fn after_a_kill_the_next_server_takes_the_cluster_over() {
    let mut shop = Embedded::start().await;
    let client = shop.client();
    let sku = product(&client, "2", 10).await;
    let paid = confirmed(&client, &[(&sku, 3)]).await;
    let slow = buy(&client, &[(&sku, 2)], "tok_slow").await.expect(201).id();
    let position = receive(&client, &sku, 5).await.position();
    let postgres = shop.postgres().expect("Postgres");
    shop.server.kill();
    shop.server.start_again().await;
    assert_eq!(shop.postgres(), Some(postgres), "it is another Postgres now");
    // The read models go on once the dead server's leases have ended.
    client.until("/v1/projections", |all| all.items().iter().all(|one| one["position"].as_i64() >= Some(position))).await;
    assert_eq!(client.get_at(&format!("/v1/orders/{paid}"), position).await.expect(200).state(), "confirmed");
    assert_eq!(settled(&client, &slow).await.state(), "confirmed");
    stock_becomes(&client, &sku, 10, 0).await;
    // The machine itself may fail: then Postgres is gone too.
    receive(&client, &sku, 1).await;
    shop.server.kill();
    kill(postgres, Signal::SIGQUIT).expect("SIGQUIT");
    tokio::time::sleep(Duration::from_millis(500)).await;
    shop.server.start_again().await;
    stock_becomes(&client, &sku, 11, 0).await;
    assert!(shop.server.stop().success());
    assert_eq!(shop.postgres(), None, "Postgres still runs");
}

/// The events of the API as the text they came in, without the brackets.
async fn listed(client: &Client, path: &str) -> (String, usize) {
    let answer = client.get(path).await.expect(200);
    let text = String::from_utf8(answer.bytes.to_vec()).expect("UTF-8");
    let start = text.find("\"items\":[").expect("items") + "\"items\":[".len();
    let mut stream = serde_json::Deserializer::from_str(&text[start - 1..]).into_iter::<Value>();
    stream.next().expect("items").expect("JSON");
    (text[start..start + stream.byte_offset() - 2].to_owned(), answer.items().len())
}

#[tokio::test]
async fn merx_events_prints_the_log_with_the_server_running_and_not() {
    let mut shop = Embedded::start().await;
    let client = shop.client();
    let sku = product(&client, "2", 10).await;
    let order = confirmed(&client, &[(&sku, 3)]).await;
    stock_becomes(&client, &sku, 7, 0).await;
    let stream = format!("order-{order}");
    let (all, count) = listed(&client, "/v1/events?limit=200").await;
    let (of_stream, _) = listed(&client, &format!("/v1/streams/{stream}")).await;
    let (after, _) = listed(&client, "/v1/events?limit=200&after=4").await;
    for is_running in [true, false] {
        if !is_running {
            assert!(shop.server.stop().success());
        }
        let lines = shop.events(&[]);
        assert_eq!((lines.len(), lines.join(",")), (count, all.clone()), "running: {is_running}");
        assert_eq!(shop.events(&["--stream", &stream]).join(","), of_stream);
        assert_eq!(shop.events(&["--after", "4"]).join(","), after);
        assert!(shop.events(&["--after", &count.to_string()]).is_empty());
        let both = shop.events(&["--after", "4", "--stream", &stream]);
        assert!(both.iter().all(|line| of_stream.contains(line)) && !both.is_empty());
    }
    assert_eq!(shop.postgres(), None, "Postgres still runs");
}

#[tokio::test]
async fn merx_events_follows_the_log_until_it_is_interrupted() {
    let mut shop = Embedded::start().await;
    let client = shop.client();
    let mut follower = merx(&["events", "--follow", "--data-dir"])
        .arg(&shop.path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("merx events");
    let lines = BufReader::new(follower.stdout.take().expect("its output")).lines();
    let (to, mut from) = tokio::sync::mpsc::unbounded_channel();
    let reader = std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(to.send(line))));
    for title in ["one", "two"] {
        let position = client
            .post("/v1/products", json!({"sku": title, "title": title, "price": {"amount": "1", "currency": "GBP"}}))
            .await
            .expect(201)
            .position();
        let line = tokio::time::timeout(Duration::from_secs(20), from.recv()).await.expect("a line in time").expect("a line");
        let event: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!((event["position"].as_i64(), &event["data"]["title"]), (Some(position), &json!(title)), "{line}");
    }
    kill(Pid::from_raw(follower.id().cast_signed()), Signal::SIGINT).expect("SIGINT");
    assert!(follower.wait().expect("its end").success());
    reader.join().expect("the reader");
    assert!(shop.server.stop().success());
}

#[test]
fn merx_events_makes_no_shop_where_there_is_none() {
    let folder = TempDir::new().expect("a folder");
    let output = merx(&["events", "--data-dir"]).arg(folder.path().join("data")).output().expect("merx events");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains("there is no shop in"), "{told}");
    assert!(!folder.path().join("data").exists());
}

#[test]
fn what_can_not_be_done_is_said_in_a_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let folder = TempDir::new().expect("a folder");
    let told = |command: &mut std::process::Command| {
        let output = command.output().expect("merx");
        assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!text.contains("panicked"), "{text}");
        text
    };
    let data = folder.path().join("data");
    assert!(told(merx(&["serve", "--listen", &address, "--data-dir"]).arg(&data)).contains("can't be listened on"));
    let wrong = |url: &str| told(merx(&["serve", "--listen", "127.0.0.1:0"]).env("DATABASE_URL", url));
    assert!(wrong("postgres://nobody@127.0.0.1:1/none").contains("can't be reached"));
    assert!(wrong("not a url").contains("DATABASE_URL"));
    told(&mut merx(&["serve", "--role", "cook"]));
    told(&mut merx(&["bake"]));
}
