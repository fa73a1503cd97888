//! What is measured, and where: the programs, built, and a directory to work in.

use std::env;
use std::fs::{self, File};
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::Answer;

/// The directory of this run. All contenders work in it, so all use the same file system.
pub(crate) struct Work {
    /// The directory.
    pub(crate) dir: PathBuf,
    settle: File,
}

impl Work {
    /// Makes a new directory under `parent`, or under the target directory.
    pub(crate) fn new(parent: Option<&Path>) -> Answer<Self> {
        let parent = parent.map_or_else(target_dir, Path::to_owned);
        fs::create_dir_all(&parent).map_err(|error| at("create", &parent, &error))?;
        let parent = parent.canonicalize().map_err(|error| at("resolve", &parent, &error))?;
        let dir = parent.join(format!("bench-{}", std::process::id()));
        fs::create_dir(&dir).map_err(|error| at("create", &dir, &error))?;
        let settle = File::create(dir.join("settle")).map_err(|error| at("create", &dir, &error))?;
        Ok(Self { dir, settle })
    }

    /// Makes a new empty directory.
    pub(crate) fn sub(&self, name: &str) -> Answer<PathBuf> {
        let dir = self.dir.join(name);
        fs::create_dir(&dir).map_err(|error| at("create", &dir, &error))?;
        Ok(dir)
    }

    /// Has the file system write down what earlier rows left behind, so that the next sync pays for itself only.
    pub(crate) fn settle(&self) -> Answer<()> {
        (&self.settle).write_all(b".")?;
        Ok(self.settle.sync_all()?)
    }

    /// Opens the file that takes what contenders say on stderr.
    pub(crate) fn talk(&self) -> Answer<File> {
        let path = self.dir.join("stderr");
        let file = File::options().create(true).append(true).open(&path);
        Ok(file.map_err(|error| at("open", &path, &error))?)
    }

    /// Removes everything.
    pub(crate) fn remove(self) -> Answer<()> {
        Ok(fs::remove_dir_all(&self.dir).map_err(|error| at("remove", &self.dir, &error))?)
    }
}

/// The programs.
pub(crate) struct Tools {
    /// `hello.c`
    pub(crate) hello: PathBuf,
    /// `floor.c`
    pub(crate) floor: PathBuf,
    /// The command line under test.
    pub(crate) lease_lane: PathBuf,
}

impl Tools {
    /// Compiles the C programs into `work` and finds or builds lease-lane.
    pub(crate) fn build(work: &Work) -> Answer<Self> {
        Ok(Self { hello: compile("hello", work)?, floor: compile("floor", work)?, lease_lane: lease_lane()? })
    }

    /// Names the binary under test and its size.
    pub(crate) fn describe(&self) -> String {
        let bytes = fs::metadata(&self.lease_lane).map_or(0, |data| data.len());
        format!("{} ({} KiB)", self.lease_lane.display(), bytes / 1024)
    }
}

/// Tells whether a program can be started.
pub(crate) fn is_installed(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn compile(name: &str, work: &Work) -> Answer<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("{name}.c"));
    let program = work.dir.join(name);
    let mut gcc = Command::new("gcc");
    gcc.args(["-O2", "-static", "-Wall", "-Wextra", "-o"]).arg(&program).arg(&source);
    if !gcc.status()?.success() {
        return Err(
            format!("gcc could not compile `{}` (is a static libc installed?)", source.display()).into()
        );
    }
    Ok(program)
}

fn lease_lane() -> Answer<PathBuf> {
    if let Some(path) = env::var_os("LEASE_LANE_BIN") {
        let path = PathBuf::from(path);
        return Ok(path.canonicalize().map_err(|error| at("find", &path, &error))?);
    }
    // Cargo itself says where the binary is, whatever CARGO_TARGET_DIR and its configuration hold.
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args([
        "build",
        "--release",
        "--package",
        "lease-lane",
        "--message-format",
        "json-render-diagnostics",
    ]);
    let output = cargo.current_dir(workspace()).stdout(Stdio::piped()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err("lease-lane does not compile".into());
    }
    for line in output.stdout.lines() {
        let message: Value = serde_json::from_str(&line?)?;
        if message["target"]["name"] == "lease-lane"
            && let Some(path) = message["executable"].as_str()
        {
            return Ok(path.into());
        }
    }
    Err("cargo built no binary named lease-lane".into())
}

fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

fn at(what: &str, path: &Path, error: &io::Error) -> String {
    format!("could not {what} `{}`: {error}", path.display())
}
