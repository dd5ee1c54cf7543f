//! Progress on standard error: one line that moves on a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};

/// How far a piece of work is.
pub struct Progress {
    bar: Option<ProgressBar>,
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

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
