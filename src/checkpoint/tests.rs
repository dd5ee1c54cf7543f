use super::*;
use crate::tables::TransactionState;

fn tables(pages: u64, transactions: u64) -> (DirtyPageTable, TransactionTable) {
    let lsn = |number: u64| Lsn::new(8 * number).expect("not nil");
    let mut dirty_pages = DirtyPageTable::default();
    (1..=pages).for_each(|page| dirty_pages.dirtied(PageId(page), lsn(page)));
    let mut table = TransactionTable::default();
    for txn in 1..=transactions {
        let entry = TransactionEntry { state: TransactionState::Active, ..TransactionEntry::new() };
        table.insert(TxnId::new(txn).expect("not 0"), entry);
    }
    (dirty_pages, table)
}

/// What a part is reckoned to take is what its record takes.
#[test]
fn a_part_takes_the_bytes_that_are_reckoned() {
    let (dirty_pages, table) = tables(3, 2);
    let lsn = Lsn::new(8).expect("not nil");
    for (pages, txns) in [(0, 0), (3, 0), (0, 2), (3, 2)] {
        let record = LogRecord::EndCheckpoint(EndCheckpoint {
            durable_lsn: lsn,
            begin_lsn: lsn,
            next_txn: TxnId::FIRST,
            part: 0,
            parts: 1,
            dirty_pages: dirty_pages.iter().take(pages).collect(),
            transactions: table.iter().take(txns).map(|(txn, entry)| (txn, *entry)).collect(),
        });
        assert_eq!(EncodedRecord::new(&record).len(), checkpoint_bytes(pages, txns));
    }
}

/// Every part fits into a record, and holds all that fits: among these sizes are many that leave not a
/// byte.
#[test]
fn each_part_is_as_full_as_can_be() {
    let mut filled = [0; 2];
    for page_size in 512..700 {
        let most = max_record_bytes(page_size);
        for (pages, transactions) in [(0, 0), (200, 0), (0, 200), (7, 100), (150, 100)] {
            let (dirty_pages, table) = tables(pages, transactions);
            let parts = split(page_size, &dirty_pages, &table);
            for pair in parts.windows(2) {
                let (full, next) = (&pair[0], &pair[1]);
                let (page, txn) = if next.0.is_empty() { (0, 1) } else { (1, 0) };
                let bytes = checkpoint_bytes(full.0.len(), full.1.len());
                let more = checkpoint_bytes(full.0.len() + page, full.1.len() + txn);
                assert!(bytes <= most && more > most, "{bytes}, then {more}, of {most}");
                filled[txn] += usize::from(bytes == most);
            }
            let (all_pages, all_txns): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
            assert_eq!(all_pages.concat(), dirty_pages.iter().collect::<Vec<_>>());
            let expected: Vec<_> = table.iter().map(|(txn, entry)| (txn, *entry)).collect();
            assert_eq!(all_txns.concat(), expected);
        }
    }
    assert!(filled.iter().all(|filled| *filled > 0), "{filled:?} parts were filled to the byte");
}
