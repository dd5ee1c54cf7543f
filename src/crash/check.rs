//! Recovers what a crash left, and checks it, with the crashes inside that recovery.

use super::explore::Explorer;
use super::model::Expected;
use super::monitor::{Begin, Monitor};
use super::numbers::of;
use super::oracle::{Checked, Clause, Violation, fine, go_on, live_on, recover};
use super::plan::{Coverage, Crash};
use super::probe::{Left, Probe};
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
    ) -> std::result::Result<(), Violation> {
        self.tick();
        // What was checked without crashing its recovery is no reason not to crash that now.
        if !self.checked.insert(left.fingerprint ^ of((depth, &left.expected))) {
            return Ok(());
        }
        coverage.checked += 1;
        coverage.nested += u64::from(depth < self.plan.depth);
        coverage.states += u64::from(self.states.insert(left.fingerprint));
        coverage.killed += u64::from(left.survivors.is_none());
        if left.survivors.is_none() {
            return self.check_killed(&left, depth, coverage, crashes);
        }
        let setting = &self.plan.setting;
        let crash = |crashes: &mut Vec<Crash>, violation| {
            crashes.push(Crash { io: left.io, survivors: left.survivors.clone() });
            violation
        };
        let disk = left.disk.crash(&Survivors::All);
        let options = setting.options();
        let promise = recover(&options, Arc::new(disk.clone()), &left.expected)
            .map_err(|violation| crash(crashes, violation))?;
        let durable = disk.crash(&Survivors::None);
        if self.recovered.insert(durable.fingerprint() ^ of(&promise)) {
            coverage.recovered += 1;
            go_on(setting, &durable, &promise).map_err(|violation| crash(crashes, violation))?;
        }
        if depth == 0 {
            return Ok(());
        }
        let expected: Expected = Arc::from([promise]);
        let inside = self.inside(&left.disk, &expected, depth, coverage);
        for inner in inside.map_err(|violation| crash(crashes, violation))? {
            self.check(inner, depth - 1, coverage, crashes)
                .map_err(|violation| crash(crashes, violation))?;
        }
        Ok(())
    }

    /// Recovers what a process left that died while the power stayed, and works on a little. What it has in the cache
    /// may be lost as long as the recovery goes on; what the recovery has led to must not be.
    fn check_killed(
        &self,
        left: &Left<Expected>,
        depth: usize,
        coverage: &mut Coverage,
        crashes: &mut Vec<Crash>,
    ) -> std::result::Result<(), Violation> {
        let crash = |crashes: &mut Vec<Crash>, violation| {
            crashes.push(Crash { io: left.io, survivors: None });
            violation
        };
        if depth == 0 {
            let (options, disk) = (self.plan.setting.options(), Arc::new(left.disk.kill()));
            return recover(&options, disk, &left.expected)
                .map(drop)
                .map_err(|violation| crash(crashes, violation));
        }
        let probe = Probe::new(&left.disk.kill(), self.plan.kills && depth > 1);
        probe.expect(Arc::clone(&left.expected));
        let (options, watched) = (self.plan.setting.options(), probe.watched(None::<Arc<Monitor>>));
        live_on(&options, watched, &left.expected, &|expected| probe.expect(expected))
            .map_err(|violation| crash(crashes, violation))?;
        probe.look();
        let (inside, counts) = probe.take();
        coverage.count(counts);
        for inner in inside {
            self.check(inner, depth - 1, coverage, crashes)
                .map_err(|violation| crash(crashes, violation))?;
        }
        Ok(())
    }

    /// The states that crashes inside the recovery of `disk` leave; fails if it breaks a rule of order.
    fn inside(
        &self,
        disk: &SimDisk,
        expected: &Expected,
        depth: usize,
        coverage: &mut Coverage,
    ) -> Checked<Vec<Left<Expected>>> {
        let disk = disk.crash(&Survivors::All);
        let probe = Probe::new(&disk, self.plan.kills && depth > 1);
        probe.expect(Arc::clone(expected));
        let begin = self.begin.as_ref().map(|_| Begin::of(&disk)).transpose();
        let monitor =
            fine(Clause::Order, begin)?.map(|begin| Monitor::new(&disk, &self.plan.setting, begin));
        let watched = probe.watched(monitor.clone());
        // It has been recovered before, without anybody watching.
        let recovered = recover(&self.plan.setting.options(), watched, expected);
        assert!(recovered.is_ok(), "the same disk gives the same recovery: {recovered:?}");
        monitor.map_or(Ok(()), |monitor| monitor.check())?;
        probe.look();
        let (left, counts) = probe.take();
        coverage.count(counts);
        Ok(left)
    }
}
