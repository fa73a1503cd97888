//! Which file systems keep what the journal asks of them (F1 to F5 in docs/safety.md).
//!
//! Pure: what `statfs` and the table of mounts say comes from outside.

use std::borrow::Cow;

/// Whether a file system keeps what the journal asks of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fitness {
    /// It does, as far as we and its makers know.
    Good,
    /// It does not, or nobody can know whether it does.
    Unsuitable,
    /// We do not know this one.
    Unknown,
}

impl Fitness {
    /// The word for it in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Fitness::Good => "good",
            Fitness::Unsuitable => "unsuitable",
            Fitness::Unknown => "unknown",
        }
    }
}

/// What is known of the file system that a store lies on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// What it is called, such as `xfs` or `fuse.sshfs`; its number where we have no name for it.
    pub name: Cow<'static, str>,
    /// Whether it will do.
    pub fitness: Fitness,
    /// What to know of it.
    pub note: Option<&'static str>,
}

const IN_MEMORY: Option<&str> = Some("it is in memory: nothing in it survives a reboot");
const OF_OTHER_MACHINES: Option<&str> =
    Some("other machines write to it without this one knowing, so two writers may both be told yes");
const OF_THE_HOST: Option<&str> =
    Some("its host writes to it without this machine knowing, so two writers may both be told yes");
const OF_A_PROGRAM: Option<&str> =
    Some("what it keeps depends on the program behind it, so two writers may both be told yes");
const NOT_KNOWN: Option<&str> = Some("nobody has looked whether it keeps what a journal needs");

/// `f_type` of `statfs(2)`, name, verdict and what to know.
const KNOWN: &[(u32, &str, Fitness, Option<&str>)] = &[
    (0x0000_ef53, "ext2/ext3/ext4", Fitness::Good, None),
    (0x5846_5342, "xfs", Fitness::Good, None),
    (0x9123_683e, "btrfs", Fitness::Good, None),
    (0xf2f5_2010, "f2fs", Fitness::Good, None),
    (0x2fc1_2fc1, "zfs", Fitness::Good, None),
    (0xca45_1a4e, "bcachefs", Fitness::Good, None),
    (0x794c_7630, "overlay", Fitness::Good, None),
    (0x0102_1994, "tmpfs", Fitness::Good, IN_MEMORY),
    (0x8584_58f6, "ramfs", Fitness::Good, IN_MEMORY),
    (0x0000_6969, "nfs", Fitness::Unsuitable, OF_OTHER_MACHINES),
    (0x0000_517b, "smb", Fitness::Unsuitable, OF_OTHER_MACHINES),
    (0xff53_4d42, "cifs", Fitness::Unsuitable, OF_OTHER_MACHINES),
    (0xfe53_4d42, "smb3", Fitness::Unsuitable, OF_OTHER_MACHINES),
    (0x00c3_6400, "ceph", Fitness::Unsuitable, OF_OTHER_MACHINES),
    (0x5346_414f, "openafs", Fitness::Unsuitable, OF_OTHER_MACHINES),
    (0x6b41_4653, "afs", Fitness::Unsuitable, OF_OTHER_MACHINES),
    (0x7375_7245, "coda", Fitness::Unsuitable, OF_OTHER_MACHINES),
    (0x0000_564c, "ncpfs", Fitness::Unsuitable, OF_OTHER_MACHINES),
    (0x2003_0528, "orangefs", Fitness::Unsuitable, OF_OTHER_MACHINES),
    (0x0102_1997, "9p", Fitness::Unsuitable, OF_THE_HOST),
    (0x786f_4256, "vboxsf", Fitness::Unsuitable, OF_THE_HOST),
    (0xbacb_acbc, "vmhgfs", Fitness::Unsuitable, OF_THE_HOST),
    (0x7c7c_6673, "prl_fs", Fitness::Unsuitable, OF_THE_HOST),
    (0x00c0_ffee, "hostfs", Fitness::Unsuitable, OF_THE_HOST),
    // The same number for all of them: sshfs, bindfs, virtiofs, what container desktops share folders with.
    (0x6573_5546, "fuse", Fitness::Unsuitable, OF_A_PROGRAM),
];

impl FileSystem {
    /// What the number says that `statfs` gives in `f_type`. Numbers have 32 bits; wider ones were signed.
    pub fn of_magic(magic: u64) -> FileSystem {
        let known = KNOWN.iter().find(|&&(number, ..)| u64::from(number) == magic & 0xffff_ffff);
        match known {
            Some(&(_, name, fitness, note)) => FileSystem { name: Cow::Borrowed(name), fitness, note },
            None => FileSystem {
                name: Cow::Owned(format!("{magic:#x}")),
                fitness: Fitness::Unknown,
                note: NOT_KNOWN,
            },
        }
    }

    /// The same with the name that the table of mounts (`/proc/self/mountinfo`) has for the device, if it is there.
    /// It tells one FUSE from the other. The verdict stays: a mount may call itself as it likes.
    #[must_use]
    pub fn named_by_mounts(mut self, mounts: &str, major: u32, minor: u32) -> FileSystem {
        let device = format!("{major}:{minor}");
        let name = mounts.lines().find_map(|line| {
            let (mount, kind) = line.split_once(" - ")?;
            let is_it = mount.split(' ').nth(2) == Some(&*device);
            is_it.then(|| kind.split(' ').next()).flatten()
        });
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            self.name = Cow::Owned(name.to_owned());
        }
        self
    }
}

