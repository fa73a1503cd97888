//! `acquire`.

use std::io::{Read, Write};
use std::mem::ManuallyDrop;
use std::path::Path;
use std::time::{Duration, Instant};

use arbiter::decide::{Question, aimed_at, arbitrate};
use arbiter::evidence::{Evidence, ProcessIdentity};
use arbiter::lease::{Lease, LiveSet};
use arbiter::name::LaneName;
use arbiter::policy::{Policy, Worktrees};
use arbiter::region::{Entry, Region};
use arbiter::request::{Labels, Request, RequestError};
use arbiter::seq::{LeaseId, Seq};
use arbiter::text::{Text, shown};
use arbiter::time::{Span, Timestamp};
use arbiter::verdict::{Behind, Conflict, Grant, Mode, Refusal, RefusalCode, Verdict};
use lease::clock::Clock;
use lease::machine::RealMachine;
use lease::paths::RootDir;
use lease::session::{Acquired, Ask, Blocked, Session};
use lease::{process, regions};
use serde::{Deserialize, Serialize};
use signal_hook::consts::signal::{SIGINT, SIGTERM};

use super::warn;
use crate::args;
use crate::context::{CLOCK, Context, PolicyText};
use crate::exit::Exit;
use crate::interrupt::{self, Listening};
use crate::render;
use crate::reply::{Failure, Form, Reply};
use crate::typed;

/// Bytes that a file of leases may have.
const LEASES_BYTES_MAX: u64 = 64 << 20;

pub(super) fn run(
    context: &Context,
    mut args: args::Acquire,
    talk: &mut dyn Write,
) -> Result<Reply, Failure> {
    let Asked { ask, wait, own } = asked(context, &mut args)?;
    let disk = if ask.dry_run {
        let Some(disk) = context.look()? else {
            return Ok(reply(context.form, &decided_on_nothing(&ask, &own), None));
        };
        disk
    } else {
        context.open()?
    };
    // A shell has what it starts in its background ignore Ctrl-C; the line is to be left in order there, too.
    let listening = match wait {
        Some(most) if !ask.dry_run && !most.is_zero() => interrupt::listen(&[SIGINT, SIGTERM]).ok(),
        _ => None,
    };
    // What follows is the end of the process, at which the kernel takes back files and memory at once.
    let disk = ManuallyDrop::new(disk);
    let machine = RealMachine::new(&disk).with_clock(&CLOCK);
    let interrupt = listening.as_ref().map(|listening| &listening.interrupt);
    let machine = interrupt.map_or(machine, |interrupt| machine.with_interrupt(interrupt));
    let session = Session::on(machine, ask.request.owner.clone(), context.patience).resting_on(own);
    let mut session = ManuallyDrop::new(session);
    let acquired = decide(context, &mut session, &ask, wait, talk)?;
    Ok(reply(context.form, &acquired, listening.as_ref().and_then(Listening::exit)))
}

/// What is asked, for how long, and the paths that the program itself rests on.
pub(super) struct Asked {
    pub(super) ask: Ask,
    pub(super) wait: Option<Duration>,
    pub(super) own: Region,
}

/// Finds everything that can be wrong with the question before the store is touched.
pub(super) fn asked(context: &Context, args: &mut args::Acquire) -> Result<Asked, Failure> {
    let wait = wait_of(args)?;
    let root = context.root()?;
    let policy = policy_of(context, &root)?;
    let request = request_of(context, args, &root, &policy)?;
    let with_leases = args.with_leases.as_deref().map(leases_from).transpose()?.unwrap_or_default();
    let own = context.own_paths(&root);
    Ok(Asked { ask: Ask { request, policy, with_leases, dry_run: args.dry_run }, wait, own })
}

pub(super) fn decide(
    context: &Context,
    session: &mut Session<RealMachine<'_>>,
    ask: &Ask,
    wait: Option<Duration>,
    talk: &mut dyn Write,
) -> Result<Acquired, Failure> {
    let acquired = match wait {
        Some(most) if !ask.dry_run => wait_for(context, session, ask, most, talk),
        _ => session.acquire(ask).map_err(Failure::from),
    };
    warn(talk, session.take_warnings());
    acquired
}

/// The policy with its lanes' paths free of links, as the request's are.
pub(super) fn policy_of(context: &Context, root: &RootDir) -> Result<Policy, Failure> {
    without_links(context.policy()?, root)
}

fn without_links(mut policy: Policy, root: &RootDir) -> Result<Policy, Failure> {
    for lane in policy.lanes.values_mut() {
        lane.tree = regions::canonical(root, &lane.tree)?;
        lane.read = regions::canonical(root, &lane.read)?;
    }
    policy.protect.paths = regions::canonical(root, &policy.protect.paths)?;
    Ok(policy)
}

