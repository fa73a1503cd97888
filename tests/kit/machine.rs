//! Shells in namespaces of their own, for faults of the machine that a test may only make where nobody else lives.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{BIN, DEADLINE, Lab, path_variable};

/// What the program said when a [`Shell`] ran it.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) value: Value,
    pub(crate) took: Duration,
}

impl Said {
    /// The object, whose outcome and exit code must be these.
    #[track_caller]
    pub(crate) fn expect(self, code: i32, outcome: &str) -> Value {
        assert_eq!((self.code, self.value["outcome"].as_str()), (code, Some(outcome)), "{self:?}");
        self.value
    }
}

/// A bash that is told one line after another. What it started dies with it.
pub(crate) struct Shell {
    child: Child,
    /// None once the shell is being sent away.
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

/// A line of the shell's own, after what a command printed: its exit code follows.
const END: &str = "=== ";

impl Shell {
    /// Starts a shell behind `wrapper` (such as `unshare -m`) in the directory of `lab` and prepares it. None, said
    /// aloud, where that is not allowed or not there.
    pub(crate) fn enter(lab: &Lab, wrapper: &[&str], prepare: &str) -> Option<Shell> {
        let script = format!(
            r#"trap 'kill -KILL $(jobs -p) 2>/dev/null' EXIT; while IFS= read -r line; do eval "$line"; echo "{END}$?"; done"#
        );
        let mut words: Vec<&str> = wrapper.to_vec();
        words.extend(["bash", "-c", &script]);
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).current_dir(lab.path()).env_clear();
        command.env("PATH", path_variable()).env("BIN", BIN).env("STORE", lab.store());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let entered = command.spawn().map_err(|error| error.to_string()).and_then(|mut child| {
            let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
            let stderr = child.stderr.take().unwrap();
            let (send, lines) = channel();
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    if send.send(line).is_err() {
                        break;
                    }
                }
            });
            // Nobody reads it but who looks for the reason of a failure.
            std::thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    eprintln!("{line}");
                }
            });
            let mut shell = Shell { child, stdin: Some(stdin), lines };
            match shell.try_run(prepare) {
                Some((0, _)) => Ok(shell),
                failed => Err(format!("`{prepare}`: {failed:?}")),
            }
        });
        match entered {
            Ok(shell) => Some(shell),
            Err(why) => {
                eprintln!("SKIPPED: {wrapper:?} does not work here, so this fault was not tried: {why}");
                None
            }
        }
    }

    /// Runs a line; its exit code and what it printed. None when the shell has ended.
    fn try_run(&mut self, line: &str) -> Option<(i32, String)> {
        assert!(!line.contains('\n'), "one line at a time: {line}");
        writeln!(self.stdin.as_ref()?, "{line}").ok()?;
        let began = Instant::now();
        let mut text = String::new();
        loop {
            let left = DEADLINE.saturating_sub(began.elapsed());
            let line = self.lines.recv_timeout(left).ok()?;
            if let Some(code) = line.strip_prefix(END) {
                return Some((code.parse().ok()?, text));
            }
            text.push_str(&line);
            text.push('\n');
        }
    }

    /// Runs a line that must succeed; what it printed.
    #[track_caller]
    pub(crate) fn run(&mut self, line: &str) -> String {
        let (code, text) = self.try_run(line).unwrap_or_else(|| panic!("no answer to `{line}`"));
        assert_eq!(code, 0, "`{line}`: {text}");
        text.trim_end().to_owned()
    }

    /// Runs the program as `owner` and asks for JSON.
    #[track_caller]
    pub(crate) fn ask(&mut self, owner: &str, args: &[&str]) -> Said {
        self.ask_with("", owner, args)
    }

    /// The same with words before the program's name: variables of the environment, `prlimit`.
    #[track_caller]
    pub(crate) fn ask_with(&mut self, before: &str, owner: &str, args: &[&str]) -> Said {
        let quoted: Vec<String> =
            args.iter().map(|arg| format!("'{}'", arg.replace('\'', r"'\''"))).collect();
        let words = quoted.join(" ");
        let line = format!(
            r#"LEASE_LANE_OWNER={owner} {before} "$BIN" --store "$STORE" --json {words} 2>/dev/null </dev/null"#
        );
        let began = Instant::now();
        let (code, text) = self.try_run(&line).unwrap_or_else(|| panic!("no answer to `{line}`"));
        let value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: `{line}`: {text}"));
        Said { code, value, took: began.elapsed() }
    }

    /// Starts a process that lives until the shell ends; its number as the shell sees it.
    pub(crate) fn sleeper(&mut self) -> u32 {
        self.run("sleep 600 </dev/null >/dev/null 2>&1 & echo $!").parse().unwrap()
    }

    /// Kills a process of this shell and takes its zombie away.
    pub(crate) fn kill(&mut self, pid: u32) {
        self.run(&format!("kill -KILL {pid}; wait {pid} 2>/dev/null || true"));
    }

    /// The numbers of the live leases.
    pub(crate) fn live(&mut self) -> Vec<u64> {
        let live = self.ask("looker", &["live"]).expect(0, "ok");
        live["leases"].as_array().unwrap().iter().map(|lease| lease["lease"].as_u64().unwrap()).collect()
    }

    /// The journal is sound and every recorded verdict comes out the same again.
    #[track_caller]
    pub(crate) fn assert_sound(&mut self) {
        self.ask("looker", &["verify"]).expect(0, "ok");
        self.ask("looker", &["replay", "--verdicts"]).expect(0, "ok");
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // At the end of its input it ends by itself and takes its children along.
        drop(self.stdin.take());
        let began = Instant::now();
        while self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            if began.elapsed() > Duration::from_secs(5) {
                self.child.kill().ok();
                self.child.wait().ok();
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
