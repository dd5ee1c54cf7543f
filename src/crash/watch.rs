//! Who is told, while a history runs, of what is done and of what must be there.

use super::history::Step;
use super::model::Expected;
use crate::ids::{Lsn, PageId};
use crate::sync::Arc;

/// Something that the engine has said is durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Claim {
    /// The commit or prepare record at this LSN: whoever called has been told so.
    Record(Lsn),
    /// The page as it stands in place: its write is done.
    Page(PageId),
}

/// Somebody who is told of what goes on.
pub trait Watch {
    /// A step is about to be taken.
    fn step(&self, _step: Step) {}

    /// From now on this must be there after a crash.
    fn expect(&self, expected: Expected);

    /// The engine says that something is durable.
    fn claimed(&self, _claim: Claim) {}

    /// All steps were taken; what comes now is no part of the history.
    fn end(&self);
}

/// Two who are told, the second of whom need not be there.
impl<A: Watch, B: Watch> Watch for (Arc<A>, Option<Arc<B>>) {
    fn step(&self, step: Step) {
        self.0.step(step);
        self.1.iter().for_each(|second| second.step(step));
    }

    fn expect(&self, expected: Expected) {
        self.1.iter().for_each(|second| second.expect(Arc::clone(&expected)));
        self.0.expect(expected);
    }

    fn claimed(&self, claim: Claim) {
        self.0.claimed(claim);
        self.1.iter().for_each(|second| second.claimed(claim));
    }

    fn end(&self) {
        self.0.end();
        self.1.iter().for_each(|second| second.end());
    }
}
