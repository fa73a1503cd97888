//! One module a command: arguments in, a reply out.

mod acquire;
mod adopt;
mod announce;
mod arbitrate;
mod check;
mod compact;
mod completions;
mod doctor;
mod holder;
mod import;
mod init;
mod live;
mod man;
mod policy;
mod queue;
mod region;
mod repair;
mod replay;
mod run;
mod sweep;
mod tail;
mod unlock;
mod verify;
mod watch;

use std::io::Write;

use crate::args::{Cli, Command, Global};
use crate::context::Context;
use crate::exit::Exit;
use crate::reply::{Failure, Reply};

pub(crate) use run::pass_gate;

/// How a command ended.
pub(crate) enum Ended {
    /// With an answer that is still to be printed.
    Replied(Reply),
    /// It printed as it went.
    Streamed(Exit),
    /// It ran a command, or tried to, and has said what there was to say.
    Ran(u8),
}

/// Carries out the command. Streams print to `out` as they go; talk goes to `talk`.
pub(crate) fn run(cli: Cli, out: &mut dyn Write, talk: &mut dyn Write) -> Result<Ended, Failure> {
    let Cli { global, command } = cli;
    let find = || Context::find(&global);
    let reply = match command {
        Command::Acquire(args) => acquire::run(&find()?, *args, talk)?,
        Command::Release(args) => holder::release(&find()?, &args, talk)?,
        Command::Heartbeat(args) => holder::heartbeat(&find()?, &args, talk)?,
        Command::Live => live::run(&find()?)?,
        Command::Check(args) => check::run(&find()?, &args)?,
        seldom => return run_seldom(seldom, &global, out, talk),
    };
    Ok(Ended::Replied(reply))
}

/// The commands that are not called all day. Apart, since those that are would touch their stack and their text.
#[inline(never)]
fn run_seldom(
    command: Command,
    global: &Global,
    out: &mut dyn Write,
    talk: &mut dyn Write,
) -> Result<Ended, Failure> {
    let find = || Context::find(global);
    let reply = match command {
        Command::Acquire(_)
        | Command::Release(_)
        | Command::Heartbeat(_)
        | Command::Live
        | Command::Check(_) => unreachable!("these are carried out above"),
        Command::Run(args) => return Ok(Ended::Ran(run::run(find, *args, global.json, talk))),
        Command::Adopt(args) => adopt::run(&find()?, &args, talk)?,
        Command::Unlock(args) => unlock::run(&find()?, &args, talk)?,
        Command::Halt(args) => announce::halt(&find()?, &args, talk)?,
        Command::Spawn(args) => announce::spawn(&find()?, &args, talk)?,
        Command::Sweep(args) => return sweep::run(&find()?, global, &args, out, talk),
        Command::Watch(args) => return watch::run(&find()?, global, args, out),
        Command::Waiters => queue::waiters(&find()?)?,
        Command::Cancel(args) => queue::cancel(&find()?, &args, talk)?,
        Command::Replay(args) => replay::run(&find()?, &args)?,
        Command::Tail(args) => return tail::run(&find()?, global, &args, out).map(Ended::Streamed),
        Command::Compact(args) => compact::run(&find()?, &args, talk)?,
        Command::Verify => verify::run(&find()?)?,
        Command::Repair(args) => repair::run(&find()?, &args)?,
        Command::Arbitrate => return arbitrate::run(out).map(Ended::Streamed),
        Command::Region(args) => region::run(args.question)?,
        Command::Policy(args) => policy::run(global, &args.question)?,
        Command::Init => init::run(global, talk)?,
        Command::Doctor => doctor::run(&find()?)?,
        Command::Import(args) => import::run(&find()?, args.from, talk)?,
        Command::Completions { shell } => completions::run(shell),
        Command::Man(args) => man::run(&args)?,
    };
    Ok(Ended::Replied(reply))
}

/// Says what went wrong without changing the answer.
fn warn(talk: &mut dyn Write, warnings: Vec<String>) {
    for warning in warnings {
        // Nobody to tell that nobody can be told.
        let _unheard = writeln!(talk, "lease-lane: warning: {}", arbiter::text::shown(&warning, 1000));
    }
}
