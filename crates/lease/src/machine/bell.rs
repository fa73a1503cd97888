//! Named pipes as bells: whoever has one open for writing is heard when it closes it, and the kernel closes it for the
//! dead, in whatever namespace they were.
//!
//! Two kinds. A ticket's file is held by the one who waits with it, for as long as it waits. The store's bell is held by
//! whoever appends, for as long as that takes.

use std::os::fd::OwnedFd;

use journal::disk::{Access, Disk as _, Name, Published, RealDisk};
use rustix::io::Errno;

/// What is written into the file of a ticket that somebody else ends. One byte wakes all; each who comes meanwhile may
/// take one with it.
const ENDED: &[u8] = &[b'.'; 64];

/// The file of one's own ticket.
#[derive(Debug)]
pub struct Sign(OwnedFd);

impl Sign {
    pub(super) fn put_up(disk: &RealDisk, ticket: &Name) -> Option<Sign> {
        if disk.make_fifo(ticket).ok()? == Published::Exists {
            return None;
        }
        disk.open_fifo(ticket, Access::Append).ok().flatten().map(Sign)
    }

    pub(super) fn fd(&self) -> &OwnedFd {
        &self.0
    }

    /// Forgets what others have said: those behind hear the end of it when it comes.
    pub(super) fn drain(&self) {
        let mut buffer = [0u8; ENDED.len()];
        while rustix::io::read(&self.0, &mut buffer).is_ok_and(|n| n > 0) {}
    }
}

/// Ends somebody else's ticket for those who wait for that, and for the one who holds it, who may be stopped.
pub(super) fn take_down(disk: &RealDisk, ticket: &Name) {
    if let Ok(Some(fd)) = disk.open_fifo(ticket, Access::Append) {
        let _full = rustix::io::write(&fd, ENDED);
    }
    // What cannot be removed now is swept by whoever seals.
    let _swept_later = disk.remove(ticket);
}

/// Somebody's ticket, seen from behind.
#[derive(Debug)]
pub(super) enum Before {
    /// It is held; this wakes when that ends.
    Held(OwnedFd),
    /// Nobody holds it.
    Left,
    /// Somebody has said that it has ended.
    Ended,
    /// There is no such file.
    NoFile,
}

impl Before {
    pub(super) fn look(disk: &RealDisk, ticket: &Name) -> Before {
        let Ok(Some(fd)) = disk.open_fifo(ticket, Access::Read) else { return Before::NoFile };
        // A pipe that is opened after its last writer has gone is as silent as one whose writer lives; only a read tells.
        match rustix::io::read(&fd, &mut [0u8; 1]) {
            Err(Errno::AGAIN) => Before::Held(fd),
            Ok(0) => Before::Left,
            Ok(_) => Before::Ended,
            Err(_) => Before::NoFile,
        }
    }
}

/// Listens to the store's bell, which is made where it is missing. A pipe that is opened afresh hangs up as soon as a
/// writer has come and gone, or one that is there now has gone. `None` where there are no pipes.
pub(super) fn listen(disk: &RealDisk) -> Option<OwnedFd> {
    let bell = super::bell();
    let open = || disk.open_fifo(&bell, Access::Read).ok();
    match open()? {
        Some(fd) => Some(fd),
        None => {
            disk.make_fifo(&bell).ok()?;
            open()?
        }
    }
}

/// The store's bell, held by one who appends.
#[derive(Debug)]
pub struct Ringing {
    _held: Option<OwnedFd>,
}

impl Ringing {
    /// Both ends are opened: that never fails for want of listeners, so one who comes between this and the append finds
    /// the bell held.
    pub(super) fn begin(disk: &RealDisk) -> Ringing {
        Ringing { _held: disk.open_fifo(&super::bell(), Access::Append).ok().flatten() }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::path::Path;
    use std::process::{Child, Command, Stdio};

    use journal::disk::Dir;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
    const SOON: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };

    fn said(fd: &OwnedFd, asked: PollFlags, within: &Timespec) -> PollFlags {
        let mut ready = [PollFd::new(fd, asked)];
        poll(&mut ready, Some(within)).unwrap();
        ready[0].revents()
    }

    fn has_hung_up(ear: &OwnedFd) -> bool {
        said(ear, PollFlags::empty(), &AT_ONCE) == PollFlags::HUP
    }

