//! Faults that nobody is told of: writes that are lost, or land elsewhere; reads that give what stood there before; rot.
//!
//! The right answer must come, or an error that names a page, an LSN or a file. Where nothing could tell, it is counted
//! as a known limit, and only there:
//!
//! - what was never written to a page, or read there, can be wrong on that page alone, and only if no later record of
//!   the page is redone: that names the page's LSN before;
//! - the end of the log can be missing, where no later record and no clean close bears witness that it had been
//!   durable: then what is there was there at some time before. Pages that were written meanwhile can be ahead of it.
//!   (They bear witness, too, but only if restart reads them before the log goes on.)

use std::collections::BTreeSet;
use std::fmt;

use super::explore::Explorer;
use super::faults::{Called, Calls, Nobody, open_or_refuse, perform};
use super::harm::{Harm, Struck, faults_at};
use super::history::History;
use super::model::{Expected, Promise};
use super::plan::{Coverage, Crash, Failure};
use super::setting::{SEGMENT_BYTES, Setting};
use super::stage::Stage;
use super::survivors::{everything, nothing};
use super::violation::{Checked, Clause, Violation, fine, guarded, violated};
use super::watch::Watch;
use crate::db::{Options, Outside};
use crate::disk::{Disk, Fault, FaultKind, SimDisk, Survivors};
use crate::error::Result;
use crate::ids::PageId;
use crate::page;
use crate::sync::{Arc, Mutex};

/// Every so many bytes one rots, another one in each history.
const ROT_EVERY: usize = 32;

/// What a silent fault can have done that nothing could tell.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Reach {
    /// Nothing.
    Nothing,
    /// Something on these pages; on any, if the space map is one of them.
    Pages(BTreeSet<PageId>),
    /// The log is cut off, from this byte of it on; something bears witness of it up to the other.
    Log { from: u64, witnessed: u64 },
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing could be wrong unnoticed"),
            Self::Pages(pages) => {
                let pages: Vec<String> = pages.iter().map(PageId::to_string).collect();
                write!(f, "only on {} something could be wrong unnoticed", pages.join(", "))
            }
            Self::Log { from, witnessed } => write!(
                f,
                "the log could only be cut off at byte {from} unnoticed; something bears witness of it up to {witnessed}"
            ),
        }
    }
}

/// Notes what had to be there, and from which I/O on.
struct Past {
    disk: SimDisk,
    seen: Mutex<Vec<(u64, Expected)>>,
}

impl Past {
    fn of(disk: &SimDisk) -> Self {
        Self { disk: disk.clone(), seen: Mutex::default() }
    }
}

impl Watch for Past {
    fn expect(&self, expected: Expected) {
        self.seen.lock().push((self.disk.io_count(), expected));
    }

    fn end(&self) {}
}

/// What had to be there at some time since that I/O.
fn since(past: &[(u64, Expected)], io: u64) -> Vec<Promise> {
    let first = past.iter().rposition(|(from, _)| *from <= io).unwrap_or(0);
    past[first..].iter().flat_map(|(_, expected)| expected.iter().cloned()).collect()
}

/// What came of it.
pub enum Verdict {
    /// What is there is right.
    Harmless,
    /// An error tells.
    Noticed,
    /// It is wrong, and nothing could tell.
    Limit,
}

impl Verdict {
    fn struck(&self) -> Struck {
        let is = |wanted| u64::from(wanted);
        Struck {
            runs: 1,
            harmless: is(matches!(self, Self::Harmless)),
            noticed: is(matches!(self, Self::Noticed)),
            limits: is(matches!(self, Self::Limit)),
        }
    }
}

/// Byte `offset` of a segment's file, as a byte of the log; `None` if it is no segment.
fn in_log(name: &str, offset: u64) -> Option<u64> {
    let number: u64 = name.strip_prefix("log/")?.strip_suffix(".seg")?.parse().ok()?;
    Some((number - 1) * SEGMENT_BYTES + offset)
}

/// What bears witness that the log had been durable.
struct Witnesses {
    /// The control file of a clean close, up to here.
    clean_end: u64,
    /// Each record, and up to where it or an older one does.
    records: Vec<(u64, u64)>,
}

impl Witnesses {
    /// Up to where something bears witness, of the records only those before a byte of the log.
    fn until(&self, byte: u64) -> u64 {
        let last = self.records.iter().rfind(|(lsn, _)| *lsn < byte);
        last.map_or(0, |(_, watermark)| *watermark).max(self.clean_end)
    }
}

/// A history that ran on a sound disk: what is right, and what nothing could tell when it runs on one that lies.
pub struct Sound {
    /// The disk, as the history left it.
    disk: SimDisk,
    page_size: usize,
    calls: Vec<Called>,
    expected: Expected,
    past: Vec<(u64, Expected)>,
    witnesses: Witnesses,
}

