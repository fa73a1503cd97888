//! The real disk: modes under any umask, what is refused, and that publishing is whole or nothing.

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use arbiter::seq::Seq;
use common::{Client, Told, lanes, load, operator, time, writing};
use journal::disk::{Access, Dir, Disk, Durability, FileSystem, Name, Published, RealDisk};
use journal::history::{Keep, prune, survey};
use journal::repair;
use journal::segment;
use journal::store::{FileStore, Store};

/// Set for the child half of a test: the store's directory.
const CHILD_STORE: &str = "JOURNAL_TEST_STORE";

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("there").mode() & 0o7777
}

/// Runs `test` of this binary again in a process of its own, behind some shell commands.
fn child(shell: &str, test: &str, store: &Path) -> std::process::Output {
    let me = std::env::current_exe().expect("a test binary");
    Command::new("sh")
        .arg("-c")
        .arg(format!("{shell}; exec \"$0\" --exact {test} --nocapture"))
        .arg(me)
        .env(CHILD_STORE, store)
        .output()
        .expect("a shell")
}

fn live_a_little(disk: &RealDisk) {
    disk.make_fifo(&Name::new(Dir::Top, "pipe")).expect("made");
    let mut ann = Client::new(disk, "ann");
    ann.acquire(1, "api", &["src/api/**"]).expect("sound");
    ann.store.seal(writing(2)).expect("sound");
    ann.acquire(3, "docs", &["docs/**"]).expect("sound");
    ann.store.seal(writing(4)).expect("sound");
    prune(disk, Keep::None, time(5)).expect("sound");
    disk.open_or_make(&Name::new(Dir::Top, "mutex")).expect("sound");
    ann.acquire(5, "more", &["more/**"]).expect("sound");
    // A damaged directory too.
    let active = *journal::history::roots(disk).expect("listed").last().expect("one");
    let path = disk.path().join(segment::name(active).to_string());
    let mut bytes = fs::read(&path).expect("there");
    let at = bytes.len() - 60;
    bytes[at] ^= 1;
    fs::write(&path, bytes).expect("writable");
    repair::repair(disk, &operator(6)).expect("sound").expect("damaged");
}

#[test]
fn directories_have_mode_0700_and_files_0600_under_any_umask() {
    if let Ok(store) = std::env::var(CHILD_STORE) {
        let store = PathBuf::from(store);
        for disk in [RealDisk::open_or_create(&store.join("a")), RealDisk::open_or_create(&store.join("b"))] {
            let disk = disk.expect("made");
            let disk = if disk.path().ends_with("b") { disk.without_nameless_files() } else { disk };
            live_a_little(&disk);
        }
        return;
    }
    for umask in ["0", "0777", "0027"] {
        let temp = tempfile::tempdir().expect("a directory");
        let told = child(
            &format!("umask {umask}"),
            "directories_have_mode_0700_and_files_0600_under_any_umask",
            temp.path(),
        );
        assert!(told.status.success(), "umask {umask}: {}", String::from_utf8_lossy(&told.stderr));
        for store in ["a", "b"] {
            let store = temp.path().join(store);
            assert_eq!(mode(&store), 0o700, "umask {umask}");
            let mut files = 0;
            for dir in Dir::ALL {
                let dir_path = store.join(dir.as_str());
                assert_eq!(mode(&dir_path), 0o700, "umask {umask}: {}", dir_path.display());
                for entry in fs::read_dir(&dir_path).expect("listed") {
                    let path = entry.expect("an entry").path();
                    if path.is_file() {
                        assert_eq!(mode(&path), 0o600, "umask {umask}: {}", path.display());
                        files += 1;
                    }
                }
            }
            assert!(files >= 7, "{files} files were looked at");
        }
    }
}

#[test]
fn a_store_lives_its_life_on_both_ways_of_publishing() {
    for nameless in [true, false] {
        let temp = tempfile::tempdir().expect("a directory");
        let disk = RealDisk::open_or_create(&temp.path().join("new/store")).expect("made");
        let disk = if nameless { disk } else { disk.without_nameless_files() };
        live_a_little(&disk);
        assert_eq!(survey(&disk).expect("readable").damage, []);
        let state = load(&disk).expect("sound");
        assert!(lanes(&state).contains(&"api".to_owned()));
        for dir in Dir::ALL {
            let left = disk.list(dir).expect("listed");
            assert!(!left.iter().any(|file| file.starts_with("tmp-")), "{left:?}");
        }
    }
}

