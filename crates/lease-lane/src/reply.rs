//! What a command answers: one JSON object, or text for people, and an exit code.

use std::error::Error;
use std::fmt::Display;
use std::io::{self, ErrorKind};

use arbiter::text::escaped_json;
use journal::JournalError;
use journal::disk::DiskError;
use lease::import::dos::DosError;
use lease::mutex::MutexError;
use lease::owner::OwnerError;
use lease::paths::PathError;
use lease::place::PlaceError;
use lease::policy_file::PolicyError;
use lease::process::ProcessError;
use lease::session::{LeaseError, chain_of};
use lease::supervise::SuperviseError;
use serde::Serialize;

use crate::exit::Exit;
use crate::typed;

/// A complete answer.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The exit code.
    pub(crate) exit: Exit,
    /// One JSON object.
    pub(crate) json: String,
    /// The same for people, newline included; goes to stdout. Empty where JSON is wanted.
    pub(crate) text: String,
}

/// In which form the answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `--json`
    Json,
    /// For people.
    Text,
}

impl Reply {
    /// An answer from something that has JSON.
    pub(crate) fn new(exit: Exit, json: &impl Serialize, text: impl Into<String>) -> Reply {
        let json = serde_json::to_string(json)
            .expect("answers are made of text, numbers and lists, which all have JSON");
        Reply { exit, json: escaped_json(json).into_owned(), text: text.into() }
    }

    /// The same without the text where nobody wants it. JSON there is always: what was decided is said with it when it
    /// could not be printed.
    pub(crate) fn in_form(
        form: Form,
        exit: Exit,
        json: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Reply {
        Reply::new(exit, json, if form == Form::Text { text() } else { String::new() })
    }
}

/// Why there is no answer.
#[derive(Debug, Serialize)]
pub(crate) struct Failure {
    #[serde(skip)]
    pub(crate) exit: Exit,
    outcome: &'static str,
    error: Box<ErrorBody>,
}

#[derive(Debug, Serialize)]
struct ErrorBody {
    kind: &'static str,
    message: String,
    hint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
}

impl Failure {
    fn new(exit: Exit, kind: &'static str, message: String, hint: Option<String>) -> Failure {
        let outcome = match exit {
            Exit::Busy => "busy",
            Exit::Damaged => "damaged",
            Exit::Io => "io",
            _ => "error",
        };
        Failure {
            exit,
            outcome,
            error: Box::new(ErrorBody { kind, message, hint, file: None, offset: None, seq: None }),
        }
    }

    /// The caller asked for something that cannot be asked.
    pub(crate) fn usage(message: impl Into<String>, hint: Option<String>) -> Failure {
        Failure::new(Exit::Usage, "usage", message.into(), hint)
    }

    /// What is given to `flag`, or to a variable of that name, cannot be used.
    pub(crate) fn flag(flag: &str, error: impl Display) -> Failure {
        let hint = if flag.starts_with("--") {
            format!("see what {flag} takes: {}", typed::help())
        } else {
            format!("unset {flag}, or set it to another value")
        };
        Failure::usage(format!("{flag}: {error}"), Some(hint))
    }

