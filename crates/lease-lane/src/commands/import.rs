//! `import`.

use std::io::Write;

use arbiter::evidence::Liveness;
use arbiter::lease::Lease;
use arbiter::name::{LaneName, OwnerName};
use arbiter::region::Region;
use arbiter::request::{Imported as Times, Labels, Request};
use arbiter::text::Text;
use arbiter::time::{Span, Timestamp};
use lease::import::dos::{self, DosJournal, DosLease};
use lease::session::Imported;
use serde::Serialize;
use serde_json::json;

use super::acquire::policy_of;
use super::live::LeaseJson;
use super::warn;
use crate::args::ImportFrom;
use crate::context::Context;
use crate::exit::Exit;
use crate::reply::{Failure, Reply};

pub(super) fn run(context: &Context, from: ImportFrom, talk: &mut dyn Write) -> Result<Reply, Failure> {
    let ImportFrom::Dos { file, dry_run } = from;
    let journal = dos::read_file(&file)?;
    let mut requests = Vec::new();
    for lease in &journal.live {
        requests.push(request_of(lease)?);
    }
    if dry_run {
        let leases: Vec<_> = journal.live.iter().map(DosLease::to_json).collect();
        let json =
            json!({ "outcome": "ok", "imported": 0, "would_import": leases, "records": journal.records });
        let mut text = format!("{} records read; these would come over:\n", journal.records);
        for request in &requests {
            text.push_str(&format!("  lane {} · owner {}\n", request.lane_name(), request.owner));
        }
        return Ok(Reply::new(Exit::Yes, &json, text));
    }
    let policy = policy_of(context, &context.root()?)?;
    let owner = context.owner()?;
    let disk = context.open()?;
    let mut session = context.session(&disk, owner);
    let imported = session.import(&requests, &policy);
    warn(talk, session.take_warnings());
    Ok(match imported? {
        Imported::All(leases) => all(&leases, &journal),
        Imported::Refused(refusal) => {
            let json = json!({ "outcome": "refuse", "imported": 0, "refusal": &*refusal });
            let text = format!(
                "refused ({}): lane `{}` cannot come over, so none did: {}\n",
                refusal.code.as_str(),
                refusal.lane,
                refusal.reason
            );
            Reply::new(Exit::No, &json, text)
        }
    })
}

fn all(leases: &[Lease], journal: &DosJournal) -> Reply {
    #[derive(Serialize)]
    struct Json<'a> {
        outcome: &'a str,
        imported: usize,
        records: u64,
        unknown_ops: u64,
        seq_jumps: u64,
        torn_bytes: u64,
        leases: Vec<LeaseJson<'a>>,
    }
    let json = Json {
        outcome: "ok",
        imported: leases.len(),
        records: journal.records,
        unknown_ops: journal.unknown,
        seq_jumps: journal.jumps,
        torn_bytes: journal.torn.as_ref().map_or(0, |torn| torn.bytes),
        leases: leases.iter().map(|lease| LeaseJson::new(lease, Liveness::Unknown)).collect(),
    };
    let mut text = format!("{} records read, {} live leases brought over\n", journal.records, leases.len());
    for lease in leases {
        text.push_str(&format!("  {lease}\n"));
    }
    if journal.unknown > 0 || journal.jumps > 0 {
        text.push_str(&format!(
            "look twice: {} records of unknown kind were passed over, {} numbers are missing; that journal has no checksums\n",
            journal.unknown, journal.jumps
        ));
    }
    if let Some(torn) = &journal.torn {
        text.push_str(&format!("its last line was cut off after {} bytes and is ignored\n", torn.bytes));
    }
    Reply::new(Exit::Yes, &json, text)
}

/// The lease as a request that keeps its holder, region and times; what has no place here becomes a label.
fn request_of(lease: &DosLease) -> Result<Request, Failure> {
    let of_lane = |what: &dyn std::fmt::Display| {
        Failure::usage(format!("lane `{}`: {what}", arbiter::text::shown(&lease.lane, 80)), None)
    };
    let holder = lease.holder.as_deref().unwrap_or("unknown holder");
    let mut request = Request::of(OwnerName::new(holder).map_err(|error| of_lane(&error))?);
    request.lane = Some(LaneName::new(&*lease.lane).map_err(|error| of_lane(&error))?);
    request.tree = Region::parse_or_everything(lease.region());
    request.ttl = lease
        .ttl_minutes
        .map(|minutes| Span::from_s(minutes.saturating_mul(60)))
        .filter(|ttl| *ttl > Span::ZERO);
    request.run_id = lease.run_id.as_ref().and_then(|run_id| Text::new(run_id.as_str()).ok());
    let mut labels = Labels::new();
    for (key, value) in [
        ("dos.loop_ts", lease.loop_ts.clone()),
        ("dos.host_id", lease.host_id.clone()),
        ("dos.lane_kind", lease.lane_kind.clone()),
        ("dos.mode", lease.mode.clone()),
        ("dos.pid", lease.pid.map(|pid| pid.to_string())),
        ("dos.proc_starttime", lease.proc_starttime.map(|start| start.to_string())),
    ] {
        if let (Ok(key), Some(Ok(value))) = (Text::new(key), value.map(Text::new)) {
            labels.insert(key, value);
        }
    }
    request.labels = labels;
    let time = |text: &Option<String>| text.as_deref().and_then(Timestamp::parse);
    let acquired_at =
        time(&lease.acquired_at).ok_or_else(|| of_lane(&"it does not say when it was granted"))?;
    let heartbeat_at = time(&lease.heartbeat_at).unwrap_or(acquired_at);
    let from = Text::new("dos").expect("three letters");
    request.imported = Some(Times { from, acquired_at, heartbeat_at });
    request.check().map_err(|error| of_lane(&error))
}
