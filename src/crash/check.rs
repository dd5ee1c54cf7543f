//! Recovers what a crash left, and checks it, with the crashes inside that recovery.

use super::explore::Explorer;
use super::model::{Expected, Promise};
use super::monitor::{Begin, Monitor};
use super::numbers::of;
use super::oracle::{go_on, live_on, recover};
use super::plan::{Coverage, Crash};
use super::probe::{Left, Probe};
use super::violation::Checked;
use crate::disk::{SimDisk, Survivors};
use crate::sync::Arc;

impl Explorer {
    /// Recovers a state and checks it, and those left inside its recovery down to `depth`. On failure `crashes` is
    /// the way to it, the last crash first.
    pub(super) fn check(
        &self,
        left: Left<Expected>,
        depth: usize,
        coverage: &mut Coverage,
        crashes: &mut Vec<Crash>,
    ) -> Checked<()> {
        self.tick();
        if self.is_stopped() {
            return Ok(());
        }
        // What was checked without crashing its recovery is no reason not to crash that now.
        if !self.checked.insert(left.fingerprint ^ of((depth, &left.expected))) {
            return Ok(());
        }
        coverage.checked += 1;
        coverage.nested += u64::from(depth < self.plan.depth);
        coverage.states += u64::from(self.states.insert(left.fingerprint));
        coverage.killed += u64::from(left.survivors.is_none());
        let checked = match left.survivors {
            None => self.check_killed(&left, depth, coverage, crashes),
            Some(_) => self.check_recovered(&left, depth, coverage, crashes),
        };
        if checked.is_err() {
            crashes.push(Crash { io: left.io, survivors: left.survivors });
        }
        checked
    }

    /// Recovers what a power failure left, twice, and works on.
    fn check_recovered(
        &self,
        left: &Left<Expected>,
        depth: usize,
        coverage: &mut Coverage,
        crashes: &mut Vec<Crash>,
    ) -> Checked<()> {
        let Recovered { promise, durable, inside } = self.recovered(left, depth, coverage)?;
        if self.recovered.insert(durable.fingerprint() ^ of(&promise)) {
            coverage.recovered += 1;
            go_on(&self.plan.setting, &durable, &promise)?;
        }
        self.check_inside(inside, depth, coverage, crashes)
    }

    /// Checks what crashes inside a recovery left.
    fn check_inside(
        &self,
        inside: Vec<Left<Expected>>,
        depth: usize,
        coverage: &mut Coverage,
        crashes: &mut Vec<Crash>,
    ) -> Checked<()> {
        inside.into_iter().try_for_each(|inner| self.check(inner, depth - 1, coverage, crashes))
    }

    /// Recovers what a process left that died while the power stayed, and works on a little. What it has in the cache
    /// may be lost as long as the recovery goes on; what the recovery has led to must not be.
    fn check_killed(
        &self,
        left: &Left<Expected>,
        depth: usize,
        coverage: &mut Coverage,
        crashes: &mut Vec<Crash>,
    ) -> Checked<()> {
        let options = self.plan.setting.options();
        if depth == 0 {
            return recover(&options, Arc::new(left.disk.kill()), &left.expected).map(drop);
        }
        let probe = Probe::new(&left.disk.kill(), self.plan.kills && depth > 1);
        probe.expect(Arc::clone(&left.expected));
        let watched = probe.watched(None::<Arc<Monitor>>);
        live_on(&options, watched, &left.expected, &|expected| probe.expect(expected))?;
        probe.look();
        let (inside, counts) = probe.take();
        coverage.count(counts);
        self.check_inside(inside, depth, coverage, crashes)
    }

    /// Recovers a state; if that is to be crashed, notes what crashes inside it leave, and fails if it breaks a rule of
    /// order. The state itself, which a crash before the first I/O leaves, is not among them: its recovery is this one.
    fn recovered(
        &self,
        left: &Left<Expected>,
        depth: usize,
        coverage: &mut Coverage,
    ) -> Checked<Recovered> {
        let options = self.plan.setting.options();
        let disk = left.disk.crash(&Survivors::All);
        if depth == 0 {
            let promise = recover(&options, Arc::new(disk.clone()), &left.expected)?;
            let durable = disk.crash(&Survivors::None);
            return Ok(Recovered { promise, durable, inside: Vec::new() });
        }
        let probe = Probe::new(&disk, self.plan.kills && depth > 1);
        probe.expect(Arc::clone(&left.expected));
        let begin = self.begin.as_ref().and_then(|_| Begin::of(&disk).ok());
        let monitor = begin.map(|begin| Monitor::new(&disk, &self.plan.setting, begin));
        let promise = recover(&options, probe.watched(monitor.clone()), &left.expected)?;
        monitor.map_or(Ok(()), |monitor| monitor.check())?;
        probe.look();
        let (mut inside, counts) = probe.take();
        coverage.count(counts);
        inside.retain(|inner| inner.fingerprint != left.fingerprint);
        // Only now it is known where an undisturbed recovery leads to.
        let expected: Expected = Arc::from([promise.clone()]);
        inside.iter_mut().for_each(|inner| inner.expected = Arc::clone(&expected));
        Ok(Recovered { promise, durable: disk.crash(&Survivors::None), inside })
    }
}

/// A state that was recovered.
struct Recovered {
    promise: Promise,
    /// What is durable then.
    durable: SimDisk,
    /// What crashes inside the recovery leave.
    inside: Vec<Left<Expected>>,
}
