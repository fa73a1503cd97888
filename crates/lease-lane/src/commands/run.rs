//! `run`: a command under a lease.

use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind, Write};
use std::time::Duration;

use arbiter::evidence::{ProcessIdentity, Role};
use arbiter::seq::{Fence, LeaseId};
use arbiter::time::Span;
use arbiter::verdict::Verdict;
use lease::machine::RealMachine;
use lease::process;
use lease::session::{Session, Which};
use lease::supervise::{
    self, Held, Keeping, Kept, NotRun, Signals, SuperviseError, Supervisor, Watched, WorkerEnd,
};
use signal_hook::consts::signal::SIGINT;

use super::acquire::{Asked, asked, decide, reply};
use super::warn;
use crate::args;
use crate::context::{CLOCK, Context, open_store};
use crate::exit::{Exit, of_run};
use crate::interrupt::{self, Listening};
use crate::reply::Failure;

/// Runs the command; the exit code. Standard output is the command's, so all talk, JSON too, goes to `talk`.
pub(super) fn run(
    find: impl FnOnce() -> Result<Context, Failure>,
    args: args::Run,
    json: bool,
    talk: &mut dyn Write,
) -> u8 {
    match find().and_then(|context| under_lease(&context, args, json, talk)) {
        Ok(code) => code,
        Err(failure) => {
            let text = if json { format!("{}\n", failure.json()) } else { failure.lines() };
            let _unheard = talk.write_all(text.as_bytes());
            of_run::FAILED
        }
    }
}

fn under_lease(
    context: &Context,
    mut args: args::Run,
    json: bool,
    talk: &mut dyn Write,
) -> Result<u8, Failure> {
    let grace = Span::parse(&args.kill_after).map_err(|error| Failure::flag("--kill-after", error))?;
    for (flag, given) in
        [("--dry-run", args.acquire.dry_run), ("--request-id", args.acquire.request_id.is_some())]
    {
        if given {
            // The first answer to a repeated request would be somebody else's command, which may be running.
            let hint = "lease-lane acquire takes it";
            return Err(Failure::usage(format!("run does not take {flag}"), Some(hint.into())));
        }
    }
    let Asked { mut ask, wait, own } = asked(context, &mut args.acquire)?;
    let mut signals = Signals::new().map_err(no_signals)?;
    supervise::adopt_orphans();
    let supervisor = ProcessIdentity { role: Some(Role::Supervisor), ..process::current()? };
    let held = Held::spawn(&args.command)?;
    ask.request.processes.extend([supervisor, held.identity().clone()]);
    ask.request = ask.request.check().map_err(|error| Failure::usage(error.to_string(), None))?;

    let disk = context.open()?;
    let listening = match wait {
        Some(most) if !most.is_zero() => Some(interrupt::listen(&[]).map_err(no_signals)?),
        _ => None,
    };
    let machine = RealMachine::new(&disk).with_clock(&CLOCK);
    let machine = listening.iter().fold(machine, |machine, heard| machine.with_interrupt(&heard.interrupt));
    let owner = ask.request.owner.clone();
    let mut session = Session::on(machine, owner.clone(), context.patience).resting_on(own);
    let mut acquired = decide(context, &mut session, &ask, wait, talk)?;
    if let Verdict::Refuse(refusal) = &mut acquired.verdict {
        refusal.hint = in_words_of_run(&refusal.hint);
    }
    let interrupted = listening.as_ref().and_then(Listening::exit);
    let answer = reply(context.form, &acquired, interrupted);
    let (Verdict::Grant(grant), Some(seq)) = (&acquired.verdict, acquired.seq) else {
        drop(held);
        let text = if json { format!("{}\n", answer.json) } else { answer.text };
        let _unheard = talk.write_all(text.as_bytes());
        return Ok(match interrupted {
            _ if acquired.timed_out => Exit::Timeout as u8,
            Some(interrupted) if acquired.cancelled => interrupted as u8,
            _ => args.refusal_code.unwrap_or(Exit::No as u8),
        });
    };
    if json {
        let _unheard = writeln!(talk, "{}", answer.json);
    }

    let (lease, fence) = (LeaseId::from(seq), Fence::from(seq));
    let kept = Kept {
        lease,
        fence,
        owner: owner.clone(),
        ttl: grant.ttl,
        patience: context.patience,
        clock: &CLOCK,
    };
    let (number, store) = (seq.to_string(), context.place.store.clone());
    // A store without the root that its paths are relative to would be half of the project.
    let mut environment = vec![
        ("LEASE_LANE_LEASE", OsStr::new(&number)),
        ("LEASE_LANE_FENCE", OsStr::new(&number)),
        ("LEASE_LANE_STORE", store.as_os_str()),
        ("LEASE_LANE_ROOT", context.place.root.as_os_str()),
        ("LEASE_LANE_OWNER", OsStr::new(owner.as_str())),
    ];
    environment.extend(context.policy_to_name().map(|policy| ("LEASE_LANE_POLICY", policy.as_os_str())));
    let keeping = Keeping { kept, grace: Duration::from_millis(grace.as_ms()) };
    let (again, allow_fs) = (store.clone(), context.allow_fs);
    let open = move || open_store(&again, allow_fs);
    // From here on signals are for the command. First to be caught and then handed over: none falls in between.
    let caught = signals.catch().map_err(no_signals);
    if let (Ok(()), Some(listening)) = (&caught, &listening) {
        listening.hand_over();
    }
    let begun = caught.and_then(|()| Supervisor::begin(signals, held, &environment, keeping, open));
    let watched = begun.map(|supervisor| {
        supervisor.watch_over(&mut |line: &str| {
            let _unheard = writeln!(talk, "lease-lane: {}", line.replace('\n', " "));
        })
    });
    let released = session.release(&Which::Lease(lease), Some(fence));
    warn(talk, session.take_warnings());
    let was_ours = match released {
        Ok(Ok(_)) => true,
        Ok(Err(miss)) => {
            // Nobody has told us while the command ran, so say it now.
            if watched.as_ref().is_ok_and(|watched| watched.stop.is_none()) {
                let how = supervise::lost_to(&miss).replace('\n', " ");
                let _unheard =
                    writeln!(talk, "lease-lane: the lease was lost before the command had ended: {how}");
            }
            false
        }
        Err(error) => {
            let text = format!("the lease could not be given back and ends by itself: {error}");
            warn(talk, vec![text]);
            true
        }
    };
    Ok(code(&watched?, was_ours))
}