/// The second read of a descriptor must begin where it says, not where the first one or an append left it.
#[test]
fn an_append_behind_an_unterminated_tail_reads_the_whole_segment_back() {
    let temp = tempfile::tempdir().expect("a directory");
    let disk = RealDisk::open_or_create(&temp.path().join("store")).expect("made");
    Client::new(&disk, "ann").acquire(1, "api", &["src/**"]).expect("sound");
    let path = temp.path().join("store").join(segment::name(Seq::FIRST).to_string());
    for (n, tail) in ["{\"seq\":3,\"ts\":\"20", "\0\0\0\0", "{\"seq\":4\0\0\0"].iter().enumerate() {
        let bytes = [fs::read(&path).expect("there"), tail.as_bytes().to_vec()].concat();
        fs::write(&path, bytes).expect("writable");
        let told = Client::new(&disk, "bob").acquire(10 + n as u64, &format!("l{n}"), &[&format!("l{n}/**")]);
        assert!(matches!(told, Ok(Told::Granted(_))), "{tail:?}: {told:?}");
    }
    assert_eq!(load(&disk).expect("sound").live.len(), 4);
}

#[test]
fn reading_follows_no_file_offset() {
    let temp = tempfile::tempdir().expect("a directory");
    let disk = RealDisk::open_or_create(temp.path()).expect("made");
    let name = Name::new(Dir::Journal, "x");
    disk.publish(&name, b"0123456789", Durability::Synced).expect("published");
    let file = disk.open(&name, Access::Append).expect("opened").expect("there");
    for (from, want) in [
        (0, &b"0123456789"[..]),
        (0, b"0123456789"),
        (4, b"456789"),
        (0, b"0123456789"),
        (10, b""),
        (99, b""),
    ] {
        assert_eq!(disk.read(&file, &name, from, 100).expect("read"), want);
    }
    assert_eq!(disk.append(&file, &name, b"ab").expect("appended"), 2);
    assert_eq!(disk.read(&file, &name, 8, 100).expect("read"), b"89ab");
    assert!(disk.read(&file, &name, 0, 11).is_err(), "longer than allowed");
}

#[test]
fn a_file_is_read_to_its_end_however_much_it_has_grown_since_it_was_opened() {
    let temp = tempfile::tempdir().expect("a directory");
    let disk = RealDisk::open_or_create(temp.path()).expect("made");
    for (n, first) in [0, 1, 5000].into_iter().enumerate() {
        for grown in [0, 1, 2047, 2048, 2049, 100_000] {
            let name = Name::new(Dir::Journal, format!("{n}-{grown}"));
            disk.publish(&name, &vec![b'a'; first], Durability::None).expect("published");
            let file = disk.open(&name, Access::Append).expect("opened").expect("there");
            let other = disk.open(&name, Access::Append).expect("opened").expect("there");
            assert_eq!(disk.append(&other, &name, &vec![b'b'; grown]).expect("appended"), grown);
            let all = first + grown;
            let whole = [vec![b'a'; first], vec![b'b'; grown]].concat();
            for from in [0, 1, first / 2, first, all] {
                let wanted = whole.get(from..).unwrap_or_default();
                assert_eq!(disk.read(&file, &name, from as u64, all as u64).expect("read"), wanted);
            }
            assert!(all == 0 || disk.read(&file, &name, 0, all as u64 - 1).is_err(), "longer than allowed");
        }
    }
}

#[test]
fn publishing_never_replaces_and_replacing_never_tears() {
    for nameless in [true, false] {
        let temp = tempfile::tempdir().expect("a directory");
        let disk = RealDisk::open_or_create(temp.path()).expect("made");
        let disk = if nameless { disk } else { disk.without_nameless_files() };
        let name = Name::new(Dir::Journal, "x");
        assert_eq!(disk.publish(&name, b"first", Durability::Synced).expect("published"), Published::Created);
        assert_eq!(disk.publish(&name, b"second", Durability::None).expect("published"), Published::Exists);
        let file = disk.open(&name, Access::Read).expect("opened").expect("there");
        assert_eq!(disk.read(&file, &name, 0, 10).expect("read"), b"first");
        disk.replace(&name, b"third").expect("replaced");
        assert!(!disk.is_at(&file, &name).expect("examined"), "the open file is another one now");
        assert_eq!(disk.read(&file, &name, 0, 10).expect("read"), b"first");
        let to = Name::new(Dir::Damaged, "x");
        disk.rename(&name, &to).expect("renamed");
        disk.publish(&name, b"fourth", Durability::None).expect("published");
        assert!(disk.rename(&name, &to).is_err(), "renaming replaces nothing");
        assert_eq!(disk.list(Dir::Journal).expect("listed"), ["x"]);
    }
}

