//! Reading the small files of `/proc` and `/etc` with as few system calls as they allow.

use std::io;

use rustix::fs::{CWD, Mode, OFlags};

/// Reads at most `buffer.len()` bytes of `path` with one `read`: three system calls instead of the five of
/// `std::fs::read`.
///
/// Right for files the kernel makes up on the spot (`/proc` hands out whole answers of up to one page) and for
/// one-line files; a longer file is cut off without a word. Never blocks on a FIFO, never becomes a controlling
/// terminal, and the descriptor is closed on exec.
///
/// # Errors
///
/// Whatever `open` and `read` say, without the path: callers add it.
pub(crate) fn read_small<'a>(path: &str, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let file = rustix::io::retry_on_intr(|| rustix::fs::openat(CWD, path, flags, Mode::empty()))?;
    let length = rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut *buffer))?;
    Ok(&buffer[..length])
}

/// Reads the inode of the namespace `path`, such as `/proc/self/ns/pid`, with one system call.
///
/// `None` when there is no such namespace here (an old kernel, a sandbox without `/proc`).
pub(crate) fn namespace_inode(path: &str) -> Option<u64> {
    let mut buffer = [0_u8; 64];
    let target = rustix::fs::readlinkat_raw(CWD, path, &mut buffer[..]).ok()?;
    inode_of_link(&buffer[..target])
}

/// Takes the inode out of a link target such as `pid:[4026531836]`.
fn inode_of_link(target: &[u8]) -> Option<u64> {
    let open = target.iter().position(|&byte| byte == b'[')?;
    let digits = target[open + 1..].strip_suffix(b"]")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inode_of_a_namespace_link() {
        for (target, expected) in [
            ("pid:[4026531836]", Some(4_026_531_836)),
            ("time:[1]", Some(1)),
            ("pid:[]", None),
            ("pid:[12", None),
            ("pid:12", None),
            ("pid:[twelve]", None),
            ("", None),
        ] {
            assert_eq!(inode_of_link(target.as_bytes()), expected, "{target}");
        }
    }

    #[test]
    fn a_namespace_that_does_not_exist_is_none() {
        assert_eq!(namespace_inode("/proc/self/ns/no-such-namespace"), None);
    }

    #[test]
    fn a_small_file_is_cut_at_the_buffer() {
        let mut buffer = [0_u8; 4];
        assert_eq!(read_small("/proc/self/stat", &mut buffer).unwrap().len(), 4);
    }

    #[test]
    fn a_fifo_does_not_block() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        rustix::fs::mknodat(CWD, &path, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let mut buffer = [0_u8; 4];
        assert_eq!(read_small(path.to_str().unwrap(), &mut buffer).unwrap(), b"");
    }
}
