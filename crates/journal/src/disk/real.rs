//! The store's directory on this machine, by descriptors: no path is walked twice and no link is followed.

mod fifo;

use std::cell::OnceCell;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::{Errno, retry_on_intr};

use super::{
    Access, Dir, Disk, DiskError, Durability, FileSystem, Fitness, Name, Published, TEMPORARY, Unsuitable,
};

const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
const DIR_MODE: Mode = Mode::RWXU;
const FOR_OTHERS_TO_WRITE: u32 = 0o022;
/// Opening never follows a link, never waits for a FIFO's other end, and is never inherited.
const GUARDS: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// By how many bytes a file may have grown since it was opened without anybody asking for its length again.
const GROWN_BYTES: usize = 2 << 10;

/// A store's directory on a real file system. Directories have mode 0700, files 0600, under any umask.
///
/// Reads always work. Before the first write the file system is looked at, with one call, and one that is known to be
/// unsuitable is not written to ([`RealDisk::allow_any_file_system`]).
#[derive(Debug)]
pub struct RealDisk {
    path: PathBuf,
    dirs: [OnceCell<OwnedFd>; Dir::ALL.len()],
    nameless_files: bool,
    any_file_system: bool,
    /// As `statfs` has it, once it was asked.
    file_system: OnceCell<FileSystem>,
    /// The user of this process, to whom all of the store has to belong.
    user: u32,
}

impl RealDisk {
    /// Opens an existing store; `None` when there is none at `path`.
    ///
    /// # Errors
    ///
    /// When it is not a directory, is a link, belongs to somebody else or may be written by others.
    pub fn open(path: &Path) -> Result<Option<RealDisk>, DiskError> {
        let disk = RealDisk {
            path: path.to_owned(),
            dirs: Default::default(),
            nameless_files: true,
            any_file_system: false,
            file_system: OnceCell::new(),
            user: rustix::process::geteuid().as_raw(),
        };
        match disk.enter(Dir::Top) {
            Ok(_) => Ok(Some(disk)),
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens the store at `path`, made first where it is missing; its parent directory must be there or be
    /// makeable.
    ///
    /// # Errors
    ///
    /// As [`RealDisk::open`], when a directory cannot be made, and when the file system is unsuitable.
    pub fn open_or_create(path: &Path) -> Result<RealDisk, DiskError> {
        if let Some(disk) = RealDisk::open(path)? {
            disk.may_write()?;
            return Ok(disk);
        }
        // Before a directory is made that nobody may use.
        fit(path, RealDisk::file_system_at(path))?;
        RealDisk::create(path)
    }

    /// The same on a file system of any kind: whoever calls this has been told.
    ///
    /// # Errors
    ///
    /// As [`RealDisk::open`], and when a directory cannot be made.
    pub fn open_or_create_anywhere(path: &Path) -> Result<RealDisk, DiskError> {
        let disk = match RealDisk::open(path)? {
            Some(disk) => disk,
            None => RealDisk::create(path)?,
        };
        Ok(disk.allow_any_file_system())
    }

    fn create(path: &Path) -> Result<RealDisk, DiskError> {
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            let missing: Vec<&Path> =
                parent.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists()).collect();
            for dir in missing.into_iter().rev() {
                make_dir(fs::CWD, dir, dir)?;
            }
        }
        make_dir(fs::CWD, path, path)?;
        let made = RealDisk::open(path)?;
        made.ok_or_else(|| failed("open the store", path, io::ErrorKind::NotFound.into()))
    }

    /// Does without files that have no name until they are whole (`O_TMPFILE`), as on file systems that lack
    /// them.
    #[must_use]
    pub fn without_nameless_files(mut self) -> RealDisk {
        self.nameless_files = false;
        self
    }

    /// Allows writes on a file system of any kind.
    #[must_use]
    pub fn allow_any_file_system(mut self) -> RealDisk {
        self.any_file_system = true;
        self
    }

    /// Takes the file system for this one, as if `statfs` had said so.
    #[must_use]
    pub fn as_if_on(mut self, file_system: FileSystem) -> RealDisk {
        self.file_system = OnceCell::from(file_system);
        self
    }