/// How long to wait. `--wait` may stand alone before the lane, where nothing else says what is asked for: what is no
/// duration then is the lane. Anywhere else it is a duration with a mistake in it, and no lane by that name.
fn wait_of(args: &mut args::Acquire) -> Result<Option<Duration>, Failure> {
    let Some(text) = args.wait.take() else { return Ok(None) };
    match text.as_str() {
        "forever" => return Ok(Some(Duration::from_millis(Span::MAX.as_ms()))),
        // To try once, in any unit (feature D1).
        "0" => return Ok(Some(Duration::ZERO)),
        _ => {}
    }
    let is_named = args.lane.is_some() || args.whole;
    let is_named = is_named || [&args.tree, &args.read, &args.lock].iter().any(|entries| !entries.is_empty());
    let may_be_lane = !is_named
        && !typed::is_joined("--wait")
        && text.starts_with(|c: char| !c.is_ascii_digit() && c != '-');
    match Span::parse(&text) {
        Ok(span) => Ok(Some(Duration::from_millis(span.as_ms()))),
        Err(_) if may_be_lane => {
            args.lane = Some(text);
            Ok(Some(Duration::from_millis(Span::MAX.as_ms())))
        }
        Err(error) => Err(Failure::flag("--wait", error)),
    }
}

fn request_of(
    context: &Context,
    args: &args::Acquire,
    root: &RootDir,
    policy: &Policy,
) -> Result<Request, Failure> {
    let lane = args.lane.as_deref().map(lane_name).transpose()?;
    let mut tree: Vec<String> = args.tree.clone();
    for name in &args.lock {
        tree.push(lock_entry(name)?);
    }
    if args.whole {
        tree.push(Entry::everything().as_str().to_owned());
    }
    let mut request = Request::of(context.owner()?);
    request.lane = lane;
    request.tree = regions::region(root, tree.iter().map(String::as_str))?;
    request.read = regions::region(root, args.read.iter().map(String::as_str))?;
    request.ttl =
        args.ttl.as_deref().map(Span::parse).transpose().map_err(|error| Failure::flag("--ttl", error))?;
    request.processes = bound_to(&args.bind)?;
    let parent = |n| LeaseId::new(n).ok_or_else(|| Failure::flag("--parent", "0 is no lease"));
    request.parent = args.parent.map(parent).transpose()?;
    if policy.worktrees == Worktrees::Separate {
        request.worktree = context.worktree();
    }
    request.force = args.force;
    request.run_id = text("--run-id", args.run_id.as_deref())?;
    request.why = text("--why", args.why.as_deref())?;
    request.request_id = text("--request-id", args.request_id.as_deref())?;
    request.labels = labels(&args.label)?;
    request.check().and_then(|request| request.check_under(policy)).map_err(|error| {
        let hint = match error {
            RequestError::NothingAsked => {
                "lease-lane acquire LANE --tree PATTERN   (or --read, --lock, --whole)"
            }
            RequestError::NoTtl => "leave --ttl out for the policy's, or say --ttl 50m",
            _ => &typed::help(),
        };
        Failure::usage(error.to_string(), Some(hint.into()))
    })
}

/// The entry of a lock, which may be named in full, as the other verbs have it.
fn lock_entry(name: &str) -> Result<String, Failure> {
    if name.starts_with("pool://") {
        let what = format!("--lock `{}`: that is a pool", shown(name, 300));
        return Err(Failure::usage(what, Some("take one of a pool: --tree pool://NAME".into())));
    }
    Ok(if name.starts_with("lock://") { name.into() } else { format!("lock://{name}") })
}

/// The processes that `--bind` names.
pub(super) fn bound_to(bind: &[String]) -> Result<Vec<ProcessIdentity>, Failure> {
    let mut processes = Vec::new();
    for process in bind {
        processes.push(match process.as_str() {
            "parent" => process::parent()?,
            pid => process::of(process::parse_pid(pid)?)?,
        });
    }
    Ok(processes)
}

pub(super) fn lane_name(name: &str) -> Result<LaneName, Failure> {
    LaneName::new(name).map_err(|error| {
        let hint = "any text of 1 to 256 bytes names a lane; see those that are held: lease-lane live";
        Failure::usage(format!("the lane's name cannot be used: {error}"), Some(hint.into()))
    })
}

pub(super) fn text<const MAX: usize>(flag: &str, given: Option<&str>) -> Result<Option<Text<MAX>>, Failure> {
    given.map(Text::new).transpose().map_err(|error| Failure::flag(flag, error))
}

