//! Statements about tables, in a session on a simulated disk: who waits, and what is shown.

use crate::script_commands::last_of;

/// A statement about a key that somebody has locked says so and goes on later, as one about a record does; whoever would close a
/// circle is told.
#[test]
fn who_waits_for_a_key_goes_on_when_it_is_free() {
    let stage = "table t\nT1: begin\nT1: put t a 1\nT1: put t c 3\nT2: begin\n";
    for (lines, said) in [
        ("T2: get t a", "waits for the lock on P2/a, which T1 has\n"),
        ("T2: get t a\nT1: commit", "T2 goes on: \"1\"\n"),
        ("T2: put t a 2\nT1: rollback", "T2 goes on: done\n"),
        ("T2: delete t a\nT1: rollback", "T2 goes on: no such key\n"),
        ("T2: scan t\nT1: commit", "T2 goes on: a=\"1\"\nc=\"3\"\n"),
        ("T2: scan t from=b to=d\nT1: delete t c\nT1: commit", "T2 goes on: no keys\n"),
        (
            "T2: scan t from=d\nT1: put t e 5",
            "waits for the lock on ranges that T5 read of P2, which T2 has\n",
        ),
        ("T2: get t a\ndrop t", "Error"),
    ] {
        match last_of(&format!("{stage}{lines}")) {
            Ok(printed) => assert_eq!(printed, said, "{lines:?}"),
            Err(error) => {
                assert!(said == "Error" && error.contains("is in use"), "{lines:?}: {error}")
            }
        }
    }
    let circle = "T2: put t x 1\nT1: get t x\nT2: get t a";
    let error = last_of(&format!("{stage}{circle}")).unwrap_err();
    assert!(error.starts_with("deadlock: T2 waiting"), "{error}");
}

/// What is shown of a table, whatever its keys and values are.
#[test]
fn a_table_is_shown_with_all_its_cells() {
    let long = "y".repeat(1000);
    let stage = format!(
        "table \"my table\"\nbegin\nput \"my table\" \"a \\x00\" \"1\\n2\"\nput \"my table\" b {long}\n\
         put \"my table\" c 3\nsavepoint s\nput \"my table\" d 4\ndelete \"my table\" c\n"
    );
    let shown = |lines: &str| last_of(&format!("{stage}{lines}")).unwrap();
    assert_eq!(
        shown("show table \"my table\""),
        "\"my table\" \"a \\x00\"=\"1\\n2\"\n\"my table\" b=(1000 bytes from P5 on)\n\
         \"my table\" c=\"3\" deleted\n\"my table\" d=\"4\"\n"
    );
    assert_eq!(shown("show tree \"my table\""), "level 0 P2: \"a \\x00\" b (c) d\n");
    assert_eq!(shown("rollback s\nshow tree \"my table\""), "level 0 P2: \"a \\x00\" b c (d)\n");
    assert_eq!(shown("get \"my table\" b"), format!("\"{long}\"\n"));
    assert_eq!(shown("show tables"), "\"my table\" root=P2\n");
    assert!(shown("show page P2").starts_with("P2 page_lsn="));
    assert!(shown("show page P2").contains(" leaf\n"), "{}", shown("show page P2"));
    assert!(shown("show page P3").contains(" overflow\n"), "{}", shown("show page P3"));
    let verified = "\"my table\": height=1 leaves=1 inner=0 overflow=3 cells=3 ghosts=1\n";
    let judged = "not judged: whether pages belong to no table, for transactions are under way that have \
                  changed something\nsound\n";
    assert_eq!(shown("verify tables"), format!("{verified}{judged}"));
    assert_eq!(shown("rollback\ndrop \"my table\"\nverify tables"), "sound\n");
    assert_eq!(shown("rollback\ndrop \"my table\"\nshow tables"), "");
}
