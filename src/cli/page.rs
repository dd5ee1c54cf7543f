//! `aries page`.

use clap::Args;
use serde_json::{Value, json};

use super::output::{lines, lsn, print, table};
use super::{Asked, DONE, SOMETHING_WRONG};
use crate::db::Outside;
use crate::demo::counted;
use crate::ids::{Lsn, PageId};
use crate::page::{self, HEADER_SIZE, HeaderFields, PageKind, PageState, SlotState, space_map};

const EXAMPLES: &str = "\
Examples:
  aries page bank 3
  aries page bank P3 --hex
  aries page bank 0 --json | jq '.states[] | select(.state == \"free\") | .page'

It shows the page as it stands on disk: the log may have later changes of it.
Exit code 0 if the page is sound, 1 if it is damaged, 2 for wrong usage.
";

const SHAPE: &str = "\
The JSON object (nil is null; bytes are hexadecimal):
  version   of this shape: 1
  page      its number
  sound     whether checksum and structure are right
  fault     what is wrong, in words; null if nothing is
  header    { checksum, right_checksum, kind (unformatted, slotted, space_map; null is damage),
              page_lsn, page, slot_count, heap_start, fragmented_bytes }
  free      bytes of the longest record that fits in
  slots     of a slotted page: { slot, state (free, live, ghost), bytes }
  states    of a space map page: { page, state (free, used, free_pending), txn }
  bytes     all of it, with --hex";

/// Shows a page as it stands in the file: header, slots, and whether its checksum is right.
#[derive(Args)]
#[command(after_long_help = format!("{EXAMPLES}\n{SHAPE}"), after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    asked: Asked,
    /// The page: 3 or P3
    #[arg(value_name = "PAGE", value_parser = super::page_id)]
    page: PageId,
    /// Show all bytes
    #[arg(long)]
    hex: bool,
}

/// A page, and what was found.
struct Found {
    page: PageId,
    bytes: Vec<u8>,
    header: HeaderFields,
    fault: Option<String>,
}

impl Found {
    fn kind(&self) -> Option<PageKind> {
        PageKind::from_stored(self.header.kind)
    }

    /// Slots, as far as a damaged page has any.
    fn slots(&self) -> impl Iterator<Item = (u16, SlotState, &[u8])> {
        let slotted = self.kind() == Some(PageKind::Slotted);
        let slots = slotted.then(|| page::slots(&self.bytes)).into_iter().flatten();
        slots.map(|(slot, state, bytes)| (slot.0, state, bytes))
    }

    /// Entries of a space map page for pages that the file has, and what they say: `None` is damage.
    fn states(&self, pages: u64) -> impl Iterator<Item = (PageId, Option<PageState>)> {
        let is_map = self.kind() == Some(PageKind::SpaceMap);
        let entries = if is_map { space_map::entries_per_page(self.bytes.len()) } else { 0 };
        let told = (0..entries).map(|entry| (PageId(self.page.0 + u64::from(entry)), entry));
        told.take_while(move |(page, _)| page.0 < pages)
            .map(|(page, entry)| (page, space_map::state(&self.bytes, entry)))
    }
}

/// Runs the command; gives the exit code.
///
/// # Errors
/// What keeps the page from being read.
pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let database = Outside::open(&arguments.asked.directory)?;
    let pages = database.master().pages;
    let page = arguments.page;
    if page.0 >= pages {
        return Err(super::WrongUsage(format!(
            "there is no {page}: the file has {}",
            counted(pages, "page")
        ))
        .into());
    }
    let bytes = database.read_page(page)?;
    let header = page::header_fields(&bytes, page);
    let checked = page::verify(&bytes, page).and_then(|()| page::check_structure(&bytes));
    let fault = checked.err().map(|fault| fault.to_string());
    let found = Found { page, bytes, header, fault };
    if arguments.asked.json {
        print(&format!("{:#}\n", to_json(&found, pages, arguments.hex)));
    } else {
        print(&text(&found, pages, arguments.hex));
    }
    Ok(if found.fault.is_none() { DONE } else { SOMETHING_WRONG })
}

const fn kind_name(kind: PageKind) -> &'static str {
    match kind {
        PageKind::Unformatted => "unformatted",
        PageKind::Slotted => "slotted",
        PageKind::SpaceMap => "space_map",
        PageKind::Tree => "tree",
        PageKind::Overflow => "overflow",
    }
}

