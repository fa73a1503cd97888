//! `verify`.

use arbiter::seq::Seq;
use journal::Damage;
use journal::history::{self, Survey};
use serde::Serialize;

use crate::context::Context;
use crate::exit::Exit;
use crate::reply::{Failure, Reply};

/// Damage as JSON.
#[derive(Serialize)]
pub(super) struct DamageJson<'a> {
    file: &'a str,
    offset: u64,
    seq: Option<u64>,
    what: &'a str,
}

impl<'a> From<&'a Damage> for DamageJson<'a> {
    fn from(damage: &'a Damage) -> DamageJson<'a> {
        DamageJson { file: &damage.file, offset: damage.offset, seq: damage.seq, what: &damage.what }
    }
}

#[derive(Serialize)]
struct Json<'a> {
    outcome: &'a str,
    segments: u64,
    records: u64,
    bytes: u64,
    first: Option<Seq>,
    last: Option<Seq>,
    void: u64,
    torn: u64,
    damage: Vec<DamageJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorJson>,
}

#[derive(Serialize)]
struct ErrorJson {
    kind: &'static str,
    message: String,
    hint: &'static str,
}

pub(super) fn run(context: &Context) -> Result<Reply, Failure> {
    let survey = match context.look()? {
        Some(disk) => history::survey(&disk)?,
        None => Survey::default(),
    };
    Ok(reply(&survey))
}

fn reply(survey: &Survey) -> Reply {
    let sound = survey.damage.is_empty();
    let hint = "lease-lane repair   (shows what would be lost; changes nothing without --yes)";
    let error = survey.damage.first().map(|damage| ErrorJson {
        kind: "damaged",
        message: format!("the journal is damaged: {damage}"),
        hint,
    });
    let json = Json {
        outcome: if sound { "ok" } else { "damaged" },
        segments: survey.segments,
        records: survey.records,
        bytes: survey.bytes,
        first: survey.first,
        last: survey.last,
        void: survey.void,
        torn: survey.torn,
        damage: survey.damage.iter().map(DamageJson::from).collect(),
        error,
    };
    let mut text = format!(
        "{}: {} records in {} segments, {} bytes; {} void, {} torn (both harmless)\n",
        if sound { "sound" } else { "DAMAGED" },
        survey.records,
        survey.segments,
        survey.bytes,
        survey.void,
        survey.torn,
    );
    for damage in &survey.damage {
        text.push_str(&format!("  {damage}\n"));
    }
    if !sound {
        text.push_str(&format!("hint: {hint}\n"));
    }
    Reply::new(if sound { Exit::Yes } else { Exit::Damaged }, &json, text)
}