    /// What the store lies on.
    ///
    /// # Errors
    ///
    /// When the system does not tell.
    pub fn file_system(&self) -> Result<&FileSystem, DiskError> {
        if let Some(known) = self.file_system.get() {
            return Ok(known);
        }
        let wrong = |errno: Errno| failed("examine the file system of", &self.path, errno.into());
        let top = self.enter(Dir::Top)?;
        let stat = retry_on_intr(|| fs::fstatfs(top)).map_err(wrong)?;
        let device = || fs::fstat(top).map(|stat| stat.st_dev).ok();
        Ok(self.file_system.get_or_init(|| file_system_of(&stat, device)))
    }

    /// What a store at `path` would lie on: the file system of the nearest directory that is there.
    pub fn file_system_at(path: &Path) -> Option<FileSystem> {
        let here = [Path::new(".")];
        path.ancestors().filter(|dir| !dir.as_os_str().is_empty()).chain(here).find_map(|dir| {
            let stat = retry_on_intr(|| fs::statfs(dir)).ok()?;
            Some(file_system_of(&stat, || fs::stat(dir).map(|stat| stat.st_dev).ok()))
        })
    }

    fn may_write(&self) -> Result<(), DiskError> {
        if self.any_file_system {
            return Ok(());
        }
        fit(&self.path, Some(self.file_system()?.clone()))
    }

    /// Where the store is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a file for reading and writing that nobody ever removes, made empty where it is missing.
    ///
    /// # Errors
    ///
    /// As [`Disk::open`], and when it cannot be made.
    pub fn open_or_make(&self, name: &Name) -> Result<File, DiskError> {
        self.may_write()?;
        let flags = OFlags::RDWR | GUARDS;
        if let Some(opened) = self.open_at(name, flags, "open")? {
            return Ok(opened.file);
        }
        let dir = self.enter_or_make(name.dir)?;
        let made = open(dir, &*name.file, flags | OFlags::CREATE | OFlags::APPEND, FILE_MODE);
        let fd = made.map_err(|errno| self.failed("make", name, errno))?;
        self.set_mode(&fd, name)?;
        self.check(&fd, name, FileType::RegularFile)?;
        Ok(File::from(fd))
    }

    fn enter(&self, dir: Dir) -> Result<BorrowedFd<'_>, DiskError> {
        let cell = &self.dirs[dir as usize];
        if let Some(fd) = cell.get() {
            return Ok(fd.as_fd());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = match dir {
            Dir::Top => open(fs::CWD, &self.path, flags, Mode::empty()),
            _ => open(self.enter(Dir::Top)?, dir.as_str(), flags, Mode::empty()),
        };
        let fd = opened.map_err(|errno| {
            let path = self.dir_path(dir);
            match errno {
                // With O_DIRECTORY the kernel says "not a directory" of a link too: say which it is.
                Errno::NOTDIR | Errno::LOOP if is_link(&path) => failed(
                    "open",
                    &path,
                    unsafe_file("it is a symbolic link, and links are not followed here"),
                ),
                errno => failed("open the directory", &path, errno.into()),
            }
        })?;
        let stat = fs::fstat(&fd).map_err(|errno| failed("examine", &self.dir_path(dir), errno.into()))?;
        self.not_for_others(&stat, || self.dir_path(dir))?;
        Ok(cell.get_or_init(|| fd).as_fd())
    }

