//! A child that exists, and can be named in the journal, before it runs what it was started for.
//!
//! The child is this program again. It waits at a socket, which is its standard input. What lets it go is one message
//! with its real standard input in it and what to add to its environment; then it becomes the command. Where the
//! socket ends without that message, because the one who held it died or was refused, it exits and the command has
//! never run (failure class 26). The socket is gone with the message, so the command inherits nothing of this.

use std::ffi::{OsStr, OsString};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use arbiter::evidence::ProcessIdentity;
use rustix::io::retry_on_intr;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::process::{Pid, WaitOptions, waitpid};

use super::SuperviseError;
use crate::process;

/// The word after the program's name that makes it the child's side of a gate.
pub const GATE: &str = "__gate";

/// Bytes of the message. Its parts (numbers, an owner's name, three paths) are bounded far below.
const MESSAGE_BYTES_MAX: usize = 32 << 10;

/// A child that waits to be let go. Dropped, it ends without having run anything.
#[derive(Debug)]
pub struct Held {
    identity: ProcessIdentity,
    pid: Pid,
    /// None once it was let go.
    gate: Option<OwnedFd>,
}

impl Held {
    /// Starts a child that will become `command`, as the leader of a process group of its own.
    ///
    /// # Errors
    ///
    /// When it cannot be started or identified.
    pub fn spawn(command: &[OsString]) -> Result<Held, SuperviseError> {
        let failed = |source| SuperviseError::Spawn { source };
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(|errno| failed(errno.into()))?;
        // Not by its path: a program that was replaced while it runs must not start another one.
        let child = Command::new("/proc/self/exe")
            .arg(GATE)
            .arg("--")
            .args(command)
            .process_group(0)
            .stdin(Stdio::from(theirs))
            .spawn()
            .map_err(failed)?;
        let pid = Pid::from_child(&child);
        let held = process::worker(child.id()).map_err(|source| SuperviseError::Identity { source });
        match held {
            Ok(identity) => Ok(Held { identity, pid, gate: Some(ours) }),
            Err(error) => {
                drop(ours);
                let _reaped = retry_on_intr(|| waitpid(Some(pid), WaitOptions::empty()));
                Err(error)
            }
        }
    }

    /// Who it is: a worker, with all of its group.
    pub fn identity(&self) -> &ProcessIdentity {
        &self.identity
    }

    /// Its number, and that of its process group.
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Lets it become its command, with these variables in its environment and our standard input. Its process
    /// group has the number that is returned. Call it when the grant that names the child is durable.
    ///
    /// # Panics
    ///
    /// When the environment is longer than any names and paths are.
    pub fn let_go(mut self, environment: &[(&str, &OsStr)]) -> Pid {
        let mut message = Vec::new();
        for (name, value) in environment {
            message.extend_from_slice(name.as_bytes());
            message.push(b'=');
            message.extend_from_slice(value.as_bytes());
            message.push(0);
        }
        let stdin = io::stdin();
        let descriptors = [stdin.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fits = ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        assert!(fits && message.len() <= MESSAGE_BYTES_MAX, "{} bytes for the gate", message.len());
        if let Some(gate) = self.gate.take() {
            // It may have been killed at the gate: then it ends as killed, and whoever waits for it sees that.
            let _killed = retry_on_intr(|| {
                sendmsg(&gate, &[IoSlice::new(&message)], &mut ancillary, SendFlags::NOSIGNAL)
            });
        }
        self.pid
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(gate) = self.gate.take() {
            drop(gate);
            let _reaped = retry_on_intr(|| waitpid(Some(self.pid), WaitOptions::empty()));
        }
    }
}

/// Why the command was not run by the child.
#[derive(Debug)]
pub enum NotRun {
    /// Nobody let it go.
    Closed,
    /// It was not started by [`Held::spawn`].
    NoGate(io::Error),
    /// The command cannot be executed.
    Exec(io::Error),
}

/// The child's side: waits to be let go, then becomes `command`. Returns only when that has not come to pass.
pub fn pass(command: &[OsString]) -> NotRun {
    let Some((program, arguments)) = command.split_first() else { return NotRun::Closed };
    let mut message = vec![0; MESSAGE_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = retry_on_intr(|| {
        let parts = &mut [IoSliceMut::new(&mut message)];
        recvmsg(rustix::stdio::stdin(), parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    });
    let length = match received {
        Ok(received) => received.bytes,
        Err(errno) => return NotRun::NoGate(errno.into()),
    };
    let stdin = ancillary.drain().find_map(|part| match part {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    let Some(stdin) = stdin else { return NotRun::Closed };
    if let Err(errno) = rustix::stdio::dup2_stdin(&stdin) {
        return NotRun::Exec(errno.into());
    }
    drop(stdin);
    let mut next = Command::new(program);
    next.args(arguments);
    for variable in message[..length].split(|&byte| byte == 0) {
        if let Some(at) = variable.iter().position(|&byte| byte == b'=') {
            let value = OsString::from_vec(variable[at + 1..].to_vec());
            next.env(OsStr::from_bytes(&variable[..at]), value);
        }
    }
    NotRun::Exec(next.exec())
}
