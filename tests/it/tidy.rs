//! The rules of the house that no compiler knows, read off the source text.
//!
//! - A module imports only from lower floors ([`FLOORS`]), so the module graph has no cycle.
//! - Locks, atomics and model checkers are named in `src/sync/` only, `unsafe` in two files only.
//! - No leftovers; every module opens with an essay; files and functions stay short.
//! - Links in the documents lead somewhere.
//!
//! Sources are cut into tokens first, so that comments and strings are not taken for code.

#![allow(clippy::unwrap_used)]

mod checker;
mod links;
mod source;

use std::fs;
use std::path::{Path, PathBuf};

use links::broken_links;
use source::{CodePath, Source, is_word, paths};

/// The house, from the ground up. Modules of one floor do not know each other.
const FLOORS: &[&[&str]] = &[
    &["ids"],
    &["error", "sync"],
    &["config"],
    &["disk", "page", "tables"],
    &["record"],
    &["event"],
    &["log", "lock"],
    &["buffer"],
    &["txn"],
    &["checkpoint", "space"],
    &["recovery", "btree"],
    &["db"],
    &["script"],
    &["crash"],
    &["child", "times"],
    &["demo", "bench", "lab"],
    &["cli"],
];

/// The only module that names parking_lot, the locks of std, atomics or loom.
const SYNC_FOLDER: &str = "src/sync/";
/// The only files that may be unsafe: one maps sealed log segments, the other opens another database, which is mapped.
const UNSAFE_FILES: &[&str] = &["src/disk/file.rs", "benches/peers/src/stores/lmdb.rs"];

const LONGEST_FILE: usize = 500;
const LONGEST_FUNCTION: usize = 60;
/// Longer files, with their exact length in lines. The list only ever gets shorter.
const LONG_FILES: &[(&str, usize)] = &[];
/// Longer functions, as `path::function`, with their exact length in lines.
const LONG_FUNCTIONS: &[(&str, usize)] = &[];

/// Macros that must not stay, as tokens.
const LEFTOVER_MACROS: &[&str] = &["dbg", "todo", "unimplemented"];
/// Words that must not stay, even in comments; written so that this file does not contain them.
const LEFTOVER_WORDS: &[&str] = &[concat!("FIX", "ME"), concat!("XX", "X"), concat!("TO", "DO")];

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|modules| modules.contains(&module))
}

/// Arrows that do not point downwards.
fn wrong_arrows(source: &Source) -> Vec<String> {
    let Some(module) = source.module() else { return Vec::new() };
    let Some(own_floor) = floor(module) else {
        return vec![source.complain(1, format_args!("module `{module}` is on no floor"))];
    };
    let mut wrong = Vec::new();
    for path in paths(&source.tokens) {
        let Some(target) = crate_module(source, &path) else { continue };
        let complaint = match floor(target) {
            _ if target == module => continue,
            Some(floor) if floor < own_floor => continue,
            Some(_) => format!("`{module}` may not know `{target}`, which is not below it"),
            None => format!("`{target}` is no module on any floor"),
        };
        wrong.push(source.complain(path.line, complaint));
    }
    wrong
}

/// The top-level module that a path beginning with `crate`, or with enough `super`, leads to.
fn crate_module<'a>(source: &Source, path: &'a CodePath) -> Option<&'a str> {
    let own = usize::from(path.segments[0] == "self");
    let ups = path.segments[own..].iter().take_while(|segment| *segment == "super").count();
    let from_root = if path.segments[0] == "crate" {
        1
    } else if ups > 0 && ups == source.depth() + path.inline_modules {
        own + ups
    } else {
        return None;
    };
    path.segments.get(from_root).map(String::as_str)
}

/// Locks, atomics and model checkers named outside their one file.
fn stray_sync(source: &Source) -> Vec<String> {
    if source.path.starts_with(SYNC_FOLDER) {
        return Vec::new();
    }
    let is_stray = |path: &&CodePath| {
        let segments: Vec<&str> = path.segments.iter().map(String::as_str).collect();
        match segments[..] {
            ["std", "sync", "mpsc", ..] => !matches!(source.module(), Some("child" | "script")),
            ["std" | "core" | "alloc", "sync", ..] | ["parking_lot", ..] | ["loom", _, ..] => true,
            _ => false,
        }
    };
    let complain = |path: &CodePath| {
        let name = path.segments.join("::");
        source.complain(path.line, format_args!("`{name}`: import it from `crate::sync`"))
    };
    paths(&source.tokens).iter().filter(is_stray).map(complain).collect()
}

fn stray_unsafe(source: &Source) -> Vec<String> {
    let allowed = UNSAFE_FILES.contains(&source.path.as_str());
    let tokens = source.tokens.iter().filter(|token| token.text == "unsafe" && !allowed);
    tokens.map(|token| source.complain(token.line, "unsafe code")).collect()
}

