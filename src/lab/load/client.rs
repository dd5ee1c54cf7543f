//! One client: puts and gets its keys, one request after the other, and knows what they must hold.

use anyhow::{Context, ensure};
use axum::http::{Method, StatusCode};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::connection::{Answer, Connection};
use super::history::{Found, History};
use super::stores::Target;
use super::{Measured, Plan, Shared};
use crate::sync::{Arc, Ordering};
use crate::times::Times;

/// A request for many keys has as many, if their values come to no more than [`MOST_BYTES`].
const MOST_KEYS: usize = 100;
const MOST_BYTES: usize = 2_000_000;

pub struct Client {
    connection: Connection,
    keys: Vec<Key>,
    random: SmallRng,
    puts_per_cent: u32,
    value_bytes: usize,
    puts: Times,
    gets: Times,
}

struct Key {
    name: String,
    history: History,
}

impl Client {
    /// The client of this number. It begins with the key of the same number, and then passes over those of the others.
    pub fn new(plan: &Plan, target: &Target, number: usize) -> Self {
        let keys = (number..plan.keys).step_by(plan.clients).map(|key| Key {
            name: format!("load-{number:03}-{key:06}"),
            history: History::default(),
        });
        Self {
            connection: Connection::to(target.address, target.token.clone()),
            keys: keys.collect(),
            random: SmallRng::seed_from_u64(plan.seed.wrapping_add(1 + number as u64)),
            puts_per_cent: plan.puts_per_cent,
            value_bytes: plan.value_bytes,
            puts: Times::default(),
            gets: Times::default(),
        }
    }

    /// All that it does, from before the others begin until after they have ended.
    ///
    /// # Errors
    /// If a request is refused, or nobody answers for long.
    pub async fn live(mut self, shared: Arc<Shared>) -> anyhow::Result<Self> {
        self.prepare().await?;
        shared.all_are_ready.wait().await;
        while !shared.is_over.load(Ordering::Relaxed) {
            let key = self.random.random_range(0..self.keys.len());
            let answered = match self.random.random_ratio(self.puts_per_cent, 100) {
                true => self.put(key).await?,
                false => self.get(key).await?,
            };
            if answered {
                shared.requests.fetch_add(1, Ordering::Relaxed);
            } else {
                self.check().await?;
            }
        }
        self.check().await?;
        self.remove().await?;
        Ok(self)
    }

    /// Adds what it measured and knows to the rest.
    pub fn add_to(&self, measured: &mut Measured) {
        measured.puts.add(&self.puts);
        measured.gets.add(&self.gets);
        self.keys.iter().for_each(|key| measured.writes.add(key.history.tally()));
    }

    /// Puts all keys, so that there is something to get.
    async fn prepare(&mut self) -> anyhow::Result<()> {
        let bytes = self.value_bytes;
        let set = |key: &mut Key| {
            let value = value_of(&key.name, key.history.next(), bytes);
            json!({ "op": "set", "key": key.name, "value": value })
        };
        for keys in self.keys.chunks_mut(at_once(bytes)) {
            let operations: Vec<Value> = keys.iter_mut().map(set).collect();
            let answer = transaction(&mut self.connection, &operations).await?;
            answer.context("a store died before the test began")?;
            keys.iter_mut().for_each(|key| key.history.acknowledged());
        }
        Ok(())
    }

    /// Puts the next value; gives whether an answer came.
    async fn put(&mut self, key: usize) -> anyhow::Result<bool> {
        let Key { name, history } = &mut self.keys[key];
        let value = value_of(name, history.next(), self.value_bytes);
        let body = json!({ "key": name, "value": value });
        let answer = self.connection.ask(Method::POST, "/kv", Some(&body)).await?;
        let Some(answer) = answer else {
            history.unanswered();
            return Ok(false);
        };
        history.acknowledged();
        self.puts.record(answer.took);
        Ok(true)
    }

