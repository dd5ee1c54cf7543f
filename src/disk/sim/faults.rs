//! Failures to come, and how they change what a call does.

use std::io;

use super::content::Content;
use super::image::Inode;
use super::state::{Access, State};

/// A failure to come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The I/O that it strikes, counted from 0 since the disk was made:
    /// [`SimDisk::io_count`](super::SimDisk::io_count) is the next one.
    pub at: u64,
    /// What happens.
    pub kind: FaultKind,
    /// Whether it strikes all later I/Os too. Else it strikes once, at its I/O or, if that is a call which it
    /// does not concern, never.
    pub forever: bool,
}

/// Ways in which an I/O fails, or seems to succeed.
///
/// The first three give errors. A failed call changes nothing, except that a failed sync abandons what it
/// should have made durable. All others are silent. Of several silent ones that strike the same call the one
/// that was injected first counts; a rotting bit comes on top.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum FaultKind {
    /// The device fails (EIO).
    InputOutputError,
    /// No space is left (ENOSPC). Strikes calls that change or sync something, except removals;
    /// others pass.
    DiskFull,
    /// This I/O and all later ones fail, for ever in any case, until [`SimDisk::crash`](super::SimDisk::crash)
    /// makes a new disk.
    PowerOff,
    /// The kernel reads only the first half of what was asked for (and of one byte, one). The caller carries on
    /// with another I/O; when it is for ever, by halves down to the last byte.
    ShortRead,
    /// The kernel writes only the first half, in the same way. If an I/O after it fails, that half stays
    /// written.
    ShortWrite,
    /// A write says that it is done, and nothing is written. For ever: no write is.
    LostWrite,
    /// The bytes of a write land elsewhere in the same file, and nowhere unless all of that place lies within
    /// the file. For ever: those of all writes, equally far away.
    MisdirectedWrite {
        /// How many bytes after their place; before it if negative.
        by: i64,
    },
    /// A read, or a map, gives bytes as they were: if readers should see others than the device has, those on
    /// the device; else those that it had before the last sync of the file that came after the fault was
    /// injected. Where there are no older ones the right ones are read. For ever: so does every read.
    StaleRead,
    /// After the I/O, if it is one on an open file and succeeds, one bit of the file is flipped, on the device
    /// and as readers see it ([`SimDisk::flip_bit`](super::SimDisk::flip_bit)). For ever: the next bit at each
    /// later I/O.
    BitRot {
        /// Which bit, counted from the begin of the file, and over again from its end.
        bit: u64,
    },
}

impl FaultKind {
    /// Each kind, with an example of where it needs to know one.
    pub const ALL: [Self; 9] = [
        Self::InputOutputError,
        Self::DiskFull,
        Self::PowerOff,
        Self::ShortRead,
        Self::ShortWrite,
        Self::LostWrite,
        Self::MisdirectedWrite { by: 512 },
        Self::StaleRead,
        Self::BitRot { bit: 0 },
    ];

    /// Its name, in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::InputOutputError => "input/output error",
            Self::DiskFull => "disk full",
            Self::PowerOff => "power off",
            Self::ShortRead => "short read",
            Self::ShortWrite => "short write",
            Self::LostWrite => "lost write",
            Self::MisdirectedWrite { .. } => "misdirected write",
            Self::StaleRead => "stale read",
            Self::BitRot { .. } => "bit rot",
        }
    }
}

impl Fault {
    fn strikes(&self, io: u64) -> bool {
        self.at == io || self.forever && self.at <= io
    }
}

/// What the kernel answers when a device fails.
const EIO: i32 = 5;

/// What a short call moves of so many bytes.
pub(super) fn half(length: usize) -> usize {
    length.div_ceil(2)
}

