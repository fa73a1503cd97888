//! The policy that `init` writes: everything in it is commented out, and fits the project it is written for.

use std::fmt::Write as _;
use std::path::Path;

use arbiter::region::Entry;
use toml::Value;

/// How many directories become lanes.
const LANES_MAX: usize = 8;

/// Directories that tools fill and empty again.
const MADE_BY_TOOLS: [&str; 9] =
    ["target", "node_modules", "build", "dist", "out", "vendor", "venv", "__pycache__", "tmp"];

/// An example for the project at `root`. Lines that begin with `# ` are talk; take the `#` off any other line that
/// begins with one, and it holds.
pub fn example(root: &Path) -> String {
    let lanes = lanes(root);
    let ladder: Vec<String> = lanes.iter().map(|(name, _)| quoted(name)).collect();
    let mut text = String::from(
        "# lease-lane.toml: what this project has agreed on. Nothing in it holds yet: take the `#` off what you want.\n\
         # lease-lane policy check   tells what is wrong with it, and where\n\
         # lease-lane policy show    tells what holds\n\
         \n\
         # How long a lease lives after a beat, and how long it is left alone after that.\n\
         #ttl = \"50m\"\n\
         #grace = \"5m\"\n\
         # How long a lease that is winding up holds off a sweep at most.\n\
         #ceiling = \"1d\"\n\
         # How long the history is kept.\n\
         #history = \"30d\"\n\
         # `exact` where `A` and `a` are two files; `fold` is safe everywhere.\n\
         #case = \"fold\"\n\
         # Whether the same path in two linked worktrees is one path (`shared`) or two (`separate`).\n\
         #worktrees = \"shared\"\n\
         # What becomes of a lease whose processes run on another host: `refuse`, `ttl` or `takeover`.\n\
         #foreign_host = \"ttl\"\n\
         # `lease-lane acquire` alone takes the first of these that can be had.\n",
    );
    let _ = writeln!(text, "#ladder = [{}]\n", ladder.join(", "));
    text.push_str("# Lanes: `lease-lane acquire NAME` asks for their region.\n");
    for (name, tree) in &lanes {
        let _ = writeln!(text, "#[lanes.{}]\n#tree = [{}]\n#class = \"work\"", quoted(name), quoted(tree));
    }
    text.push_str(
        "\n# A lane that runs alone: nothing else lives beside it.\n\
         #[lanes.release]\n\
         #exclusive = true\n\
         #tree = [\"**\"]\n\
         \n\
         # How many lanes of a class may live at once.\n\
         #[classes.work]\n\
         #max = 4\n\
         \n\
         # How many may hold pool://gpu at once (acquire --tree pool://gpu).\n\
         #[pools.gpu]\n\
         #capacity = 2\n\
         \n\
         # What is written only with --force. This file and the store are protected anyway.\n\
         #[protect]\n\
         #paths = [\".github/**\", \"LICENSE\"]\n",
    );
    text
}

/// The directories at the top, as names and patterns; `src` where there is none.
fn lanes(root: &Path) -> Vec<(String, String)> {
    let mut names: Vec<String> = std::fs::read_dir(root)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.') && !MADE_BY_TOOLS.contains(&name.as_str()))
        .filter(|name| !name.eq_ignore_ascii_case("release") && !name.chars().any(char::is_control))
        .collect();
    names.sort_unstable();
    names.dedup_by(|one, other| one.to_lowercase() == other.to_lowercase());
    names.truncate(LANES_MAX);
    if names.is_empty() {
        names.push("src".into());
    }
    let lane = |name: String| {
        let tree = Entry::everything().with_prefix_replaced(0, &[&name]).ok()?.as_str().to_owned();
        Some((name, tree))
    };
    names.into_iter().filter_map(lane).collect()
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy_file::understood;

    /// With every example line in force.
    fn in_force(example: &str) -> String {
        let uncommented = |line: &str| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') => rest.to_owned(),
            _ => line.to_owned(),
        };
        example.lines().map(uncommented).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_example_says_nothing_and_is_right_when_it_says_everything() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["src", "docs", ".git", "target", "odd [name] \"x\"", "Release", "DOCS", "it's", "новый"]
        {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        std::fs::write(dir.path().join("file"), "").unwrap();
        let text = example(dir.path());
        assert_eq!(understood(text.as_bytes()).unwrap(), arbiter::policy::Policy::default());
        let policy =
            understood(in_force(&text).as_bytes()).unwrap_or_else(|problems| panic!("{problems:?}\n{text}"));
        let lanes: Vec<&str> = policy.lanes.keys().map(arbiter::name::LaneName::as_str).collect();
        assert_eq!(lanes, ["DOCS", "it's", "odd [name] \"x\"", "release", "src", "новый"]);
        assert_eq!((policy.ladder.len(), policy.pools.len(), policy.classes.len()), (5, 1, 1));
        insta::assert_snapshot!("the_example", text);
    }

    #[test]
    fn there_is_an_example_for_an_empty_and_for_no_directory() {
        let dir = tempfile::tempdir().unwrap();
        for root in [dir.path(), &dir.path().join("missing")] {
            let policy = understood(in_force(&example(root)).as_bytes()).unwrap();
            assert_eq!(policy.ladder.len(), 1);
        }
    }
}
