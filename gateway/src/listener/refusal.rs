//! The answer to whoever finds no place.

use std::{fmt::Write as _, time::Duration};

use axum::response::IntoResponse as _;
use http::{HeaderValue, header};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{Problem, request};

/// Time limit of the answer, with what is taken off the wire after it.
const LIMIT: Duration = Duration::from_secs(1);
/// The most bytes that are taken off the wire after it: a client that is busy sending would otherwise see a reset connection and no answer.
const LINGER_BYTES: u64 = 256 * 1024;

/// Answers whatever is asked over `stream` with 503, and ends it.
pub async fn answer(mut stream: TcpStream) {
    ::metrics::counter!("merx_http_connections_refused_total").increment(1);
    let answered = async {
        stream.write_all(text().await.as_bytes()).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(LINGER_BYTES), &mut tokio::io::sink()).await
    };
    // Whoever does not take the answer does without.
    let _ = timeout(LIMIT, answered).await;
}

/// The whole answer, as it goes over the wire.
async fn text() -> String {
    let problem =
        Problem::unavailable("The server has as many connections as it may have, and all of them have asked something. Try again.");
    let problem = problem.header(header::CONNECTION, HeaderValue::from_static("close"));
    let (parts, body) = request::named(|| problem.into_response()).into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let mut text = format!("HTTP/1.1 {}\r\ncontent-length: {}\r\n", parts.status, body.len());
    for (name, value) in &parts.headers {
        if name != header::CONTENT_LENGTH {
            let _ = write!(text, "{name}: {}\r\n", value.to_str().unwrap_or_default()); // a String takes everything
        }
    }
    text.push_str("\r\n");
    text.push_str(&String::from_utf8_lossy(&body));
    text
}