    fn enter_or_make(&self, dir: Dir) -> Result<BorrowedFd<'_>, DiskError> {
        match self.enter(dir) {
            Err(error) if error.source.kind() == io::ErrorKind::NotFound && dir != Dir::Top => {
                make_dir(self.enter(Dir::Top)?, Path::new(dir.as_str()), &self.dir_path(dir))?;
                self.enter(dir)
            }
            entered => entered,
        }
    }

    /// Opens and examines; `None` when the file or its directory is missing.
    fn open_at(&self, name: &Name, flags: OFlags, what: &'static str) -> Result<Option<RealFile>, DiskError> {
        let Some(dir) = self.enter_if_there(name.dir)? else { return Ok(None) };
        match open(dir, &*name.file, flags, Mode::empty()) {
            Ok(fd) => {
                let stat = self.check(&fd, name, FileType::RegularFile)?;
                Ok(Some(RealFile::new(fd, &stat)))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::LOOP) => Err(failed(
                what,
                &self.path_of(name),
                unsafe_file("it is a symbolic link, and links are not followed here"),
            )),
            Err(errno) => Err(self.failed(what, name, errno)),
        }
    }

    fn enter_if_there(&self, dir: Dir) -> Result<Option<BorrowedFd<'_>>, DiskError> {
        match self.enter(dir) {
            Ok(fd) => Ok(Some(fd)),
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn check(&self, fd: &OwnedFd, name: &Name, kind: FileType) -> Result<fs::Stat, DiskError> {
        let stat = fs::fstat(fd).map_err(|errno| self.failed("examine", name, errno))?;
        let path = || self.path_of(name);
        if FileType::from_raw_mode(stat.st_mode) != kind {
            let what = if kind == FileType::Fifo { "a named pipe" } else { "a regular file" };
            return Err(failed("use", &path(), unsafe_file(format!("it is not {what}"))));
        }
        if stat.st_nlink > 1 {
            return Err(failed("use", &path(), unsafe_file("it has more than one name (a hard link)")));
        }
        self.not_for_others(&stat, path)?;
        Ok(stat)
    }

    fn not_for_others(&self, stat: &fs::Stat, path: impl FnOnce() -> PathBuf) -> Result<(), DiskError> {
        let why = if stat.st_uid != self.user {
            format!("it belongs to user {} and this is user {}", stat.st_uid, self.user)
        } else if stat.st_mode & FOR_OTHERS_TO_WRITE != 0 {
            format!("others may write it (mode {:03o})", stat.st_mode & 0o777)
        } else {
            return Ok(());
        };
        Err(failed("use", &path(), unsafe_file(why)))
    }

    /// Reads to the end with one call, if all is there that was there when the file was opened, and a little more at most.
    ///
    /// Only then is a read that comes back short the end of the file: it may have been cut short by a bad block.
    fn read_at_once(
        &self,
        opened: &RealFile,
        name: &Name,
        from: u64,
        most: u64,
    ) -> Result<Option<Vec<u8>>, DiskError> {
        let known = usize::try_from(opened.len.saturating_sub(from)).unwrap_or(usize::MAX);
        if known == 0 || known as u64 > most {
            return Ok(None);
        }
        let mut bytes = self.room(name, known + GROWN_BYTES)?;
        let read = rustix::io::pread(&opened.file, rustix::buffer::spare_capacity(&mut bytes), from);
        let is_all = read.is_ok() && (known..known + GROWN_BYTES).contains(&bytes.len());
        Ok((is_all && bytes.len() as u64 <= most).then_some(bytes))
    }

    /// No memory is an answer like any other. Were it left to the allocator, the process would be aborted.
    fn room(&self, name: &Name, len: usize) -> Result<Vec<u8>, DiskError> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).map_err(|_| {
            let what = format!("there is no memory for its {len} bytes");
            failed("read", &self.path_of(name), io::Error::new(io::ErrorKind::OutOfMemory, what))
        })?;
        Ok(bytes)
    }

    fn set_mode(&self, fd: &OwnedFd, name: &Name) -> Result<(), DiskError> {
        fs::fchmod(fd, FILE_MODE).map_err(|errno| self.failed("set the mode of", name, errno))
    }

    /// A new file that has no name yet, or a temporary one where the file system knows no nameless files.
    fn aside(&self, name: &Name) -> Result<Aside<'_>, DiskError> {
        if !self.nameless_files {
            return self.aside_with_name(name);
        }
        let dir = self.enter_or_make(name.dir)?;
        match open(dir, ".", OFlags::WRONLY | OFlags::CLOEXEC | OFlags::TMPFILE, FILE_MODE) {
            Ok(fd) => Ok(Aside { fd, dir, temporary: None }),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => self.aside_with_name(name),
            Err(errno) => Err(self.failed("make", name, errno)),
        }
    }

    fn aside_with_name(&self, name: &Name) -> Result<Aside<'_>, DiskError> {
        let dir = self.enter_or_make(name.dir)?;
        let mut random = [0u8; 8];
        retry_on_intr(|| rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()))
            .map_err(|errno| self.failed("name a temporary file for", name, errno))?;
        let temporary = format!("{TEMPORARY}{:016x}", u64::from_le_bytes(random));
        let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::CREATE | OFlags::EXCL;
        let fd =
            open(dir, &*temporary, flags, FILE_MODE).map_err(|errno| self.failed("make", name, errno))?;
        Ok(Aside { fd, dir, temporary: Some(temporary) })
    }

    fn fill<'a>(
        &self,
        aside: Aside<'a>,
        name: &Name,
        bytes: &[u8],
        durability: Durability,
    ) -> Result<Aside<'a>, DiskError> {
        self.set_mode(&aside.fd, name)?;
        let mut rest = bytes;
        while !rest.is_empty() {
            match rustix::io::write(&aside.fd, rest) {
                Ok(0) => return Err(self.failed("write", name, Errno::NOSPC)),
                Ok(taken) => rest = &rest[taken..],
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.failed("write", name, errno)),
            }
        }
        if durability == Durability::Synced {
            fs::fsync(&aside.fd).map_err(|errno| self.failed("sync", name, errno))?;
        }
        Ok(aside)
    }

    /// Without a slash at its end, which would have a link followed.
    fn dir_path(&self, dir: Dir) -> PathBuf {
        match dir {
            Dir::Top => self.path.clone(),
            _ => self.path.join(dir.as_str()),
        }
    }

    fn failed(&self, what: &'static str, name: &Name, errno: Errno) -> DiskError {
        failed(what, &self.path_of(name), errno.into())
    }
}

