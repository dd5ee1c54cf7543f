//! Links and anchors of Markdown documents.

use std::fs;
use std::path::Path;

use super::source::is_word;

/// The lines of a document that are not inside a fenced block, numbered.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_fence = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let is_fence = line.trim_start().starts_with("```");
        in_fence ^= is_fence;
        (!is_fence && !in_fence).then_some((index + 1, line))
    })
}

/// Targets of `[text](target)` and `[name]: target`, with their lines.
pub(super) fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        // Every second piece stands between backticks.
        let line: String = line.split('`').step_by(2).collect();
        let inline = line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
        found.extend(inline.map(|target| (number, target.to_owned())));
        let definition = line
            .strip_prefix('[')
            .filter(|rest| !rest.starts_with('^'))
            .and_then(|rest| rest.split_once("]: "));
        found.extend(definition.map(|(_, target)| (number, target.trim().to_owned())));
    }
    found
}

/// The anchors of a document's headings, as GitHub makes them.
pub(super) fn anchors(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for (_, line) in prose(text).filter(|(_, line)| line.starts_with('#')) {
        let heading = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        let anchor: String = heading.chars().filter(|c| is_word(*c) || *c == '-').collect();
        let repeated = |n: usize| if n == 0 { anchor.clone() } else { format!("{anchor}-{n}") };
        let free = (0..).map(repeated).find(|anchor| !found.contains(anchor));
        found.extend(free);
    }
    found
}

/// Links of the document at `path` that lead nowhere.
pub(super) fn broken_links(path: &Path, text: &str) -> Vec<String> {
    let mut broken = Vec::new();
    for (line, target) in links(text) {
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
        let file =
            if file.is_empty() { path.to_owned() } else { path.parent().unwrap().join(file) };
        let is_document = file.extension().is_some_and(|extension| extension == "md");
        let leads_somewhere = if anchor.is_empty() || !is_document {
            file.exists()
        } else if file == path {
            anchors(text).iter().any(|known| known == anchor)
        } else {
            fs::read_to_string(&file)
                .is_ok_and(|other| anchors(&other).iter().any(|known| known == anchor))
        };
        if !leads_somewhere {
            broken.push(format!("{}:{line}: {target} leads nowhere", path.display()));
        }
    }
    broken
}