impl Sound {
    /// Runs the history as [`perform`] does, with nothing wrong; notes the calls.
    ///
    /// # Errors
    /// What is wrong all the same.
    pub fn run(stage: &Stage, setting: &Setting, history: &History) -> Checked<Self> {
        let disk = stage.disk();
        let calls = Calls::new(&disk);
        calls.note(true);
        let past = Past::of(&disk);
        let (options, kind) = (setting.options(), FaultKind::LostWrite);
        let ran = perform(stage, history, &options, calls.watched(), &past, kind)?;
        calls.note(false);
        Ok(Self {
            page_size: setting.page_size(),
            calls: calls.take(),
            expected: ran.expected,
            past: std::mem::take(&mut *past.seen.lock()),
            witnesses: fine(Clause::Runs, witnesses(&disk))?,
            disk,
        })
    }

    /// Recovers what a silent fault has left, of which this should be there: is it right, is it noticed, or could
    /// nothing tell?
    ///
    /// # Errors
    /// What is wrong: it should have been noticed, or an error tells of something else.
    pub fn judge(
        &self,
        options: &Options,
        harm: &Harm,
        disk: &SimDisk,
        expected: &Expected,
    ) -> Checked<Verdict> {
        let (reach, past) = self.consequences(harm);
        guarded(|| {
            let opened = open_or_refuse(options, &disk.crash(&Survivors::All), harm.kind())?;
            let Some(state) = opened else { return Ok(Verdict::Noticed) };
            if expected.iter().any(|promise| promise.state == state) {
                return Ok(Verdict::Harmless);
            }
            let only_on = |pages: &BTreeSet<PageId>, promises: &[Promise]| {
                let differ = |promise: &Promise| promise.state.differences(&state);
                // The space map says of all pages whether they are there.
                pages.contains(&PageId(0))
                    || promises.iter().any(|promise| differ(promise).is_subset(pages))
            };
            let out_of_reach = match &reach {
                Reach::Nothing => false,
                Reach::Pages(pages) => {
                    let chained = guarded(|| fine(Clause::Noticed, chained(disk)))?;
                    only_on(&pages.difference(&chained).copied().collect(), expected)
                }
                Reach::Log { from, witnessed } => {
                    let ahead = pages_ahead(disk, self.page_size, *from);
                    from >= witnessed && only_on(&ahead, &past)
                }
            };
            if out_of_reach {
                return Ok(Verdict::Limit);
            }
            violated(Clause::Noticed, format!("[{state}]; {reach}"))
        })
    }

    /// What a fault can have done that nothing could tell, and what had to be there at some time since.
    fn consequences(&self, harm: &Harm) -> (Reach, Vec<Promise>) {
        let fault = match harm {
            Harm::Rot { file, byte, .. } => {
                let witnessed = self.witnesses.until(u64::MAX);
                let log = |from| Reach::Log { from, witnessed };
                let reach = in_log(file, *byte).map_or(Reach::Nothing, log);
                return (reach, since(&self.past, 0));
            }
            Harm::InHistory(fault) | Harm::InRecovery(fault) => fault,
        };
        let Some(call) = self.calls.iter().find(|call| call.io == fault.at) else {
            return (Reach::Nothing, Vec::new());
        };
        let reach = self.reach(call, fault.kind);
        // Elsewhere in the log it may have cut off more than what it should have written.
        let start = in_log(&call.name, call.range.start);
        let cut_before = matches!(reach, Reach::Log { from, .. } if Some(from) < start);
        (reach, since(&self.past, if cut_before { 0 } else { call.io }))
    }

    /// What is not where it was written may be missing there; where else it was written that must be noticed. A write of
    /// the log that is missing bears no witness either.
    fn reach(&self, call: &Called, kind: FaultKind) -> Reach {
        let page = self.page_size as u64;
        if call.name == "pages" {
            let pages = call.range.start / page..call.range.end.div_ceil(page);
            return Reach::Pages(pages.map(PageId).collect());
        }
        let Some(lost) = in_log(&call.name, call.changes_from) else { return Reach::Nothing };
        let witnessed = self.witnesses.until(lost);
        let from = match kind {
            FaultKind::MisdirectedWrite { by } => {
                let there = call.range.start.saturating_add_signed(by);
                in_log(&call.name, there)
                    .filter(|there| *there >= witnessed)
                    .map_or(lost, |there| there.min(lost))
            }
            _ => lost,
        };
        Reach::Log { from, witnessed }
    }
}

impl Explorer {
    /// Tries each silent fault.
    pub(super) fn strike_silently(
        &self,
        history: &History,
        coverage: &mut Coverage,
    ) -> std::result::Result<(), Box<Failure>> {
        let failed = |violation, harm: Option<Harm>, crash: Option<Crash>| {
            let crashes = crash.into_iter().collect();
            Box::new(Failure { harm, crashes, ..*self.failed(history, violation) })
        };
        let setting = &self.plan.setting;
        let sound = Sound::run(&self.stage, setting, history)
            .map_err(|violation| failed(violation, None, None))?;
        for call in &sound.calls {
            for fault in faults_at(call.io, call.operation, true, setting.page_size()) {
                let harm = Harm::InHistory(fault);
                self.struck_silently(history, &sound, fault, coverage)
                    .map_err(|(violation, crash)| failed(violation, Some(harm), crash))?;
            }
        }
        let (io, left) = (sound.disk.io_count(), sound.disk.crash(&Survivors::None));
        for harm in rot(history, &left) {
            self.tick();
            let verdict = rotten(&left, &harm)
                .and_then(|disk| sound.judge(&setting.options(), &harm, &disk, &sound.expected));
            let crash = || Some(Crash { io, survivors: Some(nothing()) });
            let verdict =
                verdict.map_err(|violation| failed(violation, Some(harm.clone()), crash()))?;
            coverage.strike(harm.kind(), &verdict.struck());
        }
        Ok(())
    }