const fn slot_name(state: SlotState) -> &'static str {
    match state {
        SlotState::Free => "free",
        SlotState::Live => "live",
        SlotState::Ghost => "ghost",
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn to_json(found: &Found, pages: u64, hex: bool) -> Value {
    let header = &found.header;
    let slots: Vec<Value> = found
        .slots()
        .map(|(slot, state, bytes)| {
            json!({ "slot": slot, "state": slot_name(state), "bytes": hexadecimal(bytes) })
        })
        .collect();
    let states: Vec<Value> =
        found.states(pages).map(|(page, state)| state_json(page, state)).collect();
    let mut object = json!({
        "version": 1,
        "page": found.page.0,
        "sound": found.fault.is_none(),
        "fault": found.fault,
        "header": {
            "checksum": format!("{:08x}", header.checksum),
            "right_checksum": format!("{:08x}", header.right_checksum),
            "kind": found.kind().map(kind_name),
            "page_lsn": header.page_lsn.map(Lsn::get),
            "page": header.page.0,
            "slot_count": header.slot_count,
            "heap_start": header.heap_start,
            "fragmented_bytes": header.fragmented_bytes,
        },
        "free": page::free_bytes(&found.bytes),
        "slots": slots,
        "states": states,
    });
    if hex {
        object["bytes"] = hexadecimal(&found.bytes).into();
    }
    object
}

fn state_json(page: PageId, state: Option<PageState>) -> Value {
    let (name, txn) = match state {
        Some(PageState::Free) => (Some("free"), None),
        Some(PageState::Used | PageState::Catalog(_)) => (Some("used"), None),
        Some(PageState::FreePending(txn)) => (Some("free_pending"), Some(txn.get())),
        None => (None, None),
    };
    json!({ "page": page.0, "state": name, "txn": txn })
}

fn text(found: &Found, pages: u64, hex: bool) -> String {
    let header = &found.header;
    let kind = match found.kind() {
        Some(kind) => kind.to_string(),
        None => format!("kind {}, which there is not", header.kind),
    };
    let mut text = format!("{} is {kind}, pageLSN {}\n", found.page, lsn(header.page_lsn));
    let verdict = if header.checksum == header.right_checksum { "right" } else { "WRONG" };
    text += &format!("  checksum {:08x}, {verdict}", header.checksum);
    if header.checksum != header.right_checksum {
        text += &format!(": {:08x} expected", header.right_checksum);
    }
    text += &format!("\n  it says that it is {}\n", header.page);
    if let Some(fault) = &found.fault {
        text += &format!("WRONG: {fault}\n");
    }
    if found.kind().is_some_and(PageKind::has_slots) {
        text += &format!(
            "  {}, records from byte {} on, {}, room for {} more\n\n",
            counted(header.slot_count, "slot"),
            header.heap_start,
            counted(header.fragmented_bytes, "dead byte"),
            page::free_bytes(&found.bytes)
        );
        let mut table = table(["slot", "state", "bytes", "record"]);
        for (slot, state, bytes) in found.slots() {
            let shown = bytes.escape_ascii().to_string();
            table.add_row([
                slot.to_string(),
                slot_name(state).into(),
                bytes.len().to_string(),
                shown,
            ]);
        }
        text += &lines(&table);
    }
    if found.kind() == Some(PageKind::SpaceMap) {
        text += &format!("\n{}", states_text(found, pages));
    }
    if hex {
        text += &format!("\n{}", hex_text(&found.bytes));
    }
    text
}

/// Runs of pages in the same state.
fn states_text(found: &Found, pages: u64) -> String {
    let mut runs: Vec<(PageId, PageId, Option<PageState>)> = Vec::new();
    for (page, state) in found.states(pages) {
        match runs.last_mut() {
            Some((_, last, run)) if *run == state => *last = page,
            _ => runs.push((page, page, state)),
        }
    }
    let mut table = table(["pages", "state"]);
    for (first, last, state) in runs {
        let pages = if first == last { first.to_string() } else { format!("{first} to {last}") };
        let state = state.map_or_else(|| "damaged".to_owned(), |state| state.to_string());
        table.add_row([pages, state]);
    }
    lines(&table)
}

/// Lines of sixteen bytes; lines of zeros in a row are left out.
fn hex_text(bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut skipped = false;
    for (number, line) in bytes.chunks(16).enumerate() {
        let at = number * 16;
        if at >= HEADER_SIZE && line.iter().all(|byte| *byte == 0) {
            if !skipped {
                text += "  …\n";
            }
            skipped = true;
            continue;
        }
        skipped = false;
        let pairs: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let shown: String = line
            .iter()
            .map(
                |byte| {
                    if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' }
                },
            )
            .collect();
        text += &format!("  {at:05}  {}  {shown}\n", pairs.join(" "));
    }
    text
}
