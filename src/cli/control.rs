//! `aries control`.

use clap::Args;
use serde_json::{Map, Value, json};

use super::output::{lines, lsn, print, table};
use super::{Asked, DONE, SOMETHING_WRONG};
use crate::db::control_file;
use crate::disk::OverlayDisk;
use crate::ids::Lsn;
use crate::log::{MasterRecord, SlotState, newest_slot, read_slots};

const EXAMPLES: &str = "\
Examples:
  aries control bank
  aries control bank --json | jq '.slots[.counts].checkpoint_lsn'

It changes nothing, and may be run while the database is open elsewhere.
Exit code 0 if both slots are whole, 1 if one is damaged, 2 for wrong usage.
";

const SHAPE: &str = "\
The JSON object (nil is null):
  version   of this shape: 1
  counts    the slot that counts, 0 or 1: the newest that is whole; null if neither is
  slots     two objects, in order:
    state           valid, other_version, damaged
    format_version  of a slot of another version
    and of a valid one: database_id (32 hexadecimal digits), page_size, segment_bytes, sequence,
    epoch, checkpoint_lsn, checkpoint_epoch, oldest_required_lsn, clean_end_lsn, in_place_only,
    pages, complete_from_lsn";

/// Shows the control file: both slots of the master record, and which of them counts.
#[derive(Args)]
#[command(after_long_help = format!("{EXAMPLES}\n{SHAPE}"), after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    asked: Asked,
}

/// A field of the master record: name, value for programs, value for people, what it means.
type Line = (&'static str, Value, String, &'static str);

fn fields(master: &MasterRecord) -> Vec<Line> {
    let number = |number: u64| (Value::from(number), number.to_string());
    let position = |at: Option<Lsn>| (at.map_or(Value::Null, |at| Value::from(at.get())), lsn(at));
    let id = format!("{:032x}", master.database_id);
    let in_place = (master.in_place_only.into(), master.in_place_only.to_string());
    let line = |name, (json, text), meaning| (name, json, text, meaning);
    vec![
        line("database_id", (id.clone().into(), id), "ties the files together"),
        line("page_size", number(master.page_size.into()), "bytes of a page"),
        line("segment_bytes", number(master.segment_bytes), "bytes of a log segment"),
        line("sequence", number(master.sequence), "counts changes: the newest slot counts"),
        line("epoch", number(master.epoch), "of the current or latest run"),
        line(
            "checkpoint_lsn",
            position(Some(master.checkpoint_lsn)),
            "where analysis starts: the last complete checkpoint",
        ),
        line("checkpoint_epoch", number(master.checkpoint_epoch), "the epoch of that record"),
        line(
            "oldest_required_lsn",
            position(Some(master.oldest_required_lsn)),
            "the log before it is not needed",
        ),
        line(
            "clean_end_lsn",
            position(master.clean_end_lsn),
            "end of the log if the database was closed",
        ),
        line("in_place_only", in_place, "pages are written past the double-write file"),
        line("pages", number(master.pages), "pages in the file"),
        line(
            "complete_from_lsn",
            position(master.complete_from_lsn),
            "before it pages were changed without a log",
        ),
    ]
}

/// Runs the command; gives the exit code.
///
/// # Errors
/// What keeps the control file from being read.
pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let disk = OverlayDisk::over_directory_in_use(&arguments.asked.directory)?;
    let (slots, _) = read_slots(control_file(&disk)?.as_ref())?;
    let counts = newest_slot(&slots);
    if arguments.asked.json {
        let slots: Vec<Value> = slots.iter().map(slot_json).collect();
        print(&format!("{:#}\n", json!({ "version": 1, "counts": counts, "slots": slots })));
    } else {
        print(&text(&slots, counts));
    }
    let whole = slots.iter().all(|slot| matches!(slot, SlotState::Valid(_)));
    Ok(if whole { DONE } else { SOMETHING_WRONG })
}

fn slot_json(slot: &SlotState) -> Value {
    match slot {
        SlotState::Valid(master) => {
            let fields = fields(master).into_iter().map(|(name, json, ..)| (name.to_owned(), json));
            let state = ("state".to_owned(), "valid".into());
            Value::Object([state].into_iter().chain(fields).collect::<Map<_, _>>())
        }
        SlotState::OtherVersion(version) => {
            json!({ "state": "other_version", "format_version": version })
        }
        SlotState::Damaged => json!({ "state": "damaged" }),
    }
}

fn text(slots: &[SlotState; 2], counts: Option<usize>) -> String {
    let values: Vec<Vec<Line>> = slots
        .iter()
        .map(|slot| if let SlotState::Valid(master) = slot { fields(master) } else { Vec::new() })
        .collect();
    let mut table = table(["", "slot 0", "slot 1", ""]);
    let states = [0, 1].map(|slot| match slots[slot] {
        SlotState::Valid(_) if counts == Some(slot) => "valid, counts".to_owned(),
        SlotState::Valid(_) => "valid".to_owned(),
        SlotState::OtherVersion(version) => format!("format version {version}"),
        SlotState::Damaged => "damaged".to_owned(),
    });
    table.add_row(["state", &states[0], &states[1], ""]);
    let known = values.iter().find(|values| !values.is_empty());
    for (at, (name, .., meaning)) in known.into_iter().flatten().enumerate() {
        let value = |slot: usize| values[slot].get(at).map_or("", |line| line.2.as_str());
        table.add_row([name, value(0), value(1), *meaning]);
    }
    let mut text = lines(&table);
    if counts.is_none() {
        text += "Neither slot can be believed: the database cannot be opened.\n";
    }
    text
}
