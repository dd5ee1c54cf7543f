//! A recorded run as one HTML file that opens without a server, and without a network.
//!
//! The modules that show a run stand in it one behind the other, without their imports and exports, in [`ORDER`]; then the names that
//! they import are there. (Their names at the top level are unique, which a test of the page sees to.) The page's own download does the same, in `page/one-file.js`.

use serde_json::Value;

use super::site::page_file;

/// A module stands behind those that it imports.
const ORDER: &[&str] = &[
    "dom.js",
    "terms.js",
    "tape.js",
    "record-card.js",
    "pages.js",
    "run.js",
    "explain.js",
    "player.js",
    "replay.js",
    "standalone.js",
];

/// The file may talk to nobody.
const POLICY: &str =
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:";

/// The file for a run, as [`Recording::of`](super::Recording::of) gives it.
#[must_use]
pub fn one_file(recorded: &Value) -> String {
    let modules: Vec<String> = ORDER.iter().map(|name| without_imports(page_file(name))).collect();
    let (style, run, modules) = (page_file("style.css"), safe(recorded), modules.join("\n"));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <title>ARIES: a restart, step by step</title>\n<style>\n{style}\n</style>\n</head>\n<body>\n\
         <noscript>This lesson is a small program; it needs JavaScript.</noscript>\n\
         <script type=\"application/json\" id=\"recorded-run\">{run}</script>\n\
         <script type=\"module\">\n{modules}\n</script>\n</body>\n</html>\n"
    )
}

fn without_imports(module: &str) -> String {
    let lines = module.lines().filter(|line| !line.starts_with("import "));
    let lines = lines.map(|line| line.strip_prefix("export ").unwrap_or(line));
    lines.collect::<Vec<_>>().join("\n")
}

/// JSON in which nothing ends the element that it stands in.
fn safe(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_text_of_a_run_ends_its_element() {
        let file = one_file(&json!({ "script": "# </script><script>alert(1)</script>" }));
        assert_eq!(file.matches("</script>").count(), 2);
        assert!(file.contains("\\u003c/script>"));
    }

    /// The page's download puts the same modules together.
    #[test]
    fn the_order_is_that_of_the_page() {
        let page = page_file("one-file.js");
        let (_, list) = page.split_once("ORDER = [").expect("its list");
        let (list, _) = list.split_once(']').expect("the end of the list");
        let names: Vec<&str> = list.split('"').filter(|part| part.ends_with(".js")).collect();
        assert_eq!(names, ORDER);
    }

    #[test]
    fn a_module_stands_behind_what_it_imports() {
        for (at, name) in ORDER.iter().enumerate() {
            let imports = page_file(name).lines().filter(|line| line.starts_with("import "));
            for import in imports.filter_map(|line| line.split('"').nth(1)) {
                let import = import.trim_start_matches("./");
                assert!(ORDER[..at].contains(&import), "{name} imports {import}");
            }
        }
    }
}
