//! Each store does what the workloads rely on.

#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use clap::ValueEnum;

use super::Kind;
use crate::store::{Pair, Setup, holds, key, put, value, verify};

const SETUP: Setup = Setup { cache_bytes: 16 << 20, whole_log: false };

fn pairs(count: u64, stamp: u64) -> Vec<Pair> {
    (0..count).map(|n| Pair { key: key(b'k', n), value: value(n, stamp) }).collect()
}

#[test]
fn keeps_what_it_was_given() {
    for &kind in Kind::value_variants() {
        let dir = tempfile::tempdir().unwrap();
        let store = kind.open(dir.path(), SETUP).unwrap();
        let mut expected = pairs(5000, 0);
        let mut session = store.session().unwrap();
        session.load(&expected).unwrap();
        for pair in pairs(200, 1) {
            assert_eq!(put(session.as_mut(), &pair).unwrap(), 0);
        }
        session.put_stream(&mut pairs(500, 2).into_iter().skip(200), 64).unwrap();
        drop(session);
        store.checkpoint().unwrap();
        store.close().unwrap();

        let store = kind.open(dir.path(), SETUP).unwrap();
        expected[..200].copy_from_slice(&pairs(200, 1));
        expected[200..500].copy_from_slice(&pairs(500, 2)[200..]);
        verify(store.as_ref(), expected.clone()).unwrap();
        assert!(verify(store.as_ref(), expected[1..].to_vec()).is_err());
        assert!(verify(store.as_ref(), pairs(5000, 0)).is_err());
        assert!(
            verify(store.as_ref(), [expected, pairs(5001, 0)[5000..].to_vec()].concat()).is_err()
        );
        assert!(holds(store.session().unwrap().as_mut(), &pairs(1, 1)[0]).unwrap());
        assert!(!holds(store.session().unwrap().as_mut(), &pairs(1, 2)[0]).unwrap());
        store.close().unwrap();
    }
}

#[test]
fn scans_begin_where_they_are_told_and_end_with_the_count() {
    for &kind in Kind::value_variants() {
        let dir = tempfile::tempdir().unwrap();
        let store = kind.open(dir.path(), SETUP).unwrap();
        let mut session = store.session().unwrap();
        session.load(&pairs(1000, 0)).unwrap();
        for (from, count, seen) in [(0, 100, 100), (990, 100, 10), (500, 1, 1), (1000, 5, 0)] {
            let mut keys = Vec::new();
            session
                .read(&mut |txn| {
                    keys.clear();
                    let told =
                        txn.scan(&key(b'k', from), count, &mut |key, _| keys.push(key.to_vec()))?;
                    assert_eq!(told, seen);
                    Ok(())
                })
                .unwrap();
            let expected: Vec<_> =
                (from..1000).take(count).map(|n| key(b'k', n).to_vec()).collect();
            assert_eq!(keys, expected, "{}", kind.name());
        }
    }
}

/// Four threads add one to the same number: none is lost, so the transactions are serialisable.
#[test]
fn no_update_is_lost() {
    const EACH: u64 = 50;
    for &kind in Kind::value_variants() {
        let dir = tempfile::tempdir().unwrap();
        let store = kind.open(dir.path(), SETUP).unwrap();
        let counter = key(b'k', 0);
        store.session().unwrap().load(&[Pair { key: counter, value: [0; 100] }]).unwrap();
        let runs = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut session = store.session().unwrap();
                    for _ in 0..EACH {
                        session
                            .write(&mut |txn| {
                                runs.fetch_add(1, Ordering::Relaxed);
                                let mut now = [0; 100];
                                assert!(txn.get_for_update(&counter, &mut |value| {
                                    now.copy_from_slice(value);
                                })?);
                                now[0] += 1;
                                txn.put(&counter, &now)
                            })
                            .unwrap();
                    }
                });
            }
        });
        let mut value = [0; 100];
        value[0] = 4 * 50;
        verify(store.as_ref(), [Pair { key: counter, value }]).unwrap();
        assert!(runs.into_inner() >= 4 * EACH);
    }
}

#[test]
fn what_failed_is_taken_back() {
    for &kind in Kind::value_variants() {
        let dir = tempfile::tempdir().unwrap();
        let store = kind.open(dir.path(), SETUP).unwrap();
        let mut session = store.session().unwrap();
        session.load(&pairs(10, 0)).unwrap();
        let failed = session.write(&mut |txn| {
            txn.put(&key(b'k', 3), &[7; 100])?;
            anyhow::bail!("on purpose")
        });
        assert_eq!(failed.unwrap_err().to_string(), "on purpose");
        verify(store.as_ref(), pairs(10, 0)).unwrap();
    }
}