fn no_signals(source: io::Error) -> SuperviseError {
    SuperviseError::Signals { source }
}

/// What is on record says what to ask `acquire`; who has called `run` is told what to ask `run`.
fn in_words_of_run(hint: &str) -> String {
    let Some(asked) = hint.strip_prefix("lease-lane acquire") else { return hint.to_owned() };
    // The second is one that a shell would take apart.
    let asked = asked.replace(" --tree lock://", " --lock ").replace(" --tree 'lock://", " --lock '");
    format!("lease-lane run{asked} -- CMD…")
}

/// What to say to the one who waits for us. A command that was interrupted at the terminal interrupts us too.
fn code(watched: &Watched, was_ours: bool) -> u8 {
    if watched.stop.is_some() || !was_ours {
        return of_run::LEASE_LOST;
    }
    if watched.interrupted {
        supervise::interrupt_our_group();
        let _ends_here = signal_hook::low_level::emulate_default_handler(SIGINT);
    }
    let code = match watched.end {
        WorkerEnd::Exited(code) => code,
        WorkerEnd::Killed(signal) => of_run::KILLED + signal,
    };
    u8::try_from(code).unwrap_or(of_run::FAILED)
}

/// The child's side of `run`: what it exits with when the command has not been run.
pub(crate) fn pass_gate(arguments: &[OsString]) -> u8 {
    let command = match arguments.split_first() {
        Some((dashes, command)) if dashes == "--" => command,
        _ => &[],
    };
    let what = command.first().map(|program| program.to_string_lossy().into_owned()).unwrap_or_default();
    let what = arbiter::text::shown(&what, 400).to_string();
    let (code, text) = match supervise::pass(command) {
        NotRun::Closed => return of_run::FAILED,
        NotRun::NoGate(error) => (of_run::FAILED, format!("this is a part of `lease-lane run`: {error}")),
        NotRun::Exec(error) if error.kind() == ErrorKind::NotFound => {
            (of_run::NOT_FOUND, format!("could not run `{what}`: {error}"))
        }
        NotRun::Exec(error) => (of_run::NOT_EXECUTABLE, format!("could not run `{what}`: {error}")),
    };
    let _unheard = writeln!(std::io::stderr(), "lease-lane: {text}");
    code
}
