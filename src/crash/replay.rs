//! A failure once more, step by step: what was done, what reached the disk, what the crash took, what recovery made of
//! it.
//!
//! The same history makes the same I/Os, so a crash is named by the I/O before which it strikes, and by what
//! survived.

use std::fmt;

use super::explore::{Crash, Failure};
use super::history::Step;
use super::model::State;
use super::monitor::{Begin, Monitor};
use super::oracle::{Clause, Violation, go_on, guarded, recover};
use super::probe::changes_something;
use super::world::{Expected, Stage, Watch};
use crate::db::Options;
use crate::disk::{
    Call, Disk, Metadata, Part, Pending, PendingKind, SimDisk, Survivors, WatchedDisk, Watcher,
};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::sync::{Arc, Mutex};

/// One line of what happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Line {
    /// The database is opened, for the first time or again.
    Opened,
    /// A step of the history is taken.
    Step(Step),
    /// What the engine said.
    Event(Event),
    /// An I/O that changes something.
    Io {
        /// Its number.
        io: u64,
        /// Which, in words.
        call: String,
    },
    /// The power fails.
    Crash {
        /// Before this I/O.
        io: u64,
        /// What had not been durable, and what became of it.
        pending: Vec<Pended>,
    },
}

/// A change that was not durable when the power failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pended {
    /// Its number on that disk.
    pub id: u64,
    /// What it was, in words.
    pub change: String,
    /// Whether it was a name or a length.
    pub is_metadata: bool,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a change that was not durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It is on the disk.
    Survived(Part),
    /// It is not.
    Lost,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost => f.write_str("lost"),
            Self::Survived(Part::Whole) => f.write_str("survived"),
            Self::Survived(Part::Prefix(bytes)) => {
                write!(f, "torn: its first {bytes} bytes survived")
            }
            Self::Survived(Part::Suffix(from)) => {
                write!(f, "torn: its bytes from {from} on survived")
            }
            Self::Survived(Part::Garbage { .. }) => f.write_str("garbage"),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened => f.write_str("the database is opened"),
            Self::Step(step) => write!(f, "{step}"),
            Self::Event(event) => write!(f, "{event}"),
            Self::Io { io, call } => write!(f, "I/O {io}: {call}"),
            Self::Crash { io, .. } => write!(f, "the power fails before I/O {io}"),
        }
    }
}

/// What a replay showed.
pub struct Replayed {
    /// What happened, in order.
    pub lines: Vec<Line>,
    /// What must have been there at the end: one of these.
    pub expected: Vec<State>,
    /// What is wrong; `None` if nothing is (any more).
    pub violation: Option<Violation>,
}

/// Replays a failure.
///
/// # Errors
/// [`Error::InvalidInput`] when a crash of it never comes: it was another engine's, or another history's.
pub fn replay(failure: &Failure) -> Result<Replayed> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let stage = Stage::set(failure.setting, failure.pages)?;
    let options = failure.setting.options().observer(Arc::new({
        let lines = Arc::clone(&lines);
        move |event: &Event| lines.lock().push(Line::Event(event.clone()))
    }));
    let Some((first, others)) = failure.crashes.split_first() else {
        return Ok(without_crash(failure, &stage, &options, &lines));
    };
    let record = |disk: &SimDisk, crash: &Crash| Recorder::begin(disk, crash, &lines);
    let recorder = record(&stage.disk(), first);
    // From the crash on every call fails, so the history does, too.
    let _ = guarded(|| {
        Ok(stage.run(&failure.history, &options, recorder.watched(None), recorder.as_ref()))
    });
    let (mut disk, mut expected) = recorder.taken()?;
    for crash in others {
        let state =
            recover(&failure.setting.options(), Arc::new(disk.crash(&Survivors::All)), &expected);
        if let Ok(state) = state {
            expected = Arc::from([state]);
        }
        let recorder = record(&disk, crash);
        recorder.expect(Arc::clone(&expected));
        let _ = recover(&options, recorder.watched(None), &expected);
        recorder.end();
        disk = recorder.taken()?.0;
    }
    let violation = judge(failure, &options, &disk, &expected, &lines);
    let lines = std::mem::take(&mut *lines.lock());
    Ok(Replayed { lines, expected: expected.to_vec(), violation })
}

