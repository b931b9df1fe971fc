//! The rules' data held to its own rules: ids, texts, and a check wherever one is promised.

use std::collections::BTreeMap;

use gateway_conformance::host;
use gateway_conformance::rule::{self, FAMILIES, Rule, Status, Tested};
use gateway_conformance::{specification, wire};

#[test]
fn ids_are_unique_well_formed_and_in_order() {
    for (prefix, title, rules) in FAMILIES {
        assert!(!title.is_empty(), "{prefix} has a title");
        let numbers: Vec<u32> = rules.iter().map(|rule| number(prefix, rule)).collect();
        assert!(numbers.is_sorted_by(|one, next| one < next), "{prefix}: {numbers:?}");
    }
    let mut prefixes: Vec<&str> = FAMILIES.iter().map(|(prefix, ..)| *prefix).collect();
    prefixes.sort_unstable();
    assert!(prefixes.is_sorted_by(|one, next| one < next), "{prefixes:?}");
}

/// The number in a rule's id, which is its family's prefix, a dash, and two digits or more.
fn number(prefix: &str, rule: &Rule) -> u32 {
    let digits = rule.id.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-'));
    let digits = digits.unwrap_or_else(|| panic!("{} is not of the family {prefix}", rule.id));
    assert!(digits.len() >= 2 && digits.bytes().all(|it| it.is_ascii_digit()), "{}", rule.id);
    digits.parse().expect("digits are a number")
}

#[test]
fn sentence_is_one_sentence() {
    for rule in rule::all() {
        let Rule { id, sentence, .. } = rule;
        let inner = sentence.strip_suffix('.').unwrap_or_else(|| {
            panic!("{id} does not end with a full stop: {sentence}");
        });
        assert!(inner.split(". ").count() == 1, "{id} has several sentences: {sentence}");
        let first = sentence.chars().next();
        assert!(
            first.is_some_and(|it| !it.is_lowercase()),
            "{id} begins in lower case: {sentence}"
        );
    }
}

#[test]
fn no_text_is_empty_or_untidy() {
    for rule in rule::all() {
        let mut texts = vec![rule.sentence, rule.intent, rule.source];
        match rule.status {
            Status::Active => texts.push(rule.look_at),
            Status::ByConstruction(why) | Status::Reserved(why) | Status::Retired(why) => {
                texts.push(why);
            }
        }
        for text in texts {
            assert!(!text.trim().is_empty(), "{} has an empty text", rule.id);
            assert_eq!(text.trim(), text, "{} has space around a text", rule.id);
            assert!(!text.contains(['\n', '\t']) && !text.contains("  "), "{}: {text}", rule.id);
            assert!(text.matches('`').count() % 2 == 0, "{} has half a code span: {text}", rule.id);
        }
    }
}

#[test]
fn since_is_a_version_that_is_out() {
    let ours = version(env!("CARGO_PKG_VERSION"));
    for rule in rule::all() {
        let since = version(rule.since);
        assert!(since.is_some() && since <= ours, "{} since {:?}", rule.id, rule.since);
    }
}

/// Major and minor.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

#[test]
fn active_rules_are_tested_and_only_they() {
    for rule in rule::all() {
        let active = rule.status == Status::Active;
        assert_eq!(!rule.tested.is_empty(), active, "{}: {:?}", rule.id, rule.status);
    }
}

#[test]
fn rule_tested_from_outside_has_exactly_one_check() {
    let mut checks: BTreeMap<&str, usize> = BTreeMap::new();
    for check in wire::checks() {
        *checks.entry(check.rule).or_default() += 1;
    }
    assert_eq!(checks, promised(Tested::Wire), "rules with a check, and rules that promise one");
}

#[test]
fn rule_tested_in_process_has_exactly_one_check() {
    let mut checks: BTreeMap<&str, usize> = BTreeMap::new();
    for check in host::CHECKS {
        *checks.entry(check.rule).or_default() += 1;
    }
    assert_eq!(
        checks,
        promised(Tested::InProcess),
        "rules with a check, and rules that promise one"
    );
}

/// The rules that are tested like this, each once.
fn promised(how: Tested) -> BTreeMap<&'static str, usize> {
    let rules = rule::all().filter(|rule| rule.tested.contains(&how));
    rules.map(|rule| (rule.id, 1)).collect()
}

#[test]
fn check_comes_after_checks_that_exist_and_come_after_none() {
    let checks = wire::checks();
    for check in &checks {
        for id in check.after {
            let first = checks.iter().find(|other| other.rule == *id);
            let first =
                first.unwrap_or_else(|| panic!("{} comes after {id}, no check", check.rule));
            // What depends runs in a second round, and there is no third.
            assert!(first.after.is_empty(), "{} comes after {id}, which waits too", check.rule);
        }
    }
}

#[test]
fn specification_and_list_name_every_rule() {
    let (document, list) = (specification::markdown(), specification::list());
    for rule in rule::all() {
        let heading = format!("\n### {} (", rule.id);
        assert_eq!(document.matches(&heading).count(), 1, "{}", rule.id);
        assert_eq!(list.matches(&format!("\n  {} ", rule.id)).count(), 1, "{}", rule.id);
        // Long texts are wrapped.
        let text = specification::explain(rule);
        let words: Vec<&str> = text.split_whitespace().collect();
        assert!(words.join(" ").contains(rule.source), "{}", rule.id);
    }
}

#[test]
fn near_ids_are_found() {
    assert!(specification::near("yld07").contains(&"YLD-07"));
    assert!(specification::near("nothing-like-it").is_empty());
}
