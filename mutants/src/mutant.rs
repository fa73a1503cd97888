//! One deliberate bug: what it is, where it goes, who finds it.

use std::fmt;
use std::fs;
use std::path::Path;

use serde::Deserialize;

/// A deliberate bug.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mutant {
    /// The name of its file.
    #[serde(skip)]
    pub name: String,
    /// What the code does instead.
    pub breaks: String,
    /// Which promise that breaks, and how.
    pub why: String,
    /// The changes it is made of.
    pub edit: Vec<Edit>,
    /// Who is expected to find it, the cheapest first.
    pub killer: Vec<Killer>,
}

/// A change of one file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// The file, from the top of the project.
    pub file: String,
    /// What is replaced. It occurs exactly once.
    pub find: String,
    /// What comes in its place.
    pub put: String,
}

/// Who finds a mutant.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
pub enum Killer {
    /// The simulator, within so many seeds.
    Simulator(Seeds),
    /// A test.
    Test(Test),
}

/// What the simulator plays.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seeds {
    /// Steps of each seed.
    pub steps: u64,
    /// The first seed.
    #[serde(default = "one")]
    pub seed: u64,
    /// How many seeds at most, from that one on.
    pub seeds: u64,
}

fn one() -> u64 {
    1
}

impl Seeds {
    /// The last seed.
    pub fn last(&self) -> u64 {
        self.seed + self.seeds - 1
    }

    /// Takes in what another asks for, where both together are one range of the same number of steps.
    pub fn joined(&self, other: &Seeds) -> Option<Seeds> {
        let (seed, last) = (self.seed.min(other.seed), self.last().max(other.last()));
        let is_one_range = last - seed < self.seeds + other.seeds;
        (self.steps == other.steps && is_one_range).then(|| Seeds {
            steps: self.steps,
            seed,
            seeds: last - seed + 1,
        })
    }
}

/// One test.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Test {
    /// The crate it belongs to.
    pub package: String,
    /// The name of its file in the crate's `tests`; `lib` for one that stands in the code.
    pub target: String,
    /// Its name, with the modules before it.
    pub name: String,
}

impl fmt::Display for Killer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Killer::Simulator(seeds) => {
                write!(f, "simulator, seeds {} to {}, {} steps", seeds.seed, seeds.last(), seeds.steps)
            }
            // As docs/safety.md cites them: beside the code by module, others by file.
            Killer::Test(Test { target, name, .. }) if target == "lib" => {
                let parts: Vec<&str> = name.split("::").collect();
                f.write_str(&parts[parts.len().saturating_sub(3)..].join("::"))
            }
            Killer::Test(Test { target, name, .. }) => write!(f, "{target}::{name}"),
        }
    }
}

/// All mutants of the project at `root`, by name.
///
/// # Errors
///
/// In words, for a file that cannot be read or is not a mutant.
pub fn all(root: &Path) -> Result<Vec<Mutant>, String> {
    let dir = root.join("mutants/bugs");
    let mut mutants = Vec::new();
    for entry in fs::read_dir(&dir).map_err(|error| format!("{}: {error}", dir.display()))? {
        let path = entry.map_err(|error| error.to_string())?.path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let wrong = |error: &dyn fmt::Display| format!("{}: {error}", path.display());
        let text = fs::read_to_string(&path).map_err(|error| wrong(&error))?;
        let mut mutant: Mutant = toml::from_str(&text).map_err(|error| wrong(&error))?;
        mutant.name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if mutant.edit.is_empty() || mutant.killer.is_empty() {
            return Err(wrong(&"a mutant changes something and somebody finds it"));
        }
        mutants.push(mutant);
    }
    mutants.sort_by(|one, two| one.name.cmp(&two.name));
    Ok(mutants)
}

impl Mutant {
    /// Its row in the table of docs/safety.md.
    pub fn row(&self) -> String {
        let killers = self.killer.iter().map(|killer| match killer {
            Killer::Simulator(_) => killer.to_string(),
            Killer::Test(_) => format!("`{killer}`"),
        });
        let killers: Vec<String> = killers.collect();
        format!("| `{}` | {} | {} | {} |", self.name, self.breaks, self.why, killers.join("; "))
    }

    /// What its files are with the bug in them.
    ///
    /// # Errors
    ///
    /// In words, when it is stale: a text to replace is not there exactly once.
    pub fn applied(&self, root: &Path) -> Result<Vec<(String, String)>, String> {
        let mut files: Vec<(String, String)> = Vec::new();
        for Edit { file, find, put } in &self.edit {
            let at = match files.iter().position(|(name, _)| name == file) {
                Some(at) => at,
                None => {
                    let text = fs::read_to_string(root.join(file))
                        .map_err(|error| format!("mutant {} is stale: {file}: {error}", self.name))?;
                    files.push((file.clone(), text));
                    files.len() - 1
                }
            };
            let text = &mut files[at].1;
            let times = text.matches(find.as_str()).count();
            if times != 1 {
                return Err(format!(
                    "mutant {} is stale: its text to replace is {times} times in {file}, not once:\n{find}",
                    self.name
                ));
            }
            *text = text.replacen(find.as_str(), put, 1);
        }
        Ok(files)
    }
}
