//! `init`.

use journal::disk::RealDisk;
use serde_json::json;

use crate::args::Global;
use crate::context::{Context, current_dir, place_args};
use crate::exit::Exit;
use crate::reply::{Failure, Reply};

pub(super) fn run(global: &Global) -> Result<Reply, Failure> {
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
    let store = context.place.store.display();
    let text = if made && !there {
        format!("made the store {store}\n")
    } else {
        format!("the store {store} is there already\n")
    };
    let json = json!({ "outcome": "ok", "store": store.to_string(), "created": made });
    Ok(Reply::new(Exit::Yes, &json, text))
}