    /// Soon: a process that another test has forked holds the pipe too until it has become its program.
    fn hangs_up(ear: &OwnedFd) -> bool {
        said(ear, PollFlags::empty(), &SOON) == PollFlags::HUP
    }

    /// A process that holds a pipe.
    fn holder_of(path: &Path) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", "exec 3<>\"$0\" && echo held && exec sleep 600"]).arg(path);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdout.take().unwrap().read_exact(&mut [0; 4]).unwrap();
        child
    }

    fn kill(mut child: Child) {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn disk() -> (tempfile::TempDir, RealDisk) {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::open_or_create(&dir.path().join("store")).unwrap();
        (dir, disk)
    }

    #[test]
    fn one_who_listens_hears_whoever_comes_and_goes_and_whoever_goes() {
        let (_dir, disk) = disk();
        let bell = disk.path().join("bell");
        drop(Ringing::begin(&disk));
        assert!(!bell.exists(), "nobody has listened yet");
        let ear = listen(&disk).unwrap();
        assert!(!has_hung_up(&ear), "nobody has rung");
        let ringing = Ringing::begin(&disk);
        assert!(!has_hung_up(&ear), "it is held");
        // One who comes while it is held hears the end of that.
        let late = listen(&disk).unwrap();
        let second = Ringing::begin(&disk);
        drop(ringing);
        assert!(!has_hung_up(&ear) && !has_hung_up(&late), "it is still held");
        drop(second);
        assert!(hangs_up(&ear) && hangs_up(&late));
        // ... and nothing of what was before.
        let fresh = listen(&disk).unwrap();
        assert!(!has_hung_up(&fresh));
        drop(Ringing::begin(&disk));
        assert!(hangs_up(&fresh));
        let fresh = listen(&disk).unwrap();
        kill(holder_of(&bell));
        assert_eq!(
            said(&fresh, PollFlags::empty(), &SOON),
            PollFlags::HUP,
            "the kernel lets go for the dead"
        );
        // Bytes are nothing to it.
        let fresh = listen(&disk).unwrap();
        let child = holder_of(&bell);
        let loud = disk.open_fifo(&super::super::bell(), Access::Append).unwrap().unwrap();
        rustix::io::write(&loud, b"noise").unwrap();
        drop(loud);
        assert!(!has_hung_up(&fresh));
        kill(child);
    }

    #[test]
    fn the_end_of_a_ticket_is_told_however_it_comes() {
        let (_dir, disk) = disk();
        let ticket = Name::new(Dir::Top, "ticket-1");
        let held = |what: &str| match Before::look(&disk, &ticket) {
            Before::Held(fd) => fd,
            other => panic!("{what}: {other:?}"),
        };
        assert!(matches!(Before::look(&disk, &ticket), Before::NoFile));
        // It gives it up.
        let sign = Sign::put_up(&disk, &ticket).unwrap();
        assert!(Sign::put_up(&disk, &ticket).is_none(), "a file that is there is somebody else's");
        let behind = held("it waits");
        assert_eq!(said(&behind, PollFlags::IN, &AT_ONCE), PollFlags::empty());
        drop(sign);
        assert!(said(&behind, PollFlags::IN, &SOON).contains(PollFlags::HUP));
        assert!(matches!(Before::look(&disk, &ticket), Before::Left));
        // It is killed.
        let child = holder_of(&disk.path().join("ticket-1"));
        let behind = held("another process waits");
        kill(child);
        assert!(said(&behind, PollFlags::IN, &SOON).contains(PollFlags::HUP));
        disk.remove(&ticket).unwrap();
        // Somebody else ends it: it hears that too.
        let sign = Sign::put_up(&disk, &ticket).unwrap();
        let behind = held("it waits again");
        take_down(&disk, &ticket);
        assert_eq!(said(&behind, PollFlags::IN, &AT_ONCE), PollFlags::IN);
        assert_eq!(said(sign.fd(), PollFlags::IN, &AT_ONCE), PollFlags::IN);
        assert!(matches!(Before::look(&disk, &ticket), Before::NoFile));
        sign.drain();
        assert_eq!(said(sign.fd(), PollFlags::IN, &AT_ONCE), PollFlags::empty());
        // Another file under its name is none.
        std::fs::write(disk.path().join("ticket-1"), "").unwrap();
        assert!(matches!(Before::look(&disk, &ticket), Before::NoFile));
    }
}
