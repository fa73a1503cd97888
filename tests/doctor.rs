//! What `doctor` says: where the store is and why, and everything that may be wrong with it.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers as well")]

mod kit;

use kit::{Lab, Sleeper, keys, words};
use serde_json::{Value, json};

/// The text without what differs from run to run.
fn steady(lab: &Lab, text: &str) -> String {
    let text = text.replace(lab.path().canonicalize().unwrap().to_str().unwrap(), "<lab>");
    let line = |line: &str| match line.split_whitespace().next() {
        Some("disk") => "disk     <file system>".to_owned(),
        Some("clock") => {
            assert!(line.contains(" after boot ") && line.contains("Z, "), "{line}");
            "clock    <time>, <up> after boot <boot>".to_owned()
        }
        Some("mutex") if line.contains("pid") => {
            let (before, after) = line.split_once(" since ").unwrap();
            let words: Vec<&str> = before
                .split(' ')
                .map(|word| if word.parse::<u32>().is_ok() { "<pid>" } else { word })
                .collect();
            format!("{} since <time> (<age>){}", words.join(" "), after.split_once(')').unwrap().1)
        }
        _ => line.to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// The object without what differs from run to run; each of it was there.
fn steady_json(lab: &Lab, mut said: Value) -> Value {
    assert_eq!(keys(&said["file_system"]), words("type verdict note allowed"));
    assert_eq!(keys(&said["clock"]), words("boot wall up_ms jumped_ms behind_ms"));
    assert_eq!(said["clock"]["boot"], said["boot"]);
    assert!(said["clock"]["jumped_ms"].as_i64().is_none_or(|ms| ms.abs() < 2_000), "{said}");
    for key in ["file_system", "clock", "boot"] {
        said[key] = json!(format!("<{key}>"));
    }
    if said["mutex"].is_object() {
        assert!(said["mutex"]["age_ms"].is_u64());
        for key in ["age_ms", "process"] {
            said["mutex"][key] = json!(format!("<{key}>"));
        }
    }
    let path = lab.path().canonicalize().unwrap();
    serde_json::from_str(&said.to_string().replace(path.to_str().unwrap(), "<lab>")).unwrap()
}

fn doctor(lab: &Lab, code: i32) -> (String, Value) {
    let text = lab.text(&["doctor"]);
    assert_eq!(text.code, Some(code), "{text}");
    let outcome = if code == 0 { "ok" } else { "damaged" };
    (steady(lab, &text.out), steady_json(lab, lab.json(&["doctor"]).expect(code, outcome)))
}

#[test]
fn before_there_is_a_store() {
    let lab = Lab::new();
    let (text, json) = doctor(&lab, 0);
    insta::assert_snapshot!("before_there_is_a_store", text);
    insta::assert_json_snapshot!("before_there_is_a_store_json", json);
}

#[test]
fn with_leases_and_a_policy_that_is_wrong() {
    let lab = Lab::new();
    lab.grant("o1", "api", "src/api/**");
    lab.grant("o2", "web", "src/web/**");
    lab.json_as("o3", &["acquire", "x", "--tree", "src/**"]).expect(1, "refuse");
    lab.json(&["compact", "--keep", "all"]).expect(0, "ok");
    lab.write("lease-lane.toml", "ttl = 'soon'\n");
    let (text, json) = doctor(&lab, 0);
    // Bytes differ with the machine that is recorded.
    let bytes = json["bytes"].to_string();
    insta::assert_snapshot!("with_leases_and_a_policy_that_is_wrong", text.replace(&bytes, "<bytes>"));
    let mut json = json;
    json["bytes"] = json!("<bytes>");
    insta::assert_json_snapshot!("with_leases_and_a_policy_that_is_wrong_json", json);
}

#[test]
fn with_a_dead_ones_mutex_a_torn_end_and_then_damage() {
    let lab = Lab::new();
    let mut sleeper = Sleeper::new();
    let bind = sleeper.pid();
    lab.json(&["acquire", "api", "--tree", "api", "--bind", &bind]).expect(0, "acquire");
    let process = lab.json(&["live"]).expect(0, "ok")["leases"][0]["processes"][0].clone();
    let entry = json!({
        "nonce": "00000000000000aa", "owner": "gone\u{1b}[2J", "process": process, "since": "2026-01-01T00:00:00.000Z"
    });
    let mutex = lab.store().join("mutex");
    std::fs::write(&mutex, entry.to_string()).unwrap();
    set_mode(&mutex, 0o600);
    let (text, json) = doctor(&lab, 0);
    assert_eq!((&json["mutex"]["alive"], &json["mutex"]["stale"]), (&json!("yes"), &json!(false)), "{text}");
    assert!(text.contains("alive: yes"), "{text}");
    sleeper.kill_without_reaping();

    let segment = lab.active_segment();
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes.extend_from_slice(b"{\"seq\":3,\"ts\":\"20");
    std::fs::write(&segment, &bytes).unwrap();
    let (text, json) = doctor(&lab, 0);
    let n_bytes = json["bytes"].to_string();
    insta::assert_snapshot!("with_a_dead_ones_mutex_and_a_torn_end", text.replace(&n_bytes, "<bytes>"));
    assert_eq!(json["torn"], 1);
    insta::assert_json_snapshot!("with_a_dead_ones_mutex_and_a_torn_end_json", json["mutex"]);

    bytes[40] ^= 1;
    std::fs::write(&segment, &bytes).unwrap();
    let (text, json) = doctor(&lab, 5);
    assert!(
        text.contains("DAMAGED") && text.contains("hint: lease-lane repair") && !text.contains("sound"),
        "{text}"
    );
    assert_eq!(json["damage"].as_array().unwrap().len(), 1, "{json}");
}

/// Nothing can be granted there, and `sound` alone would hide it.
#[test]
fn a_journal_of_a_newer_program_is_something_to_look_at() {
    let lab = Lab::new();
    lab.grant("o1", "api", "api");
    let text = std::fs::read_to_string(lab.active_segment()).unwrap();
    let root = text.lines().next().unwrap().replace("\"format\":\"1.1\"", "\"format\":\"2.0\"");
    let covered = &root[..root.rfind(",\"crc\":").unwrap()];
    let crc = crc32fast::hash(covered.as_bytes());
    std::fs::write(lab.active_segment(), format!("{covered},\"crc\":\"{crc:08x}\"}}\n")).unwrap();
    std::fs::remove_dir_all(lab.store().join("marks")).unwrap();
    std::fs::create_dir(lab.store().join("marks")).unwrap();
    let (text, json) = doctor(&lab, 0);
    assert!(text.contains("a newer lease-lane"), "{text}");
    assert_eq!(json["warnings"], json!(["journal_format"]));
}

fn set_mode(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
