//! The server process: found, started, awaited, shut down.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::{ConnectOptions, Connection};
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};

use super::Error;
use super::binaries::Binaries;
use super::directory::Directory;
use super::settings::create_for;
use super::socket::{PORT, Socket};

/// The longest recovery that is waited for.
const ANSWER_WAIT: Duration = Duration::from_mins(2);
/// The longest that a fast shutdown, which writes a checkpoint, is waited for.
const STOP_WAIT: Duration = Duration::from_mins(1);
const CONNECT_WAIT: Duration = Duration::from_secs(5);
const PROGRESS: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);
const LOG_TAIL_BYTES: usize = 2000;

/// What Postgres says before the log file is open.
const STDERR: &str = "start.log";

/// A server that answers. `child` if this process started it.
#[derive(Debug)]
pub(super) struct Postmaster {
    child: Option<Child>,
}

/// Takes over the cluster's server if it runs, else starts it, and waits until it answers.
pub(super) async fn ensure_running(cluster: &Directory, binaries: &Binaries, socket: &Socket) -> Result<Postmaster, Error> {
    let mut child = None;
    let started = Instant::now();
    let mut told = started;
    loop {
        match running(cluster)? {
            None if child.is_none() => child = Some(spawn(cluster, binaries)?),
            pid => {
                if let Some(status) = child.as_mut().and_then(|child: &mut Child| child.try_wait().ok().flatten()) {
                    return Err(Error::DidNotStart { path: cluster.path.clone(), status: status.to_string(), log: log_tail(cluster) });
                }
                let why = match probe(socket).await {
                    Ok(()) => {
                        if let (None, Some(pid)) = (&child, pid) {
                            tracing::info!("took over the running Postgres (pid {pid}) in {}", cluster.path.display());
                        }
                        return Ok(Postmaster { child });
                    }
                    Err(why) => why,
                };
                if started.elapsed() > ANSWER_WAIT {
                    return Err(Error::NoAnswer { path: cluster.path.clone(), waited_s: ANSWER_WAIT.as_secs(), why });
                }
                if told.elapsed() > PROGRESS {
                    told = Instant::now();
                    tracing::info!("waiting for Postgres for {} s: {why}", started.elapsed().as_secs());
                }
            }
        }
        sleep(POLL).await;
    }
}

/// Returns true where the cluster's server runs.
pub(super) fn is_running(cluster: &Directory) -> Result<bool, Error> {
    Ok(running(cluster)?.is_some())
}

/// Not through pg_ctl, whose shell would trip over some paths. In a process group of its own: Ctrl-C in a terminal is for merx,
/// which finishes what is under way before it stops Postgres.
fn spawn(cluster: &Directory, binaries: &Binaries) -> Result<Child, Error> {
    // The socket's own lock is left by a server that was killed, and copied by pg_basebackup: it names a process that may well live, but not here,
    // where none runs.
    let _ = fs::remove_file(cluster.path.join(format!(".s.PGSQL.{PORT}.lock")));
    let stderr = create_for(cluster, &cluster.path.join(STDERR))?;
    let stdout = stderr.try_clone().map_err(Error::io("opening", cluster.path.join(STDERR)))?;
    let mut command = cluster.account.command(&binaries.postgres());
    command.arg("-D").arg(&cluster.path).current_dir(&cluster.path).process_group(0).stdout(stdout).stderr(stderr);
    command.spawn().map_err(Error::io("running", binaries.postgres()))
}

/// Whether it answers, else why not.
async fn probe(socket: &Socket) -> Result<(), String> {
    let options = socket.options("postgres");
    match timeout(CONNECT_WAIT, options.connect()).await {
        Ok(Ok(connection)) => {
            let _ = connection.close().await; // it has answered
            Ok(())
        }
        Ok(Err(sqlx::Error::Database(refused))) => Err(refused.message().to_owned()),
        Ok(Err(failed)) => Err(failed.to_string()),
        Err(_) => Err("it accepts no connection".into()),
    }
}

/// The process id of the cluster's live server. Postgres looks after a stale `postmaster.pid` by itself, except when the number
/// now belongs to another process of the same account, as it may after a reboot: then it would not start.
fn running(cluster: &Directory) -> Result<Option<Pid>, Error> {
    let path = cluster.path.join("postmaster.pid");
    let text = match fs::read_to_string(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        text => text.map_err(Error::io("reading", &path))?,
    };
    let Some(pid) = text.lines().next().and_then(|line| line.trim().parse().ok()).map(Pid::from_raw) else { return Ok(None) };
    if !matches!(kill(pid, None), Ok(()) | Err(Errno::EPERM)) {
        return Ok(None);
    }
    let ours = fs::metadata(&cluster.path).map_err(Error::io("reading", &cluster.path))?;
    match fs::metadata(format!("/proc/{pid}/cwd")) {
        Ok(theirs) if (theirs.dev(), theirs.ino()) == (ours.dev(), ours.ino()) => Ok(Some(pid)),
        Ok(_) => {
            tracing::warn!("{} names process {pid}, which is another program: removed", path.display());
            fs::remove_file(&path).map_err(Error::io("removing", path))?;
            Ok(None)
        }
        // It has ended, and waits for its parent to notice.
        Err(e) if e.kind() == ErrorKind::NotFound && fs::exists("/proc/self/cwd").unwrap_or(false) => Ok(None),
        Err(_) => Ok(Some(pid)),
    }
}

impl Postmaster {
    /// A fast shutdown: sessions are cut off, everything is written.
    pub async fn shut_down(&mut self, cluster: &Directory) -> Result<(), Error> {
        let Some(pid) = running(cluster)? else { return Ok(()) };
        match kill(pid, Signal::SIGINT) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => return Err(Error::io("stopping Postgres in", &cluster.path)(errno)),
        }
        let asked = Instant::now();
        while running(cluster)?.is_some() {
            if let Some(child) = &mut self.child {
                let _ = child.try_wait(); // reaps it
            }
            if asked.elapsed() > STOP_WAIT {
                return Err(Error::DidNotStop { path: cluster.path.clone(), pid: pid.as_raw(), waited_s: STOP_WAIT.as_secs() });
            }
            sleep(POLL).await;
        }
        if let Some(child) = &mut self.child {
            let _ = timeout(STOP_WAIT, child.wait()).await;
        }
        Ok(())
    }
}

/// The end of what the server wrote last, wherever it wrote.
fn log_tail(cluster: &Directory) -> String {
    let logs = fs::read_dir(cluster.path.join("log")).into_iter().flatten().flatten().map(|entry| entry.path());
    let newest = logs.max_by_key(|path| fs::metadata(path).and_then(|meta| meta.modified()).ok());
    let mut text = String::new();
    for path in [Some(cluster.path.join(STDERR)), newest].into_iter().flatten() {
        let bytes = fs::read(path).unwrap_or_default();
        text.push_str(&String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(LOG_TAIL_BYTES)..]));
    }
    text
}