fn leftovers(source: &Source) -> Vec<String> {
    let macros = source
        .tokens
        .windows(2)
        .filter(|pair| LEFTOVER_MACROS.contains(&pair[0].text.as_str()) && pair[1].text == "!")
        .map(|pair| source.complain(pair[0].line, format_args!("`{}!` left over", pair[0].text)));
    let words = source.text.lines().enumerate().flat_map(|(index, line)| {
        let found = line.split(|c| !is_word(c)).filter(|word| LEFTOVER_WORDS.contains(word));
        found.map(move |word| source.complain(index + 1, format_args!("{word} left over")))
    });
    macros.chain(words).collect()
}

/// A file that opens a module begins with its essay.
fn missing_essay(source: &Source) -> Vec<String> {
    let opens = source.path.starts_with("src/")
        && (source.path.ends_with("/mod.rs") || source.path.matches('/').count() == 1);
    if !opens || source.text.starts_with("//!") {
        return Vec::new();
    }
    vec![source.complain(1, "the module does not begin with `//!`")]
}

/// The length in lines of each function with a body, as `path::function`.
fn functions(source: &Source) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (at, pair) in source.tokens.windows(2).enumerate() {
        if pair[0].text != "fn" || !pair[1].text.starts_with(is_word) {
            continue;
        }
        let mut depth = 0_i32;
        let mut has_body = false;
        for token in &source.tokens[at..] {
            match token.text.as_str() {
                "(" | "[" => depth += 1,
                ")" | "]" => depth -= 1,
                "{" => (depth, has_body) = (depth + 1, true),
                "}" => depth -= 1,
                ";" if depth == 0 => break,
                _ => continue,
            }
            if depth == 0 && has_body && token.text == "}" {
                let lines = token.line - pair[0].line + 1;
                found.push((format!("{}::{}", source.path, pair[1].text), lines));
                break;
            }
        }
    }
    found
}

/// Holds measured lengths against a limit and its exceptions, which must be exact.
fn too_long(
    measured: &[(String, usize)],
    limit: usize,
    exceptions: &[(&str, usize)],
) -> Vec<String> {
    let long: Vec<(&str, usize)> = measured
        .iter()
        .map(|(name, lines)| (name.as_str(), *lines))
        .filter(|(_, lines)| *lines > limit)
        .collect();
    let new = long.iter().filter(|found| !exceptions.contains(found));
    let old = exceptions.iter().filter(|excepted| !long.contains(excepted));
    new.map(|(name, lines)| format!("{name}: {lines} lines, at most {limit} are allowed"))
        .chain(
            old.map(|(name, lines)| {
                format!("{name}: the exception of {lines} lines is out of date")
            }),
        )
        .collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files with this extension below a folder, build products aside, in a fixed order.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut entries: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    let mut found = Vec::new();
    for path in entries {
        if path.is_dir() && !path.ends_with("target") {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found
}

fn sources(folders: &[&str]) -> Vec<Source> {
    let paths = folders.iter().flat_map(|folder| files(&root().join(folder), "rs"));
    let sources: Vec<Source> = paths
        .map(|path| {
            let inner = path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
            Source::new(&inner, &fs::read_to_string(&path).unwrap())
        })
        .collect();
    assert!(!sources.is_empty(), "no sources in {folders:?}");
    sources
}

const ALL: &[&str] = &["src", "tests", "fuzz", "benches"];

fn assert_none(what: &str, wrong: &[String]) {
    assert!(wrong.is_empty(), "{what}:\n  {}\n", wrong.join("\n  "));
}

fn assert_rule(what: &str, folders: &[&str], rule: impl Fn(&Source) -> Vec<String>) {
    let wrong: Vec<String> = sources(folders).iter().flat_map(rule).collect();
    assert_none(what, &wrong);
}

#[test]
fn modules_know_only_lower_floors() {
    assert_rule("arrows that do not point downwards", &["src"], wrong_arrows);
}

#[test]
fn locks_and_atomics_are_named_in_one_file() {
    assert_rule("locks or atomics", &["src"], stray_sync);
}

#[test]
fn unsafe_code_stays_in_two_files() {
    assert_rule("unsafe code", ALL, stray_unsafe);
}

#[test]
fn nothing_is_left_over() {
    assert_rule("left over", ALL, leftovers);
}

#[test]
fn every_module_opens_with_an_essay() {
    assert_rule("modules without an essay", &["src"], missing_essay);
}

#[test]
fn files_are_short() {
    let lengths: Vec<(String, usize)> =
        sources(ALL).iter().map(|s| (s.path.clone(), s.text.lines().count())).collect();
    assert_none("long files", &too_long(&lengths, LONGEST_FILE, LONG_FILES));
}

#[test]
fn functions_are_short() {
    let lengths: Vec<(String, usize)> = sources(ALL).iter().flat_map(functions).collect();
    assert_none("long functions", &too_long(&lengths, LONGEST_FUNCTION, LONG_FUNCTIONS));
}

#[test]
fn links_lead_somewhere() {
    let documents = [root().join("README.md")].into_iter().chain(files(&root().join("docs"), "md"));
    let broken: Vec<String> = documents
        .flat_map(|path| match fs::read_to_string(&path) {
            Ok(text) => broken_links(&path, &text),
            Err(error) => vec![format!("{}: {error}", path.display())],
        })
        .collect();
    assert_none("broken links", &broken);
}
