//! Who crashes a store.

use std::time::Duration;

use anyhow::bail;
use axum::http::Method;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{Instant, sleep_until};

use super::connection::Connection;
use super::stores::Target;
use super::{Plan, Shared};
use crate::sync::Ordering;

/// Crashes the store as often as is planned, and waits each time until it answers again; gives how long that took.
///
/// # Errors
/// If it cannot be crashed, or does not come back.
pub async fn crash(plan: &Plan, target: &Target, shared: &Shared) -> anyhow::Result<Vec<Duration>> {
    let began = Instant::now();
    let mut connection = Connection::to(target.address, target.token.clone());
    let mut away = Vec::new();
    for moment in moments(plan) {
        sleep_until(began + moment).await;
        let crashed = Instant::now();
        if connection.ask(Method::POST, "/admin/crash", None).await?.is_some() {
            bail!("{} has answered instead of crashing", target.address);
        }
        shared.crashes.fetch_add(1, Ordering::Relaxed);
        while connection.ask(Method::GET, "/health", None).await?.is_none() {}
        away.push(crashed.elapsed());
    }
    Ok(away)
}

/// When it is crashed: the time is cut into equal parts, and in each there is one moment, anywhere.
fn moments(plan: &Plan) -> Vec<Duration> {
    let mut random = SmallRng::seed_from_u64(plan.seed);
    let part = plan.duration / plan.crashes.max(1);
    (0..plan.crashes).map(|number| part * number + part.mul_f64(random.random())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_the_time_has_its_crash() {
        let plan = Plan {
            clients: 1,
            duration: Duration::from_secs(60),
            puts_per_cent: 80,
            keys: 1,
            value_bytes: 100,
            crashes: 12,
            seed: 3,
        };
        let found = moments(&plan);
        assert_eq!(found.len(), 12);
        for (number, moment) in (0..).zip(&found) {
            let part = Duration::from_secs(5);
            assert!((part * number..part * (number + 1)).contains(moment), "{found:?}");
        }
        assert_eq!(found, moments(&plan));
        assert_ne!(found, moments(&Plan { seed: 4, ..plan.clone() }));
        assert_eq!(moments(&Plan { crashes: 0, ..plan }), []);
    }
}
