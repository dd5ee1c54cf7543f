//! What can come next in a history, told from what has come: an outline of the database, without its bytes.

use super::{Action, KEYS, MOST_NEW_PAGES, MOST_PAGES, MOST_TRANSACTIONS, Page, Step};

/// Which steps histories have. Commit, rollback, update, flushed pages and checkpoints are in each.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Vocabulary {
    /// Records come, change and go; savepoints.
    Records,
    /// Pages are allocated and freed, also in nested top actions, and the log goes on to its next segment.
    Space,
    /// Deferred commits, those that read what they have written, and transactions in doubt.
    Outcomes,
    /// Keys of a tree whose leaves and nodes are full: they split, and are taken out.
    Trees,
    /// All of these but trees; and when a transaction has ended, another one may begin under its name.
    Everything,
}

impl Vocabulary {
    /// Those whose histories are enumerated.
    pub const ENUMERATED: [Self; 4] = [Self::Records, Self::Space, Self::Outcomes, Self::Trees];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Space => "space",
            Self::Outcomes => "outcomes",
            Self::Trees => "trees",
            Self::Everything => "everything",
        }
    }

    fn has(self, other: Self) -> bool {
        self == other || self == Self::Everything && other != Self::Trees
    }
}

/// Which histories there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Most transactions, up to [`MOST_TRANSACTIONS`].
    pub transactions: usize,
    /// Pages that are there from the beginning, up to [`MOST_PAGES`].
    pub pages: usize,
    /// Which steps.
    pub vocabulary: Vocabulary,
}

/// The widest there are.
pub(super) const MOST: Bounds = Bounds {
    transactions: MOST_TRANSACTIONS,
    pages: MOST_PAGES,
    vocabulary: Vocabulary::Everything,
};

/// The widest of those on trees.
pub(super) const MOST_IN_TREES: Bounds = Bounds { vocabulary: Vocabulary::Trees, ..MOST };

/// What steps are possible next.
#[derive(Clone)]
pub(super) struct Outline {
    txns: [Txn; MOST_TRANSACTIONS],
    /// How many have begun.
    begun: usize,
    /// How many of the old pages were used.
    used: usize,
    /// How many pages were allocated.
    allocated: usize,
    /// Pages that are there for everybody.
    exist: u64,
    /// Changed since they were written last.
    dirty: u64,
    changed_map: bool,
    checkpointing: bool,
    /// Keys that were touched.
    keys: u64,
    /// A key was deleted for good since leaves were last looked for that have no other.
    has_ghosts: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    #[default]
    Active,
    Prepared,
    /// It has committed, and not waited yet.
    Deferred,
    Ended,
}

#[derive(Clone, Default)]
struct Txn {
    phase: Phase,
    now: Work,
    /// Pages on which its own record is gone for good.
    gone: u64,
    /// What it had done at its savepoint.
    savepoint: Option<Work>,
    /// Pages that it has touched: nobody else frees them until it ends.
    touched: u64,
    /// Allocated and freed by nested top actions: so they stay.
    kept_made: u64,
    kept_freed: u64,
    /// Freed, and given back: its lock on them is kept.
    undone_freed: u64,
    changed_since: bool,
    changed: bool,
    /// Pages that it has read, and those on which it has read the record of each other one.
    read: u64,
    read_of: [u64; MOST_TRANSACTIONS],
    /// It has read the range of its keys.
    ranged: bool,
}

/// What a transaction has done, and would undo.
#[derive(Clone, Copy, Default)]
struct Work {
    /// Pages on which its own record is gone, and its keys that are.
    deleted: u64,
    /// Keys that it has put.
    put: u64,
    made: u64,
    freed: u64,
}

