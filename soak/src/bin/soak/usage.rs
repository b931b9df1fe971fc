//! `Usage`: what a process holds and does, as the system tells it in `/proc`.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What a process holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Open descriptors.
    pub(crate) descriptors: usize,
    /// Descriptors that an epoll instance of the process watches, counted once per instance.
    pub(crate) registrations: usize,
    /// Threads, without those kept.
    pub(crate) threads: usize,
    /// Threads that were started for jobs and are kept: those of the crate `blocking`, on which
    /// smol and async-std run theirs, and which as of 1.7 never ends one.
    pub(crate) kept: usize,
    /// Resident memory of its own, without what it has mapped of files, in KiB.
    pub(crate) resident: u64,
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Usage { descriptors, registrations, threads, kept, resident } = self;
        let mib = *resident as f64 / 1024.0;
        write!(f, "{descriptors} descriptors, {registrations} registrations, ")?;
        write!(f, "{threads} threads and {kept} kept, {mib:.1} MiB")
    }
}

/// What a process has done since it began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    /// How often its threads went to sleep or were put aside: context switches of both kinds.
    pub(crate) switches: u64,
    /// Processor time, in ticks of 10 ms.
    pub(crate) ticks: u64,
}

/// Looks at what a process holds.
///
/// # Errors
///
/// When it has ended.
pub(crate) fn usage(id: u32) -> io::Result<Usage> {
    let process = PathBuf::from(format!("/proc/{id}"));
    let mut usage = Usage::default();
    // A descriptor may be closed between the list and the look.
    for entry in fs::read_dir(process.join("fdinfo"))?.flatten() {
        usage.descriptors += 1;
        let info = fs::read_to_string(entry.path()).unwrap_or_default();
        usage.registrations += info.lines().filter(|line| line.starts_with("tfd:")).count();
    }
    for name in threads(id)? {
        let kept = name.starts_with("blocking-");
        *(if kept { &mut usage.kept } else { &mut usage.threads }) += 1;
    }
    usage.resident = field(&process.join("status"), "RssAnon:")?;
    Ok(usage)
}

/// The names of a process's threads.
///
/// # Errors
///
/// When it has ended.
pub(crate) fn threads(id: u32) -> io::Result<Vec<String>> {
    let tasks = fs::read_dir(format!("/proc/{id}/task"))?.flatten();
    // A thread may end between the list and the look.
    let names = tasks.filter_map(|entry| fs::read_to_string(entry.path().join("comm")).ok());
    Ok(names.map(|name| name.trim().to_owned()).collect())
}

/// Looks at what a process has done.
///
/// # Errors
///
/// When it has ended.
pub(crate) fn work(id: u32) -> io::Result<Work> {
    let process = PathBuf::from(format!("/proc/{id}"));
    let mut switches = 0;
    for entry in fs::read_dir(process.join("task"))?.flatten() {
        let status = entry.path().join("status");
        // A thread may end between the list and the look.
        switches += field(&status, "voluntary_ctxt_switches:").unwrap_or(0);
        switches += field(&status, "nonvoluntary_ctxt_switches:").unwrap_or(0);
    }
    // The name, in parentheses, may contain anything; user and system time come twelfth and
    // thirteenth behind it.
    let stat = fs::read_to_string(process.join("stat"))?;
    let behind = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks = behind.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Ok(Work { switches, ticks })
}

fn field(file: &Path, name: &str) -> io::Result<u64> {
    let text = fs::read_to_string(file)?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
    value.and_then(|value| value.parse().ok()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_opens_is_seen() {
        let before = usage(std::process::id()).unwrap();
        let files: Vec<_> = (0..50).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        let after = usage(std::process::id()).unwrap();
        assert!(after.descriptors >= before.descriptors + files.len() / 2, "{before}; {after}");
        assert!(after.threads > 0 && after.resident > 0);
    }

    #[test]
    fn registrations_are_those_of_epoll() {
        let host = gateway_tokio::Tokio::new(1).unwrap();
        let before = usage(std::process::id()).unwrap().registrations;
        let sockets: Vec<_> = (0..20)
            .map(|_| std::os::unix::net::UnixStream::pair().unwrap())
            .map(|(a, b)| (gateway_net::UnixStream::try_from(a).unwrap(), b))
            .collect();
        let sockets = gateway_core::Host::run(&host, async {
            use futures_util::AsyncWriteExt;
            let mut sockets = sockets;
            for (socket, _) in &mut sockets {
                socket.write_all(b"a").await.unwrap();
            }
            sockets
        });
        let after = usage(std::process::id()).unwrap().registrations;
        assert!(after >= before + sockets.len(), "{before}, {after}");
    }
}