/// A file on its way to its name; a temporary name is taken away again if it does not get there.
struct Aside<'a> {
    fd: OwnedFd,
    dir: BorrowedFd<'a>,
    temporary: Option<String>,
}

impl Aside<'_> {
    fn publish(mut self, file: &str) -> Result<Published, Errno> {
        let named = match &self.temporary {
            None => {
                let path = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
                fs::linkat(fs::CWD, path, self.dir, file, AtFlags::SYMLINK_FOLLOW)
            }
            Some(temporary) => {
                fs::renameat_with(self.dir, &**temporary, self.dir, file, RenameFlags::NOREPLACE)
            }
        };
        match named {
            Ok(()) => {
                self.temporary = None;
                Ok(Published::Created)
            }
            Err(Errno::EXIST) => Ok(Published::Exists),
            Err(errno) => Err(errno),
        }
    }
}

impl Aside<'_> {
    fn replace(mut self, file: &str) -> Result<(), Errno> {
        let temporary = self.temporary.as_deref().ok_or(Errno::INVAL)?;
        fs::renameat(self.dir, temporary, self.dir, file)?;
        self.temporary = None;
        Ok(())
    }
}

impl Drop for Aside<'_> {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // Best effort: a stray temporary file is harmless.
            let _unlinked = fs::unlinkat(self.dir, &**temporary, AtFlags::empty());
        }
    }
}

/// A file of the store that was opened, and which one it is, whatever has its name later.
#[derive(Debug)]
pub struct RealFile {
    file: File,
    identity: (u64, u64),
    /// How long it was then.
    len: u64,
}

impl RealFile {
    fn new(fd: OwnedFd, stat: &fs::Stat) -> RealFile {
        RealFile { file: fd.into(), identity: identity_of(stat), len: len_of(stat) }
    }
}