type Change = Box<dyn FnOnce(&Path)>;

/// The message of the error that a store with this change in it gives.
fn refusal(change: impl FnOnce(&Path)) -> String {
    let temp = tempfile::tempdir().expect("a directory");
    let path = temp.path().join("store");
    {
        let disk = RealDisk::open_or_create(&path).expect("made");
        Client::new(&disk, "ann").acquire(1, "api", &["src/**"]).expect("sound");
    }
    change(&path);
    let told = RealDisk::open(&path).map_err(journal::JournalError::Disk).and_then(|disk| {
        let disk = disk.expect("there");
        let mut store = FileStore::new(&disk, Access::Append);
        store.prepare(writing(2)).map(|_| ())
    });
    let error = told.expect_err("refused");
    let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    format!("{error}: {source}").replace(&path.display().to_string(), "STORE")
}

#[test]
fn what_is_not_a_plain_file_of_ours_with_one_name_is_refused_in_words() {
    let segment = "journal/00000000000000000001.jsonl";
    let cases: Vec<(&str, Change)> = vec![
        (
            "is a symbolic link",
            Box::new(move |store| {
                fs::rename(store.join(segment), store.join("elsewhere")).expect("renamed");
                symlink(store.join("elsewhere"), store.join(segment)).expect("linked");
            }),
        ),
        (
            "hard link",
            Box::new(move |store| {
                fs::hard_link(store.join(segment), store.join("second")).expect("linked");
            }),
        ),
        (
            "not a regular file",
            Box::new(move |store| {
                fs::remove_file(store.join(segment)).expect("removed");
                let made = Command::new("mkfifo").arg(store.join(segment)).status().expect("mkfifo");
                assert!(made.success());
            }),
        ),
        (
            "not a regular file",
            Box::new(move |store| {
                fs::remove_file(store.join("active")).expect("removed");
                let made = Command::new("mkfifo").arg(store.join("active")).status().expect("mkfifo");
                assert!(made.success());
            }),
        ),
        (
            "others may write it",
            Box::new(move |store| {
                fs::set_permissions(store.join(segment), Permissions::from_mode(0o666)).expect("changed");
            }),
        ),
        (
            "others may write it",
            Box::new(|store| {
                fs::set_permissions(store.join("journal"), Permissions::from_mode(0o777)).expect("changed");
            }),
        ),
        (
            "others may write it",
            Box::new(|store| {
                fs::set_permissions(store, Permissions::from_mode(0o770)).expect("changed");
            }),
        ),
        (
            "is a symbolic link",
            Box::new(|store| {
                fs::rename(store.join("marks"), store.join("elsewhere")).expect("renamed");
                symlink(store.join("elsewhere"), store.join("marks")).expect("linked");
            }),
        ),
        (
            "is a symbolic link",
            Box::new(|store| {
                let other = store.with_file_name("other");
                fs::rename(store, &other).expect("renamed");
                symlink(&other, store).expect("linked");
            }),
        ),
        (
            "ot a directory",
            Box::new(|store| {
                fs::remove_dir_all(store).expect("removed");
                fs::write(store, "a file").expect("written");
            }),
        ),
        (
            "irectory",
            Box::new(move |store| {
                fs::remove_file(store.join(segment)).expect("removed");
                fs::create_dir(store.join(segment)).expect("made");
            }),
        ),
    ];
    for (want, change) in cases {
        let told = refusal(change);
        assert!(told.contains(want), "wanted `{want}`: {told}");
        assert!(told.contains("STORE"), "the file is named: {told}");
    }
}

#[test]
fn what_belongs_to_somebody_else_is_refused() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can give files away");
        return;
    }
    for file in ["journal/00000000000000000001.jsonl", "journal", "", "marks/00000000000000000001"] {
        let told = refusal(|store| {
            std::os::unix::fs::chown(store.join(file), Some(65_534), None).expect("given away");
        });
        assert!(told.contains("belongs to user 65534"), "{file}: {told}");
    }
}

