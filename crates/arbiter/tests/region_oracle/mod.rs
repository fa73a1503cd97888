//! What a pattern means, written a second time: by text substitution and backtracking, slowly and obviously.
//!
//! Shares no code with the crate. Knows `a*?.[]{}\/` and ASCII case; no limits, no NFC.
#![allow(dead_code, reason = "each test binary uses its part")]

#[derive(Debug)]
pub(crate) struct Oracle {
    alternatives: Vec<Vec<String>>,
    fold: bool,
}

impl Oracle {
    /// Nothing for a text that is not a pattern.
    pub(crate) fn new(text: &str, fold: bool) -> Option<Oracle> {
        let text = if fold { text.to_ascii_lowercase() } else { text.to_owned() };
        let alternatives = expand(&text).iter().map(|one| components(one)).collect::<Option<Vec<_>>>()?;
        Some(Oracle { alternatives, fold })
    }

    /// `path` is well-formed and, under folding, in lower case.
    pub(crate) fn matches(&self, path: &str) -> bool {
        let names: Vec<Vec<char>> = path.split('/').map(|name| name.chars().collect()).collect();
        self.alternatives.iter().any(|pattern| sequence(pattern, &names))
    }
}

/// `x{a,b}y` to `xay` and `xby`, again until no brace is left.
fn expand(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let (mut open, mut depth, mut cuts, mut idx) = (None, 0, Vec::new(), 0);
    while idx < chars.len() {
        match chars[idx] {
            '\\' => idx += 1,
            '[' => {
                idx += if chars.get(idx + 1) == Some(&'!') { 2 } else { 1 };
                idx += 1;
                while idx < chars.len() && chars[idx] != ']' {
                    idx += if chars[idx] == '\\' { 2 } else { 1 };
                }
            }
            '{' => {
                if depth == 0 {
                    open = Some(idx);
                    cuts = vec![idx];
                }
                depth += 1;
            }
            ',' if depth == 1 => cuts.push(idx),
            '}' => {
                depth -= 1;
                if depth == 0 {
                    cuts.push(idx);
                    let before: String = chars[..open.unwrap()].iter().collect();
                    let behind: String = chars[idx + 1..].iter().collect();
                    let middle =
                        cuts.windows(2).map(|cut| chars[cut[0] + 1..cut[1]].iter().collect::<String>());
                    return middle.flat_map(|one| expand(&format!("{before}{one}{behind}"))).collect();
                }
            }
            _ => {}
        }
        idx += 1;
    }
    vec![text.to_owned()]
}

fn components(text: &str) -> Option<Vec<String>> {
    if text.is_empty() || text.starts_with('/') {
        return None;
    }
    let mut out: Vec<String> = Vec::new();
    let mut last = "";
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                if out.pop()? == "**" {
                    return None;
                }
            }
            _ => out.push(part.to_owned()),
        }
        last = part;
    }
    let ends_open = matches!(last, "" | "." | "..") || !has_wildcard(last);
    if out.is_empty() || ends_open {
        out.push("**".to_owned());
    }
    Some(out)
}

fn has_wildcard(name: &str) -> bool {
    let mut letters = name.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => drop(letters.next()),
            '*' | '?' | '[' => return true,
            _ => {}
        }
    }
    false
}

fn sequence(pattern: &[String], names: &[Vec<char>]) -> bool {
    match pattern.split_first() {
        None => names.is_empty(),
        Some((first, rest)) if first == "**" => (0..=names.len()).any(|n| sequence(rest, &names[n..])),
        Some((first, rest)) => {
            let first: Vec<char> = first.chars().collect();
            names.split_first().is_some_and(|(name, others)| glob(&first, name) && sequence(rest, others))
        }
    }
}

fn glob(pattern: &[char], name: &[char]) -> bool {
    let Some(first) = pattern.first() else { return name.is_empty() };
    match first {
        '*' => (0..=name.len()).any(|n| glob(&pattern[1..], &name[n..])),
        '?' => !name.is_empty() && glob(&pattern[1..], &name[1..]),
        '[' => {
            let negated = pattern[1] == '!';
            let from = if negated { 2 } else { 1 };
            let to = from + 1 + pattern[from + 1..].iter().position(|c| *c == ']').unwrap();
            let Some(letter) = name.first() else { return false };
            let members = &pattern[from..to];
            let is_range = members.len() == 3 && members[1] == '-';
            let listed =
                if is_range { (members[0]..=members[2]).contains(letter) } else { members.contains(letter) };
            listed != negated && glob(&pattern[to + 1..], &name[1..])
        }
        '\\' => name.first() == pattern.get(1) && glob(&pattern[2..], &name[1..]),
        literal => name.first() == Some(literal) && glob(&pattern[1..], &name[1..]),
    }
}

/// All well-formed paths over `alphabet` of at most `n_chars_max` characters; the shortest first, then in the order of
/// `alphabet`.
pub(crate) fn all_paths(alphabet: &[char], n_chars_max: usize) -> Vec<String> {
    let mut level = vec![String::new()];
    let mut all = Vec::new();
    for _ in 0..n_chars_max {
        level = level.iter().flat_map(|start| alphabet.iter().map(move |c| format!("{start}{c}"))).collect();
        all.extend(level.iter().filter(|path| is_well_formed(path)).cloned());
    }
    all
}

fn is_well_formed(path: &str) -> bool {
    path.split('/').all(|name| !matches!(name, "" | "." | ".."))
}

/// All sequences of 1 to `n_max` tokens, as text.
pub(crate) fn all_texts(tokens: &[&str], n_max: usize) -> Vec<String> {
    let mut level = vec![String::new()];
    let mut all = Vec::new();
    for _ in 0..n_max {
        level = level
            .iter()
            .flat_map(|start| tokens.iter().map(move |token| format!("{start}{token}")))
            .collect();
        all.extend(level.iter().cloned());
    }
    all
}
