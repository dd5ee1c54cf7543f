//! Breaks each rule, and wants its model to fail for it.

use std::env;
use std::process::Command;

use super::Rule;
use super::model::BREAK_VARIABLE;

/// What the model said, if it failed; each runs in a process of its own.
fn failure_of(model: &str, rule: Rule) -> Option<String> {
    let mut command = Command::new(env::current_exe().expect("the tests are a program"));
    command.args([model, "--exact", "--nocapture"]);
    command.env(BREAK_VARIABLE, format!("{rule:?}")).env("RUST_BACKTRACE", "0");
    let output = command.output().expect("a program that runs can be run");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(said.contains("running 1 test"), "there is no model {model}:\n{said}");
    (!output.status.success()).then_some(said)
}

#[test]
#[ignore = "runs the models again; a step of its own in `.ci/run`"]
fn models_fail_when_their_rule_is_broken() {
    for (rule, model, words) in Rule::ALL {
        let Some(said) = failure_of(model, *rule) else {
            panic!("{model} holds although {rule:?} is broken");
        };
        // What comes first counts: a model that fails leaves threads in the middle of their work.
        let first = said.split("panicked at").nth(1).unwrap_or_default();
        assert!(first.contains(words), "{model} fails for another reason:\n{said}");
        eprintln!("{rule:?} broken: {}", first.lines().nth(1).unwrap_or_default());
    }
}
