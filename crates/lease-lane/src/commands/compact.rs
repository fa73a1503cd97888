//! `compact`.

use std::io::Write;

use arbiter::time::Span;
use journal::history::Keep;
use lease::session::Compacted;
use serde::Serialize;

use super::warn;
use crate::args;
use crate::context::Context;
use crate::exit::Exit;
use crate::reply::{Failure, Reply};

#[derive(Serialize)]
struct Json {
    outcome: &'static str,
    segments_before: usize,
    segments_after: usize,
    bytes_reclaimed: u64,
    live: usize,
}

pub(super) fn run(context: &Context, args: &args::Compact, talk: &mut dyn Write) -> Result<Reply, Failure> {
    let keep = match args.keep.as_deref() {
        None => None,
        Some("all") => Some(Keep::All),
        Some("none") => Some(Keep::None),
        Some(span) => Some(Keep::For(Span::parse(span).map_err(|error| {
            Failure::usage(format!("--keep: {error}"), Some("or say --keep all, or --keep none".into()))
        })?)),
    };
    let nothing = Compacted { segments_before: 0, segments_after: 0, bytes_reclaimed: 0, live: 0 };
    let compacted = match context.look()? {
        None => nothing,
        Some(disk) => {
            let mut session = context.session(&disk, context.owner()?);
            let compacted = session.compact(keep);
            warn(talk, session.take_warnings());
            compacted?
        }
    };
    let Compacted { segments_before, segments_after, bytes_reclaimed, live } = compacted;
    let json = Json { outcome: "ok", segments_before, segments_after, bytes_reclaimed, live };
    let text = format!(
        "compacted: {segments_before} segments before, {segments_after} after; {bytes_reclaimed} bytes of history dropped; live leases: {live}\n"
    );
    Ok(Reply::new(Exit::Yes, &json, text))
}