    /// The question cannot be asked, or the system did not let us look at what it names; `cause` tells which.
    pub(crate) fn because(
        cause: &(dyn Error + 'static),
        kind: &'static str,
        message: String,
        hint: Option<String>,
    ) -> Failure {
        if is_systems_fault(cause) {
            Failure::new(Exit::Io, "io", message, hint)
        } else {
            Failure::new(Exit::Usage, kind, message, hint)
        }
    }

    /// The system did not let us write what the caller wanted written.
    pub(crate) fn io(message: impl Into<String>, hint: &str) -> Failure {
        Failure::new(Exit::Io, "io", message.into(), Some(hint.into()))
    }

    /// Writing the answer failed.
    pub(crate) fn output(error: &std::io::Error) -> Failure {
        Failure::new(Exit::Io, "io", format!("could not write the answer: {error}"), None)
    }

    /// What went wrong, as one line.
    pub(crate) fn message(&self) -> String {
        one_line(&self.error.message)
    }

    /// The failure as one line for people, and its hint.
    pub(crate) fn lines(&self) -> String {
        let message = one_line(&self.error.message);
        match &self.error.hint {
            Some(hint) => format!("lease-lane: {message}\nhint: {}\n", one_line(hint)),
            None => format!("lease-lane: {message}\n"),
        }
    }

    /// The failure as one JSON object.
    pub(crate) fn json(&self) -> String {
        let json = serde_json::to_string(self).unwrap_or_else(|_| "{\"outcome\":\"error\"}".into());
        escaped_json(json).into_owned()
    }
}

/// Whether the system failed. That there is no such file, or that it is not for the caller, is said of what the
/// question names; all else a system says is no answer to it.
fn is_systems_fault(error: &(dyn Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |&cause| cause.source());
    let said = causes.find_map(|cause| cause.downcast_ref::<io::Error>());
    said.is_some_and(|said| {
        !matches!(
            said.kind(),
            ErrorKind::NotFound
                | ErrorKind::PermissionDenied
                | ErrorKind::NotADirectory
                | ErrorKind::IsADirectory
                | ErrorKind::InvalidFilename
                | ErrorKind::InvalidInput
                | ErrorKind::InvalidData
        ) && said.raw_os_error() != Some(rustix::io::Errno::LOOP.raw_os_error())
    })
}

/// Text without line breaks and without anything that moves a terminal's cursor.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split('\n').map(str::trim).filter(|line| !line.is_empty()).collect();
    arbiter::text::shown(&words.join(" "), 4000).to_string()
}

macro_rules! usage_from {
    ($($error:ty => $kind:literal),+ $(,)?) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Failure {
                let hint = error.hint().unwrap_or_else(typed::help);
                Failure::because(&error, $kind, chain_of(&error), Some(hint))
            }
        })+
    };
}

usage_from! {
    arbiter::region::PatternError => "pattern",
    lease::regions::RegionError => "pattern",
    DosError => "import",
    OwnerError => "owner",
    PathError => "path",
    PlaceError => "store",
    PolicyError => "policy",
    ProcessError => "process",
}

impl From<DiskError> for Failure {
    fn from(error: DiskError) -> Failure {
        let hint = error.hint().unwrap_or_else(|| format!("see what it is: ls -ld {}", error.path.display()));
        let kind = if error.unsuitable().is_some() { "file_system" } else { "io" };
        Failure::new(Exit::Io, kind, chain_of(&error), Some(hint))
    }
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Failure {
        if let JournalError::Disk(error) = error {
            return error.into();
        }
        let (exit, kind) = match &error {
            JournalError::Damaged(_) => (Exit::Damaged, "damaged"),
            JournalError::Newer { .. } => (Exit::Usage, "newer_format"),
            JournalError::Pruned { .. } => (Exit::Usage, "pruned"),
            JournalError::NotDurable { .. } => (Exit::Io, "not_durable"),
            JournalError::Unknown { .. } => (Exit::Io, "unknown"),
            _ => (Exit::Io, "io"),
        };
        let mut failure = Failure::new(exit, kind, chain_of(&error), error.hint());
        if let JournalError::Damaged(damage) = error {
            failure.error.file = Some(damage.file);
            failure.error.offset = Some(damage.offset);
            failure.error.seq = damage.seq;
        }
        failure
    }
}

impl From<MutexError> for Failure {
    fn from(error: MutexError) -> Failure {
        match error {
            MutexError::Disk(error) => error.into(),
            busy => Failure::new(Exit::Busy, "busy", chain_of(&busy), busy.hint()),
        }
    }
}

impl From<SuperviseError> for Failure {
    fn from(error: SuperviseError) -> Failure {
        let hint = match &error {
            SuperviseError::Identity { source } => source.hint(),
            _ => None,
        };
        Failure::new(Exit::Io, "io", chain_of(&error), hint)
    }
}

impl From<LeaseError> for Failure {
    fn from(error: LeaseError) -> Failure {
        match error {
            LeaseError::Journal(error) => error.into(),
            LeaseError::Mutex(error) => error.into(),
            LeaseError::RequestIdTaken { .. } => {
                Failure::new(Exit::Usage, "request_id", chain_of(&error), error.hint())
            }
            LeaseError::NoPolicy => Failure::new(Exit::Usage, "policy", chain_of(&error), error.hint()),
            LeaseError::TooManyProcesses { .. } => {
                Failure::new(Exit::Usage, "usage", chain_of(&error), error.hint())
            }
            other => Failure::new(Exit::Io, "io", chain_of(&other), other.hint()),
        }
    }
}
