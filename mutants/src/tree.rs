//! A private copy of the project, in which bugs are built in and taken out again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The copy, with a target directory of its own. Both are kept, so that the next run builds only what has changed.
#[derive(Debug)]
pub struct Tree {
    from: PathBuf,
    /// Its top.
    pub top: PathBuf,
    /// Where cargo builds.
    pub target: PathBuf,
}

impl Tree {
    /// The copy of the project at `root`, brought up to date: its files as git knows them, changes included.
    ///
    /// # Errors
    ///
    /// When git or the disk says no.
    pub fn of(root: &Path) -> io::Result<Tree> {
        let home = root.join("target/mutants");
        let tree = Tree { from: root.to_owned(), top: home.join("tree"), target: home.join("target") };
        fs::create_dir_all(&tree.top)?;
        let wanted = tree.files_of_git()?;
        for there in files_below(&tree.top)? {
            if !wanted.contains(&there) {
                fs::remove_file(tree.top.join(there))?;
            }
        }
        for file in wanted {
            let bytes = fs::read(root.join(&file))?;
            tree.write(&file, &bytes)?;
            let mode = fs::metadata(root.join(&file))?.permissions();
            fs::set_permissions(tree.top.join(&file), mode)?;
        }
        Ok(tree)
    }

    fn files_of_git(&self) -> io::Result<Vec<PathBuf>> {
        let git = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(&self.from)
            .output()?;
        if !git.status.success() {
            return Err(io::Error::other(format!("git: {}", String::from_utf8_lossy(&git.stderr))));
        }
        let names = git.stdout.split(|&b| b == 0).filter(|name| !name.is_empty());
        let files = names.map(|name| PathBuf::from(String::from_utf8_lossy(name).into_owned()));
        Ok(files.filter(|file| self.from.join(file).is_file()).collect())
    }

    /// Writes a file of the copy if that changes it: cargo builds again what is newer than its last build.
    ///
    /// # Errors
    ///
    /// When the disk says no.
    pub fn write(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        let path = self.top.join(file);
        if fs::read(&path).is_ok_and(|there| there == bytes) {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, bytes)
    }

    /// Makes a file of the copy what it is in the project.
    ///
    /// # Errors
    ///
    /// When the disk says no.
    pub fn restore(&self, file: &Path) -> io::Result<()> {
        self.write(file, &fs::read(self.from.join(file))?)
    }
}

fn files_below(top: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut dirs = vec![top.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                dirs.push(entry.path());
            } else if let Ok(file) = entry.path().strip_prefix(top) {
                files.push(file.to_owned());
            }
        }
    }
    Ok(files)
}
