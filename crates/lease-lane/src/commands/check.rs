//! `check`.

use std::fmt;

use arbiter::lease::Halted;
use arbiter::name::{LaneName, OwnerName};
use arbiter::seq::{Fence, LeaseId};
use arbiter::text::{shell_word, shown};
use lease::regions::{self, Target};
use lease::session::{Checked, PathCheck};
use serde::Serialize;

use super::live::LeaseJson;
use crate::args;
use crate::context::Context;
use crate::exit::Exit;
use crate::render;
use crate::reply::{Failure, Form, Reply};

#[derive(Serialize)]
struct Json<'a> {
    outcome: &'a str,
    paths: Vec<PathJson<'a>>,
}

#[derive(Serialize)]
struct PathJson<'a> {
    path: &'a str,
    covered: bool,
    lease: Option<LeaseId>,
    fence: Option<Fence>,
    lane: Option<&'a LaneName>,
    halted: Option<&'a Halted>,
    holders: Vec<LeaseJson<'a>>,
}

pub(super) fn run(context: &Context, args: &args::Check) -> Result<Reply, Failure> {
    let root = context.root()?;
    let mut targets = Vec::new();
    for text in &args.paths {
        targets.push(regions::target(&root, text)?);
    }
    let lease = args.lease.map(|n| LeaseId::new(n).ok_or_else(|| Failure::flag("--lease", "0 is no lease")));
    let fence = args.fence.map(|n| Fence::new(n).ok_or_else(|| Failure::flag("--fence", "0 is no fence")));
    let (lease, fence) = (lease.transpose()?, fence.transpose()?);
    let owner = context.owner()?;
    let checks = match context.look()? {
        None => {
            targets.into_iter().map(|target| PathCheck { target, by: None, others: Vec::new() }).collect()
        }
        Some(disk) => match context.session_here(&disk, owner.clone()).check(targets, lease, fence)? {
            Checked::Paths(checks) => checks,
            Checked::Fenced(lease) => {
                let json = serde_json::json!({ "outcome": "fenced", "lease": lease.lease, "fence": lease.fence, "owner": lease.owner });
                let text = format!("fenced: lease {} has fence {} by now\n", lease.lease, lease.fence);
                return Ok(Reply::new(Exit::NotYours, &json, text));
            }
        },
    };
    Ok(reply(context.form, &checks, &Missed { owner: &owner, lease, fence }))
}

/// Where it is not, what is not covered.
struct Missed<'a> {
    owner: &'a OwnerName,
    lease: Option<LeaseId>,
    fence: Option<Fence>,
}

impl fmt::Display for Missed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.lease {
            Some(lease) => write!(f, "not in lease {lease} of `{}`", self.owner)?,
            None => write!(f, "in no live lease of `{}`", self.owner)?,
        }
        self.fence.map_or(Ok(()), |fence| write!(f, " with fence {fence}"))
    }
}

fn reply(form: Form, checks: &[PathCheck], missed: &Missed<'_>) -> Reply {
    let all = checks.iter().all(|check| check.by.is_some());
    let json =
        Json { outcome: if all { "ok" } else { "not_held" }, paths: checks.iter().map(path_json).collect() };
    Reply::in_form(form, if all { Exit::Yes } else { Exit::No }, &json, || text_of(checks, missed))
}

fn text_of(checks: &[PathCheck], missed: &Missed<'_>) -> String {
    let mut text = String::new();
    for check in checks {
        let path = shown(check.target.as_str(), 500).to_string();
        match &check.by {
            Some(lease) => {
                text.push_str(&format!("yes  {path}  lease {} · lane {}\n", lease.lease, lease.lane));
                if let Some(halted) = &lease.halted {
                    text.push_str(&format!("     {}", render::halted(halted)));
                }
            }
            None => {
                text.push_str(&format!("no   {path}  is {missed}\n"));
                for other in &check.others {
                    text.push_str(&format!("     it is in {}\n", other.lease));
                }
            }
        }
    }
    let missing = checks.iter().filter(|check| check.by.is_none());
    let hint = missing.map(|check| match &check.target {
        Target::Path(_) => "hint: lease-lane acquire --tree PATTERN\n".to_owned(),
        Target::Resource(resource) => {
            format!("hint: lease-lane acquire --tree {}\n", shell_word(resource.as_str()))
        }
    });
    text.extend(hint.take(1));
    text
}

fn path_json(check: &PathCheck) -> PathJson<'_> {
    PathJson {
        path: check.target.as_str(),
        covered: check.by.is_some(),
        lease: check.by.as_ref().map(|lease| lease.lease),
        fence: check.by.as_ref().map(|lease| lease.fence),
        lane: check.by.as_ref().map(|lease| &lease.lane),
        halted: check.by.as_ref().and_then(|lease| lease.halted.as_ref()),
        holders: check.others.iter().map(|view| LeaseJson::new(&view.lease, view.alive)).collect(),
    }
}
