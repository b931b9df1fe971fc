//! EXE: jobs, and SPN: tasks.

use std::time::{Duration, Instant};

use super::control::{Apart, Control, fresh_id, is_ok, keeps};
use super::limits::recover;
use super::{Client, Received, Session, Stop, When, WireCheck};

pub(crate) const CHECKS: &[WireCheck] = &[
    WireCheck { rule: "EXE-01", after: &[], when: When::Alone, check: exe_01_delays_nobody },
    WireCheck { rule: "EXE-02", after: &[], when: When::Alone, check: exe_02_saturation },
    WireCheck { rule: "SPN-01", after: &[], when: When::Beside, check: spn_01_tasks },
];

/// Jobs that block until the gate of `id` opens.
fn jobs(
    session: &mut Session<'_>,
    apart: &Apart,
    id: &str,
    count: usize,
) -> Result<Vec<Client>, Stop> {
    let request = session.request("GET", &format!("/job?id={id}"), "");
    (0..count)
        .map(|_| {
            let mut client = session.connect_to(apart.address)?;
            client.send(&request);
            Ok(client)
        })
        .collect()
}

/// Whether others are answered meanwhile, on new connections and on one that is kept.
fn others(
    session: &mut Session<'_>,
    apart: &Apart,
    kept: &mut Client,
    when: &str,
) -> Result<bool, Stop> {
    let targets = [
        ("/", true),
        ("/slow?ms=10", session.has("slow")),
        ("/known?bytes=100000", session.has("known")),
    ];
    for (target, _) in targets.into_iter().filter(|(_, there)| *there) {
        let request = session.request("GET", target, "");
        let (mut got, mut held) = ("each is answered".to_owned(), true);
        for turn in 0..5 {
            let mut client = session.connect_to(apart.address)?;
            client.send(&request);
            kept.send(&request);
            let received = [client.response("GET"), kept.response("GET")];
            if !received.iter().all(is_ok) {
                let [new, old] = received;
                got = format!("turn {turn}: {new}, and {old} on a kept connection");
                held = false;
                break;
            }
            if !matches!(&received[1], Received::Response(response) if keeps(response)) {
                *kept = session.connect_to(apart.address)?;
            }
        }
        session.check(&format!("{target}, {when}"), "200 each time", got, held);
        if !held {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether all jobs have been done.
fn done(session: &mut Session<'_>, name: &str, clients: Vec<Client>) {
    let (count, mut ended) = (clients.len(), 0);
    let mut got = None;
    for mut client in clients {
        let received = client.response("GET");
        let held = matches!(&received, Received::Response(response) if response.text() == "done\n");
        if held && is_ok(&received) {
            ended += 1;
        } else {
            got = Some(received);
            break;
        }
    }
    let got = got.map_or_else(String::new, |other| format!(", then {other}"));
    let got = format!("{ended} answers{got}");
    session.check(name, &format!("{count} answers"), got, ended == count);
}

fn exe_01_delays_nobody(session: &mut Session<'_>) -> Result<(), Stop> {
    let apart = Apart::start(session)?;
    let (mut control, id) = (Control::at(session, apart.address), fresh_id());
    control.get("/")?;
    let mut kept = session.connect_to(apart.address)?;
    let clients = jobs(session, &apart, &id, 8)?;
    // Not `Control`: where the jobs block everything, that is what this check is about.
    if others(session, &apart, &mut kept, "while 8 jobs block")? {
        let state = control.until(&id, session.patience().signal, |state| state.calls == 8)?;
        session.check("8 jobs", "8 calls", &state, state.calls == 8);
        others(session, &apart, &mut kept, "while 8 jobs block for sure")?;
        control.open(&id)?;
        done(session, "8 jobs, when they may end", clients);
        return Ok(());
    }
    // For the server's sake. It may not hear of it.
    let _ = control.open(&id);
    drop(clients);
    if apart.instance.is_none() { recover(session) } else { Ok(()) }
}

/// More than any pool has threads, or would at least have them at once.
const MANY: usize = 200;

fn exe_02_saturation(session: &mut Session<'_>) -> Result<(), Stop> {
    let apart = Apart::start(session)?;
    let mut control = Control::at(session, apart.address);
    let (first, second) = (fresh_id(), fresh_id());
    control.get("/")?;
    let mut kept = session.connect_to(apart.address)?;
    let many = jobs(session, &apart, &first, MANY)?;
    let behind = jobs(session, &apart, &second, 4)?;
    let when = format!("while {MANY} jobs wait");
    if others(session, &apart, &mut kept, &when)? {
        let state =
            control.until(&first, session.patience().signal, |state| state.calls == MANY)?;
        session.check(&when, &format!("{MANY} calls"), &state, state.calls == MANY);
        control.open(&first)?;
        done(session, &format!("{MANY} jobs, when they may end"), many);
        control.open(&second)?;
        done(session, "4 jobs that waited behind them", behind);
        return Ok(());
    }
    let _ = control.open(&first).and_then(|()| control.open(&second));
    drop((many, behind));
    if apart.instance.is_none() { recover(session) } else { Ok(()) }
}

fn spn_01_tasks(session: &mut Session<'_>) -> Result<(), Stop> {
    let mut control = Control::new(session);
    for (name, how) in
        [("answered", "keeps"), ("answered and closed", "closes"), ("reset", "resets")]
    {
        let (id, mut client) = (fresh_id(), session.connect()?);
        client.send(session.request("GET", &format!("/task?id={id}"), ""));
        let received = client.response("GET");
        if !is_ok(&received) {
            return Err(Stop::blocked("helper-failed", format!("/task gave {received}")));
        }
        let _kept = match how {
            "keeps" => Some(client),
            "closes" => {
                drop(client);
                None
            }
            _ => {
                client.reset();
                None
            }
        };
        std::thread::sleep(session.patience().silence);
        let state = control.state(&id)?;
        let name = format!("a task whose request was {name}");
        session.check(&name, "it runs on", &state, state.task == "running");
        control.open(&id)?;
        let finished = |state: &super::control::State| state.task != "running";
        let state = control.until(&id, session.patience().signal, finished)?;
        session.check(&format!("{name}, in the end"), "finished", &state, state.task == "finished");
    }
    if session.target.launcher.is_some() {
        ended_by_shutdown(session)?;
    }
    Ok(())
}

/// How long a gate keeps a task at most, less what a server may take to start and stop.
const GATED: Duration = Duration::from_secs(25);

fn ended_by_shutdown(session: &mut Session<'_>) -> Result<(), Stop> {
    let Apart { address, instance: Some(mut instance) } = Apart::start(session)? else {
        return Ok(());
    };
    let (mut control, started) = (Control::at(session, address), Instant::now());
    control.get(&format!("/task?id={}", fresh_id()))?;
    drop(control);
    instance.terminate();
    let deadline = session.patience().deadline.min(GATED);
    while !instance.has_ended() && started.elapsed() < deadline {
        std::thread::sleep(session.patience().poll);
    }
    let ended = instance.has_ended();
    if !ended {
        session.has_time()?;
    }
    let got = if ended { "the server has ended" } else { "the server still waits for its task" };
    session.check("a task that waits, in a shutdown", "the server ends", got, ended);
    Ok(())
}
