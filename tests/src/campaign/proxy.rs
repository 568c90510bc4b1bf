//! What stands between the servers and Postgres, and cuts connections in the middle of what they do.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinHandle,
};

const CHUNK_BYTES: usize = 64 << 10;

/// A TCP proxy on a port of its own.
pub struct Proxy {
    pub port: u16,
    cuts: Arc<Cuts>,
    accepting: JoinHandle<()>,
}

/// Which messages end their connection.
struct Cuts {
    /// One message in so many; 0 is none.
    one_in: AtomicU32,
    random: Mutex<fastrand::Rng>,
    lost_answers: AtomicU64,
    half_messages: AtomicU64,
}

enum Fate {
    Whole,
    /// Postgres does what it was asked to, commits, and nobody hears of it.
    AnswerLost,
    /// Postgres gets the first half.
    Halved,
}

impl Cuts {
    fn fate(&self) -> Fate {
        let one_in = self.one_in.load(Ordering::Relaxed);
        let mut random = self.random.lock().unwrap();
        if one_in == 0 || random.u32(0..one_in) != 0 {
            Fate::Whole
        } else if random.u32(0..4) == 0 {
            Fate::Halved
        } else {
            Fate::AnswerLost
        }
    }
}

impl Proxy {
    pub async fn start(postgres_port: u16, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port for the proxy");
        let port = listener.local_addr().expect("the proxy's address").port();
        let cuts = Arc::new(Cuts {
            one_in: AtomicU32::new(0),
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
            lost_answers: AtomicU64::new(0),
            half_messages: AtomicU64::new(0),
        });
        let shared = cuts.clone();
        let accepting = tokio::spawn(async move {
            loop {
                let Ok((from, _)) = listener.accept().await else { continue };
                let cuts = shared.clone();
                tokio::spawn(async move {
                    // While Postgres is away, its clients are refused by the end of their connection.
                    let Ok(to) = TcpStream::connect(("127.0.0.1", postgres_port)).await else { return };
                    relay(from, to, &cuts).await;
                });
            }
        });
        Self { port, cuts, accepting }
    }

    /// From now on one message in so many ends its connection; 0 is none.
    pub fn cut_one_in(&self, messages: u32) {
        self.cuts.one_in.store(messages, Ordering::Relaxed);
    }

    /// Answers that were lost, and messages of which half was sent.
    pub fn counts(&self) -> (u64, u64) {
        (self.cuts.lost_answers.load(Ordering::Relaxed), self.cuts.half_messages.load(Ordering::Relaxed))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn relay(from: TcpStream, to: TcpStream, cuts: &Cuts) {
    let (Ok(()), Ok(())) = (from.set_nodelay(true), to.set_nodelay(true)) else { return };
    let ((from_reader, from_writer), (to_reader, to_writer)) = (from.into_split(), to.into_split());
    let is_cut = AtomicBool::new(false);
    // Whichever ends first ends both.
    tokio::select! {
        () = ask(from_reader, to_writer, cuts, &is_cut) => {}
        () = answer(to_reader, from_writer, cuts, &is_cut) => {}
    }
}

async fn ask(mut reader: OwnedReadHalf, mut writer: OwnedWriteHalf, cuts: &Cuts, is_cut: &AtomicBool) {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(count @ 1..) = reader.read(&mut chunk).await {
        let count = match cuts.fate() {
            Fate::Whole => count,
            Fate::AnswerLost => {
                is_cut.store(true, Ordering::Release);
                count
            }
            Fate::Halved => {
                cuts.half_messages.fetch_add(1, Ordering::Relaxed);
                let _ = writer.write_all(&chunk[..count / 2]).await;
                return;
            }
        };
        if writer.write_all(&chunk[..count]).await.is_err() {
            return;
        }
    }
}

async fn answer(mut reader: OwnedReadHalf, mut writer: OwnedWriteHalf, cuts: &Cuts, is_cut: &AtomicBool) {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(count @ 1..) = reader.read(&mut chunk).await {
        if is_cut.load(Ordering::Acquire) {
            cuts.lost_answers.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if writer.write_all(&chunk[..count]).await.is_err() {
            return;
        }
    }
}
