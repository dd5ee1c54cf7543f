//! Source files, cut into tokens and paths.

/// One source file.
pub(super) struct Source {
    /// From the root of the repository, with `/`.
    pub(super) path: String,
    pub(super) text: String,
    pub(super) tokens: Vec<Token>,
}

/// An identifier, a number, or one character of punctuation. Comments and literals are left out.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Token {
    pub(super) line: usize,
    pub(super) text: String,
}

impl Source {
    pub(super) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), tokens: tokens(text) }
    }

    pub(super) fn complain(&self, line: usize, what: impl std::fmt::Display) -> String {
        format!("{}:{line}: {what}", self.path)
    }

    /// The top-level module this file belongs to; none for the roots of the crates.
    pub(super) fn module(&self) -> Option<&str> {
        let inner = self.path.strip_prefix("src/")?;
        let module = inner.split('/').next()?.trim_end_matches(".rs");
        (!matches!(module, "lib" | "main")).then_some(module)
    }

    /// How many `super` lead from the outermost code of this file to the root of the crate.
    pub(super) fn depth(&self) -> usize {
        self.path.matches('/').count() - usize::from(self.path.ends_with("/mod.rs"))
    }
}

fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let (mut at, mut line, mut found) = (0, 1, Vec::new());
    while at < chars.len() {
        let end = match skipped(&chars, at) {
            Some(end) => end,
            None => {
                let end = at + 1 + chars[at + 1..].iter().take_while(|c| is_word(**c)).count();
                let end = if is_word(chars[at]) { end } else { at + 1 };
                found.push(Token { line, text: chars[at..end].iter().collect() });
                end
            }
        };
        line += chars[at..end].iter().filter(|c| **c == '\n').count();
        at = end;
    }
    found
}

pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The end of the space, comment or literal that begins at `at`, if one does.
fn skipped(chars: &[char], at: usize) -> Option<usize> {
    let rest = &chars[at..];
    let length = match rest {
        [c, ..] if c.is_whitespace() => 1,
        ['/', '/', ..] => rest.iter().take_while(|c| **c != '\n').count(),
        ['/', '*', ..] => block_comment(rest),
        ['"', ..] => quoted(rest, '"'),
        ['\'', '\\', ..] | ['\'', _, '\'', ..] => quoted(rest, '\''),
        ['r' | 'b' | 'c', ..] => prefixed(rest)?,
        _ => return None,
    };
    Some(at + length)
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] if depth == 1 => return at + 2,
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    rest.len()
}

fn quoted(rest: &[char], quote: char) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// `b'x'`, `b"…"`, `c"…"`, `r"…"`, `r#"…"#`, `br#"…"#`.
fn prefixed(rest: &[char]) -> Option<usize> {
    let prefix = rest.iter().take_while(|c| matches!(c, 'r' | 'b' | 'c')).count();
    let hashes = rest[prefix..].iter().take_while(|c| **c == '#').count();
    let quote = *rest.get(prefix + hashes)?;
    let body = prefix + hashes;
    if prefix > 2 || !(quote == '"' || quote == '\'' && rest[0] == 'b' && body == 1) {
        return None;
    }
    if !rest[..prefix].contains(&'r') {
        return (hashes == 0).then(|| prefix + quoted(&rest[prefix..], quote));
    }
    let mut close = vec!['"'];
    close.extend(vec!['#'; hashes]);
    let end = rest[body + 1..].windows(close.len()).position(|window| window == close)?;
    Some(body + 1 + end + close.len())
}

/// A path as written, with the groups of a `use` taken apart.
#[derive(Clone, Default)]
pub(super) struct CodePath {
    pub(super) line: usize,
    /// How many `mod … { }` of this file stand around it.
    pub(super) inline_modules: usize,
    pub(super) segments: Vec<String>,
}

/// All paths in the code, in order. A word that is no path is one of a single segment.
pub(super) fn paths(tokens: &[Token]) -> Vec<CodePath> {
    let (mut found, mut at) = (Vec::new(), 0);
    let mut braces: Vec<bool> = Vec::new();
    while at < tokens.len() {
        let text = tokens[at].text.as_str();
        match text {
            "{" => braces.push(at >= 2 && tokens[at - 2].text == "mod"),
            "}" => drop(braces.pop()),
            _ => {}
        }
        if text.starts_with(is_word) {
            let inline_modules = braces.iter().filter(|is_module| **is_module).count();
            at = path_tree(
                tokens,
                at,
                &CodePath { inline_modules, ..CodePath::default() },
                &mut found,
            );
        } else {
            at += 1;
        }
    }
    found
}

/// Reads a path, or a tree of them (`a::{b, c::*}`), that goes on from `prefix` at `at`; returns
/// where it ends.
fn path_tree(
    tokens: &[Token],
    mut at: usize,
    prefix: &CodePath,
    found: &mut Vec<CodePath>,
) -> usize {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let mut path = CodePath { line: tokens[at].line, ..prefix.clone() };
    loop {
        if text(at) == "{" {
            return path_group(tokens, at + 1, &path, found);
        }
        if !text(at).starts_with(|c| is_word(c) || c == '*') {
            break;
        }
        path.segments.push(text(at).to_owned());
        at += 1;
        if (text(at), text(at + 1)) != (":", ":") {
            break;
        }
        at += 2;
    }
    found.push(path);
    at
}

/// Reads the rest of a group, its brace being open.
fn path_group(
    tokens: &[Token],
    mut at: usize,
    prefix: &CodePath,
    found: &mut Vec<CodePath>,
) -> usize {
    while let Some(token) = tokens.get(at) {
        at = match token.text.as_str() {
            "}" => return at + 1,
            "," => at + 1,
            // The new name in `a::b as c` leads nowhere by itself.
            "as" => at + 2,
            text if text.starts_with(|c| is_word(c) || c == '*' || c == '{') => {
                path_tree(tokens, at, prefix, found)
            }
            _ => at + 1,
        };
    }
    at
}