/// What is wrong before any crash.
fn without_crash(
    failure: &Failure,
    stage: &Stage,
    options: &Options,
    lines: &Arc<Mutex<Vec<Line>>>,
) -> Replayed {
    let never = Crash { io: u64::MAX, survivors: Survivors::None };
    let recorder = Recorder::begin(&stage.disk(), &never, lines);
    let monitor = monitor_of(failure, &recorder.disk);
    let ran = guarded(|| {
        let watch = (Arc::clone(&recorder), monitor.clone());
        let ran = stage.run(&failure.history, options, recorder.watched(monitor.clone()), &watch);
        ran.map_err(|error| Violation { clause: Clause::Runs, found: error.to_string() })
    });
    let ran = ran.and_then(|()| monitor.map_or(Ok(()), |monitor| monitor.check()));
    let lines = std::mem::take(&mut *lines.lock());
    Replayed { lines, expected: Vec::new(), violation: ran.err() }
}

/// The last recovery, and what follows it.
fn judge(
    failure: &Failure,
    options: &Options,
    disk: &SimDisk,
    expected: &Expected,
    lines: &Arc<Mutex<Vec<Line>>>,
) -> Option<Violation> {
    lines.lock().push(Line::Opened);
    let disk = disk.crash(&Survivors::All);
    let monitor = monitor_of(failure, &disk);
    let watched: Arc<dyn Disk> = match &monitor {
        Some(monitor) => monitor.watched(),
        None => Arc::new(disk.clone()),
    };
    let judged = recover(options, watched, expected)
        .and_then(|state| go_on(&failure.setting, &disk.crash(&Survivors::None), &state));
    judged.and_then(|()| monitor.map_or(Ok(()), |monitor| monitor.check())).err()
}

/// Watches the order of what is done to a disk next, if a failure is about that.
fn monitor_of(failure: &Failure, disk: &SimDisk) -> Option<Arc<Monitor>> {
    let is_of_order = failure.violation.clause == Clause::Order;
    let begin = Begin::of(disk).ok().filter(|_| is_of_order)?;
    Some(Monitor::new(disk, &failure.setting, begin))
}

/// The same failure, with as little lost as will do: crashes inside recovery that need not be are left out, and what
/// need not be lost survives.
///
/// # Errors
/// Those of [`replay`].
pub fn minimised(failure: &Failure) -> Result<Failure> {
    let mut least = failure.clone();
    least.violation = still_fails(failure)?.unwrap_or_else(|| failure.violation.clone());
    for nth in (1..failure.crashes.len()).rev() {
        let mut shorter = least.clone();
        shorter.crashes.remove(nth);
        keep_if_it_fails(&mut least, shorter);
    }
    for nth in 0..least.crashes.len() {
        for id in not_whole(&least, nth)? {
            let mut kept = least.clone();
            if let Survivors::Parts(parts) = &mut kept.crashes[nth].survivors {
                parts.insert(id, Part::Whole);
            }
            keep_if_it_fails(&mut least, kept);
        }
    }
    Ok(least)
}

fn still_fails(failure: &Failure) -> Result<Option<Violation>> {
    Ok(replay(failure)?.violation)
}

/// (A crash that never comes in the changed history is no failure.)
fn keep_if_it_fails(least: &mut Failure, mut smaller: Failure) {
    if let Ok(Some(violation)) = still_fails(&smaller) {
        smaller.violation = violation;
        *least = smaller;
    }
}

/// What did not survive the crash whole, the latest first: what is lost last is needed least.
fn not_whole(failure: &Failure, nth: usize) -> Result<Vec<u64>> {
    let lines = replay(failure)?.lines;
    let crashes = lines.into_iter().filter_map(|line| match line {
        Line::Crash { pending, .. } => Some(pending),
        _ => None,
    });
    let pending = crashes.into_iter().nth(nth).unwrap_or_default().into_iter().rev();
    // Where metadata keeps its order, one that is lost takes all later ones along.
    let ordered = failure.setting.power.metadata == Metadata::Ordered;
    let lost = pending.filter(|pended| pended.fate != Fate::Survived(Part::Whole));
    Ok(lost.filter(|pended| !(ordered && pended.is_metadata)).map(|pended| pended.id).collect())
}

