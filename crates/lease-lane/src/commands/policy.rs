//! `policy check` and `policy show`.

use arbiter::policy::Policy;
use arbiter::text::shown;
use journal::disk::Access;
use journal::state::policy_hash;
use journal::store::{FileStore, Store};
use lease::place::{self, PlaceError};
use lease::policy_file::{self, PolicyError, Problem};
use serde::Serialize;

use super::acquire::policy_of;
use crate::args::{Global, PolicyQuestion};
use crate::context::{Context, current_dir, place_args};
use crate::exit::Exit;
use crate::reply::{Failure, Reply};

pub(super) fn run(global: &Global, question: &PolicyQuestion) -> Result<Reply, Failure> {
    let context = Context::at(somewhere(global)?, global)?;
    match question {
        PolicyQuestion::Check => check(&context),
        PolicyQuestion::Show => show(&context),
    }
}

/// Where the policy is: also where there is no store, and none is needed.
fn somewhere(global: &Global) -> Result<place::Place, Failure> {
    let cwd = current_dir()?;
    let mut args = place_args(global)?;
    match place::find(&args, &cwd) {
        Err(PlaceError::NoStore { .. }) => {
            args.store = Some(cwd.clone());
            let mut place = place::find(&args, &cwd)?;
            place.store = cwd.join("no store");
            Ok(place)
        }
        found => Ok(found?),
    }
}

fn check(context: &Context) -> Result<Reply, Failure> {
    let Some(path) = &context.place.policy else {
        let json = Checked { outcome: "ok", source: None, hash: policy_hash(&Policy::default()) };
        return Ok(Reply::new(Exit::Yes, &json, "no policy file: the defaults hold\n"));
    };
    let loaded = context.policy();
    if let Err(error @ PolicyError::Unusable { .. }) = &loaded {
        return Ok(wrong(error));
    }
    loaded?;
    // With the links on the way of its paths resolved, as a decision sees it.
    let policy = policy_of(context, &context.root()?)?;
    let source = path.display().to_string();
    let text = format!("right: {} ({})\n", shown(&source, 500), counted(&policy));
    Ok(Reply::new(
        Exit::Yes,
        &Checked { outcome: "ok", source: Some(source), hash: policy_hash(&policy) },
        text,
    ))
}

#[derive(Serialize)]
struct Checked {
    outcome: &'static str,
    source: Option<String>,
    hash: String,
}

fn wrong(error: &PolicyError) -> Reply {
    #[derive(Serialize)]
    struct Json {
        outcome: &'static str,
        error: Error,
        problems: Vec<One>,
    }
    #[derive(Serialize)]
    struct Error {
        kind: &'static str,
        message: String,
        hint: Option<String>,
    }
    #[derive(Serialize)]
    struct One {
        line: Option<usize>,
        column: Option<usize>,
        message: String,
        hint: Option<String>,
    }
    let one = |problem: &Problem| One {
        line: problem.at.map(|(line, _)| line),
        column: problem.at.map(|(_, column)| column),
        message: problem.what.clone(),
        hint: problem.hint.clone(),
    };
    let problems = error.problems();
    let json = Json {
        outcome: "error",
        error: Error { kind: "policy", message: error.to_string(), hint: error.hint() },
        problems: problems.iter().map(|problem| one(problem)).collect(),
    };
    let mut text = String::new();
    for problem in problems {
        text.push_str(&format!("{}\n", shown(&problem.to_string().replace('\n', " "), 1000)));
        if let Some(hint) = &problem.hint {
            text.push_str(&format!("  hint: {}\n", shown(hint, 1000)));
        }
    }
    Reply::new(Exit::Usage, &json, text)
}

fn show(context: &Context) -> Result<Reply, Failure> {
    #[derive(Serialize)]
    struct Json<'a> {
        outcome: &'a str,
        source: Option<String>,
        hash: &'a str,
        policy: &'a Policy,
        recorded: Option<Recorded>,
    }
    #[derive(Serialize)]
    struct Recorded {
        hash: String,
        same: bool,
    }
    let policy = policy_of(context, &context.root()?)?;
    let source = context.place.policy.as_ref().map(|path| path.display().to_string());
    let hash = policy_hash(&policy);
    let recorded = match context.look()? {
        None => None,
        Some(disk) => {
            let mut store = FileStore::new(&disk, Access::Read);
            let state = store.load()?;
            state.map(|state| Recorded { hash: policy_hash(&state.policy), same: state.policy == policy })
        }
    };
    let mut text = format!("source   {}\n", source.as_deref().unwrap_or("none: these are the defaults"));
    text.push_str(&format!("hash     {hash}\njournal  "));
    text.push_str(&match &recorded {
        None => "nothing was decided yet\n".to_owned(),
        Some(recorded) if recorded.same => "the last decision was made under it\n".to_owned(),
        Some(recorded) => {
            format!("the last decision was made under {}; the next one records this one\n", recorded.hash)
        }
    });
    text.push_str(&format!("\n{}", policy_file::to_toml(&policy)));
    Ok(Reply::new(Exit::Yes, &Json { outcome: "ok", source, hash: &hash, policy: &policy, recorded }, text))
}

fn counted(policy: &Policy) -> String {
    use super::replay::count;
    [
        count(policy.lanes.len(), "lane", "lanes"),
        count(policy.ladder.len(), "lane on the ladder", "lanes on the ladder"),
        count(policy.classes.len(), "class", "classes"),
        count(policy.pools.len(), "pool", "pools"),
        count(policy.protect.paths.entries().len(), "protected entry", "protected entries"),
    ]
    .join(", ")
}
