//! What a kernel's read and write leave to the caller: to carry on after short and interrupted calls.
//!
//! The two loops are the product's, whatever disk is underneath: [`FileDisk`](super::FileDisk) hands them the
//! kernel's calls, and [`SimDisk`](super::SimDisk) its own, which are short when that is asked for.

use std::io;

/// Fills `buffer` from `offset` on by calls of `read`, which gives how many bytes it read: 0 is the end of the
/// file. Gives how many bytes there were before it.
pub(super) fn read_fully(
    offset: u64,
    buffer: &mut [u8],
    mut read: impl FnMut(u64, &mut [u8]) -> io::Result<usize>,
) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match read(offset + done as u64, &mut buffer[done..]) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// Writes `bytes` from `offset` on by calls of `write`, which gives how many bytes it wrote. What was written
/// before an error stays written.
pub(super) fn write_fully(
    offset: u64,
    bytes: &[u8],
    mut write: impl FnMut(u64, &[u8]) -> io::Result<usize>,
) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match write(offset + done as u64, &bytes[done..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => done += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]
    use super::*;

    const FILE: &[u8] = b"0123456789";

    /// What the calls of a kernel give, one after the other.
    type Answers<'a> = &'a [Result<usize, io::ErrorKind>];

    fn next(answers: &mut Answers<'_>) -> io::Result<usize> {
        let answer = answers.split_off_first().expect("no more calls than these");
        answer.map_err(io::Error::from)
    }

    fn read(offset: u64, length: usize, mut answers: Answers<'_>) -> io::Result<Vec<u8>> {
        let mut buffer = vec![b'.'; length];
        let count = read_fully(offset, &mut buffer, |at, buffer| {
            let count = next(&mut answers)?;
            buffer[..count].copy_from_slice(&FILE[at as usize..][..count]);
            Ok(count)
        })?;
        assert!(answers.is_empty(), "it stopped too early");
        buffer.truncate(count);
        Ok(buffer)
    }

    #[test]
    fn short_and_interrupted_reads_are_carried_on() {
        const INTERRUPTED: Result<usize, io::ErrorKind> = Err(io::ErrorKind::Interrupted);
        assert_eq!(read(2, 5, &[Ok(5)]).unwrap(), b"23456");
        assert_eq!(read(2, 5, &[INTERRUPTED, Ok(1), INTERRUPTED, Ok(3), Ok(1)]).unwrap(), b"23456");
        assert_eq!(read(7, 5, &[Ok(2), Ok(1), Ok(0)]).unwrap(), b"789", "the end of the file");
        let failed = read(2, 5, &[Ok(1), Err(io::ErrorKind::TimedOut)]);
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    fn write(bytes: &[u8], mut answers: Answers<'_>) -> (Vec<u8>, io::Result<()>) {
        let mut file = Vec::new();
        let done = write_fully(7, bytes, |at, bytes| {
            assert_eq!(at, 7 + file.len() as u64);
            let count = next(&mut answers)?;
            file.extend_from_slice(&bytes[..count]);
            Ok(count)
        });
        assert!(answers.is_empty(), "it stopped too early");
        (file, done)
    }

    #[test]
    fn short_and_interrupted_writes_are_carried_on() {
        let (file, done) = write(b"abcde", &[Ok(2), Err(io::ErrorKind::Interrupted), Ok(3)]);
        assert_eq!((&file[..], done.is_ok()), (&b"abcde"[..], true));
        let (file, done) = write(b"abcde", &[Ok(2), Err(io::ErrorKind::StorageFull)]);
        assert_eq!((&file[..], done.unwrap_err().kind()), (&b"ab"[..], io::ErrorKind::StorageFull));
        let (file, done) = write(b"abcde", &[Ok(2), Ok(0)]);
        assert_eq!((&file[..], done.unwrap_err().kind()), (&b"ab"[..], io::ErrorKind::WriteZero));
        assert!(write(b"", &[]).1.is_ok(), "nothing to write is no failure");
    }
}