/// Why nothing is written to a file system.
#[derive(Debug, thiserror::Error)]
#[error("it is on {}: {}", _0.name, _0.note.unwrap_or("it lacks what a journal needs"))]
pub struct Unsuitable(pub FileSystem);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(magic: u64, name: &str, fitness: Fitness) {
        let found = FileSystem::of_magic(magic);
        assert_eq!((&*found.name, found.fitness), (name, fitness), "{magic:#x}");
        assert_eq!(
            found.note.is_none(),
            fitness == Fitness::Good && !name.ends_with("mpfs") && name != "ramfs"
        );
    }

    #[test]
    fn file_systems_by_their_numbers() {
        // As <linux/magic.h> and coreutils' `stat -f` have them.
        check(0xef53, "ext2/ext3/ext4", Fitness::Good);
        check(0x5846_5342, "xfs", Fitness::Good);
        check(0x9123_683e, "btrfs", Fitness::Good);
        check(0xf2f5_2010, "f2fs", Fitness::Good);
        check(0x2fc1_2fc1, "zfs", Fitness::Good);
        check(0xca45_1a4e, "bcachefs", Fitness::Good);
        check(0x794c_7630, "overlay", Fitness::Good);
        check(0x0102_1994, "tmpfs", Fitness::Good);
        check(0x8584_58f6, "ramfs", Fitness::Good);
        check(0x6969, "nfs", Fitness::Unsuitable);
        check(0x517b, "smb", Fitness::Unsuitable);
        check(0xff53_4d42, "cifs", Fitness::Unsuitable);
        check(0xfe53_4d42, "smb3", Fitness::Unsuitable);
        check(0x00c3_6400, "ceph", Fitness::Unsuitable);
        check(0x5346_414f, "openafs", Fitness::Unsuitable);
        check(0x6b41_4653, "afs", Fitness::Unsuitable);
        check(0x7375_7245, "coda", Fitness::Unsuitable);
        check(0x564c, "ncpfs", Fitness::Unsuitable);
        check(0x2003_0528, "orangefs", Fitness::Unsuitable);
        check(0x0102_1997, "9p", Fitness::Unsuitable);
        check(0x786f_4256, "vboxsf", Fitness::Unsuitable);
        check(0xbacb_acbc, "vmhgfs", Fitness::Unsuitable);
        check(0x7c7c_6673, "prl_fs", Fitness::Unsuitable);
        check(0x00c0_ffee, "hostfs", Fitness::Unsuitable);
        check(0x6573_5546, "fuse", Fitness::Unsuitable);
        // vfat, procfs, and nothing at all: not known, and not called good.
        check(0x4d44, "0x4d44", Fitness::Unknown);
        check(0x9fa0, "0x9fa0", Fitness::Unknown);
        check(0, "0x0", Fitness::Unknown);
    }

    #[test]
    fn a_number_with_its_sign_spread_is_the_same_number() {
        check(0xffff_ffff_ff53_4d42, "cifs", Fitness::Unsuitable);
        check(0xffff_ffff_9123_683e, "btrfs", Fitness::Good);
    }

    #[test]
    fn no_number_is_there_twice() {
        for (i, known) in KNOWN.iter().enumerate() {
            assert!(KNOWN[..i].iter().all(|before| before.0 != known.0 && before.1 != known.1), "{known:?}");
        }
    }

    const MOUNTS: &str = "\
21 28 0:20 / /proc rw,nosuid shared:12 - proc proc rw
28 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 28 0:4 / /a\\040-\\040b rw - tmpfs none rw
41 28 0:41 / /mnt rw,nosuid,nodev shared:9 master:2 - fuse.sshfs me@there:/ rw,user_id=0
broken
42 28 0:42 / /odd rw -
";

    #[test]
    fn the_table_of_mounts_tells_the_kind_and_changes_no_verdict() {
        let name = |magic, major, minor| FileSystem::of_magic(magic).named_by_mounts(MOUNTS, major, minor);
        let sshfs = name(0x6573_5546, 0, 41);
        assert_eq!((&*sshfs.name, sshfs.fitness), ("fuse.sshfs", Fitness::Unsuitable));
        assert_eq!(&*name(0xef53, 254, 0).name, "ext4");
        assert_eq!(&*name(0x0102_1994, 0, 4).name, "tmpfs");
        // Not there, as a subvolume of btrfs is not, or not whole.
        assert_eq!(&*name(0x9123_683e, 0, 55).name, "btrfs");
        assert_eq!(&*name(0x9123_683e, 0, 42).name, "btrfs");
        assert_eq!(&*name(0x9123_683e, 0, 5).name, "btrfs");
    }

    #[test]
    fn what_is_said_names_the_kind_and_the_danger() {
        let said = Unsuitable(FileSystem::of_magic(0x6969)).to_string();
        assert!(said.contains("nfs") && said.contains("two writers"), "{said}");
    }
}
