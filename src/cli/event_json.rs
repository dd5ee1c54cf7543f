//! Events as JSON: their names and fields as the event gives them.

use serde_json::{Map, Value};

use super::output::txns;
use crate::event::{Event, Field, Phase};
use crate::ids::{Lsn, TxnId};

/// An event, in a phase of restart if there is one.
pub fn event_json(event: &Event, phase: Option<Phase>) -> Value {
    let fields = event.fields().into_iter().map(|(name, field)| (name.to_owned(), value(&field)));
    let head = [
        ("event".to_owned(), event.name().into()),
        ("phase".to_owned(), phase.map(Phase::name).into()),
        ("section".to_owned(), event.paper_section(phase).into()),
        ("words".to_owned(), event.to_string().into()),
    ];
    Value::Object(head.into_iter().chain(fields).collect::<Map<_, _>>())
}

fn value(field: &Field<'_>) -> Value {
    match field {
        Field::Lsn(lsn) => lsn.map(Lsn::get).into(),
        Field::Page(page) => page.map(|page| page.0).into(),
        Field::Txn(txn) => txn.map(TxnId::get).into(),
        Field::Txns(list) => txns(list).into(),
        Field::Number(number) => (*number).into(),
        Field::Flag(flag) => (*flag).into(),
        Field::Word(word) => (*word).into(),
        Field::Bytes(bytes) => bytes.escape_ascii().to_string().into(),
    }
}
