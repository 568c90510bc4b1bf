//! As little of HTTP/1.1 as a load generator needs, since it shares the machine with what it measures: one connection that is kept
//! alive, one request at a time, bodies of a known length.

use std::{fmt::Write as _, io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::error::Error;

/// The longest that an answer is waited for.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
const READ_BYTES: usize = 16 * 1_024;
const MOST_BYTES: usize = 8 << 20;

/// A connection to a server.
pub struct Connection {
    address: SocketAddr,
    stream: TcpStream,
    request: String,
    received: Vec<u8>,
}

/// A request.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// GET, POST, …
    pub method: &'static str,
    /// The path and the query.
    pub path: &'a str,
    /// The credential to show.
    pub bearer: Option<&'a str>,
    /// JSON to send.
    pub body: Option<&'a str>,
    /// `Merx-Min-Position`.
    pub min_position: Option<i64>,
}

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// `Merx-Position`.
    pub position: Option<i64>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// The body, if the status is `expected`.
    pub fn expect(self, expected: u16) -> Result<Vec<u8>, Error> {
        if self.status == expected { Ok(self.body) } else { Err(self.unexpected()) }
    }

    /// The error that this is.
    pub fn unexpected(&self) -> Error {
        Error::Http(format!("{}: {}", self.status, String::from_utf8_lossy(&self.body)))
    }
}

impl Connection {
    /// Connects to `address`.
    pub async fn open(address: SocketAddr) -> Result<Self, Error> {
        let failed = |error| Error::io(format!("connecting to {address}"), error);
        let stream = TcpStream::connect(address).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        Ok(Self { address, stream, request: String::new(), received: Vec::with_capacity(READ_BYTES) })
    }

    /// Sends a request and waits for the answer.
    pub async fn send(&mut self, request: Request<'_>) -> Result<Response, Error> {
        self.write(request);
        let failed = |error| Error::io(format!("{} {}", request.method, request.path), error);
        match timeout(ANSWER_LIMIT, self.exchange()).await {
            Ok(answer) => answer.map_err(failed),
            Err(_) => Err(failed(io::ErrorKind::TimedOut.into())),
        }
    }

    fn write(&mut self, Request { method, path, bearer, body, min_position }: Request<'_>) {
        self.request.clear();
        // Writing to a String can't fail.
        let _ = write!(self.request, "{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.address);
        if let Some(bearer) = bearer {
            let _ = write!(self.request, "authorization: Bearer {bearer}\r\n");
        }
        if let Some(position) = min_position {
            let _ = write!(self.request, "merx-min-position: {position}\r\n");
        }
        if let Some(body) = body {
            let _ = write!(self.request, "content-type: application/json\r\ncontent-length: {}\r\n", body.len());
        }
        self.request += "\r\n";
        self.request += body.unwrap_or_default();
    }

    async fn exchange(&mut self) -> Result<Response, io::Error> {
        self.stream.write_all(self.request.as_bytes()).await?;
        self.received.clear();
        loop {
            if let Some(Head { status, position, body_from, body_len }) = Head::parse(&self.received)?
                && self.received.len() >= body_from + body_len
            {
                return Ok(Response { status, position, body: self.received[body_from..body_from + body_len].to_vec() });
            }
            if self.received.len() > MOST_BYTES {
                return Err(malformed("the answer is too long"));
            }
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    position: Option<i64>,
    /// How many bytes stand before the body.
    body_from: usize,
    body_len: usize,
}

impl Head {
    /// The head of an answer, once all of it is there.
    fn parse(received: &[u8]) -> Result<Option<Self>, io::Error> {
        let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
        let text = str::from_utf8(&received[..end]).map_err(|_| malformed("the head is not UTF-8"))?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
        let status = status.ok_or_else(|| malformed("no status"))?;
        let mut position = None;
        let mut body_len = (status == 204 || status == 304).then_some(0);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            if name.eq_ignore_ascii_case("content-length") {
                body_len = value.trim().parse().ok();
            } else if name.eq_ignore_ascii_case("merx-position") {
                position = value.trim().parse().ok();
            }
        }
        let body_len = body_len.ok_or_else(|| malformed("a body of unknown length"))?;
        Ok(Some(Self { status, position, body_from: end + 4, body_len }))
    }
}

fn malformed(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_once_its_head_is_there() {
        let answer = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 2\r\nMerx-Position: 7\r\n\r\n{}";
        assert_eq!(Head::parse(&answer[..40]).unwrap(), None);
        assert_eq!(Head::parse(answer).unwrap(), Some(Head { status: 201, position: Some(7), body_from: answer.len() - 2, body_len: 2 }));
    }

    #[test]
    fn an_answer_without_a_length_is_refused_unless_it_has_no_body() {
        assert!(Head::parse(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert_eq!(Head::parse(b"HTTP/1.1 304 Not Modified\r\n\r\n").unwrap().map(|head| head.body_len), Some(0));
    }
}
