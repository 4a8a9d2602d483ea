//! Code that decides has no clock. That is held here and not in `clippy.toml`, because tests, which wait with
//! deadlines, may read one, and clippy cannot tell a test from code.

use super::{Problem, Tree, has_extension};

const CLOCKS: &[&str] = &[
    "Instant::now()",
    "SystemTime::now()",
    "OffsetDateTime::now_utc()",
];

/// What decides, computes or measures: it gets the time as an argument. (Drivers, at the rim, read it.)
const TIMELESS: &[&str] = &[
    "agent/src/order.rs",
    "agent/src/session.rs",
    "agent/suites/src/",
    "coordinator/src/store",
    "crates/domain/src/",
    "proto/src/",
    "report-gen/src/",
];
/// Inside those, the clock itself.
const PLACES: &[&str] = &[
    "agent/suites/src/harness/clock.rs",
    "agent/suites/src/main.rs",
    "report-gen/src/lib.rs",
];

pub fn check(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, text) in tree.texts().filter(|(path, _)| is_bound(path)) {
        let shipped = text
            .lines()
            .take_while(|line| line.trim() != "#[cfg(test)]");
        for (number, line) in (1..).zip(shipped) {
            let code = line.split("//").next().unwrap_or_default();
            if let Some(clock) = CLOCKS.iter().find(|clock| code.contains(*clock)) {
                let what = format!("`{clock}` here: time is an argument; a driver reads the clock");
                problems.push(Problem::new(path, number, what));
            }
        }
    }
    problems
}

fn is_bound(path: &str) -> bool {
    has_extension(path, "rs")
        && !path.ends_with("/tests.rs")
        && TIMELESS.iter().any(|place| path.starts_with(place))
        && !PLACES.contains(&path)
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;

    #[test]
    fn a_clock_is_read_at_the_rim_and_in_tests() {
        let line = "let now = std::time::Instant::now();\n";
        assert_eq!(check(&tree(&[("agent/src/session.rs", line)])).len(), 1);
        let in_tests = format!("#[cfg(test)]\n{line}");
        let good = [
            ("agent/suites/src/harness/clock.rs", line),
            ("agent/src/main.rs", line),
            ("agent/src/session.rs", &in_tests),
        ];
        assert_eq!(check(&tree(&good)), []);
    }

    #[test]
    fn every_place_is_one_that_exists() {
        for place in TIMELESS.iter().chain(PLACES) {
            assert!(crate::repo::root().join(place).exists(), "{place}");
        }
    }
}
