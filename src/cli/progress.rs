//! Progress on standard error: one line that moves on a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// A long piece of work is told in so many steps.
const STEPS: u64 = 20;

/// Work on fewer things is over before anybody wonders: nothing is told.
const MANY: u64 = 1000;

/// How far a piece of work is.
pub struct Progress {
    bar: Option<ProgressBar>,
}

/// How far a piece of work on many things is: told in [`STEPS`] steps, if there are [`MANY`].
pub struct Counting {
    progress: Progress,
    of: u64,
    steps: u64,
    what: &'static str,
    told: u64,
}

impl Counting {
    /// So many things are done.
    pub fn done(&mut self, count: u64) {
        let step = count.saturating_mul(self.steps) / self.of.max(1);
        if step > self.told {
            self.told = step;
            self.progress.step(format!("{count} of {} {}", self.of, self.what));
        }
    }
}

impl Progress {
    /// Begins a piece of work of that many steps.
    pub fn begin(steps: u64) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("   {bar:24} {pos}/{len}  {wide_msg}")
                .expect("the template is well-formed");
            ProgressBar::new(steps).with_style(style)
        });
        Self { bar }
    }

    /// Begins work on so many things; `what` is said behind their number.
    pub fn of(count: u64, what: &'static str) -> Counting {
        let steps = if count < MANY { 0 } else { STEPS };
        Counting { progress: Self::begin(steps), of: count, steps, what, told: 0 }
    }

    /// A step is done.
    pub fn step(&self, message: String) {
        match &self.bar {
            Some(bar) => {
                bar.set_message(message);
                bar.inc(1);
            }
            // Who closed standard error does not want to hear.
            None => drop(writeln!(io::stderr(), "   {message}")),
        }
    }
}

/// A piece of work whose length nobody knows: told once it has taken a second, and each second again; where nobody
/// looks on, each ten seconds.
pub struct Waiting {
    bar: Option<ProgressBar>,
    told: Instant,
    every: Duration,
}

impl Waiting {
    /// Begins.
    pub fn begin() -> Self {
        Self { bar: None, told: Instant::now(), every: Duration::from_secs(1) }
    }

    /// How far it is; `message` is asked for only if it will be told.
    pub fn at(&mut self, message: impl FnOnce() -> String) {
        if self.told.elapsed() < self.every {
            return;
        }
        self.told = Instant::now();
        if io::stderr().is_terminal() {
            self.bar.get_or_insert_with(ProgressBar::new_spinner).set_message(message());
        } else {
            self.every = Duration::from_secs(10);
            drop(writeln!(io::stderr(), "   {}", message()));
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