impl Txn {
    fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Active | Phase::Prepared)
    }

    /// Whether its key is there: the first two are from the beginning.
    fn has(&self, key: Page) -> bool {
        let is_old = matches!(key, Page::Key(1 | 2));
        (is_old && self.now.deleted & key.bit() == 0) || self.now.put & key.bit() != 0
    }

    fn mark(&mut self) {
        self.savepoint = Some(self.now);
        self.changed_since = false;
    }

    fn go_back(&mut self) {
        self.now = self.savepoint.unwrap_or(self.now);
        self.changed_since = false;
    }

    /// Pages that nobody else touches.
    fn claimed(&self) -> u64 {
        self.now.made | self.now.freed | self.kept_made | self.kept_freed | self.undone_freed
    }
}

impl Default for Outline {
    fn default() -> Self {
        let exist = (1..=MOST_PAGES).map(|number| Page::Old(number).bit()).sum();
        Self {
            txns: Default::default(),
            begun: 0,
            used: 0,
            allocated: 0,
            exist,
            dirty: 0,
            changed_map: false,
            checkpointing: false,
            keys: 0,
            has_ghosts: false,
        }
    }
}

impl Outline {
    pub(super) fn next_steps(&self, bounds: &Bounds) -> Vec<Step> {
        let mut steps = Vec::new();
        let most = bounds.transactions.min(MOST_TRANSACTIONS);
        for number in 1..=most.min(self.begun + 1) {
            let mut actions = Vec::new();
            match self.txns[number - 1].phase {
                Phase::Active => self.next_actions(number, bounds, &mut actions),
                Phase::Prepared => actions.extend([Action::Commit, Action::Rollback]),
                Phase::Deferred => actions.push(Action::Wait),
                Phase::Ended if bounds.vocabulary == Vocabulary::Everything => {
                    let mut again = self.clone();
                    again.begin_again(number);
                    again.next_actions(number, bounds, &mut actions);
                }
                Phase::Ended => {}
            }
            steps.extend(actions.into_iter().map(|action| Step::By(number, action)));
        }
        steps.extend(self.pages().filter(|page| self.dirty & page.bit() != 0).map(Step::Flush));
        if self.dirty.count_ones() > 1 || self.dirty & self.keys != 0 {
            steps.push(Step::FlushAll);
        }
        steps.extend(self.has_ghosts.then_some(Step::Reclaim));
        let checkpoint = [Step::CheckpointBegin, Step::CheckpointEnd];
        steps.push(checkpoint[usize::from(self.checkpointing)]);
        steps
    }

    fn next_actions(&self, number: usize, bounds: &Bounds, actions: &mut Vec<Action>) {
        let txn = &self.txns[number - 1];
        let vocabulary = bounds.vocabulary;
        let pages = if vocabulary == Vocabulary::Trees { 0 } else { bounds.pages };
        if vocabulary == Vocabulary::Trees {
            for key in (1..=KEYS).map(Page::Key) {
                actions.extend([Action::Put(key), Action::PutLong(key)]);
                actions.extend(txn.has(key).then_some(Action::Remove(key)));
            }
            actions.extend((!txn.ranged).then_some(Action::Range));
        }
        for at in 1..=pages.min(MOST_PAGES).min(self.used + 1) {
            let page = Page::Old(at);
            if !self.may_touch(number, page) {
                continue;
            }
            let others = || self.others(number).filter(|txn| txn.is_live());
            let is_read = others().any(|txn| txn.read_of[number - 1] & page.bit() != 0);
            let has_record = txn.now.deleted & page.bit() == 0 && !is_read;
            if vocabulary.has(Vocabulary::Records) {
                actions.push(Action::Insert(page));
                actions.extend(has_record.then_some(Action::Delete(page)));
                actions.extend(has_record.then_some(Action::UndoneUpdate(page)));
            }
            actions.extend(has_record.then_some(Action::Update(page)));
            if vocabulary.has(Vocabulary::Outcomes) && txn.read & page.bit() == 0 {
                actions.push(Action::Read(page));
            }
            if vocabulary.has(Vocabulary::Space) {
                actions.push(Action::NestedInsert(page));
            }
        }
        if vocabulary.has(Vocabulary::Space) {
            self.next_space_actions(number, bounds, actions);
        }
        if number > self.begun {
            return;
        }
        if vocabulary.has(Vocabulary::Records) || vocabulary == Vocabulary::Trees {
            if txn.savepoint.is_none() || txn.changed_since {
                actions.push(Action::Savepoint);
            }
            if txn.savepoint.is_some() && txn.changed_since {
                actions.push(Action::RollbackTo);
            }
        }
        if txn.changed || txn.read != 0 || txn.ranged {
            actions.push(Action::Commit);
        }
        if txn.changed {
            actions.push(Action::Rollback);
            if vocabulary.has(Vocabulary::Outcomes) {
                actions.extend([Action::CommitDeferred, Action::Prepare]);
            }
        }
    }