/// A file-size limit stands in for a full disk: a write is cut, then refused.
#[test]
fn under_a_file_size_limit_a_file_is_published_whole_or_not_at_all_and_no_grant_is_reported_that_is_not_there()
 {
    let test = "under_a_file_size_limit_a_file_is_published_whole_or_not_at_all_and_no_grant_is_reported_that_is_not_there";
    if let Ok(store) = std::env::var(CHILD_STORE) {
        for nameless in [true, false] {
            let disk =
                RealDisk::open_or_create(&Path::new(&store).join(format!("{nameless}"))).expect("made");
            let disk = if nameless { disk } else { disk.without_nameless_files() };
            let big = Name::new(Dir::Journal, "big");
            disk.publish(&big, &vec![b'x'; 100_000], Durability::Synced).expect_err("it is too large");
            assert_eq!(disk.list(Dir::Journal).expect("listed"), Vec::<String>::new(), "not even in part");
            let mut told_yes = Vec::new();
            for n in 1..80 {
                let lane = format!("lane-with-a-long-name-{n}");
                if let Ok(Told::Granted(_)) =
                    Client::new(&disk, "ann").acquire(n, &lane, &[&format!("{lane}/**")])
                {
                    told_yes.push(lane);
                }
            }
            assert!(!told_yes.is_empty() && told_yes.len() < 79, "{} grants under the limit", told_yes.len());
            let live = lanes(&load(&disk).expect("sound"));
            assert!(
                told_yes.iter().all(|lane| live.contains(lane)),
                "{told_yes:?} were reported, {live:?} live"
            );
        }
        return;
    }
    let temp = tempfile::tempdir().expect("a directory");
    // 512-byte blocks; SIGXFSZ is ignored so that the write fails instead of the process.
    let told = child("trap '' XFSZ; ulimit -f 40", test, temp.path());
    assert!(
        told.status.success(),
        "{}{}",
        String::from_utf8_lossy(&told.stdout),
        String::from_utf8_lossy(&told.stderr)
    );
    // Without the limit the store is usable, and what was cut is closed off.
    for nameless in ["true", "false"] {
        let disk = RealDisk::open(&temp.path().join(nameless)).expect("sound").expect("there");
        let told = Client::new(&disk, "bob").acquire(90, "bob", &["bob/**"]);
        assert!(matches!(told, Ok(Told::Granted(_))), "{told:?}");
        assert_eq!(survey(&disk).expect("readable").damage, []);
    }
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let _told = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn on_a_full_file_system_nothing_is_granted_and_the_store_is_usable_once_there_is_room() {
    let temp = tempfile::tempdir().expect("a directory");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
        .arg(temp.path())
        .output()
        .is_ok_and(|told| told.status.success());
    if !mounted {
        eprintln!("SKIPPED: no small file system can be mounted here");
        return;
    }
    let _unmount = Unmount(temp.path());
    let disk = RealDisk::open_or_create(&temp.path().join("store")).expect("made");
    Client::new(&disk, "ann").acquire(1, "before", &["before/**"]).expect("sound");
    let ballast = temp.path().join("ballast");
    let mut size = 256 << 10;
    while size > 0 {
        let more = [fs::read(&ballast).unwrap_or_default(), vec![0; size]].concat();
        if fs::write(&ballast, more).is_err() {
            size /= 2;
        }
    }
    let mut told_yes = vec!["before".to_owned()];
    let mut errors = 0;
    for n in 2..40 {
        let lane = format!("lane{n}");
        match Client::new(&disk, "ann").acquire(n, &lane, &[&format!("{lane}/**")]) {
            Ok(Told::Granted(_)) => told_yes.push(lane),
            Ok(told) => panic!("{told:?}"),
            Err(error) => {
                assert!(matches!(error, journal::JournalError::Disk(_)), "{error}");
                errors += 1;
            }
        }
    }
    assert!(errors > 0, "the file system was full");
    fs::remove_file(&ballast).expect("removed");
    let told = Client::new(&disk, "bob").acquire(90, "bob", &["bob/**"]);
    assert!(matches!(told, Ok(Told::Granted(_))), "{told:?}");
    let live = lanes(&load(&disk).expect("sound"));
    assert!(told_yes.iter().all(|lane| live.contains(lane)), "{told_yes:?} were reported, {live:?} live");
    assert_eq!(survey(&disk).expect("readable").damage, []);
}

/// Everything that writes, on a disk that has a segment.
fn every_write(disk: &RealDisk) -> Vec<(&'static str, Result<(), journal::disk::DiskError>)> {
    let name = Name::new(Dir::Top, "file");
    let root = *journal::history::roots(disk).expect("listed").last().expect("a segment");
    vec![
        ("append", disk.open(&segment::name(root), Access::Append).map(drop)),
        ("publish", disk.publish(&name, b"x", Durability::None).map(drop)),
        ("replace", disk.replace(&name, b"y")),
        ("append_or_create", disk.append_or_create(&name, b"z")),
        ("rename", disk.rename(&name, &Name::new(Dir::Damaged, "file"))),
        ("open_or_make", disk.open_or_make(&name).map(drop)),
        ("remove", disk.remove(&name)),
    ]
}

#[test]
fn what_is_known_to_be_unsuitable_is_read_and_never_written_to_unless_that_is_allowed() {
    let temp = tempfile::tempdir().expect("a directory");
    let path = temp.path().join("store");
    let disk = RealDisk::open_or_create(&path).expect("made");
    Client::new(&disk, "ann").acquire(1, "api", &["src/api/**"]).expect("sound");
    let opened = || RealDisk::open(&path).expect("sound").expect("there");
    let files = || disk.list(Dir::Top).expect("listed");
    let before = files();

    let nfs = opened().as_if_on(FileSystem::of_magic(0x6969));
    assert_eq!(lanes(&load(&nfs).expect("sound")), ["api"]);
    for (what, done) in every_write(&nfs) {
        let error = done.expect_err(what);
        assert_eq!(error.unsuitable().map(|found| &*found.name), Some("nfs"), "{what}: {error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("--allow-fs")), "{what}");
    }
    let told = Client::new(&nfs, "bob").acquire(2, "docs", &["docs/**"]);
    assert!(told.is_err(), "granted on NFS");
    assert_eq!(files(), before);

    // What nobody has looked at is not refused, and neither is what somebody takes upon himself.
    let odd = opened().as_if_on(FileSystem::of_magic(0x1234));
    let allowed = opened().as_if_on(FileSystem::of_magic(0x6969)).allow_any_file_system();
    for disk in [odd, allowed] {
        for (what, done) in every_write(&disk) {
            done.expect(what);
        }
        fs::remove_file(path.join("damaged/file")).expect("renamed there");
    }
}

type Put = fn(&Path);

#[test]
fn a_named_pipe_is_held_at_once_and_only_if_it_is_one_that_nobody_else_may_write() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = dir.path().join("store");
    let disk = RealDisk::open_or_create(&store).expect("made");
    let (pipe, path) = (Name::new(Dir::Top, "pipe"), store.join("pipe"));
    let both = [Access::Read, Access::Append];
    for access in both {
        assert!(disk.open_fifo(&pipe, access).expect("looked").is_none(), "there is none");
    }
    assert_eq!(disk.make_fifo(&pipe).expect("made"), Published::Created);
    assert_eq!(disk.make_fifo(&pipe).expect("looked"), Published::Exists);
    for access in both {
        // Nobody is at the other end, and nobody is waited for.
        assert!(disk.open_fifo(&pipe, access).expect("opened").is_some());
    }
    let odd: [(&str, Put); 6] = [
        ("not a named pipe", |path| fs::write(path, "x").expect("written")),
        ("", |path| fs::create_dir(path).expect("made")),
        ("", |path| symlink("nowhere", path).expect("linked")),
        ("", |path| symlink("/dev/null", path).expect("linked")),
        ("hard link", |path| {
            let made = Command::new("mkfifo").args(["-m", "600"]).arg(path).status().expect("mkfifo");
            assert!(made.success());
            fs::hard_link(path, path.with_file_name("second")).expect("linked");
        }),
        ("others may write it", |path| {
            let made = Command::new("mkfifo").args(["-m", "666"]).arg(path).status().expect("mkfifo");
            assert!(made.success());
            fs::set_permissions(path, Permissions::from_mode(0o666)).expect("changed");
        }),
    ];
    for (why, put) in odd {
        disk.remove(&pipe).or_else(|_| fs::remove_dir(&path)).expect("removed");
        put(&path);
        assert_eq!(disk.make_fifo(&pipe).expect("looked"), Published::Exists, "{why}");
        for access in both {
            let error = disk.open_fifo(&pipe, access).expect_err("it is not what it should be");
            assert!(error.source.to_string().contains(why), "{why}: {error:?}");
        }
    }
}
