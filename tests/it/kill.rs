//! Real processes, killed a hundred times, with the work they acknowledged counted outside of them.

use crate::demo::demo_json;

const KILLS_OVER_EACH_DISK: usize = 50;

#[test]
fn a_hundred_killed_processes_lose_nothing_that_they_acknowledged() {
    let report = demo_json(&["--rounds", &KILLS_OVER_EACH_DISK.to_string(), "--clients", "4"]);
    assert_eq!(report["kills"], 2 * KILLS_OVER_EACH_DISK, "{report:#}");
    assert_eq!(report["lost"], 0, "{report:#}");
    assert_eq!(report["sum_ok"], true, "{report:#}");
    assert_eq!(report["ok"], true, "{report:#}");
    let restarts = report["restart"].as_array().unwrap();
    for disk in ["files", "held-back"] {
        let of_disk = restarts.iter().filter(|restart| restart["disk"] == disk);
        assert_eq!(of_disk.clone().count(), KILLS_OVER_EACH_DISK);
        let sum = |phase: &str, what: &str| -> u64 {
            of_disk.clone().map(|restart| restart[phase][what].as_u64().unwrap()).sum()
        };
        // Kills that hit nobody in the middle of a transfer would show nothing.
        assert!(sum("undo", "losers") > 0, "no loser was undone over {disk}");
        assert!(sum("redo", "redone") > 0, "nothing was redone over {disk}");
    }
}
