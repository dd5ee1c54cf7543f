//! Faults of the disk, apart from failures of power: which there are to try, and how an engine may take them.

use std::fmt;

use crate::disk::{Fault, FaultKind};
use crate::error::Error;

/// A fault of the disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Harm {
    /// It strikes a call while the history runs.
    InHistory(Fault),
    /// It strikes a call of the recovery after the history.
    InRecovery(Fault),
    /// After the history, and before the recovery, a bit of a file rots.
    Rot {
        /// The file.
        file: String,
        /// Which byte of it.
        byte: u64,
        /// Which bit of that, from 0 to 7.
        bit: u8,
    },
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (fault, place) = match self {
            Self::InHistory(fault) => (fault, ""),
            Self::InRecovery(fault) => (fault, " of the recovery"),
            Self::Rot { file, byte, bit } => {
                return write!(f, "bit {bit} of byte {byte} of {file} rots");
            }
        };
        let how_long = if fault.forever { " and from then on" } else { "" };
        write!(f, "{} at I/O {}{place}{how_long}", fault.kind.name(), fault.at)?;
        match fault.kind {
            FaultKind::MisdirectedWrite { by } => write!(f, ", by {by} bytes"),
            _ => Ok(()),
        }
    }
}

impl Harm {
    /// What kind of fault it is.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::InHistory(fault) | Self::InRecovery(fault) => fault.kind,
            Self::Rot { .. } => FaultKind::BitRot { bit: 0 },
        }
    }

    /// Whether nobody is told of it.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        is_silent(self.kind())
    }
}

fn is_silent(kind: FaultKind) -> bool {
    use FaultKind::{BitRot, LostWrite, MisdirectedWrite, StaleRead};
    matches!(kind, BitRot { .. } | LostWrite | MisdirectedWrite { .. } | StaleRead)
}

/// Whether a fault makes a difference to such a call.
fn concerns(kind: FaultKind, operation: &str) -> bool {
    let only_looks = matches!(operation, "open" | "read" | "look at" | "list" | "map");
    match kind {
        FaultKind::InputOutputError => true,
        FaultKind::DiskFull => !only_looks && operation != "remove",
        FaultKind::ShortRead => operation == "read",
        FaultKind::StaleRead => matches!(operation, "read" | "map"),
        FaultKind::ShortWrite | FaultKind::LostWrite | FaultKind::MisdirectedWrite { .. } => {
            operation == "write"
        }
        // The power is what all the rest is about; bits rot by themselves.
        _ => false,
    }
}

/// The faults to try at a call, loud ones or silent ones: once, and for ever after. `page` is the size of one (bytes).
pub fn faults_at(io: u64, operation: &str, silent: bool, page: usize) -> Vec<Fault> {
    let by = i64::try_from(page).unwrap_or(0);
    let further = [FaultKind::MisdirectedWrite { by }, FaultKind::MisdirectedWrite { by: -by }];
    let others = FaultKind::ALL
        .into_iter()
        .filter(|kind| !matches!(kind, FaultKind::MisdirectedWrite { .. }));
    let all = others.chain(further);
    let wanted = all.filter(|kind| is_silent(*kind) == silent && concerns(*kind, operation));
    // Who is never told is harmed by one write as by all.
    let lengths: &[bool] = if silent { &[false] } else { &[false, true] };
    let both = wanted.flat_map(|kind| lengths.iter().map(move |forever| (kind, *forever)));
    both.map(|(kind, forever)| Fault { at: io, kind, forever }).collect()
}

/// Whether an error is one that tells of such a fault: nothing else is wrong with the disk.
pub fn tells_of(kind: FaultKind, error: &Error) -> bool {
    match kind {
        FaultKind::InputOutputError | FaultKind::DiskFull => matches!(
            error,
            Error::Io { .. }
                | Error::DiskFull { .. }
                | Error::Poisoned { .. }
                | Error::OutcomeUnknown { .. }
        ),
        // The kernel did a part, and whoever asked asks for the rest.
        FaultKind::ShortRead | FaultKind::ShortWrite => false,
        // Rot, and what is not where it was written, is damage, and names its place.
        _ => matches!(
            error,
            Error::Corrupt { .. }
                | Error::NotADatabase { .. }
                | Error::Mismatch { .. }
                | Error::Poisoned { .. }
                | Error::OutcomeUnknown { .. }
        ),
    }
}

/// What became of faults of one kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Struck {
    /// How often one struck.
    pub runs: u64,
    /// Where nobody noticed, and nothing was wrong.
    pub harmless: u64,
    /// Where an error told of it.
    pub noticed: u64,
    /// Where something was wrong that nothing could have told of: no witness is there. Not passed, but counted.
    pub limits: u64,
}

impl Struck {
    /// Of two parts.
    pub fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.harmless += other.harmless;
        self.noticed += other.noticed;
        self.limits += other.limits;
    }

    /// What came after `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            runs: self.runs - before.runs,
            harmless: self.harmless - before.harmless,
            noticed: self.noticed - before.noticed,
            limits: self.limits - before.limits,
        }
    }
}

/// A number for each kind of fault.
pub fn number_of(kind: FaultKind) -> usize {
    let same = |other: &FaultKind| std::mem::discriminant(other) == std::mem::discriminant(&kind);
    FaultKind::ALL.iter().position(same).unwrap_or(0)
}
