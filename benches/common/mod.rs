//! What the benches share: words of the command line, and the middle of several measurements.
#![allow(dead_code, missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

/// `--name value` pairs of the command line. What Cargo adds by itself is passed over.
pub struct Arguments(BTreeMap<String, String>);

impl Arguments {
    pub fn read() -> Self {
        let words: Vec<String> = std::env::args().skip(1).collect();
        let pairs = words.windows(2).filter(|pair| pair[0].starts_with("--"));
        Self(pairs.map(|pair| (pair[0][2..].to_owned(), pair[1].clone())).collect())
    }

    /// The value of `--name`, or what it is by default.
    pub fn get<T: FromStr>(&self, name: &str, default: T) -> T {
        let Some(value) = self.0.get(name) else { return default };
        value.parse().unwrap_or_else(|_| panic!("--{name} {value} makes no sense"))
    }

    /// Where files are put: `--dir`, or the system's directory for temporary files.
    pub fn dir(&self) -> PathBuf {
        self.get("dir", std::env::temp_dir())
    }
}

/// Several measurements of one thing.
#[derive(Clone, Default)]
pub struct Sample(Vec<f64>);

impl Sample {
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
        self.0.sort_by(f64::total_cmp);
    }

    pub fn median(&self) -> f64 {
        self.0[self.0.len() / 2]
    }

    pub fn least(&self) -> f64 {
        self.0[0]
    }

    pub fn most(&self) -> f64 {
        self.0[self.0.len() - 1]
    }

    /// Median, least and most, as `1.23 (1.00 to 1.50)`.
    pub fn show(&self, decimals: usize) -> impl Display {
        let (least, median, most) = (self.least(), self.median(), self.most());
        format!("{median:.decimals$} ({least:.decimals$} to {most:.decimals$})")
    }
}
