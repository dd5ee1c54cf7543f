//! Reads the log of a store that goes on working meanwhile.

use std::ops::ControlFlow;
use std::path::Path;

use crate::db::Outside;
use crate::error::{Error, Result};
use crate::ids::Lsn;
use crate::record::LogRecord;

/// How often something that looks like damage is read again: a segment may be recycled under the reader's hands.
const LOOKS: u32 = 5;

/// Gathers what `visit` takes from each record: its LSN, its bytes in the log, and the record. From the one at `from` on, or from the
/// oldest, up to `end`, or as long as `visit` says to go on; the database may be open elsewhere or here.
///
/// # Errors
/// [`Error::Corrupt`] when the log is damaged; those of the disk.
pub fn each_record<T: Default>(
    directory: &Path,
    from: Option<Lsn>,
    end: Lsn,
    visit: impl Fn(&mut T, Lsn, usize, &LogRecord<'_>) -> ControlFlow<()>,
) -> Result<T> {
    patiently(|| {
        let mut gathered = T::default();
        let log = Outside::open_in_use(directory)?.log()?;
        let from = from.unwrap_or_else(|| log.start());
        let mut scan = log.scan(from);
        while let Some((lsn, bytes, record)) = scan.next_sized()?.filter(|(lsn, ..)| *lsn < end) {
            if lsn >= from && visit(&mut gathered, lsn, bytes, &record).is_break() {
                break;
            }
        }
        Ok(gathered)
    })
}

/// Reads anew what looks damaged, some times.
fn patiently<T>(read: impl Fn() -> Result<T>) -> Result<T> {
    for _ in 1..LOOKS {
        match read() {
            Err(Error::Corrupt { .. }) => {}
            read => return read,
        }
    }
    read()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::error::Place;

    #[test]
    fn only_what_looks_damaged_is_read_again_and_not_for_ever() {
        let reads = Cell::new(0);
        let damaged_until = |sound| {
            reads.set(0);
            patiently(|| {
                reads.set(reads.get() + 1);
                let damage = || Error::corrupt(Place::File("log".into()), "a record", "a hole");
                if reads.get() < sound { Err(damage()) } else { Ok(()) }
            })
        };
        assert!(damaged_until(LOOKS).is_ok());
        assert!(damaged_until(LOOKS + 1).is_err());
        assert_eq!(reads.get(), LOOKS);
        reads.set(0);
        let refused = patiently(|| {
            reads.set(reads.get() + 1);
            Err::<(), _>(Error::InvalidInput("no".into()))
        });
        assert_eq!((refused.is_err(), reads.get()), (true, 1));
    }
}
