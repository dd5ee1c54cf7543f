//! Rules that are broken on purpose: the crash lab finds each of them, and raises no alarm where none is broken.

use assert_cmd::Command;

#[cfg(not(feature = "sabotage"))]
#[test]
fn without_the_feature_it_is_told_how_to_build_it() {
    let output = Command::cargo_bin("aries").unwrap().args(["crash", "sabotage"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("cargo run --release --features sabotage -- crash sabotage"), "{told}");
}

#[cfg(feature = "sabotage")]
mod broken {
    use std::collections::BTreeMap;

    use aries::config::Sabotage;
    use aries::crash::{Clause, Hunted, hunt};
    use aries::{Error, Options};
    use serde_json::Value;

    use super::Command;

    #[test]
    #[ignore = "minutes long; `aries crash sabotage` in .ci/run is the same"]
    fn each_broken_rule_is_found_and_nothing_else() {
        std::panic::set_hook(Box::new(|_| {})); // What the engine asserts is caught, and part of what is found.
        let all = Sabotage::ALL.iter();
        let hunted: Vec<Hunted> = all.map(|sabotage| hunt(*sabotage, 4, 2).unwrap()).collect();
        drop(std::panic::take_hook());
        for Hunted { sabotage, failure, states, .. } in &hunted {
            assert_eq!(failure.is_none(), sabotage.is_neutral(), "{}", sabotage.name());
            assert!(!sabotage.is_neutral() || *states > 10_000, "{}: {states}", sabotage.name());
        }
        assert!(hunted.iter().filter(|hunted| hunted.sabotage.is_neutral()).count() >= 3);
        let mut steps: Vec<usize> = hunted
            .iter()
            .filter_map(|hunted| Some(hunted.failure.as_ref()?.history.0.len()))
            .collect();
        assert!(steps.len() >= 24, "rules that are broken: {}", steps.len());
        steps.sort_unstable();
        assert!(steps[steps.len() / 2] <= 3, "the median of the histories' lengths: {steps:?}");
    }

    /// What is wrong in the log is found there, before anything is lost by it.
    #[test]
    fn a_wrong_log_is_found_by_reading_it() {
        for sabotage in [Sabotage::NoCompensation, Sabotage::ClrPointsAtItsUpdate] {
            let failure = hunt(sabotage, 2, 2).unwrap().failure.unwrap();
            let (clause, steps) = (failure.violation.clause, failure.history.0.len());
            assert!(clause == Clause::Logged && steps <= 2, "{failure:?}");
        }
    }

    #[test]
    fn real_files_are_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let broken = Options::new().sabotage(Sabotage::NoCompensation);
        let refused = broken.open(directory.path()).map(drop).unwrap_err();
        assert!(matches!(refused, Error::InvalidInput(_)), "{refused}");
        assert!(std::fs::read_dir(directory.path()).unwrap().next().is_none());
    }

    #[test]
    fn the_command_tells_what_it_found() {
        let run = |arguments: &[&str]| {
            let mut command = Command::cargo_bin("aries").unwrap();
            command.args(["crash", "sabotage"]).args(arguments).output().unwrap()
        };
        let output = run(&["no-clr", "--json"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let told: Vec<BTreeMap<String, Value>> = serde_json::from_slice(&output.stdout).unwrap();
        let names: Vec<&str> = told[0].keys().map(String::as_str).collect();
        assert_eq!(names, ["class", "found", "history", "name", "neutral", "section", "states"]);
        assert_eq!((&told[0]["found"], &told[0]["section"]), (&true.into(), &"5.2".into()));
        let output = run(&["no-clr", "--explain"]);
        let text = String::from_utf8(output.stdout).unwrap();
        for part in
            ["The rule: what is undone is logged", "(ARIES 5.2)", "the power fails", "WRONG: "]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(run(&["no-such-rule"]).status.code(), Some(2));
    }
}
