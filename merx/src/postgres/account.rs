//! The account that Postgres runs as.

use std::os::unix::fs::{MetadataExt, lchown};
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User, geteuid};
use tokio::process::Command;

use super::Error;

/// An account of this machine, and whether we have to become it.
#[derive(Debug)]
pub(super) struct Account {
    pub name: String,
    uid: u32,
    gid: u32,
    /// We are root, and Postgres will not be.
    drops: bool,
}

impl Account {
    /// The account for a cluster yet to be made.
    pub fn for_new_cluster() -> Result<Self, Error> {
        if !geteuid().is_root() {
            return Self::ours();
        }
        for name in ["postgres", "nobody"] {
            if let Ok(Some(user)) = User::from_name(name) {
                return Ok(Self::of(user, true));
            }
        }
        Err(Error::NoAccount {
            who: "root".into(),
            why: "and this machine has neither a user `postgres` nor `nobody` to run it instead. Run merx as another user",
        })
    }

    /// The account for the cluster at `path`: its owner.
    pub fn for_cluster(path: &Path) -> Result<Self, Error> {
        let owner = path.metadata().map_err(Error::io("reading", path))?.uid();
        if !geteuid().is_root() {
            let ours = Self::ours()?;
            if ours.uid == owner {
                return Ok(ours);
            }
            let owner = name_of(owner).map_or_else(|| format!("uid {owner}"), |user| format!("the user `{}`", user.name));
            return Err(Error::NotOurs { path: path.to_owned(), owner });
        }
        match name_of(owner) {
            Some(user) if owner != 0 => Ok(Self::of(user, true)),
            Some(_) => {
                Err(Error::NoAccount { who: format!("root, who owns {}", path.display()), why: "give that folder to the user `postgres`" })
            }
            None => Err(Error::NoAccount {
                who: format!("uid {owner}, who owns {}", path.display()),
                why: "that user is unknown here: give the folder to one who is not",
            }),
        }
    }

    fn ours() -> Result<Self, Error> {
        let uid = geteuid();
        let user = name_of(uid.as_raw())
            .ok_or(Error::NoAccount { who: format!("uid {uid}"), why: "it has no name in /etc/passwd. Run merx as a user who has" })?;
        Ok(Self::of(user, false))
    }

    fn of(user: User, drops: bool) -> Self {
        Self { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw(), drops }
    }

    /// A command that runs as this account, with none of the caller's environment to lead it astray (PGDATA, PGOPTIONS, LC_ALL…).
    /// std drops root's supplementary groups along with the user id.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("LC_ALL", "C").stdin(std::process::Stdio::null()).current_dir("/");
        for name in ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        if self.drops {
            command.uid(self.uid).gid(self.gid);
        }
        command
    }

    /// Gives `path` to this account.
    pub fn give(&self, path: &Path) -> Result<(), Error> {
        if self.drops {
            lchown(path, Some(self.uid), Some(self.gid)).map_err(Error::io("giving away", path))?;
        }
        Ok(())
    }

    /// The first folder on the way to `path`, itself included, that this account may not enter. `path` is canonical.
    pub fn closed_folder(&self, path: &Path) -> Result<Option<PathBuf>, Error> {
        let mut way: Vec<&Path> = path.ancestors().collect();
        way.reverse();
        for folder in way {
            let meta = folder.metadata().map_err(Error::io("reading", folder))?;
            let bit = match meta.uid() == self.uid {
                true => 0o100,
                false if meta.gid() == self.gid => 0o010,
                false => 0o001,
            };
            if self.drops && meta.mode() & bit == 0 {
                return Ok(Some(folder.to_owned()));
            }
        }
        Ok(None)
    }
}

fn name_of(uid: u32) -> Option<User> {
    User::from_uid(Uid::from_raw(uid)).ok().flatten()
}
