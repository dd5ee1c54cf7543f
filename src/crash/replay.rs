//! A failure once more, step by step: what was done, what reached the disk, what the crash took, what recovery made of
//! it.
//!
//! The same history makes the same I/Os, so a crash is named by the I/O before which it strikes, and by what
//! survived.

use std::fmt;

use super::faults::{perform, recover_or_refuse};
use super::harm::Harm;
use super::history::Step;
use super::model::{Expected, State};
use super::monitor::{Begin, Monitor};
use super::oracle::{go_on, live_on, recover};
use super::plan::{Crash, Failure};
use super::probe::changes_something;
use super::silent::Sound;
use super::stage::Stage;
use super::survivors::impossible;
use super::violation::{Checked, Clause, Violation, fine, guarded};
use super::watch::Watch;
use crate::db::Options;
use crate::disk::{
    Call, Disk, Fault, Part, Pending, PendingKind, SimDisk, Survivors, WatchedDisk, Watcher,
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
    /// The power fails, or the process dies.
    Crash {
        /// Before this I/O.
        io: u64,
        /// Whether only the process dies: the kernel keeps everything.
        process_only: bool,
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
    /// It is still in the kernel's cache, and nowhere else.
    Kept,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost => f.write_str("lost"),
            Self::Kept => f.write_str("kept in the cache only"),
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
            Self::Crash { io, process_only: true, .. } => {
                write!(f, "the process dies before I/O {io}")
            }
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
    let stage = Stage::set(failure.setting, failure.bounds)?;
    let options = failure.setting.options().observer(Arc::new({
        let lines = Arc::clone(&lines);
        move |event: &Event| {
            if !event.is_detail() {
                lines.lock().push(Line::Event(event.clone()));
            }
        }
    }));
    let replay = Replay { failure, stage, options, lines };
    let (expected, violation) = replay.run()?;
    let expected = expected.iter().map(|promise| promise.state.clone()).collect();
    let lines = std::mem::take(&mut *replay.lines.lock());
    Ok(Replayed { lines, expected, violation })
}

/// A failure that is replayed.
struct Replay<'f> {
    failure: &'f Failure,
    stage: Stage,
    options: Options,
    lines: Arc<Mutex<Vec<Line>>>,
}

