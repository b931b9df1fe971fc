//! The arrows: which crate of the project may depend on which.
//!
//! They point one way: hosts to core, http to net to core, launch to all of these; the suite to
//! core and http. Whoever adds a
//! crate adds its row here. Dependencies of tests alone (`[dev-dependencies]`) are not arrows.

use crate::command::{self, cargo};

/// A row: the crate, the crates of the project it may depend on, and why no others.
type Row = (&'static str, &'static [&'static str], &'static str);

const ARROWS: [Row; 17] = [
    ("gateway-core", &[], "the contract knows nobody"),
    ("gateway-net", &["gateway-core"], "sockets are written over the contract alone"),
    (
        "gateway-http",
        &["gateway-core", "gateway-net"],
        "the server runs on any host, so names none",
    ),
    (
        "gateway-websocket",
        &["gateway-core", "gateway-http"],
        "a WebSocket is an upgrade of the server's, on any host, so names none",
    ),
    (
        "gateway-tower",
        &["gateway-core"],
        "a service is an app on any host and in any server, so names none",
    ),
    ("gateway-tokio", &["gateway-core"], HOST),
    ("gateway-smol", &["gateway-core"], HOST),
    ("gateway-async-std", &["gateway-core"], HOST),
    ("gateway-blocking", &["gateway-core"], HOST),
    ("gateway-cgi", &["gateway-core", "gateway-blocking"], FOREIGN),
    ("gateway-tiny-http", &["gateway-core", "gateway-blocking"], FOREIGN),
    ("gateway-operations", &["gateway-core"], "it observes any app on any host, so names none"),
    (
        "gateway-launch",
        &[
            "gateway-core",
            "gateway-net",
            "gateway-http",
            "gateway-operations",
            "gateway-tokio",
            "gateway-smol",
            "gateway-async-std",
            "gateway-blocking",
        ],
        "the launcher knows hosts and server, and no application",
    ),
    (
        "gateway-conformance",
        &["gateway-core", "gateway-net", "gateway-http"],
        "the suite checks any host, so names none",
    ),
    (
        "gateway-examples",
        &[
            "gateway-core",
            "gateway-net",
            "gateway-http",
            "gateway-websocket",
            "gateway-tower",
            "gateway-tokio",
            "gateway-smol",
            "gateway-async-std",
            "gateway-blocking",
            "gateway-launch",
            "gateway-conformance",
        ],
        "examples show what a user can do, and users have no tests of ours",
    ),
    (
        "gateway-soak",
        &["gateway-core", "gateway-net", "gateway-tokio", "gateway-launch"],
        "the server is an application like any other, and the clients run on one host",
    ),
    (
        "gateway-tests",
        &[
            "gateway-core",
            "gateway-net",
            "gateway-http",
            "gateway-websocket",
            "gateway-tower",
            "gateway-tokio",
            "gateway-smol",
            "gateway-async-std",
            "gateway-blocking",
            "gateway-cgi",
            "gateway-tiny-http",
            "gateway-operations",
            "gateway-launch",
            "gateway-examples",
        ],
        "tests may use everything that is there",
    ),
];

const HOST: &str = "a host binds one runtime to the contract and knows nothing above it";

const FOREIGN: &str =
    "a synchronous server brings its own wire, so only the host without a runtime";

/// Reads every crate's direct dependencies from cargo and holds them against the table.
///
/// # Errors
///
/// When an arrow is not in the table, or a crate has no row.
pub(crate) fn check() -> Result<(), String> {
    let members = packages("--workspace --depth 0")?;
    let mut count = 0;
    for member in members.iter().filter(|name| is_ours(name)) {
        let found = packages(&format!("-p {member} --depth 1"))?;
        let targets: Vec<&str> = found
            .iter()
            .map(String::as_str)
            .filter(|name| is_ours(name) && name != member)
            .collect();
        judge(member, &targets)?;
        println!(
            "{member} -> {}",
            if targets.is_empty() { "-".into() } else { targets.join(", ") }
        );
        count += targets.len();
    }
    if count == 0 {
        return Err("cargo shows no arrow at all, so the check reads it wrongly".into());
    }
    Ok(())
}

/// Holds one crate's dependencies within the project against the table.
fn judge(from: &str, targets: &[&str]) -> Result<(), String> {
    let Some((_, allowed, why)) = ARROWS.iter().find(|(name, ..)| *name == from) else {
        return Err(format!("{from} has no row in the table of arrows; add it in {}", file!()));
    };
    match targets.iter().find(|to| !allowed.contains(to)) {
        None => Ok(()),
        Some(to) => {
            let may = if allowed.is_empty() { "none".into() } else { allowed.join(", ") };
            Err(format!(
                "{from} depends on {to}, which is a forbidden arrow: {why}. It may depend on, of \
                 the project's crates: {may}. Remove {to} from its [dependencies]"
            ))
        }
    }
}

fn is_ours(name: &str) -> bool {
    name.starts_with("gateway-")
}

/// The names of the packages cargo lists for a selection, each once.
fn packages(selection: &str) -> Result<Vec<String>, String> {
    let tree = format!("tree {selection} -e normal --prefix none --locked --all-features");
    let text = command::output(&mut cargo(&tree))?;
    let mut names: Vec<String> =
        text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allowed_arrow_passes() {
        assert_eq!(judge("gateway-http", &["gateway-core", "gateway-net"]), Ok(()));
        assert_eq!(judge("gateway-core", &[]), Ok(()));
    }

    #[test]
    fn forbidden_arrow_is_named_with_its_rule() {
        let error = judge("gateway-http", &["gateway-core", "gateway-tokio"]).unwrap_err();
        assert!(error.contains("gateway-http depends on gateway-tokio"), "{error}");
        assert!(error.contains("the server runs on any host"), "{error}");
    }

    #[test]
    fn crate_without_a_row_fails() {
        let error = judge("gateway-new", &[]).unwrap_err();
        assert!(error.contains("gateway-new has no row"), "{error}");
    }

    #[test]
    fn table_has_no_cycle() {
        for (from, targets, _) in &ARROWS {
            for (to, back, _) in &ARROWS {
                assert!(!(targets.contains(to) && back.contains(from)), "{from} and {to}");
            }
        }
    }
}
