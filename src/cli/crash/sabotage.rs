//! `aries crash sabotage`: rules broken on purpose, and the crashes that expose them.

use clap::Args;

use super::super::WrongUsage;
use super::named;
use crate::config::Sabotage;

#[derive(Args)]
#[command(after_help = "\
Examples:
  aries crash sabotage                         breaks each rule once; all must be found
  aries crash sabotage no-clr --explain        the rule, and the shortest crash that breaks it

With --json an array, an object for each: name, neutral, found, class, states, history, section.

Exit code 0 if every broken rule was found and nothing else, 1 if not, 2 for wrong usage. Needs the feature
`sabotage`: cargo run --release --features sabotage -- crash sabotage")]
pub struct Arguments {
    /// Only this one
    name: Option<String>,
    /// Tell the rule, and the crash that exposes it, line by line
    #[arg(long, requires = "name", conflicts_with = "json")]
    explain: bool,
    /// Most steps of a history
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(0..=6))]
    steps: u16,
    /// Threads; one for each processor by default
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Print an array of JSON objects
    #[arg(long)]
    json: bool,
}

fn wanted(name: Option<&str>) -> Result<Vec<Sabotage>, WrongUsage> {
    let Some(name) = name else { return Ok(Sabotage::ALL.to_vec()) };
    let found = named(name, Sabotage::ALL.iter().copied(), Sabotage::name);
    found.map(|one| vec![one]).map_err(|names| WrongUsage(format!("there is no {name:?}: {names}")))
}

/// Runs `aries crash sabotage`.
#[cfg(not(feature = "sabotage"))]
pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let Arguments { name, explain: _, steps: _, threads: _, json: _ } = arguments;
    wanted(name.as_deref())?;
    let how = "cargo run --release --features sabotage -- crash sabotage";
    let message = format!(
        "this program cannot break its rules: it was built without that feature; try `{how}`"
    );
    Err(WrongUsage(message).into())
}

#[cfg(feature = "sabotage")]
pub use hunting::run;

#[cfg(feature = "sabotage")]
mod hunting {
    use serde_json::{Value, json};

    use super::super::super::output::{lines, print, table};
    use super::super::super::progress::Waiting;
    use super::super::super::{DONE, SOMETHING_WRONG};
    use super::super::failure;
    use super::{Arguments, wanted};
    use crate::crash::{Hunted, expectation, hunt};
    use crate::demo::{grouped, wrapped};

    /// Runs `aries crash sabotage`.
    pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
        // What the engine asserts is part of what is found, and told then.
        std::panic::set_hook(Box::new(|_| {}));
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = arguments.threads.map_or(processors, usize::from);
        let (mut waiting, mut all) = (Waiting::begin(), Vec::new());
        let wanted = wanted(arguments.name.as_deref())?;
        for (number, sabotage) in (1..).zip(&wanted) {
            waiting.at(|| format!("{number} of {}: {}", wanted.len(), sabotage.name()));
            all.push(hunt(*sabotage, arguments.steps.into(), threads)?);
        }
        drop(waiting);
        if arguments.json {
            print(&format!("{:#}\n", Value::from(all.iter().map(to_json).collect::<Vec<_>>())));
        } else {
            print(&text(&all));
        }
        if let (true, [hunted]) = (arguments.explain, &all[..]) {
            print(&lesson(hunted)?);
        }
        Ok(if all.iter().all(expectation) { DONE } else { SOMETHING_WRONG })
    }

    fn to_json(hunted: &Hunted) -> Value {
        json!({
            "name": hunted.sabotage.name(),
            "neutral": hunted.sabotage.is_neutral(),
            "found": hunted.failure.is_some(),
            "class": hunted.class,
            "states": hunted.states,
            "history": hunted.failure.as_ref().map(|failure| failure.history.to_string()),
            "section": hunted.sabotage.paper_section(),
        })
    }

    fn text(all: &[Hunted]) -> String {
        let mut table = table(["broken", "section", "found", "states", "history"]);
        for hunted in all {
            let found = match (&hunted.failure, hunted.sabotage.is_neutral()) {
                (Some(_), _) => hunted.class.as_str(),
                (None, true) => "nothing: it breaks no rule",
                (None, false) => "NOT FOUND",
            };
            let history = hunted.failure.as_ref().map(|failure| failure.history.to_string());
            table.add_row([
                hunted.sabotage.name(),
                hunted.sabotage.paper_section().unwrap_or_default(),
                found,
                &grouped(hunted.states),
                &history.unwrap_or_default(),
            ]);
        }
        lines(&table)
    }

    fn lesson(hunted: &Hunted) -> anyhow::Result<String> {
        let section = hunted.sabotage.paper_section();
        let section = section.map(|section| format!(" (ARIES {section})")).unwrap_or_default();
        let rule = format!("{}{section}.", hunted.sabotage.rule());
        let crash = hunted.failure.as_ref().map(failure::text).transpose()?.unwrap_or_default();
        Ok(format!(
            "\n{}\n\nBroken, this is the shortest crash that shows it.\n\n{crash}",
            wrapped("The rule: ", &rule)
        ))
    }
}
