//! Events as JSON: their names and fields as the event gives them.

use serde_json::{Map, Value};

use super::{Event, Field, Phase};
use crate::ids::{Lsn, TxnId};

impl Event {
    /// The event as JSON, in a phase of restart if there is one.
    #[must_use]
    pub fn to_json(&self, phase: Option<Phase>) -> Value {
        let fields =
            self.fields().into_iter().map(|(name, field)| (name.to_owned(), value(&field)));
        let head = [
            ("event".to_owned(), self.name().into()),
            ("phase".to_owned(), phase.map(Phase::name).into()),
            ("section".to_owned(), self.paper_section(phase).into()),
            ("words".to_owned(), self.to_string().into()),
            ("why".to_owned(), self.why().into()),
        ];
        Value::Object(head.into_iter().chain(fields).collect::<Map<_, _>>())
    }
}

fn value(field: &Field<'_>) -> Value {
    match field {
        Field::Lsn(lsn) => lsn.map(Lsn::get).into(),
        Field::Page(page) => page.map(|page| page.0).into(),
        Field::Txn(txn) => txn.map(TxnId::get).into(),
        Field::Txns(list) => list.iter().map(|txn| txn.get()).collect(),
        Field::Number(number) => (*number).into(),
        Field::Flag(flag) => (*flag).into(),
        Field::Word(word) => (*word).into(),
        Field::Bytes(bytes) => bytes.escape_ascii().to_string().into(),
    }
}
