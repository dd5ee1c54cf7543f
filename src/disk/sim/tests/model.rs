//! Random histories of one file against a model that keeps every change and forgets nothing.

use proptest::prelude::*;

use super::*;

/// Steps on one file of a few sectors.
#[derive(Clone, Debug)]
enum Step {
    Write(usize, usize, u8),
    SetLength(usize),
    Sync,
    FailedSync,
    DropCache,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..9000_usize, 0..3000_usize, 0..3_u8).prop_map(|(a, b, c)| Step::Write(a, b, c)),
        2 => (0..9000_usize).prop_map(Step::SetLength),
        2 => Just(Step::Sync),
        1 => Just(Step::FailedSync),
        1 => Just(Step::DropCache),
    ];
    proptest::collection::vec(step, 0..25)
}

/// A change as the model keeps it: a sector's bytes at an offset, or a length.
#[derive(Clone)]
enum Naive {
    Sector(usize, Vec<u8>, usize),
    SetLength(usize),
}

fn apply(bytes: &mut Vec<u8>, change: &Naive) {
    match change {
        Naive::SetLength(length) => bytes.resize(*length, 0),
        Naive::Sector(offset, sector, length) => {
            bytes.resize(bytes.len().max(offset + length), 0);
            let end = bytes.len().min(offset + SECTOR);
            bytes[*offset..end].copy_from_slice(&sector[..end - offset]);
        }
    }
}

/// All changes ever made, each with whether it was synced, abandoned, or neither.
#[derive(Default)]
struct Model {
    cached: Vec<u8>,
    changes: Vec<(Naive, Option<bool>)>,
}

impl Model {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.cached.resize(self.cached.len().max(offset + bytes.len()), 0);
        self.cached[offset..offset + bytes.len()].copy_from_slice(bytes);
        for start in (offset / SECTOR * SECTOR..offset + bytes.len()).step_by(SECTOR) {
            let end = self.cached.len().min(start + SECTOR);
            let mut sector = self.cached[start..end].to_vec();
            sector.resize(SECTOR, 0);
            self.changes.push((Naive::Sector(start, sector, end - start), None));
        }
    }

    fn settle(&mut self, synced: bool) {
        let pending = self.changes.iter_mut().filter(|(_, fate)| fate.is_none());
        pending.for_each(|(_, fate)| *fate = Some(synced));
    }

    fn image(&self, mut survives: impl FnMut(Option<bool>) -> bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (change, fate) in &self.changes {
            if survives(*fate) {
                apply(&mut bytes, change);
            }
        }
        bytes
    }
}

fn run(step: &Step, disk: &SimDisk, file: &dyn DiskFile, model: &mut Model) {
    match *step {
        Step::Write(offset, length, byte) => {
            file.write_at(offset as u64, &vec![byte; length]).unwrap();
            model.write(offset, &vec![byte; length]);
        }
        Step::SetLength(length) => {
            file.set_len(length as u64).unwrap();
            model.cached.resize(length, 0);
            model.changes.push((Naive::SetLength(length), None));
        }
        Step::Sync => {
            file.sync_data().unwrap();
            model.settle(true);
        }
        Step::FailedSync => {
            fail_next(disk, FaultKind::InputOutputError);
            assert!(file.sync_data().is_err());
            model.settle(false);
        }
        Step::DropCache => {
            disk.drop_cache();
            model.changes.retain(|(_, fate)| *fate != Some(false));
            model.cached = model.image(|_| true);
        }
    }
}

proptest! {
    #[test]
    fn every_image_is_the_models(steps in steps(), seed: u64) {
        let (disk, file) = disk_with("file", b"");
        let mut model = Model::default();
        for step in &steps {
            run(step, &disk, &*file, &mut model);
            prop_assert_eq!(&disk.read_file("file").unwrap(), &model.cached);
        }
        let none = disk.crash(&NONE).read_file("file").unwrap();
        prop_assert_eq!(none, model.image(|fate| fate == Some(true)));
        let some = disk.crash(&Survivors::Random { seed }).read_file("file").unwrap();
        let mut seed = seed;
        let survives = |fate| fate == Some(true) || split_mix(&mut seed) & 1 == 1;
        prop_assert_eq!(some, model.image(survives));
    }
}