impl State {
    /// Counts one I/O, and fails it where that was asked for.
    pub(super) fn next_io(&mut self, access: Access) -> io::Result<()> {
        let io = self.io_count;
        self.io_count += 1;
        let hit = |kind| self.faults.iter().any(|fault| fault.kind == kind && fault.strikes(io));
        let (power_off, broken) = (hit(FaultKind::PowerOff), hit(FaultKind::InputOutputError));
        let full = hit(FaultKind::DiskFull);
        self.power_is_off |= power_off;
        if self.power_is_off {
            Err(io::Error::other("power is off"))
        } else if broken {
            Err(io::Error::from_raw_os_error(EIO))
        } else if self.read_only && matches!(access, Access::Write | Access::Release) {
            Err(io::ErrorKind::ReadOnlyFilesystem.into())
        } else if full && matches!(access, Access::Write | Access::Sync) {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }

    /// The first of the faults that concern a call, among those that strike the I/O counted last.
    fn struck(&self, concerns: impl Fn(FaultKind) -> bool) -> Option<&Fault> {
        let io = self.io_count - 1;
        self.faults.iter().find(|fault| concerns(fault.kind) && fault.strikes(io))
    }

    /// Reads once; gives how many bytes there were, or that was short of.
    pub(super) fn read_once(&self, inode: Inode, offset: u64, buffer: &mut [u8]) -> usize {
        let short = |kind| matches!(kind, FaultKind::ShortRead | FaultKind::StaleRead);
        let wanted = match self.struck(short) {
            Some(Fault { kind: FaultKind::ShortRead, .. }) => half(buffer.len()),
            _ => buffer.len(),
        };
        self.read(inode, offset, &mut buffer[..wanted])
    }

    /// Reads; gives how many bytes there were before the end.
    pub(super) fn read(&self, inode: Inode, offset: u64, buffer: &mut [u8]) -> usize {
        let Some(content) = self.content(inode) else { return 0 };
        let count = content.read(offset, buffer);
        if self.struck(|kind| kind == FaultKind::StaleRead).is_some() {
            self.make_stale(inode, offset, &mut buffer[..count]);
        }
        count
    }

    /// Replaces what was read by what stood there before.
    fn make_stale(&self, inode: Inode, offset: u64, read: &mut [u8]) {
        let before = |content: Option<&Content>| {
            let mut bytes = vec![0; read.len()];
            content.map(|content| content.read(offset, &mut bytes));
            bytes
        };
        let durable = before(self.durable.files.get(&inode));
        if durable != read {
            read.copy_from_slice(&durable);
        } else if let Some(synced_over) = self.synced_over.get(&inode) {
            read.copy_from_slice(&before(Some(synced_over)));
        }
    }

    /// Whether what a sync overwrites is still to be read.
    pub(super) fn keeps_stale(&self) -> bool {
        self.faults.iter().any(|fault| fault.kind == FaultKind::StaleRead)
    }

    /// Writes once; gives how many bytes it says were written.
    pub(super) fn write_once(&mut self, inode: Inode, offset: u64, bytes: &[u8]) -> usize {
        use FaultKind::{LostWrite, MisdirectedWrite, ShortWrite};
        let odd = |kind| matches!(kind, ShortWrite | LostWrite | MisdirectedWrite { .. });
        match self.struck(odd).map(|fault| fault.kind) {
            Some(ShortWrite) => {
                let count = half(bytes.len());
                self.write(inode, offset, &bytes[..count]);
                return count;
            }
            Some(LostWrite) => {}
            Some(MisdirectedWrite { by }) => {
                let length = self.cached.file(inode).length();
                let there = offset.checked_add_signed(by);
                let end = |at: u64| at.checked_add(bytes.len() as u64);
                if let Some(at) = there.filter(|at| end(*at).is_some_and(|end| end <= length)) {
                    self.write(inode, at, bytes);
                }
            }
            _ => self.write(inode, offset, bytes),
        }
        bytes.len()
    }

    /// After an I/O on a file: lets a bit of it rot where that was asked for.
    pub(super) fn rot(&mut self, inode: Inode) {
        let io = self.io_count - 1;
        let rots = |kind| matches!(kind, FaultKind::BitRot { .. });
        let Some(&Fault { at, kind: FaultKind::BitRot { bit }, .. }) = self.struck(rots) else {
            return;
        };
        let length = self.content(inode).map_or(0, Content::length);
        let Some(bit) = bit.wrapping_add(io - at).checked_rem(length.saturating_mul(8)) else {
            return;
        };
        self.flip(inode, bit / 8, 1 << (bit % 8));
    }
}
