//! CPU time of processes, from /proc.

use std::{collections::HashMap, fs, time::Duration};

use crate::error::Error;

/// In which /proc counts: a hundredth of a second on every Linux that Merx runs on.
const TICK: Duration = Duration::from_millis(10);

struct Process {
    parent: u32,
    /// Its own and that of its children that have ended.
    ticks: u32,
}

/// The CPU time spent so far by the processes `roots` and all below them.
pub fn of_trees(roots: &[u32]) -> Result<Duration, Error> {
    let processes = processes()?;
    let is_below = |mut pid: u32| {
        loop {
            if roots.contains(&pid) {
                return true;
            }
            match processes.get(&pid) {
                Some(process) => pid = process.parent,
                None => return false,
            }
        }
    };
    Ok(processes.iter().filter(|(pid, _)| is_below(**pid)).map(|(_, process)| TICK * process.ticks).sum())
}

fn processes() -> Result<HashMap<u32, Process>, Error> {
    let entries = fs::read_dir("/proc").map_err(|error| Error::io("reading /proc", error))?;
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    // One that has ended meanwhile has no file any more.
    Ok(pids.filter_map(|pid| Some((pid, parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?))).collect())
}

/// `pid (name) state ppid … utime stime cutime cstime …`; a name may hold anything, so what counts begins after the last parenthesis.
fn parse(stat: &str) -> Option<Process> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11..15)?.iter().map(|field| field.parse::<u32>()).sum::<Result<u32, _>>().ok()?;
    Some(Process { parent: fields.get(1)?.parse().ok()?, ticks })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let process = parse("42 (a) b (c)) S 7 42 42 0 -1 4194560 1 2 3 4 100 20 3 1 20 0 1 0 99\n").unwrap();
        assert_eq!((process.parent, process.ticks), (7, 124));
    }
}