fn labels(given: &[String]) -> Result<Labels, Failure> {
    let mut labels = Labels::new();
    for label in given {
        let wrong = |what: &dyn std::fmt::Display| {
            Failure::usage(
                format!("--label `{}`: {what}", shown(label, 80)),
                Some("write it as --label KEY=VALUE".into()),
            )
        };
        let (key, value) = label.split_once('=').ok_or_else(|| wrong(&"there is no `=`"))?;
        let key = Text::new(key).map_err(|error| wrong(&error))?;
        let value = Text::new(value).map_err(|error| wrong(&error))?;
        if labels.insert(key, value).is_some() {
            return Err(wrong(&"the key is there twice"));
        }
    }
    Ok(labels)
}

/// Reads leases from a file: a JSON list, or an object with `leases` as `live --json` prints it.
fn leases_from(path: &Path) -> Result<Vec<Lease>, Failure> {
    #[derive(Deserialize)]
    struct Live {
        leases: Vec<Lease>,
    }
    let hint = || Some("give it what `lease-lane live --json` prints".into());
    let text = |what: &dyn std::fmt::Display| format!("--with-leases `{}`: {what}", path.display());
    let wrong = |what: &dyn std::fmt::Display| Failure::usage(text(what), hint());
    let unreadable = |error| Failure::because(&error, "usage", text(&error), hint());
    let file = std::fs::File::open(path).map_err(unreadable)?;
    // What the file says of its length is not asked: it may be a link to something without an end.
    let mut bytes = Vec::new();
    file.take(LEASES_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > LEASES_BYTES_MAX {
        return Err(wrong(&format!("it has more than {LEASES_BYTES_MAX} bytes")));
    }
    let is_list = bytes.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'[');
    let read: Result<Vec<Lease>, _> = if is_list {
        serde_json::from_slice(&bytes)
    } else {
        serde_json::from_slice(&bytes).map(|live: Live| live.leases)
    };
    let mut leases = read.map_err(|error| wrong(&error))?;
    for lease in &mut leases {
        // What another store calls a worktree says nothing here.
        lease.worktree = None;
    }
    Ok(leases)
}

fn decided_on_nothing(ask: &Ask, own: &Region) -> Acquired {
    let mut evidence = Evidence::at(CLOCK.reading());
    evidence.with_leases.clone_from(&ask.with_leases);
    evidence.protected = aimed_at(&ask.request, own, &ask.policy);
    let now = Timestamp::from_unix_ms(CLOCK.wall_ms());
    let live = LiveSet::default();
    let question = Question {
        request: &ask.request,
        live: &live,
        waiters: &arbiter::queue::NOBODY,
        policy: &ask.policy,
        evidence: &evidence,
        now,
    };
    Acquired { verdict: arbitrate(question), seq: None, repeated: false, timed_out: false, cancelled: false }
}

fn wait_for(
    context: &Context,
    session: &mut Session<RealMachine<'_>>,
    ask: &Ask,
    most: Duration,
    talk: &mut dyn Write,
) -> Result<Acquired, Failure> {
    let root = context.root()?;
    let (mut said, mut policy, mut unusable) = (PolicyText::default(), ask.policy.clone(), None);
    let again = || {
        let changed = context.policy_again(&mut said).map_err(Failure::from);
        match changed.and_then(|changed| changed.map(|policy| without_links(policy, &root)).transpose()) {
            Ok(changed) => {
                policy = changed.unwrap_or_else(|| policy.clone());
                Some(policy.clone())
            }
            Err(failure) => {
                unusable = Some(failure);
                None
            }
        }
    };
    let mut began = None;
    let acquired = session.acquire_waiting_under(again, ask, most, |blocked| {
        began = Some(Instant::now());
        let _unheard = writeln!(talk, "Blocking waiting for {}", blocked_by(blocked));
    });
    let acquired = acquired.map_err(|error| unusable.unwrap_or_else(|| error.into()));
    if let (Some(began), Ok(Acquired { verdict: Verdict::Grant(_), .. })) = (began, &acquired) {
        let waited = Span::from_ms(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
        let _unheard = writeln!(talk, "Waited {}", render::span(waited));
    }
    acquired
}

/// Lane, holder, process and age of what is in the way; where that does not say why it is, the reason too.
fn blocked_by(blocked: &Blocked<'_>) -> String {
    let Blocked { refusal, lease, pid, since, now } = *blocked;
    let pid = pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
    let age = since.map(|since| format!(" for {}", render::span(now.since(since)))).unwrap_or_default();
    if let Some(behind) = &refusal.behind {
        let Behind { lane, owner, ticket, .. } = behind;
        return format!("lane `{lane}`: `{owner}` comes first (ticket {ticket}{pid}), in the line{age}");
    }
    let first = refusal.conflicts.iter().find(|conflict| Some(conflict.lease) == lease);
    let Some(conflict) = first.or(refusal.conflicts.first()) else {
        return format!("lane `{}`: {}", refusal.lane, shown(&refusal.reason, 1000));
    };
    let Conflict { lane, owner, lease, .. } = conflict;
    let mut text = format!("lane `{lane}`: held by `{owner}` (lease {lease}{pid}){age}");
    match (refusal.code, &conflict.overlap) {
        (RefusalCode::LaneHeld, _) => {}
        (RefusalCode::RegionConflict, Some(overlap)) => {
            let verb = if conflict.mode == Mode::Read { "reads" } else { "writes" };
            text.push_str(&format!("; it {verb} `{}`", shown(overlap, 300)));
        }
        _ => text.push_str(&format!("; {}", shown(&refusal.reason, 1000))),
    }
    text
}

#[derive(Serialize)]
struct Granted<'a> {
    outcome: &'a str,
    lease: Option<Seq>,
    fence: Option<Seq>,
    #[serde(flatten)]
    grant: &'a Grant,
    seq: Option<Seq>,
    journaled: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    repeated: bool,
}

