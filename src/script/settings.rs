//! What `options` has set, and what holds without it.

use super::statement::Setting;
use crate::config::RestartMode;
use crate::db::Options;

/// What `options` has set.
#[derive(Clone, Default)]
pub(super) struct Settings(pub(super) Vec<Setting>);

/// The smallest pages, segments and pools there are, for a stage that a reader can take in.
const PAGE_SIZE: usize = 512;
const SEGMENT_BYTES: u64 = 65_536;
const FRAMES: usize = 64;

impl Settings {
    /// The options to open a database with, on a simulated disk.
    pub(super) fn options_simulated(&self) -> Options {
        let options = Options::new().page_size(PAGE_SIZE).segment_bytes(SEGMENT_BYTES);
        let options = options.buffer_pool_bytes(FRAMES * PAGE_SIZE).database_id(1);
        self.options(options, PAGE_SIZE)
    }

    /// Bytes of a page of the next database on a simulated disk.
    pub(super) fn page_size(&self) -> usize {
        let set = self.0.iter().rev().find_map(|setting| match setting {
            Setting::PageSize(bytes) => Some(*bytes),
            _ => None,
        });
        set.unwrap_or(PAGE_SIZE)
    }

    /// Bytes of a segment of its log.
    pub(super) fn segment_bytes(&self) -> u64 {
        let set = self.0.iter().rev().find_map(|setting| match setting {
            Setting::SegmentBytes(bytes) => Some(*bytes),
            _ => None,
        });
        set.unwrap_or(SEGMENT_BYTES)
    }

    /// These options, with what was set; pages have `page_size` bytes if nothing else was.
    pub(super) fn options(&self, options: Options, page_size: usize) -> Options {
        let mut options = options.background(false);
        let (mut page_size, mut frames) = (page_size, FRAMES);
        for setting in &self.0 {
            options = match *setting {
                Setting::PageSize(bytes) => {
                    page_size = bytes;
                    options.page_size(bytes).buffer_pool_bytes(frames.saturating_mul(page_size))
                }
                Setting::Frames(count) => {
                    frames = count;
                    options.buffer_pool_bytes(frames.saturating_mul(page_size))
                }
                Setting::SegmentBytes(bytes) => options.segment_bytes(bytes),
                Setting::Protection(protection) => options.torn_page_protection(protection),
                Setting::LogBlock(block) => options.log_block(block),
                Setting::RedoThreads(1) => options.restart(RestartMode::Serial),
                Setting::RedoThreads(threads) => options.restart(RestartMode::Parallel(threads)),
            };
        }
        options
    }
}
