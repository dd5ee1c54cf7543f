//! What `aries lab load` prints.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::bench::{IN_MEMORY, time, whole};
use super::super::output::{bar, lines, table};
use super::name;
use crate::demo::{grouped, wrapped};
use crate::lab::load::{Measured, Plan};
use crate::times::Times;

/// Of a thousand requests, how many took no longer.
const SHARES: [(&str, u64); 4] = [("p50", 500), ("p90", 900), ("p99", 990), ("p999", 999)];
/// The longest bar of a histogram.
const BAR_COLUMNS: usize = 24;

/// Something that the log adds, in per cent of what there is without; nothing if there is nothing without.
fn added(with: f64, without: f64) -> Option<f64> {
    (without > 0.0 && with > 0.0).then(|| (with - without) * 100.0 / without)
}

/// The store with the log, and the one without.
fn both(all: &[Measured]) -> Option<(&Measured, &Measured)> {
    let find = |with_log| all.iter().find(|one| one.with_log == with_log);
    find(true).zip(find(false))
}

/// What the log adds to this share of puts, or of gets.
fn added_to(with: &Times, without: &Times, share: u64) -> Option<f64> {
    let [with, without] = [with, without].map(|times| micros(times.of_thousand(share)));
    added(with, without)
}

type Kind = (&'static str, fn(&Measured) -> &Times);
const KINDS: [Kind; 2] = [("puts", |one| &one.puts), ("gets", |one| &one.gets)];

/// All of it as JSON.
pub fn to_json(plan: &Plan, all: &[Measured], in_memory: Option<bool>) -> Value {
    json!({
        "version": 1,
        "ok": all.iter().all(Measured::is_sound),
        "in_memory": in_memory,
        "clients": plan.clients,
        "seconds": plan.duration.as_secs_f64(),
        "puts_per_cent": plan.puts_per_cent,
        "keys": plan.keys,
        "value_bytes": plan.value_bytes,
        "crashes": plan.crashes,
        "seed": plan.seed,
        "stores": all.iter().map(store_json).collect::<Vec<_>>(),
        "log_adds": both(all).map(|(with, without)| added_json(with, without)),
    })
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}

fn store_json(one: &Measured) -> Value {
    let mut store = json!({
        "log": one.with_log,
        "seconds": one.elapsed.as_secs_f64(),
        "requests": one.requests(),
        "rate": one.rate_of(one.requests()),
        "away": one.away.iter().copied().map(micros).collect::<Vec<_>>(),
        "acknowledged": one.writes.acknowledged,
        "in_doubt": one.writes.in_doubt,
        "lost": one.writes.lost,
        "strange": one.writes.strange,
    });
    for (kind, times_of) in KINDS {
        let times = times_of(one);
        let bucket = |(up_to, count)| json!({ "up_to": micros(up_to), "count": count });
        store[kind] = json!({
            "count": times.count(),
            "rate": one.rate_of(times.count()),
            "longest": micros(times.longest()),
            "histogram": times.buckets().map(bucket).collect::<Vec<_>>(),
        });
        for (name, share) in SHARES {
            store[kind][name] = micros(times.of_thousand(share)).into();
        }
    }
    store
}

fn added_json(with: &Measured, without: &Measured) -> Value {
    let rate = |one: &Measured, requests| one.rate_of(requests);
    let all = added(rate(with, with.requests()), rate(without, without.requests()));
    let mut adds = json!({ "rate": all });
    for (kind, times_of) in KINDS {
        let [with_times, without_times] = [with, without].map(times_of);
        let rates = [(with, with_times), (without, without_times)];
        let [with_rate, without_rate] = rates.map(|(one, times)| rate(one, times.count()));
        adds[kind] = json!({ "rate": added(with_rate, without_rate) });
        for (name, share) in SHARES {
            adds[kind][name] = added_to(with_times, without_times, share).into();
        }
    }
    adds
}

/// All of it for people.
pub fn text(plan: &Plan, all: &[Measured], in_memory: Option<bool>) -> String {
    let Plan { clients, puts_per_cent: puts, value_bytes, .. } = *plan;
    let [seconds, keys] = [plan.duration.as_secs_f64(), plan.keys as f64];
    let heading = format!(
        "{clients} clients at each store for {seconds} s, each with one request at a time: {puts} % puts of {} bytes, {} % gets, {} keys.",
        grouped(value_bytes as i128),
        100 - puts,
        whole(keys),
    );
    let mut text = format!("{}\n{}", wrapped("", &heading), requests_table(all));
    if let Some((with, without)) = both(all) {
        text += &format!("\n{}", added_table(with, without));
    }
    let (kind, times_of) = KINDS[usize::from(puts == 0)];
    text += &format!("\nHow long {kind} took:\n\n{}", histogram(all, times_of));
    text += &format!("\n{}\n{}", writes_table(all), verdict(all));
    if in_memory == Some(true) {
        text += &format!("\n{IN_MEMORY}\n");
    }
    text
}

fn requests_table(all: &[Measured]) -> String {
    let mut table =
        table(["store", "", "answered", "a second", "p50", "p90", "p99", "p99.9", "longest"]);
    for one in all {
        for (kind, times_of) in KINDS {
            let times = times_of(one);
            if times.count() == 0 {
                continue;
            }
            let counts = [grouped(times.count()), whole(one.rate_of(times.count()))];
            let shares = SHARES.map(|(_, share)| time(times.of_thousand(share)));
            let row = [name(one.with_log).to_owned(), kind.to_owned()].into_iter().chain(counts);
            table.add_row(row.chain(shares).chain([time(times.longest())]));
        }
    }
    lines(&table)
}

fn added_table(with: &Measured, without: &Measured) -> String {
    let mut table = table(["the log adds", "p50", "p90", "p99", "p99.9", "to requests a second"]);
    let adds = added_json(with, without);
    let figure = |adds: &Value| {
        adds.as_f64().map_or_else(|| "-".to_owned(), |per_cent| format!("{per_cent:+.0} %"))
    };
    for (kind, times_of) in KINDS {
        if times_of(with).count() == 0 {
            continue;
        }
        let shares = SHARES.map(|(name, _)| figure(&adds[kind][name]));
        let row = [format!("to {kind}")].into_iter().chain(shares);
        table.add_row(row.chain([figure(&adds["rate"])]));
    }
    lines(&table)
}

/// The upper bounds of the lines of a histogram: 1, 2, 5, 10, 20, 50, … µs.
fn bounds() -> impl Iterator<Item = Duration> {
    let powers = (0..8).map(|power| 10_u64.pow(power));
    powers.flat_map(|power| [1, 2, 5].map(|digit| Duration::from_micros(power * digit)))
}

/// How many of them took no longer than each bound, and longer than the bound before.
fn counts(times: &Times) -> Vec<u64> {
    let mut counts = vec![0; bounds().count()];
    for (longest, count) in times.buckets() {
        let line = bounds().position(|bound| longest <= bound).unwrap_or(counts.len() - 1);
        counts[line] += count;
    }
    counts
}

/// Bars of all stores side by side, in 80 columns: a bar says how large a part of the store's own requests took so long.
fn histogram(all: &[Measured], times_of: fn(&Measured) -> &Times) -> String {
    let parts_of_a_million = |one: &Measured| {
        let times = times_of(one);
        let part = |count: u64| (count * 1_000_000).div_ceil(times.count().max(1));
        counts(times).into_iter().map(part).collect()
    };
    let stores: Vec<Vec<u64>> = all.iter().map(parts_of_a_million).collect();
    let most = stores.iter().flatten().copied().max().unwrap_or(0).max(1);
    let is_empty = |line: usize| stores.iter().all(|parts| parts[line] == 0);
    let first = (0..bounds().count()).find(|line| !is_empty(*line)).unwrap_or(0);
    let last = (0..bounds().count()).rfind(|line| !is_empty(*line)).unwrap_or(0);
    let names = all.iter().map(|one| format!("{:<1$}", name(one.with_log), BAR_COLUMNS + 9));
    let mut text = format!("              {}\n", names.collect::<String>().trim_end());
    for (line, bound) in bounds().enumerate().take(last + 1).skip(first) {
        let columns = stores.iter().map(|parts| match parts[line] {
            0 => " ".repeat(BAR_COLUMNS + 9),
            part => {
                let eighths = (part * 8 * BAR_COLUMNS as u64).div_ceil(most);
                let bar = bar(usize::try_from(eighths).unwrap_or(0));
                format!("{bar:<BAR_COLUMNS$}{:>6.1} % ", part as f64 / 1e4)
            }
        });
        let bound = short(bound);
        let line = format!(" up to {bound:>6} {}", columns.collect::<String>());
        text += &format!("{}\n", line.trim_end());
    }
    text
}

/// A bound in as few characters as it takes.
fn short(bound: Duration) -> String {
    match bound.as_micros() {
        micros @ 0..1000 => format!("{micros} µs"),
        micros @ 1000..1_000_000 => format!("{} ms", micros / 1000),
        micros => format!("{} s", micros / 1_000_000),
    }
}

fn writes_table(all: &[Measured]) -> String {
    let header = ["store", "crashes", "away, mean", "longest", "acknowledged", "in doubt", "lost"];
    let mut table = table(header);
    for one in all {
        let crashes = u32::try_from(one.away.len()).unwrap_or(u32::MAX);
        let mean = one.away.iter().sum::<Duration>().checked_div(crashes);
        let longest = one.away.iter().copied().max();
        let away = [mean, longest].map(|away: Option<Duration>| away.map_or("-".to_owned(), time));
        let crashes = [name(one.with_log).to_owned(), crashes.to_string()];
        let writes = [one.writes.acknowledged, one.writes.in_doubt, one.writes.lost].map(grouped);
        table.add_row(crashes.into_iter().chain(away).chain(writes));
    }
    lines(&table)
}

fn verdict(all: &[Measured]) -> String {
    let mut text = String::new();
    for one in all {
        let lost = grouped(one.writes.lost);
        text += &match (one.with_log, one.writes.lost) {
            (true, 0) => "With the log every acknowledged write was there.\n".to_owned(),
            (true, _) => {
                wrapped("WRONG: ", &format!("with the log {lost} acknowledged writes are lost."))
            }
            (false, 0) => {
                "Without a log every acknowledged write was there, as nothing crashed after it.\n"
                    .to_owned()
            }
            (false, _) => format!("Without a log {lost} acknowledged writes are lost.\n"),
        };
        if one.writes.strange > 0 {
            let (store, strange) = (name(one.with_log), grouped(one.writes.strange));
            let fault = format!(
                "{store} values were found {strange} times that nobody put, or that had been gone."
            );
            text += &wrapped("WRONG: ", &fault);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::lab::load::Tally;

    fn store(with_log: bool, lost: u64, microseconds: &[u64]) -> Measured {
        let mut puts = Times::default();
        microseconds.iter().for_each(|time| puts.record(Duration::from_micros(*time)));
        Measured {
            with_log,
            elapsed: Duration::from_secs(3),
            away: vec![Duration::from_millis(500), Duration::from_millis(1500)],
            puts,
            gets: Times::default(),
            writes: Tally { acknowledged: 9, in_doubt: 1, lost, strange: 0 },
        }
    }

    const PLAN: Plan = Plan {
        clients: 2,
        duration: Duration::from_secs(3),
        puts_per_cent: 100,
        keys: 10,
        value_bytes: 100,
        crashes: 2,
        seed: 1,
    };

    #[test]
    fn what_the_log_adds_is_in_per_cent_of_what_there_is_without() {
        let all = [store(true, 0, &[300, 300, 300]), store(false, 5, &[100, 100, 100, 100])];
        let json = to_json(&PLAN, &all, Some(false));
        let adds = &json["log_adds"];
        assert_eq!((&adds["rate"], &adds["puts"]["p50"]), (&json!(-25.0), &json!(200.0)));
        assert_eq!(adds["gets"]["p50"], Value::Null);
        // It was away for two seconds of three.
        assert_eq!(json["stores"][0]["rate"], 3.0);
        assert_eq!((&json["ok"], &json["stores"][1]["lost"]), (&json!(true), &json!(5)));
        assert!(text(&PLAN, &all, Some(false)).contains("+200 %"));
    }

    #[test]
    fn only_what_is_lost_with_the_log_is_wrong() {
        let sound = [store(true, 0, &[1]), store(false, 5, &[1])];
        assert!(!text(&PLAN, &sound, None).contains("WRONG"));
        let unsound = [store(true, 1, &[1]), store(false, 0, &[1])];
        assert_eq!(to_json(&PLAN, &unsound, None)["ok"], false);
        assert!(text(&PLAN, &unsound, None).contains("WRONG: with the log 1 acknowledged"));
        let mut strange = sound;
        strange[1].writes.strange = 1;
        assert_eq!(to_json(&PLAN, &strange, None)["ok"], false);
        assert!(text(&PLAN, &strange, None).contains("WRONG: without a log values"));
    }

    #[test]
    fn a_histogram_counts_each_time_once() {
        let all = [store(true, 0, &[40, 90, 90, 700_000_000]), store(false, 0, &[110, 1_900])];
        assert_eq!(counts(&all[0].puts).iter().sum::<u64>(), 4);
        let bars = histogram(&all[..1], KINDS[0].1);
        let lines: Vec<&str> = bars.lines().collect();
        assert!(lines[1].starts_with(" up to  50 µs ") && lines[1].ends_with("25.0 %"), "{bars}");
        assert!(lines[2].starts_with(" up to 100 µs ") && lines[2].ends_with("50.0 %"), "{bars}");
        assert!(lines.last().unwrap().starts_with(" up to   50 s "), "{bars}");
        let bars = histogram(&all[1..], KINDS[0].1);
        assert!(bars.contains(" up to 200 µs ") && bars.contains(" up to   2 ms "), "{bars}");
        assert!(bars.lines().all(|line| line.chars().count() <= 80));
    }
}
