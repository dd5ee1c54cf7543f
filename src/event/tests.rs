#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use super::*;

fn lsn(at: u64) -> Lsn {
    Lsn::new(at).unwrap()
}

/// One of each, with values that nothing else has.
fn one_of_each() -> Vec<Event> {
    let (txn, page) = (TxnId::new(7).unwrap(), PageId(3));
    let (rec_lsn, prepare_lsn, begin_lsn) = (lsn(111), lsn(222), lsn(333));
    let global_id = b"order".to_vec();
    let txns = vec![txn, TxnId::new(8).unwrap()];
    vec![
        Event::Appended { lsn: lsn(100), txn: Some(txn), kind: "Update", page: Some(page) },
        Event::Forced { durable_lsn: lsn(100) },
        Event::SegmentPrepared { number: 4, recycled_from: Some(2) },
        Event::LogTruncated { oldest_required: lsn(100) },
        Event::PageRead { page },
        Event::PageWritten { page, page_lsn: Some(lsn(100)) },
        Event::PageEvicted { page },
        Event::PagesGrown { pages: 77 },
        Event::CheckpointBegan { begin_lsn },
        Event::CheckpointEnded { begin_lsn, dirty_pages: 5, transactions: 6, redo_lsn: lsn(100) },
        Event::LogEndFound { end: lsn(100), clean: false },
        Event::CacheDropped { marked: true },
        Event::TailRewritten { from: lsn(100), to: lsn(200) },
        Event::PageRestored { page, torn: true },
        Event::PageRepaired { page, from: lsn(100), page_lsn: Some(lsn(200)) },
        Event::AnalysisBegan { from: lsn(100) },
        Event::PageDirty { page, rec_lsn, from_checkpoint: true, replaced: Some(lsn(200)) },
        Event::TransactionNoted {
            txn,
            state: TransactionState::Active,
            last_lsn: Some(lsn(200)),
            undo_next_lsn: Some(lsn(100)),
            from_checkpoint: true,
        },
        Event::TransactionAdvanced { txn, last_lsn: lsn(200), undo_next_lsn: Some(lsn(100)) },
        Event::TransactionGone { txn, lsn: lsn(100) },
        Event::AnalysisEnded {
            dirty_pages: 5,
            losers: txns,
            committed: vec![TxnId::new(9).unwrap()],
            in_doubt: Vec::new(),
        },
        Event::RedoBegan { from: lsn(100) },
        Event::RecLsnRaised { page, page_lsn: lsn(200) },
        Event::Redone { lsn: lsn(100), page },
        Event::RedoSkipped { lsn: lsn(100), page, reason: SkipReason::BelowRecLsn },
        Event::RedoEnded { redone: 12 },
        Event::UndoBegan { losers: 2 },
        Event::Undone { txn, lsn: lsn(100), clr_lsn: lsn(200), page, undo_next_lsn: None },
        Event::UndoPassed { txn, lsn: lsn(200), kind: "Compensation", undo_next_lsn: None },
        Event::TransactionEnded { txn },
        Event::Prepared { txn, global_id: global_id.clone(), prepare_lsn },
        Event::InDoubt { txn, global_id, prepare_lsn, locks: 3 },
        Event::Opened,
    ]
}

/// The variant's name as programs write names.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// Names and fields are written by hand; the compiler derives the same for `Debug`.
#[test]
fn names_and_fields_are_those_of_the_variants() {
    let mut names = BTreeSet::new();
    for event in one_of_each() {
        let debug = format!("{event:?}");
        let variant = debug.split([' ', '{']).next().unwrap();
        assert_eq!(event.name(), snake_case(variant));
        assert!(names.insert(event.name()));
        let fields = event.fields();
        let written = fields.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        let mut places = written.iter().map(|name| {
            debug.find(&format!("{{ {name}: ")).or_else(|| debug.find(&format!(", {name}: ")))
        });
        assert!(places.all(|place| place.is_some()), "{debug}: {written:?}");
        assert_eq!(debug.matches(": ").count(), written.len(), "{debug}: {written:?}");
    }
    assert_eq!(names.len(), 33);
}

#[test]
fn words_say_what_the_fields_say() {
    for event in one_of_each() {
        let words = event.to_string();
        assert!(!words.is_empty(), "{event:?}");
        for (name, field) in event.fields() {
            let told = match field {
                Field::Lsn(lsn) => lsn.map_or("nil".to_owned(), |lsn| lsn.to_string()),
                Field::Page(page) => page.unwrap().to_string(),
                Field::Txn(txn) => txn.unwrap().to_string(),
                Field::Txns([]) => "none".to_owned(),
                Field::Txns(txns) => txns[0].to_string(),
                Field::Number(number) => number.unwrap().to_string(),
                Field::Bytes(bytes) => bytes.escape_ascii().to_string(),
                Field::Flag(_) | Field::Word(_) => continue,
            };
            assert!(words.contains(&told), "{name} of {event:?}: {words}");
        }
    }
}

#[test]
fn restart_goes_through_its_phases_in_order() {
    let phases: Vec<_> = [
        Event::CacheDropped { marked: true },
        Event::AnalysisBegan { from: lsn(1) },
        Event::TailRewritten { from: lsn(1), to: lsn(2) },
        Event::RedoBegan { from: lsn(1) },
        Event::UndoBegan { losers: 0 },
        Event::Opened,
    ]
    .iter()
    .map(Event::phase)
    .collect();
    assert!(phases.is_sorted() && phases.iter().all(Option::is_some), "{phases:?}");
    assert_eq!(Event::PageRead { page: PageId(1) }.phase(), None);
}

#[test]
fn sections_of_the_paper_look_like_such_and_reasons_like_sentences() {
    for event in one_of_each() {
        for phase in [None, Some(Phase::Undo)] {
            let section = event.paper_section(phase).unwrap_or("1");
            assert!(section.chars().all(|c| c.is_ascii_digit() || c == '.'), "{section}");
        }
        if let Some(why) = event.why() {
            assert!(why.ends_with('.') && why.len() < 100, "{why}");
        }
    }
    for reason in SkipReason::ALL {
        let skipped = Event::RedoSkipped { lsn: lsn(1), page: PageId(1), reason };
        assert!(skipped.why().is_some() && skipped.to_string().contains(&reason.to_string()));
    }
}