/// Watches a disk up to a crash.
struct Recorder {
    disk: SimDisk,
    crash: Crash,
    lines: Arc<Mutex<Vec<Line>>>,
    state: Mutex<Recorded>,
}

#[derive(Default)]
struct Recorded {
    expected: Option<Expected>,
    taken: Option<SimDisk>,
}

impl Recorder {
    fn begin(disk: &SimDisk, crash: &Crash, lines: &Arc<Mutex<Vec<Line>>>) -> Arc<Self> {
        lines.lock().push(Line::Opened);
        let disk = disk.crash(&Survivors::All);
        let (crash, lines) = (crash.clone(), Arc::clone(lines));
        Arc::new(Self { disk, crash, lines, state: Mutex::default() })
    }

    fn watched(self: &Arc<Self>, monitor: Option<Arc<Monitor>>) -> Arc<dyn Disk> {
        let watchers = Arc::new((Arc::clone(self), monitor));
        WatchedDisk::watched_by(Arc::new(self.disk.clone()), watchers)
    }

    /// The power fails now, if it is time; gives whether it has failed.
    fn look(&self) -> bool {
        let mut state = self.state.lock();
        if state.taken.is_some() {
            return true;
        }
        if state.expected.is_none() || self.disk.io_count() != self.crash.io {
            return false;
        }
        let survivors = &self.crash.survivors;
        let pended = |pending: &Pending| Pended {
            id: pending.id,
            change: words(pending),
            is_metadata: !matches!(pending.kind, PendingKind::Sector { .. }),
            fate: fate(pending.id, survivors),
        };
        let pending = self.disk.pending().iter().map(pended).collect();
        self.lines.lock().push(Line::Crash { io: self.crash.io, pending });
        state.taken = Some(self.disk.crash(survivors));
        true
    }

    /// What the crash left, and what must be there.
    fn taken(&self) -> Result<(SimDisk, Expected)> {
        let mut state = self.state.lock();
        let never = || Error::InvalidInput(format!("I/O {} never comes", self.crash.io));
        Ok((state.taken.take().ok_or_else(never)?, state.expected.take().ok_or_else(never)?))
    }
}

impl Watcher for Recorder {
    fn before(&self, call: &Call, _bytes: &[u8]) -> Result<()> {
        // Only such calls are crash points.
        let is_crash_point = changes_something(call);
        if (is_crash_point && self.look()) || self.state.lock().taken.is_some() {
            let gone = std::io::Error::other("the power is gone");
            return Err(Error::from_io(call.operation, &call.name, gone));
        }
        if is_crash_point {
            let range = match call.range.is_empty() {
                true => String::new(),
                false => format!(", bytes {} to {}", call.range.start, call.range.end),
            };
            let call = format!("{} {}{range}", call.operation, shown(&call.name));
            self.lines.lock().push(Line::Io { io: self.disk.io_count(), call });
        }
        Ok(())
    }
}

impl Watch for Recorder {
    fn step(&self, step: Step) {
        self.lines.lock().push(Line::Step(step));
    }

    fn expect(&self, expected: Expected) {
        let mut state = self.state.lock();
        if state.taken.is_none() {
            state.expected = Some(expected);
        }
    }

    fn end(&self) {
        self.look();
    }
}

fn shown(name: &str) -> &str {
    if name.is_empty() { "the directory" } else { name }
}

fn words(pending: &Pending) -> String {
    let name = shown(&pending.name);
    match &pending.kind {
        PendingKind::Sector { offset, length } => {
            format!("bytes {offset} to {} of {name}", offset + *length as u64)
        }
        PendingKind::SetLength(length) => format!("the length of {name}, {length} bytes"),
        PendingKind::Create | PendingKind::CreateDirectory => format!("the name {name}"),
        PendingKind::Rename { from } => format!("the name {name} instead of {from}"),
        PendingKind::Remove => format!("that {name} is gone"),
    }
}

fn fate(id: u64, survivors: &Survivors) -> Fate {
    match survivors {
        Survivors::All => Fate::Survived(Part::Whole),
        Survivors::Parts(parts) => parts.get(&id).map_or(Fate::Lost, |part| Fate::Survived(*part)),
        Survivors::Chosen(ids) if ids.contains(&id) => Fate::Survived(Part::Whole),
        _ => Fate::Lost,
    }
}
