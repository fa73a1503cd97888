//! `init`.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use journal::disk::RealDisk;
use lease::place::POLICY_FILE;
use lease::policy_file;
use serde_json::json;

use super::warn;
use crate::args::Global;
use crate::context::{Context, current_dir, place_args};
use crate::exit::Exit;
use crate::reply::{Failure, Reply};

pub(super) fn run(global: &Global, talk: &mut dyn Write) -> Result<Reply, Failure> {
    let cwd = current_dir()?;
    let args = place_args(global)?;
    let place = if args.store.is_some() {
        lease::place::find(&args, &cwd)?
    } else {
        lease::place::init_target(&cwd)?
    };
    let context = Context::at(place, global)?;
    let there = context.look()?.is_some();
    let disk: RealDisk = context.open()?;
    let mut session = context.session(&disk, context.owner()?);
    let made = session.init()?;
    let policy = context.place.policy.clone().unwrap_or_else(|| context.place.root.join(POLICY_FILE));
    let wrote = write_example(&policy, &context.place.root).unwrap_or_else(|error| {
        warn(talk, vec![format!("no example of a policy was written to {}: {error}", policy.display())]);
        false
    });
    let store = context.place.store.display();
    let mut text = if made && !there {
        format!("made the store {store}\n")
    } else {
        format!("the store {store} is there already\n")
    };
    if wrote {
        text.push_str(&format!(
            "wrote an example of a policy to {}; nothing in it holds yet\n",
            policy.display()
        ));
    }
    let json = json!({
        "outcome": "ok", "store": store.to_string(), "created": made,
        "policy": policy.display().to_string(), "policy_created": wrote,
    });
    Ok(Reply::new(Exit::Yes, &json, text))
}

/// Writes an example of a policy, if there is no policy. `false`: there is one.
fn write_example(path: &Path, root: &Path) -> io::Result<bool> {
    let mut file = match File::create_new(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
        opened => opened?,
    };
    file.write_all(policy_file::example(root).as_bytes())?;
    Ok(true)
}