    /// A write of the history is lost, or lands elsewhere; a read is stale.
    fn struck_silently(
        &self,
        history: &History,
        sound: &Sound,
        fault: Fault,
        coverage: &mut Coverage,
    ) -> std::result::Result<(), (Violation, Option<Crash>)> {
        let disk = self.stage.disk();
        disk.inject(fault);
        let (options, on) = (self.plan.setting.options(), Arc::new(disk.clone()));
        let ran = perform(&self.stage, history, &options, on, &Nobody, fault.kind)
            .map_err(|violation| (violation, None))?;
        let io = disk.io_count();
        for survivors in [nothing(), everything(&disk.pending())] {
            self.tick();
            let left = disk.crash(&survivors);
            let verdict = sound
                .judge(&options, &Harm::InHistory(fault), &left, &ran.expected)
                .map_err(|violation| (violation, Some(Crash { io, survivors: Some(survivors) })))?;
            let told = if ran.noticed { Verdict::Noticed } else { verdict };
            coverage.strike(fault.kind, &told.struck());
        }
        Ok(())
    }
}

/// Each so-manyth byte of each file, with one bit of it.
fn rot(history: &History, left: &SimDisk) -> Vec<Harm> {
    // Another byte and another bit in each history.
    let phase = super::numbers::of(history) % ROT_EVERY as u128;
    let phase = usize::try_from(phase).unwrap_or(0);
    let mut harms = Vec::new();
    let log = left.list("log").unwrap_or_default();
    let names = ["control", "pages", "doublewrite"].map(str::to_owned).into_iter();
    for file in names.chain(log.into_iter().map(|name| format!("log/{name}"))) {
        let bytes = left.read_file(&file).unwrap_or_default();
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        // Behind what is used there are zeros only: a little of them will do.
        let end = (used + 4 * ROT_EVERY).min(bytes.len());
        harms.extend((phase..end).step_by(ROT_EVERY).zip((phase..8).chain((0..8).cycle())).map(
            |(byte, bit)| Harm::Rot {
                file: file.clone(),
                byte: byte as u64,
                bit: u8::try_from(bit).unwrap_or(0),
            },
        ));
    }
    harms
}

/// A disk of which a bit has rotted.
fn rotten(disk: &SimDisk, harm: &Harm) -> Checked<SimDisk> {
    let Harm::Rot { file, byte, bit } = harm else { unreachable!("it is rot") };
    let disk = disk.crash(&Survivors::All);
    fine(Clause::Runs, disk.flip_bit(file, *byte, *bit))?;
    Ok(disk)
}

/// What is durable, and bears witness that the log before it had been durable.
fn witnesses(disk: &SimDisk) -> Result<Witnesses> {
    let disk = disk.crash(&Survivors::None);
    let outside = Outside::on(Arc::new(disk.clone()))?;
    let log = outside.log()?;
    let mut scan = log.scan(log.start());
    let mut records = Vec::new();
    while let Some(lsn) = scan.next_record()?.map(|(lsn, _)| lsn.get()) {
        records.push((lsn, scan.watermark().map_or(0, |watermark| watermark.get())));
    }
    let clean_end = outside.master().clean_end_lsn.map_or(0, |lsn| lsn.get());
    Ok(Witnesses { clean_end, records })
}

/// Pages that restart changes, and so looks at: the log behind the checkpoint has a record of each, which names the page's
/// LSN before.
fn chained(disk: &SimDisk) -> Result<BTreeSet<PageId>> {
    let log = Outside::on(Arc::new(disk.crash(&Survivors::All)))?.log()?;
    let checkpoint_lsn = log.master().checkpoint_lsn;
    let mut scan = log.scan(checkpoint_lsn);
    let mut pages = BTreeSet::new();
    while let Some((lsn, record)) = scan.next_record()? {
        if lsn > checkpoint_lsn {
            pages.extend(record.page_changes().map(|change| change.page));
        }
    }
    Ok(pages)
}

/// Pages that are ahead of the log when it ends at this byte.
fn pages_ahead(disk: &SimDisk, page_size: usize, end: u64) -> BTreeSet<PageId> {
    let pages = disk.read_file("pages").unwrap_or_default();
    let is_ahead = |bytes: &[u8]| page::page_lsn(bytes).is_some_and(|lsn| lsn.get() >= end);
    let numbered = pages.chunks_exact(page_size).zip(0..);
    numbered.filter(|(bytes, _)| is_ahead(bytes)).map(|(_, number)| PageId(number)).collect()
}
