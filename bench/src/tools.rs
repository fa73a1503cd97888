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
    /// `hello.rs`
    pub(crate) hello_rust: PathBuf,
    /// `floor.c`
    pub(crate) floor: PathBuf,
    /// `peak.c`
    pub(crate) peak: PathBuf,
    /// The command line under test.
    pub(crate) lease_lane: PathBuf,
    /// Where it comes from.
    under_test: PathBuf,
}

impl Tools {
    /// Compiles the C programs into `work` and finds or builds lease-lane.
    pub(crate) fn build(work: &Work) -> Answer<Self> {
        let lease_lane = match env::var_os("LEASE_LANE_BIN") {
            Some(path) => {
                let path = PathBuf::from(path);
                path.canonicalize().map_err(|error| at("find", &path, &error))?
            }
            None => built("lease-lane", "lease-lane", &["--release"])?,
        };
        let hello_rust = built("bench", "bench-hello", &["--release"])?;
        Ok(Self {
            hello: compile("hello", work, &["-static"], &[])?,
            floor: compile("floor", work, &["-static"], &[])?,
            peak: compile("peak", work, &["-static"], &[])?,
            hello_rust: installed(&hello_rust, work)?,
            lease_lane: installed(&lease_lane, work)?,
            under_test: lease_lane,
        })
    }

    /// Names the binary under test and its size.
    pub(crate) fn describe(&self) -> String {
        let bytes = fs::metadata(&self.under_test).map_or(0, |data| data.len());
        let path = self.under_test.strip_prefix(workspace().canonicalize().unwrap_or_default());
        let path = path.unwrap_or(&self.under_test);
        format!("{} ({} KiB)", path.display(), bytes / 1024)
    }
}

/// Tells whether a program can be started.
pub(crate) fn is_installed(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Installs a Debian package, if this machine lets us; whether that helped, the next try tells.
pub(crate) fn install(package: &str) {
    eprintln!("bench: installing {package}");
    let mut apt = Command::new("apt-get");
    apt.args(["install", "-y", "-q", package]).env("DEBIAN_FRONTEND", "noninteractive");
    let _tried = apt.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
}

/// `sqlite.c`, with the library inside where that can be had: so it starts fastest.
pub(crate) fn sqlite(work: &Work) -> Answer<PathBuf> {
    let compiled = || {
        compile("sqlite", work, &["-static"], &["-lsqlite3", "-lm"])
            .or_else(|_| compile("sqlite", work, &[], &["-lsqlite3"]))
    };
    compiled().or_else(|_| {
        install("libsqlite3-dev");
        compiled()
            .map_err(|_| "libsqlite3-dev is missing and `apt-get install libsqlite3-dev` brought none".into())
    })
}

/// `dos` of dos-kernel, in an environment of its own beneath the target directory.
pub(crate) fn dos() -> Answer<PathBuf> {
    let venv = target_dir().join("bench-dos");
    let program = venv.join("bin/dos");
    if is_installed_at(&program) {
        return Ok(program.canonicalize()?);
    }
    let quietly = |command: &mut Command| {
        let output = command.stdin(Stdio::null()).output();
        output.is_ok_and(|output| output.status.success())
    };
    if !quietly(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv)) {
        return Err("there is no python3 that can make a venv".into());
    }
    eprintln!("bench: installing dos-kernel into {}", venv.display());
    let mut pip = Command::new(venv.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check", "--retries", "1", "dos-kernel"]);
    if !quietly(&mut pip) || !is_installed_at(&program) {
        return Err("`pip install dos-kernel` brought no `dos`".into());
    }
    Ok(program.canonicalize()?)
}

fn is_installed_at(program: &Path) -> bool {
    let mut command = Command::new(program);
    command.arg("--help").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The bytes that a program had resident at most. It must end with 0.
pub(crate) fn peak(tools: &Tools, work: &Work, command: &Command) -> Answer<f64> {
    let file = work.dir.join("peak-kib");
    let mut peak = crate::process::command(&tools.peak, work)?;
    peak.arg(&file).arg(command.get_program()).args(command.get_args());
    crate::process::expect(peak.status()?, 0, work)?;
    let kib: u32 = fs::read_to_string(&file).map_err(|error| at("read", &file, &error))?.trim().parse()?;
    Ok(f64::from(kib) * 1024.0)
}

/// Compiles a C program of this directory into `work`.
pub(crate) fn compile(name: &str, work: &Work, before: &[&str], after: &[&str]) -> Answer<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("{name}.c"));
    let program = work.dir.join(name);
    let mut gcc = Command::new("gcc");
    gcc.args(["-O2", "-Wall", "-Wextra", "-o"]).arg(&program).args(before).arg(&source).args(after);
    let output = gcc.output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().last().unwrap_or_default();
        return Err(format!("gcc could not compile `{}`: {said}", source.display()).into());
    }
    installed(&program, work)
}

/// A program as it is once it is installed: copied in one go. The file that a linker has written in pieces lies in pieces
/// in the page cache, and each costs a page fault more.
fn installed(program: &Path, work: &Work) -> Answer<PathBuf> {
    let name = program.file_name().ok_or("a program has a name")?;
    let copy = work.dir.join("bin").join(name);
    fs::create_dir_all(work.dir.join("bin"))?;
    fs::copy(program, &copy).map_err(|error| at("copy", program, &error))?;
    fs::File::open(&copy)?.sync_all()?;
    Ok(copy)
}

/// Builds a binary of the workspace. Cargo itself says where it is, whatever its configuration holds.
pub(crate) fn built(package: &str, binary: &str, how: &[&str]) -> Answer<PathBuf> {
    built_with(package, binary, how, &[])
}

/// The same, with more for the compiler.
pub(crate) fn built_with(package: &str, binary: &str, how: &[&str], more: &[&str]) -> Answer<PathBuf> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let verb = if more.is_empty() { "build" } else { "rustc" };
    cargo.args([verb, "--package", package, "--bin", binary]).args(how);
    cargo.args(["--quiet", "--message-format", "json-render-diagnostics"]);
    if !more.is_empty() {
        cargo.arg("--").args(more);
    }
    let output = cargo.current_dir(workspace()).stdout(Stdio::piped()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{binary} does not compile").into());
    }
    for line in output.stdout.lines() {
        let message: Value = serde_json::from_str(&line?)?;
        if message["target"]["name"] == binary
            && let Some(path) = message["executable"].as_str()
        {
            return Ok(path.into());
        }
    }
    Err(format!("cargo built no binary named {binary}").into())
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
