//! Among very many live leases few are read: by an index beside the segment, which is a cache and nothing else.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers as well")]

mod kit;

use std::path::PathBuf;

use kit::{Lab, all_at_once};
use serde_json::json;

/// More than what is read as fast without an index.
const LEASES: usize = 600;

/// A store with many leases in its root, each of its own owner.
fn crowded() -> Lab {
    let lab = Lab::new();
    let mut journal = String::new();
    for n in 0..LEASES {
        let (lane, tree) = (format!("lane-{n}"), [format!("src/part-{n}/**")]);
        let lease = json!({
            "acquired_at": "2026-11-21T08:18:08Z", "heartbeat_at": "2999-11-21T08:18:08Z", "holder": format!("owner-{n}"),
            "host_id": "host-a", "lane": lane, "lane_kind": "keyword", "loop_ts": format!("T{n}"), "pid": 7, "tree": tree,
        });
        let record = json!({
            "op": "ACQUIRE", "seq": n + 1, "ts": "2026-11-21T08:18:08Z", "host_id": "host-a", "lane": lane,
            "lane_kind": "keyword", "lease": lease, "loop_ts": format!("T{n}"), "pid": 7, "prev_holder": null,
            "reason": format!("lane-lease:owner-{n}"), "tree": tree, "ttl_minutes": null,
        });
        journal.push_str(&format!("{record}\n"));
    }
    let journal = lab.write("dos.jsonl", &journal);
    lab.json(&["import", "dos", journal.to_str().unwrap()]).expect(0, "ok");
    lab.json(&["compact", "--keep", "none"]).expect(0, "ok");
    lab
}

fn indexes(lab: &Lab) -> Vec<PathBuf> {
    let files = std::fs::read_dir(lab.store()).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("index-")).collect()
}

/// Asks in every way about leases that an index may leave out: `n` is one of them, and its owner goes on with it.
fn everybody_is_answered(lab: &Lab, n: usize) {
    let (owner, lane, path) = (format!("owner-{n}"), format!("lane-{n}"), format!("src/part-{n}/x"));
    let refused = lab.json(&["acquire", "other", "--tree", &path]).expect(1, "refuse");
    assert_eq!(refused["code"], "REGION_CONFLICT");
    assert_eq!(refused["conflicts"][0]["owner"], owner.as_str());
    assert_eq!(refused["conflicts"].as_array().unwrap().len(), 1);
    let refused = lab.json(&["acquire", &lane.to_uppercase(), "--tree", "elsewhere"]).expect(1, "refuse");
    assert_eq!(refused["code"], "LANE_HELD");
    lab.json(&["check", &path]).expect(1, "not_held");
    lab.json_as(&owner, &["check", &path]).expect(0, "ok");
    lab.json_as(&owner, &["heartbeat", &lane]).expect(0, "beat");
    lab.json(&["release", &lane]).expect(3, "not_yours");
    lab.json(&["adopt", &lane, "--from", &owner]).expect(0, "adopted");
    lab.json_as(&owner, &["heartbeat", &lane]).expect(3, "not_yours");
    lab.json(&["release", &lane]).expect(0, "released");
    lab.json(&["release", &lane]).expect(1, "not_held");
    let lease = lab.grant("o1", "other", &path);
    lab.json_as(&owner, &["acquire", &lane, "--tree", &path]).expect(1, "refuse");
    lab.json(&["release", "--lease", &lease.to_string()]).expect(0, "released");
    lab.json_as(&owner, &["acquire", &lane, "--tree", &format!("src/part-{n}/**")]).expect(0, "acquire");
}

#[test]
fn among_many_leases_everybody_is_answered_as_among_few_whatever_becomes_of_the_index() {
    let lab = crowded();
    lab.grant("o1", "first", "first/**");
    let index = indexes(&lab).pop().expect("who looked for it in vain makes it");
    let refused = lab.json(&["acquire", "all", "--whole", "--dry-run"]).expect(1, "refuse");
    assert_eq!(refused["conflicts"].as_array().unwrap().len(), LEASES + 1);
    everybody_is_answered(&lab, 17);
    let good = std::fs::read(&index).unwrap();
    let mut changed = good.clone();
    changed[good.len() / 2..][..9].fill(b'9');
    let nuls = vec![0; good.len()];
    let spoilt: [&[u8]; 5] = [b"", &nuls, &good[..good.len() / 2], &good, &changed];
    for (n, bytes) in spoilt.into_iter().enumerate() {
        std::fs::write(&index, bytes).unwrap();
        everybody_is_answered(&lab, 100 + n);
        assert_eq!(indexes(&lab), std::slice::from_ref(&index));
    }
    std::fs::remove_file(&index).unwrap();
    everybody_is_answered(&lab, 200);
    // Something else in its place is in nobody's way; it is only slow.
    std::fs::remove_file(&index).unwrap();
    std::fs::create_dir(&index).unwrap();
    everybody_is_answered(&lab, 201);
    std::fs::remove_dir(&index).unwrap();
    assert_eq!(lab.live().len(), LEASES + 1);
    lab.assert_sound();
    lab.json(&["compact", "--keep", "all"]).expect(0, "ok");
    lab.grant("o1", "second", "second/**");
    assert_eq!(indexes(&lab).len(), 1, "that of the segment before is gone: {:?}", indexes(&lab));
    everybody_is_answered(&lab, 300);
}

#[test]
fn of_many_at_once_among_many_each_is_granted_and_the_index_goes_on() {
    let lab = crowded();
    lab.grant("o1", "first", "first/**");
    let before = std::fs::read(&indexes(&lab)[0]).unwrap();
    let note = "x".repeat(4000);
    for round in 0..10 {
        let asked = (0..8).map(|n| {
            let (owner, tree) = (format!("o{n}"), format!("new/{round}/{n}/**"));
            lab.command_as(&owner, &["acquire", "--tree", &tree, "--why", &note])
        });
        for answer in all_at_once(asked.collect()) {
            answer.expect(0, "acquire");
        }
    }
    let after = std::fs::read(&indexes(&lab)[0]).unwrap();
    assert_ne!(before, after, "records behind it were taken into it");
    assert!(String::from_utf8_lossy(&after).contains("new/0/"));
    assert_eq!(lab.live().len(), LEASES + 81);
    lab.json(&["acquire", "--tree", "new/0/3/x"]).expect(1, "refuse");
    lab.assert_sound();
}

/// What a decision rests on is read and checked by it; the rest of the checkpoint piece by piece.
#[test]
fn rot_where_a_decision_looks_refuses_it_and_elsewhere_before_long() {
    let lab = crowded();
    lab.grant("o1", "first", "first/**");
    let segment = lab.active_segment();
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes.windows(12).position(|window| window == b"src/part-77/").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&segment, &bytes).unwrap();
    let damaged = lab.json(&["acquire", "other", "--tree", "src/part-77/x"]).expect(5, "damaged");
    assert_eq!(
        damaged["error"]["hint"].as_str().map(|hint| hint.contains("lease-lane repair")),
        Some(true),
        "{damaged}"
    );
    // Each call looks into one piece of four.
    let mut outcomes =
        (0..200).map(|n| lab.json(&["acquire", "--tree", &format!("free/{n}")]).value()["outcome"].clone());
    assert!(outcomes.any(|outcome| outcome == "damaged"), "nobody has noticed");
    lab.json(&["verify"]).expect(5, "damaged");
}
