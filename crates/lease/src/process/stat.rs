//! One line of `/proc/PID/stat`, the few fields that tell one process from the next.

use std::io;

use super::procfs::read_small;

/// What `/proc/PID/stat` says of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Process id as this `/proc` counts it (field 1).
    pub pid: u32,
    /// Name of the program, cut to 15 bytes by the kernel (field 2). Anyone may set his own: never evidence.
    pub comm: Vec<u8>,
    /// State letter: `R`, `S`, `D`, `T`, `Z` and so on (field 3).
    pub state: u8,
    /// Process id of the parent; 0 for none (field 4).
    pub parent: u32,
    /// Process group (field 5).
    pub group: u32,
    /// Number of threads, an unreaped leader included (field 20).
    pub n_threads: u64,
    /// Start time in clock ticks since boot, as the reader's time namespace counts it (field 22).
    pub start: u64,
    /// Where its stack begins (field 28): chance, set when a program is executed and copied by a fork. 0 when it is
    /// hidden from the reader.
    pub stack: u64,
}

impl Stat {
    /// The longest line we accept, in bytes; real ones stay below 400.
    const BYTES_MAX: usize = 1_024;

    /// Reads `/proc/PID/stat`. Three system calls.
    ///
    /// # Errors
    ///
    /// Whatever the kernel said; `InvalidData` when the line is not one we understand.
    pub fn read(pid: u32) -> io::Result<Self> {
        Self::read_path(&format!("/proc/{pid}/stat"))
    }

    /// Reads `/proc/self/stat`. Three system calls.
    ///
    /// # Errors
    ///
    /// As [`Stat::read`].
    pub fn read_self() -> io::Result<Self> {
        Self::read_path("/proc/self/stat")
    }

    fn read_path(path: &str) -> io::Result<Self> {
        let mut buffer = [0_u8; Self::BYTES_MAX];
        let line = read_small(path, &mut buffer)?;
        Self::parse(line).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unexpected format"))
    }

    /// Takes a line of `/proc/PID/stat` apart.
    ///
    /// The name in field 2 may hold blanks, parentheses and line feeds, so fields are counted from the last `)`.
    /// `None` when a field is missing or not a number.
    ///
    /// ```
    /// use lease::process::Stat;
    ///
    /// let line = b"7 (a) Z 1 (b) S 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 3 0 4121 0";
    /// let stat = Stat::parse(line).unwrap();
    /// assert_eq!((stat.comm.as_slice(), stat.state, stat.n_threads, stat.start), (&b"a) Z 1 (b"[..], b'S', 3, 4121));
    /// ```
    pub fn parse(line: &[u8]) -> Option<Self> {
        let open = line.iter().position(|&byte| byte == b'(')?;
        let close = line.iter().rposition(|&byte| byte == b')')?;
        let comm = line.get(open + 1..close)?.to_vec();
        let pid = std::str::from_utf8(&line[..open]).ok()?.trim_end().parse().ok()?;
        let rest = std::str::from_utf8(&line[close + 1..]).ok()?;
        let mut fields = rest.split_ascii_whitespace(); // starts at field 3
        let &[state] = fields.next()?.as_bytes() else { return None };
        let parent = fields.next()?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        let n_threads = fields.nth(20 - 6)?.parse().ok()?;
        let start = fields.nth(22 - 21)?.parse().ok()?;
        let stack = fields.nth(28 - 23).and_then(|field| field.parse().ok()).unwrap_or(0);
        Some(Self { pid, comm, state, parent, group, n_threads, start, stack })
    }

    /// Whether nothing of the process runs any more: dead, or a zombie without another thread.
    ///
    /// A leader that left by `pthread_exit` is shown as `Z` while its other threads work on: that one lives.
    pub fn has_ended(&self) -> bool {
        match self.state {
            b'X' | b'x' => true,
            b'Z' => self.n_threads <= 1,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line as the kernel writes it, with a chosen name, state, thread count and start time.
    fn line(comm: &str, state: char, n_threads: u64, start: u64) -> String {
        format!(
            "4121 ({comm}) {state} 4000 4121 4121 34816 4121 4194304 120 0 0 0 1 2 0 0 20 0 {n_threads} 0 {start} \
             6103040 1 18446744073709551615 1 1 140727 0 0 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
        )
    }

    #[test]
    fn names_with_blanks_parentheses_and_line_feeds() {
        for comm in
            ["sh", "", "a b", ")", "(", "a) Z 1 (b", ") R 1 2 3", "x\ny)", "((((", "))))", "tmux: server"]
        {
            let stat = Stat::parse(line(comm, 'S', 2, 303_824).as_bytes());
            let expected = Stat {
                pid: 4_121,
                comm: comm.as_bytes().to_vec(),
                state: b'S',
                parent: 4_000,
                group: 4_121,
                n_threads: 2,
                start: 303_824,
                stack: 140_727,
            };
            assert_eq!(stat, Some(expected), "{comm:?}");
        }
    }

    #[test]
    fn a_name_that_is_not_utf_8() {
        let line = [b"7 (\xff\xfe) ".as_slice(), b"S 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 9 0"].concat();
        assert_eq!(Stat::parse(&line).map(|stat| stat.start), Some(9));
    }

    #[test]
    fn every_cut_line_is_refused_or_complete() {
        let whole = line("a b", 'S', 1, 303_824);
        let start_ends = whole.find("303824").unwrap() + "303824".len();
        for cut in 0..start_ends - "03824".len() {
            assert_eq!(Stat::parse(&whole.as_bytes()[..cut]), None, "cut at {cut}");
        }
        assert_eq!(Stat::parse(&whole.as_bytes()[..start_ends]).map(|stat| stat.start), Some(303_824));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in
            ["", "()", ")(", "x (a) S 1", "1 (a) SS 1", "1 (a) S -1 0 0", "4294967296 (a) S 1", ") S 1 ("]
        {
            assert_eq!(Stat::parse(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn a_zombie_leader_with_threads_has_not_ended() {
        for (state, n_threads, ended) in [
            ('R', 1, false),
            ('S', 9, false),
            ('T', 1, false),
            ('D', 1, false),
            ('Z', 1, true),
            ('Z', 0, true),
            ('Z', 2, false),
            ('X', 1, true),
            ('x', 1, true),
        ] {
            let stat = Stat::parse(line("a", state, n_threads, 1).as_bytes()).unwrap();
            assert_eq!(stat.has_ended(), ended, "{state} with {n_threads} threads");
        }
    }

    #[test]
    fn our_own_line_is_understood() {
        let stat = Stat::read_self().unwrap();
        assert_eq!(stat.pid, std::process::id());
        assert_eq!(
            stat,
            Stat { state: stat.state, n_threads: stat.n_threads, ..Stat::read(stat.pid).unwrap() }
        );
    }
}
