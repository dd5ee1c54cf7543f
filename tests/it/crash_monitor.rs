//! The write-ahead monitor: it names each wrong order that is made by hand, and each that a broken rule makes the engine
//! take, without any crash; and it says nothing where all is in order.

mod by_hand;
mod killed;

use aries::config::{LogBlock, TornPageProtection};
use aries::crash::{Bounds, Level, Setting, Vocabulary, out_of_order};
use aries::disk::SectorSize;

const BOUNDS: Bounds = Bounds { transactions: 3, pages: 2, vocabulary: Vocabulary::Records };

/// All levels of what a power failure may do, with all protections, and a log with large blocks.
fn settings() -> Vec<Setting> {
    use TornPageProtection::{DoubleWrite, None, PageImages};
    let of = |level: Level| {
        [DoubleWrite, PageImages, None]
            .map(|protection| level.setting(protection, SectorSize::Bytes512))
    };
    let mut settings: Vec<Setting> = Level::ALL.into_iter().flat_map(of).collect();
    let large = Level::L2.setting(DoubleWrite, SectorSize::Bytes4096);
    settings.extend([large, Setting { log_block: LogBlock::Padded(4096), ..settings[0] }]);
    settings
}

#[test]
fn a_sound_engine_keeps_the_order() {
    for setting in settings() {
        assert_eq!(out_of_order(setting, BOUNDS, 0..=3).unwrap(), None, "{setting:?}");
    }
}

#[cfg(feature = "sabotage")]
mod broken {
    use aries::config::{Broken, Sabotage};
    use aries::crash::{Clause, Explorer, Kind, OrderRule, Plan, minimised, replay};

    use super::*;

    /// Each rule of order that the engine can break, and what the monitor calls it.
    #[test]
    fn each_broken_rule_of_order_is_named() {
        for (sabotage, rule) in [
            (Sabotage::PageBeforeLog, OrderRule::LogBeforePage),
            (Sabotage::CommitBeforeForce, OrderRule::ForceAtCommit),
            (Sabotage::MasterBeforeForce, OrderRule::MasterAfterCheckpoint),
            (Sabotage::MasterAtEnd, OrderRule::MasterAfterCheckpoint),
            (Sabotage::NoDoubleWrite, OrderRule::WholeElsewhere),
            (Sabotage::CleanBeforeSync, OrderRule::CleanWhenDurable),
        ] {
            let sound = Level::L0.setting(TornPageProtection::DoubleWrite, SectorSize::Bytes512);
            let setting = Setting { broken: Broken::rule(sabotage), ..sound };
            let found = out_of_order(setting, BOUNDS, 0..=3).unwrap();
            let (history, found) =
                found.unwrap_or_else(|| panic!("{} is not seen", sabotage.name()));
            assert_eq!(found.rule, rule, "{}: {history}: {found}", sabotage.name());
            assert!(history.0.len() <= 2, "{}: {history}", sabotage.name());
            if rule.paper_section().is_some() {
                assert_eq!(rule.paper_section(), sabotage.paper_section());
            }
        }
    }

    /// The explorer tells it too, and a replay shows it again. On a disk that tears no sectors no crash could.
    #[test]
    fn the_explorer_is_watched() {
        let broken = Broken::rule(Sabotage::NoDoubleWrite);
        let sound = Level::L0.setting(TornPageProtection::DoubleWrite, SectorSize::Bytes512);
        let setting = Setting { broken, ..sound };
        let plan = Plan {
            setting,
            bounds: BOUNDS,
            kind: Kind::Crashes,
            depth: 0,
            kills: true,
            shard: 0,
            shards: 1,
            threads: 2,
        };
        let failure = Explorer::new(plan).unwrap().run(0..=2).unwrap();
        assert_eq!(failure.violation.clause, Clause::Order);
        assert!(
            failure.violation.found.starts_with(OrderRule::WholeElsewhere.rule()),
            "{failure:?}"
        );
        let least = minimised(&failure).unwrap();
        assert_eq!(least.violation, failure.violation);
        assert_eq!(replay(&least).unwrap().violation, Some(failure.violation));
        assert_eq!(Explorer::new(plan).unwrap().without_monitor().run(0..=2), None);
    }

    /// What breaks no rule, and what breaks none of order.
    #[test]
    fn nothing_else_is_told() {
        for sabotage in Sabotage::ALL.iter().filter(|sabotage| sabotage.is_neutral()) {
            for setting in settings() {
                let setting = Setting { broken: Broken::rule(*sabotage), ..setting };
                assert_eq!(
                    out_of_order(setting, BOUNDS, 0..=3).unwrap(),
                    None,
                    "{}",
                    sabotage.name()
                );
            }
        }
    }
}
