//! The server on a socket.

use std::net::SocketAddr;

use axum::routing;
use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::Notify,
    task::JoinHandle,
};

use super::*;
use crate::{JsonBytes, request};

/// Short ones, so that a test sees them pass.
fn limits() -> Limits {
    let short = Duration::from_millis(300);
    Limits { connections: 8, header: short, idle: short, stall: short, age: Duration::from_mins(1) }
}

struct Running {
    address: SocketAddr,
    stopping: CancellationToken,
    served: JoinHandle<()>,
    /// Lets the route /held answer.
    held: Arc<Notify>,
}

async fn start(limits: Limits) -> Running {
    let held = Arc::new(Notify::new());
    let waits = held.clone();
    let router = Router::new()
        .route("/quick", routing::get(async || "quick"))
        .route("/held", routing::get(async move || waits.notified().await).put(async |body: JsonBytes<serde_json::Value>| body.bytes))
        .route("/large", routing::get(async || Bytes::from(vec![b'x'; 64 << 20])));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stopping) = (listener.local_addr().unwrap(), CancellationToken::new());
    let served = tokio::spawn(serve(listener, request::layer(router), limits, stopping.clone()));
    Running { address, stopping, served, held }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A connection over which this was sent.
    async fn sent(&self, text: &str) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }
}

const QUICK: &str = "GET /quick HTTP/1.1\r\nhost: test\r\n\r\n";
const HELD: &str = "GET /held HTTP/1.1\r\nhost: test\r\n\r\n";

/// Everything that comes over `stream` until its end; panics after 30 seconds.
async fn all(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let read = timeout(Duration::from_secs(30), stream.read_to_end(&mut text)).await.expect("the connection is never ended");
    // A reset is an end, too.
    let _ = read;
    String::from_utf8_lossy(&text).into_owned()
}

/// The next answer, whose body is `body`.
async fn answered(stream: &mut TcpStream, body: &str) {
    let mut text = String::new();
    while !text.ends_with(&format!("\r\n\r\n{body}")) {
        let mut part = [0; 1_024];
        let many = timeout(Duration::from_secs(30), stream.read(&mut part)).await.expect("no answer").unwrap();
        assert_ne!(many, 0, "ended after {text:?}");
        text.push_str(&String::from_utf8_lossy(&part[..many]));
    }
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
}

#[tokio::test]
async fn half_a_header_and_a_connection_that_asks_nothing_are_ended() {
    let server = start(limits()).await;
    let mut half = server.sent("GET /quick HTTP/1.1\r\nhost: te").await;
    let mut silent = server.connect().await;
    let mut asked_once = server.sent(QUICK).await;
    answered(&mut asked_once, "quick").await;
    for stream in [&mut half, &mut silent, &mut asked_once] {
        assert_eq!(all(stream).await, "");
    }
}

#[tokio::test]
async fn a_header_that_trickles_in_is_ended_whatever_comes() {
    let server = start(limits()).await;
    let mut stream = server.sent("GET /quick HTTP/1.1\r\nx: ").await;
    let trickled = async {
        while stream.write_all(b"x").await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(30), trickled).await.expect("it is ended");
}

#[tokio::test]
async fn a_request_that_takes_longer_than_any_limit_is_answered() {
    let server = start(limits()).await;
    let mut stream = server.sent(HELD).await;
    sleep(limits().idle * 4).await;
    server.held.notify_one();
    answered(&mut stream, "").await;
}

#[tokio::test]
async fn a_client_that_does_not_take_its_answer_is_cut_off() {
    let server = start(limits()).await;
    let mut stream = server.sent("GET /large HTTP/1.1\r\nhost: test\r\n\r\n").await;
    sleep(limits().stall * 6).await;
    let taken = all(&mut stream).await.len();
    assert!(taken < 64 << 20, "all {taken} bytes came, which nobody waited for");
}

#[tokio::test]
async fn idle_connections_keep_nobody_out() {
    let server = start(Limits { idle: Duration::from_mins(1), header: Duration::from_mins(1), ..limits() }).await;
    let mut waiting = Vec::new();
    for nth in 0..60 {
        waiting.push(if nth % 2 == 0 { server.connect().await } else { server.sent("GET /quick HTTP/1.1\r\nhost: te").await });
    }
    for _ in 0..20 {
        let mut stream = server.sent(QUICK).await;
        answered(&mut stream, "quick").await;
        waiting.push(stream);
    }
    assert_eq!(all(&mut waiting[0]).await, "", "the longest idle one gave up its place");
}

#[tokio::test]
async fn where_all_have_asked_something_a_newcomer_is_told_to_come_back() {
    let server = start(limits()).await;
    let mut asking = Vec::new();
    for _ in 0..limits().connections {
        asking.push(server.sent(HELD).await);
    }
    let refused = loop {
        let mut stream = server.sent(QUICK).await;
        let text = all(&mut stream).await;
        if text.starts_with("HTTP/1.1 503 ") {
            break text; // before that some had not been heard yet, and one of them gave up its place
        }
        asking.push(server.sent(HELD).await);
    };
    let (head, body) = refused.split_once("\r\n\r\n").unwrap();
    for line in ["retry-after: 1", "connection: close", "content-type: application/problem+json"] {
        assert!(head.lines().any(|sent| sent == line), "{head}");
    }
    let problem: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!((&problem["status"], &problem["code"]), (&503.into(), &"unavailable".into()));
    assert!(problem["request_id"].is_string());
}

#[tokio::test]
async fn a_server_that_stops_answers_what_was_asked_and_nothing_else() {
    let server = start(Limits { idle: Duration::from_mins(1), header: Duration::from_mins(1), ..limits() }).await;
    let mut asking = server.sent(HELD).await;
    let mut idle = server.sent(QUICK).await;
    answered(&mut idle, "quick").await;
    let mut half = server.sent("GET /quick HTTP/1.1\r\nhost: te").await;
    sleep(Duration::from_millis(100)).await;
    server.stopping.cancel();
    assert_eq!((all(&mut idle).await, all(&mut half).await), (String::new(), String::new()));
    server.held.notify_one();
    assert!(all(&mut asking).await.starts_with("HTTP/1.1 200 OK\r\n"));
    server.served.await.unwrap();
    assert!(TcpStream::connect(server.address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn half_a_body_is_answered_in_time_and_its_connection_ended() {
    let server = start(limits()).await;
    let sent = "PUT /held HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    let text = all(&mut server.sent(sent).await).await;
    assert!(text.starts_with("HTTP/1.1 408 ") && text.contains("\"body_timeout\""), "{text}");
}
