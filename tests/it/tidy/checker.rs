//! The checker checked: each rule finds what it is there to find, and nothing else.

use super::links::{anchors, links};
use super::*;

fn complaints(rule: impl Fn(&Source) -> Vec<String>, path: &str, text: &str) -> Vec<String> {
    rule(&Source::new(path, text))
}

#[test]
fn upward_and_sideways_arrows_are_found() {
    for (path, text) in [
        ("src/log/writer.rs", "use crate::db::Db;"),
        ("src/log/writer.rs", "fn f() { crate::lock::g() }"),
        ("src/log/mod.rs", "use crate::{error::Result, ids::{Lsn, PageId}, buffer};"),
        ("src/log/mod.rs", "use crate::{error as e, txn as t};"),
        ("src/log/mod.rs", "pub(in crate::db) struct S;"),
        ("src/log/writer.rs", "use super::super::txn;"),
        ("src/ids.rs", "use super::error;"),
        ("src/ids.rs", "use super::*;"),
        ("src/log/mod.rs", "mod tests { use super::super::db; }"),
        ("src/log/mod.rs", "use crate::*;"),
        ("src/log/mod.rs", "use crate::Db;"),
        ("src/cellar.rs", ""),
    ] {
        assert_eq!(complaints(wrong_arrows, path, text).len(), 1, "{path}: {text}");
    }
    let second_line = complaints(wrong_arrows, "src/ids.rs", "//! Ids\nuse crate::db;");
    assert_eq!(second_line, ["src/ids.rs:2: `ids` may not know `db`, which is not below it"]);
}

#[test]
fn downward_arrows_are_allowed() {
    for (path, text) in [
        ("src/log/writer.rs", "use crate::{error::{Error, Result as R}, ids::*, sync};"),
        ("src/log/writer.rs", "use super::segment; use crate::log::reader; pub(crate) fn f() {}"),
        ("src/log/mod.rs", "mod tests { use super::*; mod inner { use super::super::*; } }"),
        ("src/log/deep/leaf.rs", "use super::super::writer;"),
        ("src/log/mod.rs", "// use crate::db;\n/* crate::db /* */ crate::db */"),
        ("src/log/mod.rs", "const A: (&str, char) = (\"crate::db\", '\"'); // \" crate::db"),
        ("src/log/mod.rs", "const A: &str = r#\"\"crate::db\"#; fn f<'a>(a: &'a u8) {}"),
        ("src/lib.rs", "pub use crate::db::Db;"),
        ("src/main.rs", "use aries::cli; fn main() { crate::x() }"),
    ] {
        assert_none(text, &complaints(wrong_arrows, path, text));
    }
}

#[test]
fn floors_name_each_module_once() {
    let mut all: Vec<&str> = FLOORS.concat();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), FLOORS.concat().len());
}

#[test]
fn stray_locks_and_atomics_are_found() {
    for text in [
        "use std::sync::Arc;",
        "use std::{fmt, sync::{atomic::AtomicU64}};",
        "type A = parking_lot::Mutex<u8>;",
        "use loom::thread;",
        "use std::sync::mpsc;",
    ] {
        assert_eq!(complaints(stray_sync, "src/log/mod.rs", text).len(), 1, "{text}");
        assert_none(text, &complaints(stray_sync, "src/sync/mod.rs", text));
    }
    let fine = "use std::{fmt, thread}; use crate::sync::Arc; #[cfg(loom)] fn f() {}";
    assert_none(fine, &complaints(stray_sync, "src/log/mod.rs", fine));
    assert_none("child", &complaints(stray_sync, "src/child.rs", "use std::sync::mpsc;"));
}

#[test]
fn unsafe_code_and_leftovers_are_found() {
    let text = "#![deny(unsafe_code)] // unsafe\nfn f() { unsafe { g() } }";
    assert_eq!(complaints(stray_unsafe, "src/log/mod.rs", text), ["src/log/mod.rs:2: unsafe code"]);
    assert_none("mapping", &complaints(stray_unsafe, UNSAFE_FILES[0], text));
    for name in LEFTOVER_MACROS {
        let text = format!("fn f() {{ {name}!(1) }} fn {name}() {{}} // {name}!");
        assert_eq!(complaints(leftovers, "tests/it/a.rs", &text).len(), 1, "{text}");
    }
    for word in LEFTOVER_WORDS {
        let text = format!("// {word}: think\nlet {word}ES = 1;");
        assert_eq!(complaints(leftovers, "fuzz/a.rs", &text).len(), 1, "{text}");
    }
}

#[test]
fn a_missing_essay_is_found() {
    for path in ["src/ids.rs", "src/log/mod.rs", "src/lib.rs"] {
        assert_eq!(complaints(missing_essay, path, "use std::fmt;").len(), 1, "{path}");
        assert_none(path, &complaints(missing_essay, path, "//! Essay."));
    }
    assert_none("inner file", &complaints(missing_essay, "src/log/a.rs", "use std::fmt;"));
}

#[test]
fn lengths_are_counted_and_exceptions_must_be_exact() {
    let text = "trait T { fn none(&self) -> [u8; 2]; }\nfn one() {}\nfn three(\n) { if a { b } \n}";
    let measured = functions(&Source::new("src/a.rs", text));
    let expected = [("src/a.rs::one", 1), ("src/a.rs::three", 3)];
    assert_eq!(measured, expected.map(|(name, lines)| (name.to_owned(), lines)));
    assert_none("within the limit", &too_long(&measured, 3, &[]));
    assert_eq!(too_long(&measured, 2, &[]).len(), 1);
    assert_none("excepted", &too_long(&measured, 2, &[("src/a.rs::three", 3)]));
    assert_eq!(too_long(&measured, 3, &[("src/a.rs::three", 3)]).len(), 1, "not needed any more");
    assert_eq!(too_long(&measured, 2, &[("src/a.rs::three", 4)]).len(), 2, "not exact");
    assert_eq!(too_long(&measured, 3, &[("src/b.rs::gone", 9)]).len(), 1, "gone");
}

#[test]
fn links_and_anchors_are_read() {
    let text = "# One, `two` & three\n[a](b.md#c) `[no](no.md)` [`d`](e/f.md \"title\")\n\
                ```\n[no](no.md)\n# no\n```\n[g]: h.md\n## One\n## One\n[^1]: no.md\n";
    let found: Vec<(usize, String)> = links(text);
    let expected = [(2, "b.md#c"), (2, "e/f.md"), (7, "h.md")];
    assert_eq!(found, expected.map(|(line, target)| (line, target.to_owned())));
    assert_eq!(anchors(text), ["one-two--three", "one", "one-1"]);
}

#[test]
fn broken_links_are_found() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let fine =
        "# Top\n[a](Cargo.toml) [b](src/ids.rs#L1) [c](#top) [d](https://no.where/x) [e](src)";
    assert_eq!(broken_links(&document, fine), [""; 0]);
    for text in ["[a](Cargo.tom)", "# Top\n[b](#bottom)", "[c](docs/no-such-file.md#top)"] {
        assert_eq!(broken_links(&document, text).len(), 1, "{text}");
    }
}
