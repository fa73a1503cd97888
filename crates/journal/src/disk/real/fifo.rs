//! Named pipes in the store's directory. No byte in one is ever a fact: what counts is who has it open, which the kernel
//! tells others, and takes back from the dead.

use std::os::fd::OwnedFd;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{Access, DiskError, FILE_MODE, GUARDS, Name, Published, RealDisk, open};

impl RealDisk {
    /// Makes a named pipe, unless there is something of that name.
    ///
    /// # Errors
    ///
    /// When it cannot be made: not every file system has them.
    pub fn make_fifo(&self, name: &Name) -> Result<Published, DiskError> {
        self.may_write()?;
        let dir = self.enter_or_make(name.dir)?;
        match fs::mknodat(dir, &*name.file, FileType::Fifo, FILE_MODE, 0) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Ok(Published::Exists),
            Err(errno) => return Err(self.failed("make", name, errno)),
        }
        // The umask took its share.
        fs::chmodat(dir, &*name.file, FILE_MODE, AtFlags::empty())
            .map_err(|errno| self.failed("set the mode of", name, errno))?;
        Ok(Published::Created)
    }

    /// Opens a named pipe, without waiting for anybody at its other end; `None` when there is none. [`Access::Read`] is
    /// an end to read, [`Access::Append`] both ends: to be there, whether anybody listens or not.
    ///
    /// # Errors
    ///
    /// When it cannot be opened, or is not a named pipe of this user with one name (feature E6).
    pub fn open_fifo(&self, name: &Name, access: Access) -> Result<Option<OwnedFd>, DiskError> {
        let flags = match access {
            Access::Read => OFlags::RDONLY,
            Access::Append => OFlags::RDWR,
        };
        let Some(dir) = self.enter_if_there(name.dir)? else { return Ok(None) };
        match open(dir, &*name.file, flags | GUARDS, Mode::empty()) {
            Ok(fd) => {
                self.check(&fd, name, FileType::Fifo)?;
                Ok(Some(fd))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.failed("open", name, errno)),
        }
    }
}
