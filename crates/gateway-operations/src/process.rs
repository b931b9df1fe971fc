//! The process, as `/proc` shows it: under the names that Prometheus' own libraries use.

use std::fs;

use crate::page::Page;

/// Adds what the system says of this process. What it does not say is left out.
pub(crate) fn write(page: &mut Page) {
    let name = "process_resident_memory_bytes";
    page.gauge(name, "Memory that is resident.", resident().map(|bytes| ([], bytes)));
    let name = "process_open_fds";
    page.gauge(name, "Descriptors that are open.", open().map(|count| ([], count)));
    let stat = Stat::read();
    let name = "process_cpu_seconds_total";
    let spent = stat.as_ref().map(|stat| ([], stat.spent));
    page.counter(name, "Processor time, of the program and of the system for it.", spent);
    let name = "process_start_time_seconds";
    let started = stat.map(|stat| ([], stat.started));
    page.gauge(name, "When the process started, in seconds since 1970.", started);
}

fn resident() -> Option<usize> {
    let pages: usize =
        fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size())
}

fn open() -> Option<usize> {
    // One of them is the folder itself, while it is being read.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1))
}

/// What `/proc/self/stat` says, in seconds.
struct Stat {
    spent: f64,
    started: f64,
}

impl Stat {
    fn read() -> Option<Stat> {
        let text = fs::read_to_string("/proc/self/stat").ok()?;
        // The program's name, in parentheses, may contain anything; field 3 is next.
        let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
        let ticks = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
        let per_second = rustix::param::clock_ticks_per_second() as f64;
        let system = fs::read_to_string("/proc/stat").ok()?;
        let booted = system.lines().find_map(|line| line.strip_prefix("btime "))?;
        Some(Stat {
            spent: (ticks(14)? + ticks(15)?) / per_second,
            started: booted.parse::<f64>().ok()? + ticks(22)? / per_second,
        })
    }
}