#[derive(Serialize)]
struct Refused<'a> {
    outcome: &'a str,
    #[serde(flatten)]
    refusal: &'a Refusal,
    seq: Option<Seq>,
    journaled: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    repeated: bool,
}

pub(super) fn reply(form: Form, acquired: &Acquired, interrupted: Option<Exit>) -> Reply {
    let &Acquired { ref verdict, seq, repeated, timed_out, cancelled } = acquired;
    let journaled = seq.is_some();
    let now = Timestamp::from_unix_ms(CLOCK.wall_ms());
    match verdict {
        Verdict::Grant(grant) => {
            let json =
                Granted { outcome: "acquire", lease: seq, fence: seq, grant, seq, journaled, repeated };
            Reply::in_form(form, Exit::Yes, &json, || granted_text(grant, seq, repeated, now))
        }
        Verdict::Refuse(refusal) => {
            let (exit, outcome, why) = match (timed_out, cancelled) {
                (true, _) => (Exit::Timeout, "timeout", "the time to wait ran out; "),
                (false, true) => (interrupted.unwrap_or(Exit::No), "cancelled", "the wait was cancelled; "),
                (false, false) => (Exit::No, "refuse", ""),
            };
            let json = Refused { outcome, refusal, seq, journaled, repeated };
            Reply::in_form(form, exit, &json, || refused_text(refusal, why, now))
        }
    }
}

fn granted_text(grant: &Grant, seq: Option<Seq>, repeated: bool, now: Timestamp) -> String {
    let number =
        seq.map_or_else(|| "would be granted (dry run)".to_owned(), |seq| format!("granted: lease {seq}"));
    let again = if repeated { " (the first answer to this request id)" } else { "" };
    let picked = if grant.auto_picked { " (picked from the ladder)" } else { "" };
    let worktree = render::worktree(grant.worktree.as_ref());
    let alone = if grant.exclusive { " (alone)" } else { "" };
    let mut text = format!(
        "{number} · lane {}{picked}{alone}{worktree} · owner {}{again}\n  {}\n  {}",
        grant.lane,
        grant.owner,
        render::claims(&grant.tree, &grant.read),
        render::expiry(grant.expires_at, now),
    );
    if grant.expires_at >= now {
        text.push_str(" unless it beats");
    }
    if let Some(seq) = seq {
        text.push_str(&format!(": lease-lane heartbeat --lease {seq}"));
    }
    text.push('\n');
    for gone in &grant.evicted {
        text.push_str(&format!(
            "  ended lease {} · lane {} · owner {} ({})\n",
            gone.lease,
            gone.lane,
            gone.owner,
            gone.why.as_str()
        ));
    }
    text
}

fn refused_text(refusal: &Refusal, why: &str, now: Timestamp) -> String {
    // A repeated answer comes from the journal, where anybody may have written it.
    let reason = shown(&refusal.reason, 4000);
    let mut text = format!("refused ({}): {why}{reason}\n", refusal.code.as_str());
    for conflict in &refusal.conflicts {
        text.push_str(&render::conflict(conflict, refusal.code, now));
    }
    if refusal.yours == Some(true) {
        text.push_str("  the holder has your name: another session of yours, or an earlier call\n");
    }
    if !refusal.free_lanes.is_empty() {
        let names: Vec<String> = refusal.free_lanes.iter().map(ToString::to_string).collect();
        text.push_str(&format!("  free lanes: {}\n", shown(&names.join(", "), 2000)));
    }
    text.push_str(&format!("hint: {}\n", shown(&refusal.hint, 2000)));
    text
}
