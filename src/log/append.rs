//! The appender: what is guarded by the one short mutex of the log.

use std::mem;

use super::LogPosition;
use super::padding::Padding;
use super::segment::Geometry;
use super::space::LogSpace;
use crate::ids::Lsn;
use crate::record::{EncodedRecord, HEADER_BYTES, padded, stated_length};
use crate::sync::Arc;

/// Bytes of the log that follow each other within one segment.
#[derive(Default)]
pub struct Chunk {
    /// Where the first byte belongs.
    pub start: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Chunk {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

/// Where the log ends, and what of it is not written yet.
pub struct Appender {
    geometry: Geometry,
    epoch: u64,
    end: u64,
    /// Appended, not handed to a writer yet; the last chunk is the one that grows.
    chunks: Vec<Chunk>,
    /// Handed to the writer that is under way; still readable here.
    in_flight: Arc<Vec<Chunk>>,
    /// Empty memory, that of a chunk that was written.
    spare: Vec<u8>,
    space: LogSpace,
    padding: Padding,
}

impl Appender {
    pub fn new(
        position: LogPosition,
        geometry: Geometry,
        space: LogSpace,
        padding: Padding,
    ) -> Self {
        let end = padding.run_start(position.end.get());
        assert!(end <= space.prepared_end(), "the log ends within its segments");
        Self {
            geometry,
            epoch: position.epoch,
            end,
            chunks: Vec::new(),
            in_flight: Arc::default(),
            spare: Vec::new(),
            space,
            padding,
        }
    }

    /// The next record's LSN, or less.
    pub fn end(&self) -> u64 {
        self.end
    }

    pub fn prepared_end(&self) -> u64 {
        self.space.prepared_end()
    }

    pub fn prepared(&mut self, end: u64) {
        self.space.prepared(end);
    }

    pub fn try_reserve(&mut self, bytes: u64) -> bool {
        self.space.try_reserve(self.end, bytes)
    }

    pub fn release(&mut self, bytes: u64) {
        self.space.release(bytes);
    }

    pub fn is_short(&self, ahead: u64) -> bool {
        self.space.is_short(self.end, ahead)
    }

    pub fn buffered_bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bytes.len()).sum()
    }

    /// Appends a record; `None` if no prepared segment has room for it. Uses up `spend` bytes of
    /// what was reserved.
    pub fn append(&mut self, record: &EncodedRecord, spend: u64) -> Option<Lsn> {
        let length = padded(record.len()) as u64;
        assert!(
            spend == 0 || spend >= self.padding.price(record.len()),
            "what is appended was reserved"
        );
        let at = self.place_for(length)?;
        if at != self.end {
            self.close_segment();
        }
        let lsn = self.put(record, at);
        self.space.appended(spend);
        Some(lsn)
    }

    /// Puts a record at `at`, within one segment; the log ends behind it.
    fn put(&mut self, record: &EncodedRecord, at: u64) -> Lsn {
        let lsn = Lsn::new(at).expect("records stand behind a header");
        if self.chunks.last().is_none_or(|chunk| chunk.end() != at) {
            self.chunks.push(Chunk { start: at, bytes: mem::take(&mut self.spare) });
        }
        let chunk = self.chunks.last_mut().expect("just made");
        record.append_to(lsn, self.epoch, &mut chunk.bytes);
        self.end = chunk.end();
        assert!(self.geometry.segment_of(self.end - 1) == self.geometry.segment_of(at));
        lsn
    }

    /// Where a record of `length` bytes goes: here, or at the front of the next segment.
    fn place_for(&self, length: u64) -> Option<u64> {
        let geometry = self.geometry;
        let mut at = self.end;
        if geometry.offset(at) == 0 || geometry.left_in_segment(at) < length {
            // `end - 1` is in the segment that is full, even exactly at a boundary.
            at = geometry.first_record(geometry.segment_of(at - 1) + 1);
        }
        assert!(length <= geometry.left_in_segment(at), "a record fits into a segment");
        // A prepared segment is always left beyond the end: a log that seems to end with its last
        // segment has lost one.
        let end = self.padding.end(at + length);
        (geometry.record_position(end) < self.space.prepared_end()).then_some(at)
    }

    /// Fills what is left of the current segment. (Before a run's restart record no reader takes
    /// note of it: readers come there in the epoch before. See [`super::scan`].)
    fn close_segment(&mut self) {
        let left = self.geometry.left_in_segment(self.end);
        if self.geometry.offset(self.end) == 0 || left < HEADER_BYTES as u64 {
            return;
        }
        self.fill(left);
    }

    /// Fills `length` bytes.
    fn fill(&mut self, length: u64) {
        let length = usize::try_from(length).expect("at most a record and a block");
        self.put(&EncodedRecord::filler(length), self.end);
    }

    /// Hands all that is not written to a writer, padded; gives it with the log's end behind it.
    pub fn take_batch(&mut self) -> (Arc<Vec<Chunk>>, u64) {
        if self.space.pad() {
            let filler = self.padding.end(self.end) - self.end;
            if filler > 0 {
                self.fill(filler);
            }
        }
        self.in_flight = Arc::new(mem::take(&mut self.chunks));
        (Arc::clone(&self.in_flight), self.end)
    }

    /// The batch was written: it can be read from its files now. The largest piece of its memory is kept
    /// for what is appended next: new memory costs more than all else that an append does.
    pub fn batch_written(&mut self, batch: Arc<Vec<Chunk>>) {
        self.in_flight = Arc::default();
        let chunks = Arc::into_inner(batch).into_iter().flatten();
        if let Some(largest) = chunks.map(|chunk| chunk.bytes).max_by_key(Vec::capacity)
            && largest.capacity() > self.spare.capacity()
        {
            self.spare = largest;
            self.spare.clear();
        }
    }

    /// The bytes of the record at `lsn`, if they are still here.
    pub fn read(&self, lsn: Lsn) -> Option<Vec<u8>> {
        let at = lsn.get();
        let mut chunks = self.chunks.iter().chain(self.in_flight.iter());
        let chunk = chunks.find(|chunk| (chunk.start..chunk.end()).contains(&at))?;
        let offset = usize::try_from(at - chunk.start).ok()?;
        let rest = chunk.bytes.get(offset..)?;
        rest.get(..stated_length(rest)?).map(<[u8]>::to_vec)
    }
}
