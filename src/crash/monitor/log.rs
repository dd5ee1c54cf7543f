//! What is watched of the log's own files: that it only grows, and is kept as long as a checkpoint needs it.

use super::{Judged, Monitor, OrderRule, Seen};
use crate::config::LogBlock;
use crate::disk::Call;
use crate::log::SEGMENT_HEADER_BYTES;

impl Monitor {
    pub(super) fn log_written(&self, seen: &mut Seen, number: u64, call: &Call, bytes: &[u8]) {
        let geometry = self.begin.geometry;
        let at = geometry.start(number) + call.range.start;
        let is_new = match call.range.start < SEGMENT_HEADER_BYTES {
            true => number > geometry.segment_of(seen.written_to),
            false => at >= self.in_own_block(seen.written_to),
        };
        // (A segment is filled with zeros before it has a header.)
        if !is_new {
            let again = self.written_again(call, bytes);
            match call.range.start < SEGMENT_HEADER_BYTES {
                true if again.is_err() => self.segment_taken(seen, number, "overwritten"),
                true => {}
                false => {
                    let again = again.and_then(|()| match self.log_block {
                        LogBlock::Rewritten => Ok(()),
                        LogBlock::Padded(_) => {
                            Err(format!("byte {at} of the log is written again"))
                        }
                    });
                    self.note(seen, OrderRule::LogOnlyGrows, again);
                }
            }
        }
        if call.range.start >= SEGMENT_HEADER_BYTES && bytes.iter().any(|byte| *byte != 0) {
            seen.written_to = seen.written_to.max(at + bytes.len() as u64);
        }
    }

    /// Where what is written next may begin.
    fn in_own_block(&self, written_to: u64) -> u64 {
        match self.log_block {
            LogBlock::Rewritten => written_to,
            LogBlock::Padded(bytes) => written_to.next_multiple_of(bytes),
        }
    }

    /// What is written must be what stands there already.
    fn written_again(&self, call: &Call, bytes: &[u8]) -> Judged {
        let file = self.disk.read_file(&call.name).unwrap_or_default();
        let from = usize::try_from(call.range.start).unwrap_or(usize::MAX);
        match file.get(from..).is_some_and(|old| old.starts_with(bytes)) {
            true => Ok(()),
            false => Err(format!("bytes {:?} of {} are changed", call.range, call.name)),
        }
    }

    /// A segment is about to be there no more.
    pub(super) fn segment_taken(&self, seen: &mut Seen, number: u64, how: &str) {
        let geometry = self.begin.geometry;
        if number > geometry.segment_of(seen.written_to) {
            return; // It holds nothing yet.
        }
        let durable = self.durable();
        for master in durable.masters() {
            // One that is not complete has been told of.
            let Ok(recorded) = durable.checkpoint(master.checkpoint_lsn, master.checkpoint_epoch)
            else {
                continue;
            };
            let needed = recorded.needed;
            if geometry.end(number) > needed.get() {
                let at = master.checkpoint_lsn;
                let found = format!(
                    "segment {number} is {how}: the checkpoint at {at} needs the log from {needed} on"
                );
                self.note(seen, OrderRule::LogKept, Err(found));
            }
        }
    }
}