    fn next_space_actions(&self, number: usize, bounds: &Bounds, actions: &mut Vec<Action>) {
        let txn = &self.txns[number - 1];
        if self.allocated < MOST_NEW_PAGES {
            let page = Page::New(self.allocated + 1);
            actions.extend([Action::Allocate(page), Action::NestedAllocate(page)]);
            actions.push(Action::UndoneAllocate(page));
        }
        let old = (1..=bounds.pages.min(MOST_PAGES).min(self.used + 1)).map(Page::Old);
        for page in old.chain((1..=self.allocated).map(Page::New)) {
            let mut others = self.others(number).filter(|txn| txn.is_live());
            if !self.may_touch(number, page) || others.any(|txn| txn.touched & page.bit() != 0) {
                continue;
            }
            actions.extend([Action::Free(page), Action::UndoneFree(page)]);
            // Undo could not give back what the action has freed for good.
            if txn.touched & page.bit() == 0 {
                actions.push(Action::NestedFree(page));
            }
        }
    }

    fn others(&self, number: usize) -> impl Iterator<Item = &Txn> {
        let numbered = self.txns.iter().enumerate();
        numbered.filter(move |(at, _)| *at != number - 1).map(|(_, txn)| txn)
    }

    /// Whether the page is there for the transaction, and nobody else claims it.
    fn may_touch(&self, number: usize, page: Page) -> bool {
        let txn = &self.txns[number - 1];
        let is_there = (self.exist | txn.now.made | txn.kept_made) & page.bit() != 0;
        let is_freed = (txn.now.freed | txn.kept_freed) & page.bit() != 0;
        let mut others = self.others(number).filter(|txn| txn.is_live());
        is_there && !is_freed && !others.any(|txn| txn.claimed() & page.bit() != 0)
    }

    /// The pages in use so far, the space map first.
    fn pages(&self) -> impl Iterator<Item = Page> {
        let old = (1..=self.used).map(Page::Old);
        let keys = (1..=KEYS).map(Page::Key).filter(|key| self.keys & key.bit() != 0);
        [Page::Map].into_iter().chain(old).chain((1..=self.allocated).map(Page::New)).chain(keys)
    }

    pub(super) fn take(&mut self, step: Step) {
        match step {
            Step::By(number, action) => self.act(number, action),
            Step::Flush(page) => self.dirty &= !page.bit(),
            Step::FlushAll => self.dirty = 0,
            Step::Reclaim => {
                self.has_ghosts = false;
                self.dirty |= self.keys;
            }
            Step::CheckpointBegin | Step::CheckpointEnd => self.checkpointing ^= true,
        }
    }

