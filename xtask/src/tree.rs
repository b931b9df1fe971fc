//! The tree: no runtime is compiled in where none belongs.
//!
//! Cargo unites the features of everything built together, so each crate is looked at on its own,
//! as a user gets it who takes that crate alone.

use crate::command::{self, cargo};

/// What makes tokio a runtime. Without these it is a library of traits and locks.
const RUNTIME_FEATURES: [&str; 5] = ["rt", "rt-multi-thread", "net", "time", "full"];

/// The crates in which tokio must not be a runtime.
const WITHOUT_TOKIO: [&str; 11] = [
    "gateway-core",
    "gateway-net",
    "gateway-http",
    "gateway-websocket",
    "gateway-operations",
    "gateway-tower",
    "gateway-smol",
    "gateway-async-std",
    "gateway-blocking",
    "gateway-cgi",
    "gateway-tiny-http",
];

/// The host that must not contain any asynchronous runtime, and what stands on it.
const WITHOUT_RUNTIME: [&str; 3] = ["gateway-blocking", "gateway-cgi", "gateway-tiny-http"];

/// Asynchronous runtimes, and the parts that two of them are made of.
const RUNTIMES: [&str; 6] =
    ["smol", "async-std", "async-executor", "async-io", "async-global-executor", "blocking"];

/// Asks cargo what each crate is built from.
///
/// # Errors
///
/// When a runtime is found where none belongs.
pub(crate) fn check() -> Result<(), String> {
    for name in WITHOUT_TOKIO {
        let tree = tree(name)?;
        tokio_is_no_runtime(name, &tree)?;
        println!("{name}: tokio is {}", tokio(&tree).unwrap_or("absent"));
    }
    for name in WITHOUT_RUNTIME {
        contains_no_runtime(name, &tree(name)?)?;
        println!("{name}: no asynchronous runtime");
    }
    // The counter-proof: where the runtimes do belong, the same reading finds them.
    if tokio_is_no_runtime("gateway-tokio", &tree("gateway-tokio")?).is_ok() {
        return Err("tokio is no runtime even in gateway-tokio: this reads cargo wrongly".into());
    }
    if contains_no_runtime("gateway-smol", &tree("gateway-smol")?).is_ok() {
        return Err("not even gateway-smol contains a runtime: this reads cargo wrongly".into());
    }
    Ok(())
}

/// A crate's dependencies when it is built on its own: `name version (path)|features`, one a line.
fn tree(name: &str) -> Result<String, String> {
    let mut command = cargo("tree -e normal --prefix none --locked");
    command::output(command.args(["-p", name, "-f", "{p}|{f}"]))
}

fn tokio_is_no_runtime(name: &str, tree: &str) -> Result<(), String> {
    match packages(tree).find_map(|package| runtime_feature(package)) {
        None => Ok(()),
        Some(feature) => Err(format!(
            "{name} built on its own enables tokio's feature `{feature}`, and only gateway-tokio \
             may; `cargo tree -p {name} -e normal,features -i tokio` shows who does"
        )),
    }
}

fn contains_no_runtime(name: &str, tree: &str) -> Result<(), String> {
    let is_runtime = |package: &(&str, &str)| {
        RUNTIMES.contains(&package.0) || runtime_feature(*package).is_some()
    };
    match packages(tree).find(is_runtime) {
        None => Ok(()),
        Some((runtime, _)) => Err(format!(
            "{name} contains {runtime}, and it must not contain an asynchronous runtime; \
             `cargo tree -p {name} -e normal -i {runtime}` shows who brings it"
        )),
    }
}

/// The feature that makes this package a tokio with a runtime.
fn runtime_feature<'a>((name, features): (&str, &'a str)) -> Option<&'a str> {
    features.split(',').find(|feature| name == "tokio" && RUNTIME_FEATURES.contains(feature))
}

/// The features of the tokio in a tree.
fn tokio(tree: &str) -> Option<&str> {
    packages(tree).find(|(name, _)| *name == "tokio").map(|(_, features)| features)
}

/// Each package's name and features. A star says that it was listed before.
fn packages(tree: &str) -> impl Iterator<Item = (&str, &str)> {
    tree.lines().filter_map(|line| {
        let (package, features) = line.split_once('|')?;
        Some((package.split(' ').next()?, features.trim_end_matches("(*)").trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HARMLESS: &str = "gateway-http v0.1.0 (/a/b)|\ntokio v1.54.1|bytes,default,io-util,sync\n\
        tokio v1.54.1|bytes,default,io-util,sync (*)\ntokio-util v0.7.20|codec,net,rt,time\n";

    #[test]
    fn tokio_without_a_runtime_passes() {
        assert_eq!(tokio_is_no_runtime("gateway-http", HARMLESS), Ok(()));
        assert_eq!(contains_no_runtime("gateway-http", HARMLESS), Ok(()));
    }

    #[test]
    fn each_feature_of_the_runtime_is_found_wherever_it_stands() {
        for feature in RUNTIME_FEATURES {
            for features in [feature.to_owned(), format!("bytes,{feature} (*)")] {
                let tree = format!("{HARMLESS}tokio v1.54.1|{features}\n");
                let error = tokio_is_no_runtime("gateway-http", &tree).unwrap_err();
                assert!(error.contains(&format!("`{feature}`")), "{error}");
                assert!(contains_no_runtime("gateway-http", &tree).is_err());
            }
        }
    }

    #[test]
    fn each_runtime_is_found() {
        for runtime in RUNTIMES {
            let tree = format!("{HARMLESS}{runtime} v1.0.0|default\n");
            let error = contains_no_runtime("gateway-blocking", &tree).unwrap_err();
            assert!(error.contains(runtime), "{error}");
        }
    }
}
