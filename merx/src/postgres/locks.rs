//! Three files in the data directory, each with one `flock`, which the kernel lets go however a process ends.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::{Error, directory};

/// Held by the one server of a data directory.
const SERVER: &str = "server.lock";
/// Held by whoever starts or stops Postgres, for so long.
const GATE: &str = "postgres-start.lock";
/// Shared by all who use Postgres; who can have it alone was the last.
const USERS: &str = "postgres-users.lock";

/// More than making a cluster and its longest recovery take together.
const GATE_WAIT: Duration = Duration::from_mins(3);
const POLL: Duration = Duration::from_millis(20);

/// The right to be the server of a data directory, until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

/// Makes this process the only server of `data_dir`, which is created if need be.
pub fn lock(data_dir: &Path) -> Result<Lock, Error> {
    let data_dir = directory::prepare(data_dir)?;
    let path = data_dir.join(SERVER);
    match try_lock(&path, FlockArg::LockExclusiveNonblock)? {
        Ok(file) => {
            let write = || {
                file.set_len(0)?;
                (&*file).write_all(format!("{}\n", std::process::id()).as_bytes())
            };
            write().map_err(Error::io("writing", path))?;
            Ok(Lock { _file: file })
        }
        Err(mut file) => {
            let mut pid = String::new();
            let pid = file.read_to_string(&mut pid).ok().and_then(|_| pid.trim().parse().ok());
            Err(Error::Locked { data_dir, pid })
        }
    }
}

/// Waits until nobody else starts or stops Postgres.
pub(super) async fn gate(data_dir: &Path) -> Result<Flock<File>, Error> {
    wait(data_dir, GATE, FlockArg::LockExclusiveNonblock).await
}

/// Becomes one of those who use Postgres. Only behind the gate.
pub(super) async fn join(data_dir: &Path) -> Result<Flock<File>, Error> {
    wait(data_dir, USERS, FlockArg::LockSharedNonblock).await
}

/// Whether nobody uses Postgres any more. Only behind the gate.
pub(super) fn alone(data_dir: &Path) -> Result<Option<Flock<File>>, Error> {
    Ok(try_lock(&data_dir.join(USERS), FlockArg::LockExclusiveNonblock)?.ok())
}

async fn wait(data_dir: &Path, name: &str, how: FlockArg) -> Result<Flock<File>, Error> {
    let path = data_dir.join(name);
    let started = tokio::time::Instant::now();
    loop {
        if let Ok(locked) = try_lock(&path, how)? {
            return Ok(locked);
        }
        if started.elapsed() > GATE_WAIT {
            return Err(Error::Busy { data_dir: data_dir.to_owned(), waited_s: GATE_WAIT.as_secs() });
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The lock, or the file that another process has locked.
fn try_lock(path: &Path, how: FlockArg) -> Result<Result<Flock<File>, File>, Error> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(Error::io("opening", path))?;
    match Flock::lock(file, how) {
        Ok(locked) => Ok(Ok(locked)),
        Err((file, Errno::EAGAIN | Errno::EINTR)) => Ok(Err(file)),
        Err((_, errno)) => Err(Error::io("locking", path)(errno)),
    }
}