    /// Gets what must be there; gives whether an answer came.
    async fn get(&mut self, key: usize) -> anyhow::Result<bool> {
        let Key { name, history } = &mut self.keys[key];
        let path = format!("/kv/{name}");
        let Some(answer) = self.connection.ask(Method::GET, &path, None).await? else {
            return Ok(false);
        };
        self.gets.record(answer.took);
        history.found(match answer.status {
            StatusCode::NOT_FOUND => Found::Nothing,
            _ => found_in(&answer.json()?["value"], name, self.value_bytes),
        });
        Ok(true)
    }

    /// Asks for all keys, and compares what is there with what must be; over again if the store dies meanwhile.
    async fn check(&mut self) -> anyhow::Result<()> {
        for keys in self.keys.chunks_mut(at_once(self.value_bytes)) {
            let get = |key: &Key| json!({ "op": "get", "key": key.name });
            let operations: Vec<Value> = keys.iter().map(get).collect();
            let answer = loop {
                if let Some(answer) = transaction(&mut self.connection, &operations).await? {
                    break answer.json()?;
                }
            };
            let results = answer["results"].as_array().context("an answer without results")?;
            ensure!(
                results.len() == keys.len(),
                "an answer with other results than were asked for"
            );
            for (key, result) in keys.iter_mut().zip(results) {
                key.history.found(match result["found"] == true {
                    true => found_in(&result["value"], &key.name, self.value_bytes),
                    false => Found::Nothing,
                });
            }
        }
        Ok(())
    }

    /// Removes all keys: a lab that runs is as it was before.
    async fn remove(&mut self) -> anyhow::Result<()> {
        let delete = |key: &Key| json!({ "op": "delete", "key": key.name });
        for keys in self.keys.chunks(MOST_KEYS) {
            let operations: Vec<Value> = keys.iter().map(delete).collect();
            let answer = transaction(&mut self.connection, &operations).await?;
            answer.context("a store died after the test")?;
        }
        Ok(())
    }
}

/// So many keys are in one request for many.
fn at_once(value_bytes: usize) -> usize {
    (MOST_BYTES / value_bytes).clamp(1, MOST_KEYS)
}

async fn transaction(
    connection: &mut Connection,
    operations: &[Value],
) -> anyhow::Result<Option<Answer>> {
    let body = json!({ "operations": operations });
    connection.ask(Method::POST, "/txn", Some(&body)).await
}

/// The value of a write: its number, its key, and letters that differ from those of the write before, for the engine logs what differs.
fn value_of(key: &str, number: u64, bytes: usize) -> String {
    let mut value = format!("{number} {key} ");
    let first = usize::try_from(number % 26).unwrap_or(0);
    let letters = ('a'..='z').cycle().skip(first).take(bytes.saturating_sub(value.len()));
    value.extend(letters);
    value
}

/// Which write of this key put this value, byte by byte.
fn found_in(value: &Value, key: &str, bytes: usize) -> Found {
    let text = value.as_str().unwrap_or_default();
    match text.split(' ').next().and_then(|number| number.parse().ok()) {
        Some(number) if value_of(key, number, bytes) == text => Found::Write(number),
        _ => Found::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_tells_its_write() {
        let value = value_of("load-000-000007", 27, 100);
        assert_eq!(value.len(), 100);
        assert!(value.starts_with("27 load-000-000007 bcd"), "{value}");
        assert_eq!(found_in(&json!(value), "load-000-000007", 100), Found::Write(27));
        let changed = value.replace("def", "dxf");
        let others = [json!(changed), json!(&value[..99]), json!("27"), json!(27), json!(null)];
        for other in others {
            assert_eq!(found_in(&other, "load-000-000007", 100), Found::Other, "{other}");
        }
        assert_eq!(found_in(&json!(value), "load-000-000008", 100), Found::Other);
    }

    #[test]
    fn values_of_writes_in_a_row_differ_in_every_letter() {
        let [one, two] = [1, 2].map(|number| value_of("k", number, 60));
        assert_eq!(one.bytes().zip(two.bytes()).filter(|(one, two)| one == two).count(), 3);
    }

    #[test]
    fn long_values_are_asked_for_one_by_one() {
        assert_eq!([32, 20_000, 30_000, 1_000_000].map(at_once), [100, 100, 66, 2]);
    }
}