impl Replay<'_> {
    fn run(&self) -> Result<(Expected, Option<Violation>)> {
        let Failure { harm, crashes, .. } = self.failure;
        let never = Crash { io: u64::MAX, survivors: None };
        let recorder = self.recorder(&self.stage.disk(), crashes.first().unwrap_or(&never));
        if let Some(Harm::InHistory(fault)) = harm {
            recorder.disk.inject(*fault);
        }
        // From the crash on every call fails, so the history does, too.
        let ran = self.history(&recorder);
        if let Some(Harm::InHistory(fault)) = harm {
            struck(&recorder.disk, *fault)?;
        }
        if crashes.is_empty() {
            self.needs_no_crash()?;
            return Ok((Arc::from([]), ran.err()));
        }
        let (mut disk, mut expected) = recorder.taken()?;
        if let Some(Harm::Rot { file, byte, bit }) = harm {
            disk.flip_bit(file, *byte, *bit)?;
        }
        let mut fault = match harm {
            Some(Harm::InRecovery(fault)) => Some(*fault),
            _ => None,
        };
        for (before, crash) in crashes.iter().zip(&crashes[1..]) {
            // It strikes the first recovery.
            let fault = fault.take();
            (disk, expected) = self.crash_inside(&disk, &expected, before, crash, fault)?;
        }
        let judged = self.judge(&disk, &expected)?;
        Ok((expected, judged.err()))
    }

    /// Whether what is wrong can be seen before any crash.
    fn needs_no_crash(&self) -> Result<()> {
        use Clause::{Asserts, Final, Order, Runs, Tells};
        let Failure { harm, violation, .. } = self.failure;
        let is_seen = matches!(violation.clause, Asserts | Final | Order | Runs | Tells);
        match harm {
            None | Some(Harm::InHistory(_)) if is_seen => Ok(()),
            _ => Err(Error::InvalidInput("there is no crash in it".to_owned())),
        }
    }

    /// Watches the order of what is done to a disk next, if the failure is about that.
    fn monitor(&self, disk: &SimDisk) -> Option<Arc<Monitor>> {
        let is_of_order = self.failure.violation.clause == Clause::Order;
        let begin = Begin::of(disk).ok().filter(|_| is_of_order)?;
        Some(Monitor::new(disk, &self.failure.setting, begin))
    }

    fn recorder(&self, disk: &SimDisk, crash: &Crash) -> Arc<Recorder> {
        Recorder::begin(disk, crash, &self.lines)
    }

    /// The history, up to the crash.
    fn history(&self, recorder: &Arc<Recorder>) -> Checked<()> {
        let Failure { harm, history, .. } = self.failure;
        let monitor = self.monitor(&recorder.disk).filter(|_| self.failure.crashes.is_empty());
        let (watched, watch) =
            (recorder.watched(monitor.clone()), &(Arc::clone(recorder), monitor.clone()));
        let ran = match harm {
            None | Some(Harm::InRecovery(_)) => guarded(|| {
                fine(Clause::Runs, self.stage.run(history, &self.options, watched, watch, true))
            }),
            Some(harm) => {
                perform(&self.stage, history, &self.options, watched, watch, harm.kind()).map(drop)
            }
        };
        ran.and_then(|()| monitor.map_or(Ok(()), |monitor| monitor.check()))
    }

    /// A recovery, up to the crash inside it; gives what that left, and what must be there.
    fn crash_inside(
        &self,
        disk: &SimDisk,
        expected: &Expected,
        before: &Crash,
        crash: &Crash,
        fault: Option<Fault>,
    ) -> Result<(SimDisk, Expected)> {
        let is_killed = before.survivors.is_none();
        let recorder = self.recorder(disk, crash);
        let watched = recorder.watched(None);
        if is_killed && fault.is_none() {
            recorder.expect(Arc::clone(expected));
            let expect = |expected| recorder.expect(expected);
            let _ = live_on(&self.options, watched, expected, &expect);
        } else {
            let options = self.failure.setting.options();
            let undisturbed = recover(&options, Arc::new(disk.kill()), expected);
            let after = undisturbed.map_or(Arc::clone(expected), |promise| Arc::from([promise]));
            // What only the cache has may be lost until a recovery has ended.
            recorder.expect(Arc::clone(if is_killed { expected } else { &after }));
            fault.iter().for_each(|fault| recorder.disk.inject(*fault));
            if recover(&self.options, watched, expected).is_ok() {
                recorder.expect(after);
            }
        }
        recorder.end();
        fault.map_or(Ok(()), |fault| struck(&recorder.disk, fault))?;
        recorder.taken()
    }

    /// The last recovery, and what follows it.
    fn judge(&self, disk: &SimDisk, expected: &Expected) -> Result<Checked<()>> {
        self.lines.lock().push(Line::Opened);
        let Failure { harm, crashes, setting, history, .. } = self.failure;
        let disk = disk.kill();
        Ok(match harm {
            Some(Harm::InRecovery(fault)) if crashes.len() == 1 => {
                disk.inject(*fault);
                let recover = || recover_or_refuse(&self.options, &disk, expected, fault.kind);
                let judged = guarded(recover).map(drop);
                struck(&disk, *fault)?;
                judged
            }
            Some(harm) if harm.is_silent() => Sound::run(&self.stage, setting, history)
                .and_then(|sound| sound.judge(&self.options, harm, &disk, expected))
                .map(drop),
            _ => self.judge_sound(&disk, expected),
        })
    }

    /// The same where nothing is wrong with the disk any more.
    fn judge_sound(&self, disk: &SimDisk, expected: &Expected) -> Checked<()> {
        let Failure { crashes, setting, .. } = self.failure;
        if crashes.last().is_some_and(|crash| crash.survivors.is_none()) {
            live_on(&setting.options(), Arc::new(disk.kill()), expected, &|_| {})?;
        }
        let monitor = self.monitor(disk);
        let watched: Arc<dyn Disk> = match &monitor {
            Some(monitor) => monitor.watched(),
            None => Arc::new(disk.clone()),
        };
        let promise = recover(&self.options, watched, expected)?;
        go_on(setting, &disk.crash(&Survivors::None), &promise)?;
        monitor.map_or(Ok(()), |monitor| monitor.check())
    }
}

/// Whether the disk has come to the I/O at which a fault strikes.
fn struck(disk: &SimDisk, fault: Fault) -> Result<()> {
    if disk.io_count() > fault.at {
        return Ok(());
    }
    Err(Error::InvalidInput(format!("I/O {}, at which the fault strikes, never comes", fault.at)))
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
    /// Why it cannot be as the crash says.
    impossible: Option<String>,
}

impl Recorder {
    fn begin(disk: &SimDisk, crash: &Crash, lines: &Arc<Mutex<Vec<Line>>>) -> Arc<Self> {
        lines.lock().push(Line::Opened);
        let disk = disk.kill();
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
        let survivors = self.crash.survivors.as_ref();
        let changes = self.disk.pending();
        if let Some(Survivors::Parts(kept)) = survivors {
            state.impossible = impossible(&changes, self.disk.power_failure(), kept);
        }
        if state.impossible.is_some() {
            return false;
        }
        let pended = |pending: &Pending| Pended {
            id: pending.id,
            change: words(pending),
            is_metadata: !matches!(pending.kind, PendingKind::Sector { .. }),
            fate: survivors.map_or(Fate::Kept, |survivors| fate(pending.id, survivors)),
        };
        let pending = changes.iter().map(pended).collect();
        let process_only = survivors.is_none();
        self.lines.lock().push(Line::Crash { io: self.crash.io, process_only, pending });
        let left =
            survivors.map_or_else(|| self.disk.kill(), |survivors| self.disk.crash(survivors));
        state.taken = Some(left);
        true
    }

    /// What the crash left, and what must be there.
    fn taken(&self) -> Result<(SimDisk, Expected)> {
        let mut state = self.state.lock();
        let io = self.crash.io;
        let why = state.impossible.take().map(|why| format!("the crash before I/O {io}: {why}"));
        let why = why.unwrap_or_else(|| format!("I/O {io} never comes"));
        let never = || Error::InvalidInput(why.clone());
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