    fn act(&mut self, number: usize, action: Action) {
        self.begun = self.begun.max(number);
        if self.txns[number - 1].phase == Phase::Ended {
            self.begin_again(number);
        }
        match action {
            Action::Update(page)
            | Action::Insert(page)
            | Action::NestedInsert(page)
            | Action::UndoneUpdate(page) => {
                self.change(number, page);
            }
            // Its name stands for nothing, and its locks are kept.
            Action::UndoneAllocate(page) => {
                self.change_map(number, page);
            }
            Action::UndoneFree(page) => {
                self.change_map(number, page).undone_freed |= page.bit();
            }
            Action::Delete(page) => self.change(number, page).now.deleted |= page.bit(),
            Action::Read(page) => {
                let phases: [Phase; MOST_TRANSACTIONS] =
                    std::array::from_fn(|at| self.txns[at].phase);
                let txn = self.touch(number, page);
                txn.read |= page.bit();
                for (read_of, phase) in txn.read_of.iter_mut().zip(phases) {
                    if matches!(phase, Phase::Ended | Phase::Deferred) {
                        *read_of |= page.bit();
                    }
                }
            }
            Action::Put(key) | Action::PutLong(key) => self.change_key(number, key, true),
            Action::Remove(key) => self.change_key(number, key, false),
            Action::Allocate(page) => self.change_map(number, page).now.made |= page.bit(),
            Action::NestedAllocate(page) => {
                self.change_map(number, page).kept_made |= page.bit();
            }
            Action::Free(page) => self.change_map(number, page).now.freed |= page.bit(),
            Action::NestedFree(page) => self.change_map(number, page).kept_freed |= page.bit(),
            Action::Range => self.txns[number - 1].ranged = true,
            Action::Savepoint => self.txns[number - 1].mark(),
            Action::RollbackTo => {
                self.txns[number - 1].go_back();
                self.undone();
            }
            Action::Commit => self.end(number, Phase::Ended),
            Action::CommitDeferred => self.end(number, Phase::Deferred),
            Action::Wait => self.txns[number - 1].phase = Phase::Ended,
            Action::Prepare => self.txns[number - 1].phase = Phase::Prepared,
            Action::Rollback => {
                let txn = &mut self.txns[number - 1];
                txn.now = Work { deleted: txn.gone, ..Work::default() };
                self.end(number, Phase::Ended);
                self.undone();
            }
        }
    }

    /// Another transaction begins under the name of one that has ended.
    fn begin_again(&mut self, number: usize) {
        let txn = &mut self.txns[number - 1];
        let now = Work { deleted: txn.gone, ..Work::default() };
        *txn = Txn { gone: txn.gone, now, ..Txn::default() };
    }

    fn touch(&mut self, number: usize, page: Page) -> &mut Txn {
        if let Page::Old(at) = page {
            self.used = self.used.max(at);
        }
        let txn = &mut self.txns[number - 1];
        txn.touched |= page.bit();
        txn
    }

    /// The transaction puts its key, or removes it.
    fn change_key(&mut self, number: usize, key: Page, put: bool) {
        self.keys |= key.bit();
        let now = &mut self.change(number, key).now;
        let (gone, there) = (&mut now.deleted, &mut now.put);
        let (set, cleared) = if put { (there, gone) } else { (gone, there) };
        *set |= key.bit();
        *cleared &= !key.bit();
    }

    fn change(&mut self, number: usize, page: Page) -> &mut Txn {
        self.dirty |= page.bit();
        let txn = self.touch(number, page);
        (txn.changed, txn.changed_since) = (true, true);
        txn
    }

    fn change_map(&mut self, number: usize, page: Page) -> &mut Txn {
        if let Page::New(at) = page {
            self.allocated = self.allocated.max(at);
        }
        self.dirty |= Page::Map.bit();
        self.changed_map = true;
        self.change(number, page)
    }

    /// Compensation may have changed any page.
    fn undone(&mut self) {
        self.dirty = self.pages().map(Page::bit).sum();
        if !self.changed_map {
            self.dirty &= !Page::Map.bit();
        }
    }

    /// The transaction's work is there for everybody.
    fn end(&mut self, number: usize, phase: Phase) {
        let txn = &mut self.txns[number - 1];
        txn.phase = phase;
        txn.gone = txn.now.deleted;
        self.has_ghosts |= txn.changed && self.keys != 0;
        self.exist =
            (self.exist | txn.now.made | txn.kept_made) & !(txn.now.freed | txn.kept_freed);
        if txn.now.freed != 0 {
            self.dirty |= Page::Map.bit();
        }
    }
}
