//! `aries run --html`: a page of a run.

use std::fs;

use assert_cmd::Command;
use serde_json::Value;

fn run(arguments: &[&str]) -> std::process::Output {
    Command::cargo_bin("aries").unwrap().arg("run").args(arguments).output().unwrap()
}

#[test]
fn a_script_becomes_a_page_that_needs_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out.html");
    let out_text = out.to_str().unwrap();
    let told = run(&["tests/scripts/restart_three.script", "--html", out_text]);
    assert!(told.status.success(), "{told:?}");
    let page = fs::read_to_string(&out).unwrap();
    let (_, json) = page.split_once("id=\"recorded-run\">").unwrap();
    let recorded: Value = serde_json::from_str(json.split_once("</script>").unwrap().0).unwrap();
    assert_eq!(recorded["error"], Value::Null);
    assert!(recorded["events"].as_array().unwrap().len() > 30);
    assert!(!page.contains("src=") && !page.contains("href="), "it loads something");
    for wrong in [
        &[
            "tests/scripts/restart_three.script",
            "tests/scripts/torn_page.script",
            "--html",
            out_text,
        ][..],
        &["tests/scripts/torn_page.script", "--html", out_text, "--json"],
    ] {
        assert_eq!(run(wrong).status.code(), Some(2));
    }
    assert_eq!(run(&["no such file", "--html", out_text]).status.code(), Some(1));
    let script = directory.path().join("failing.script");
    fs::write(&script, "fill pages=1 records=1\nT1: begin\nT1: update P77\n").unwrap();
    let told = run(&[script.to_str().unwrap(), "--html", out_text]);
    assert_eq!(told.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&told.stderr).contains("the page shows the run until there"));
}