fn len_of(stat: &fs::Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// Which file it is: the number of its device, and its own there.
fn identity_of(stat: &fs::Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

impl Disk for RealDisk {
    type File = RealFile;

    fn open(&self, name: &Name, access: Access) -> Result<Option<RealFile>, DiskError> {
        let flags = match access {
            Access::Read => OFlags::RDONLY,
            Access::Append => {
                self.may_write()?;
                OFlags::RDWR | OFlags::APPEND
            }
        };
        self.open_at(name, flags | GUARDS, "open")
    }

    fn read(&self, opened: &RealFile, name: &Name, from: u64, most: u64) -> Result<Vec<u8>, DiskError> {
        if let Some(bytes) = self.read_at_once(opened, name, from, most)? {
            return Ok(bytes);
        }
        let wrong = |source| failed("read", &self.path_of(name), source);
        let stat = fs::fstat(&opened.file).map_err(|errno| wrong(errno.into()))?;
        let len = len_of(&stat).saturating_sub(from);
        if len > most {
            let what = format!("it has {len} bytes to read, more than the {most} any writer leaves");
            return Err(wrong(io::Error::new(io::ErrorKind::FileTooLarge, what)));
        }
        self.read_part(opened, name, from, usize::try_from(len).unwrap_or(usize::MAX))
    }

    fn read_part(&self, opened: &RealFile, name: &Name, from: u64, len: usize) -> Result<Vec<u8>, DiskError> {
        let wrong = |source| failed("read", &self.path_of(name), source);
        let mut bytes = self.room(name, len)?;
        // By position: where an earlier read or append has left the descriptor does not matter.
        while bytes.len() < len {
            let at = from + bytes.len() as u64;
            match rustix::io::pread(&opened.file, rustix::buffer::spare_capacity(&mut bytes), at) {
                Ok(0) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(wrong(errno.into())),
            }
        }
        bytes.truncate(len);
        Ok(bytes)
    }

    fn append(&self, opened: &RealFile, name: &Name, bytes: &[u8]) -> Result<usize, DiskError> {
        loop {
            match rustix::io::write(&opened.file, bytes) {
                Ok(taken) => return Ok(taken),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.failed("append to", name, errno)),
            }
        }
    }

    fn sync(&self, opened: &RealFile, name: &Name) -> Result<(), DiskError> {
        fs::fdatasync(&opened.file).map_err(|errno| self.failed("sync", name, errno))
    }

    fn is_at(&self, opened: &RealFile, name: &Name) -> Result<bool, DiskError> {
        let dir = self.enter(name.dir)?;
        match fs::statat(dir, &*name.file, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) => Ok(identity_of(&there) == opened.identity),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(self.failed("examine", name, errno)),
        }
    }

    fn publish(&self, name: &Name, bytes: &[u8], durability: Durability) -> Result<Published, DiskError> {
        self.may_write()?;
        let aside = self.fill(self.aside(name)?, name, bytes, durability)?;
        let published = aside.publish(&name.file).map_err(|errno| self.failed("publish", name, errno))?;
        if durability == Durability::Synced {
            self.sync_dir(name.dir)?;
        }
        Ok(published)
    }

    fn replace(&self, name: &Name, bytes: &[u8]) -> Result<(), DiskError> {
        self.may_write()?;
        let aside = self.fill(self.aside_with_name(name)?, name, bytes, Durability::None)?;
        aside.replace(&name.file).map_err(|errno| self.failed("replace", name, errno))
    }

    fn append_or_create(&self, name: &Name, bytes: &[u8]) -> Result<(), DiskError> {
        self.may_write()?;
        let flags = OFlags::WRONLY | OFlags::APPEND | GUARDS;
        let file = match self.open_at(name, flags, "open")? {
            Some(opened) => opened,
            None => {
                let dir = self.enter_or_make(name.dir)?;
                let fd = open(dir, &*name.file, flags | OFlags::CREATE, FILE_MODE)
                    .map_err(|errno| self.failed("make", name, errno))?;
                self.set_mode(&fd, name)?;
                let stat = self.check(&fd, name, FileType::RegularFile)?;
                RealFile::new(fd, &stat)
            }
        };
        let taken = self.append(&file, name, bytes)?;
        if taken == bytes.len() { Ok(()) } else { Err(self.failed("append to", name, Errno::NOSPC)) }
    }

    fn rename(&self, from: &Name, to: &Name) -> Result<(), DiskError> {
        self.may_write()?;
        let (from_dir, to_dir) = (self.enter(from.dir)?, self.enter_or_make(to.dir)?);
        fs::renameat_with(from_dir, &*from.file, to_dir, &*to.file, RenameFlags::NOREPLACE)
            .map_err(|errno| self.failed("rename", from, errno))?;
        self.sync_dir(from.dir)?;
        self.sync_dir(to.dir)
    }

    fn remove(&self, name: &Name) -> Result<(), DiskError> {
        self.may_write()?;
        let Some(dir) = self.enter_if_there(name.dir)? else { return Ok(()) };
        match fs::unlinkat(dir, &*name.file, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.failed("remove", name, errno)),
        }
    }

    fn sync_dir(&self, dir: Dir) -> Result<(), DiskError> {
        let wrong = |path: &Path, errno: Errno| failed("sync the directory", path, errno.into());
        fs::fsync(self.enter(dir)?).map_err(|errno| wrong(&self.dir_path(dir), errno))?;
        if dir == Dir::Top {
            return Ok(());
        }
        // Whoever made this directory, or the store, may have died before its name was durable.
        fs::fsync(self.enter(Dir::Top)?).map_err(|errno| wrong(&self.path, errno))?;
        match sync_path(parent_of(&self.path)) {
            // A process that cannot look into it, or write to it, did not make the store in it.
            Ok(()) | Err(Errno::ACCESS | Errno::INVAL | Errno::ROFS) => Ok(()),
            Err(errno) => Err(wrong(parent_of(&self.path), errno)),
        }
    }

    fn list(&self, dir: Dir) -> Result<Vec<String>, DiskError> {
        let Some(fd) = self.enter_if_there(dir)? else { return Ok(Vec::new()) };
        let wrong = |errno: Errno| failed("list", &self.dir_path(dir), errno.into());
        let mut names = Vec::new();
        for entry in retry_on_intr(|| fs::Dir::read_from(fd)).map_err(wrong)? {
            let entry = entry.map_err(wrong)?;
            // Whatever the store did not name itself is not the store's.
            if let Ok(name) = entry.file_name().to_str()
                && !matches!(name, "." | "..")
            {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn len(&self, name: &Name) -> Result<Option<u64>, DiskError> {
        let Some(dir) = self.enter_if_there(name.dir)? else { return Ok(None) };
        match fs::statat(dir, &*name.file, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(len_of(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.failed("examine", name, errno)),
        }
    }

    fn path_of(&self, name: &Name) -> PathBuf {
        self.path.join(name.dir.as_str()).join(&name.file)
    }
}

/// Opens a file, and tries again when a signal came in between.
fn open(
    dir: BorrowedFd<'_>,
    file: impl rustix::path::Arg + Copy,
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    retry_on_intr(|| fs::openat(dir, file, flags, mode))
}

fn make_dir(parent: BorrowedFd<'_>, name: &Path, shown: &Path) -> Result<(), DiskError> {
    let wrong = |errno: Errno| failed("make the directory", shown, errno.into());
    match fs::mkdirat(parent, name, DIR_MODE) {
        Ok(()) => {
            // The umask took its share.
            fs::chmodat(parent, name, DIR_MODE, AtFlags::empty()).map_err(wrong)?;
            sync_path(parent_of(shown)).map_err(wrong)
        }
        Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(wrong(errno)),
    }
}

/// What kind of file system this is. If it is not known to be good, the table of mounts has its name: the kernel has one
/// number for many kinds.
fn file_system_of(stat: &fs::StatFs, device: impl FnOnce() -> Option<u64>) -> FileSystem {
    let found = FileSystem::of_magic(stat.f_type.cast_unsigned());
    if found.fitness == Fitness::Good {
        return found;
    }
    named_by_mounts(found, device())
}

fn named_by_mounts(found: FileSystem, device: Option<u64>) -> FileSystem {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo");
    match (mounts, device) {
        (Ok(mounts), Some(device)) => found.named_by_mounts(&mounts, fs::major(device), fs::minor(device)),
        _ => found,
    }
}

fn fit(path: &Path, file_system: Option<FileSystem>) -> Result<(), DiskError> {
    match file_system {
        Some(found) if found.fitness == Fitness::Unsuitable => {
            Err(failed("write to", path, io::Error::new(io::ErrorKind::Unsupported, Unsuitable(found))))
        }
        // What nobody has looked at is not refused: `doctor` says so.
        _ => Ok(()),
    }
}

fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn sync_path(dir: &Path) -> Result<(), Errno> {
    fs::fsync(open(fs::CWD, dir, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

fn is_link(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|meta| meta.file_type().is_symlink())
}

fn unsafe_file(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

fn failed(what: &'static str, path: &Path, source: io::Error) -> DiskError {
    DiskError { what, path: path.to_owned(), source }
}
