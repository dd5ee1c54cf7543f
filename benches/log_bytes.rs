//! Bytes of log for an update: counted, not timed.
//!
//! `cargo bench --bench log_bytes`
#![allow(missing_docs, clippy::unwrap_used)]

use aries::Options;

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let db = Options::new().background(false).open(dir.path().join("db")).unwrap();
    let mut txn = db.begin().unwrap();
    let page = txn.allocate_page().unwrap();
    let slot = txn.insert_record(page, &[0; 100]).unwrap();
    txn.commit().unwrap();

    let mut txn = db.begin().unwrap();
    let mut record = [0; 100];
    println!("{:<44}{:>12}", "a 100-byte record is written anew; of it", "log bytes");
    for changed in [1, 8, 16, 50, 100] {
        record[20.min(100 - changed)..][..changed].fill(u8::try_from(changed).unwrap());
        let before = db.stats().end_lsn.get();
        txn.write_record(page, slot, 0, &record).unwrap();
        let bytes = db.stats().end_lsn.get() - before;
        println!("{:<44}{bytes:>12}", format!("    {changed} bytes differ"));
        if changed == 8 {
            assert!(bytes <= 96, "what is logged is what changed");
        }
    }
    let before = db.stats().end_lsn.get();
    txn.commit().unwrap();
    println!("{:<44}{:>12}", "commit record and end record", db.stats().end_lsn.get() - before);
}
