//! `region overlap` and `region match`.

use arbiter::region::{Case, Entry, ProjectPath};
use serde_json::json;

use crate::args::{CaseArg, RegionQuestion};
use crate::exit::Exit;
use crate::reply::{Failure, Reply};

pub(super) fn run(question: RegionQuestion) -> Result<Reply, Failure> {
    match question {
        RegionQuestion::Overlap { a, b, case } => {
            let (a, b) = (Entry::parse(&a)?, Entry::parse(&b)?);
            Ok(match a.overlap(&b, case.into()) {
                Some(witness) => Reply::new(
                    Exit::No,
                    &json!({ "outcome": "overlap", "witness": witness.as_str() }),
                    format!("overlap: both name {witness}\n"),
                ),
                None => Reply::new(Exit::Yes, &json!({ "outcome": "disjoint" }), "disjoint\n"),
            })
        }
        RegionQuestion::Match { pattern, path, case } => {
            let (pattern, path) = (Entry::parse(&pattern)?, ProjectPath::parse(&path)?);
            Ok(if pattern.covers(&path, case.into()) {
                Reply::new(Exit::Yes, &json!({ "outcome": "match" }), "match\n")
            } else {
                Reply::new(Exit::No, &json!({ "outcome": "no_match" }), "no match\n")
            })
        }
    }
}

impl From<CaseArg> for Case {
    fn from(case: CaseArg) -> Case {
        match case {
            CaseArg::Exact => Case::Exact,
            CaseArg::Fold => Case::Fold,
        }
    }
}
