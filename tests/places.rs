//! Where the program runs and what the machine does to it there: disks without room, disks that die, another boot,
//! the same pid again, other pid namespaces. Each in namespaces of its own; skipped aloud where those are not allowed.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers as well")]

mod kit;

use std::time::Duration;

use kit::machine::{Said, Shell};
use kit::{DEADLINE, Lab, poll};
use serde_json::Value;

const CRASH_COST_MAX: Duration = Duration::from_secs(1);

// ------------------------------------------------------------------------------------------------- without room

/// A grant that is live, or exit 6 with its words and no lease.
#[track_caller]
fn granted_or_exit_6(shell: &mut Shell, said: &Said) -> bool {
    let lane = said.value["lane"].as_str().map(str::to_owned);
    match said.code {
        0 => {
            let lease = said.value["lease"].as_u64().unwrap();
            assert!(shell.live().contains(&lease), "granted and not live: {said:?}");
            true
        }
        6 => {
            assert_eq!((&said.value["outcome"], lane), (&Value::from("io"), None), "{said:?}");
            let message = said.value["error"]["message"].as_str().unwrap();
            assert!(message.contains("/disk/"), "no path: {said:?}");
            assert!(said.value["error"]["hint"].is_string(), "{said:?}");
            false
        }
        _ => panic!("{said:?}"),
    }
}

/// Takes every byte of `disk`: in ever smaller writes, and twice, because what is written back makes room.
const FILL: &str =
    "for size in 64k 1k 1 1k 1; do dd if=/dev/zero bs=$size >>disk/fill 2>/dev/null; sync -f disk; done";

/// Asks of a disk with more and more pages free; `blocks` is the size of a page in bytes.
fn every_step_from_full(shell: &mut Shell, page_bytes: u64) {
    let why = "w".repeat(3_000);
    let mut mine = vec![
        shell.ask("them", &["acquire", "theirs", "--tree", "src/**"]).expect(0, "acquire")["lease"]
            .as_u64()
            .unwrap(),
    ];
    let (mut yes, mut no) = (0, 0);
    for pages in (0..8).chain([12, 20, 40]) {
        shell.run("STORE=$PWD/disk/store");
        shell.run(FILL);
        shell.run(&format!("truncate -s -{} disk/fill && sync -f disk", pages * page_bytes));
        let lane = format!("l{pages}");
        let said = shell.ask("me", &["acquire", &lane, "--tree", &lane, "--why", &why]);
        if granted_or_exit_6(shell, &said) {
            yes += 1;
            mine.push(said.value["lease"].as_u64().unwrap());
        } else {
            no += 1;
        }
        assert_eq!(shell.live(), mine, "with {pages} pages free");
        // A collision needs no disk to be refused.
        shell.ask("me", &["acquire", "mine", "--tree", "src/x"]).expect(1, "refuse");
        for other in [&["heartbeat", "theirs"][..], &["compact", "--keep", "none"]] {
            let said = shell.ask("them", other);
            assert!(matches!(said.code, 0 | 6), "{said:?}");
            assert_eq!(shell.live(), mine, "{other:?} with {pages} pages free");
        }
        // A store that begins here begins whole or not at all.
        shell.run(&format!("STORE=$PWD/disk/new{pages}"));
        let said = shell.ask("me", &["acquire", "first", "--tree", "first"]);
        let began = granted_or_exit_6(shell, &said);
        shell.run("rm disk/fill && sync -f disk");
        let again = shell.ask("you", &["acquire", "second", "--tree", "first/x"]);
        again.expect(i32::from(began), if began { "refuse" } else { "acquire" });
        shell.assert_sound();
        shell.run("rm -r \"$STORE\"; STORE=$PWD/disk/store; sync -f disk");
        // With room again the old store goes on.
        let after = format!("after{pages}");
        let said = shell.ask("me", &["acquire", &after, "--tree", &after]).expect(0, "acquire");
        mine.push(said["lease"].as_u64().unwrap());
        shell.ask("you", &["acquire", "x", "--tree", &format!("{after}/x")]).expect(1, "refuse");
        shell.assert_sound();
    }
    assert!(yes > 0 && no > 0, "{yes} grants and {no} refusals by the disk: that was no edge");
}

#[test]
fn with_any_number_of_pages_free_a_grant_is_live_or_there_is_none_and_all_goes_on_with_room() {
    let lab = Lab::without_repository();
    let prepare = "mkdir disk && mount -t tmpfs -o size=512k,mode=700 none disk && STORE=$PWD/disk/store";
    let Some(mut shell) = Shell::enter(&lab, &["unshare", "-m"], prepare) else { return };
    every_step_from_full(&mut shell, 4096);
}

const SMALL_EXT4: &str = "mkdir disk && truncate -s 2M image && mkfs.ext4 -q -b 1024 -O ^has_journal -m 0 image && mount -o loop image disk \
     && chmod 700 disk && STORE=$PWD/disk/store";

#[test]
fn with_any_number_of_blocks_free_on_ext4_a_grant_is_live_or_there_is_none_and_all_goes_on_with_room() {
    let lab = Lab::without_repository();
    let Some(mut shell) = Shell::enter(&lab, &["unshare", "-m"], SMALL_EXT4) else { return };
    every_step_from_full(&mut shell, 1024);
}

#[test]
fn without_a_free_inode_nothing_is_lost_and_who_needs_none_goes_on() {
    let lab = Lab::without_repository();
    let prepare =
        "mkdir disk && mount -t tmpfs -o size=4m,nr_inodes=40,mode=700 none disk && STORE=$PWD/disk/store";
    let Some(mut shell) = Shell::enter(&lab, &["unshare", "-m"], prepare) else { return };
    let theirs = shell.ask("them", &["acquire", "theirs", "--tree", "src/**"]).expect(0, "acquire");
    let mut mine = vec![theirs["lease"].as_u64().unwrap()];
    let (mut yes, mut no) = (0, 0);
    for free in 0..5 {
        shell.run("n=0; while : 2>/dev/null >disk/fill$n; do n=$((n+1)); done");
        shell.run(&format!("for i in 0 1 2 3 4; do [ $i -ge {free} ] || rm disk/fill$i; done"));
        // A record needs none, whatever it says.
        let lane = format!("l{free}");
        let granted = shell.ask("me", &["acquire", &lane, "--tree", &lane]).expect(0, "acquire");
        mine.push(granted["lease"].as_u64().unwrap());
        shell.ask("me", &["acquire", "mine", "--tree", "src/x"]).expect(1, "refuse");
        // A place in the mutex needs one, and a segment.
        let compact = shell.ask("them", &["compact", "--keep", "none"]);
        match compact.code {
            0 => yes += 1,
            6 => no += 1,
            _ => panic!("{compact:?}"),
        }
        assert_eq!(shell.live(), mine, "with {free} inodes free");
        shell.run("rm disk/fill*");
        shell.ask("them", &["heartbeat", "theirs"]).expect(0, "beat");
        shell.assert_sound();
    }
    assert!(yes > 0 && no > 0, "{yes} compactions and {no} refused by the disk: that was no edge");
}

/// `prlimit` cuts a write at any byte, where a full disk cuts it at a page.
#[test]
fn a_write_cut_at_any_byte_is_no_grant_and_swallows_nothing() {
    let lab = Lab::new();
    let Some(mut shell) = Shell::enter(&lab, &["env"], "prlimit --fsize=1000:1000 true") else { return };
    let length = || lab.active_segment().metadata().unwrap().len();
    shell.ask("them", &["acquire", "theirs", "--tree", "src/**"]).expect(0, "acquire");
    let before = length();
    shell.ask("me", &["acquire", "l0000", "--tree", "r0000"]).expect(0, "acquire");
    // As long as each of the following, but for numbers that grow by a digit.
    let record = length() - before;
    let (mut yes, mut no) = (0, 0);
    let cuts = [0, 1, 2, 3, 10, 100, record / 2].into_iter().chain(record - 6..record + 12);
    for (n, cut) in cuts.enumerate() {
        let (lane, tree) = (format!("l{:04}", n + 1), format!("r{:04}", n + 1));
        let limit = format!("prlimit --fsize={} --", length() + cut);
        let said = shell.ask_with(&limit, "me", &["acquire", &lane, "--tree", &tree]);
        let live = lab.json(&["live"]).expect(0, "ok");
        let lives = live["leases"].as_array().unwrap().iter().any(|lease| lease["lane"] == *lane);
        match said.code {
            0 => yes += 1,
            6 => no += 1,
            _ => panic!("{said:?}"),
        }
        assert_eq!(said.code == 0, lives, "cut at {cut} of {record}: {said:?}");
        // Whoever comes next is not swallowed by the fragment, and no collision slips through.
        if !lives {
            lab.grant("me", &lane, &tree);
        }
        lab.json_as("you", &["acquire", "x", "--tree", &tree]).expect(1, "refuse");
        lab.json_as("you", &["acquire", "x", "--tree", "src/x"]).expect(1, "refuse");
        lab.json_as("me", &["release", &lane]).expect(0, "released");
    }
    assert!(yes > 3 && no > 5, "{yes} grants and {no} refusals by the limit: that was no edge");
    lab.assert_sound();
}

// ------------------------------------------------------------------------------------------------ a disk that dies

/// `FS_IOC_SHUTDOWN`: the file system of `disk` answers everything with an error from here on.
const DIE: &str = r#"perl -e 'open my $dir, "<", "disk" or die; my $how = pack("L", 2); ioctl($dir, 0x8004587d, $how) or die'"#;

#[test]
fn a_disk_that_dies_under_a_waiter_ends_the_wait_and_has_lost_nothing_when_it_is_back() {
    let lab = Lab::without_repository();
    let prepare = "mkdir disk && truncate -s 8M image && mkfs.ext4 -q image && mount -o loop image disk && STORE=$PWD/disk/store";
    let Some(mut shell) = Shell::enter(&lab, &["unshare", "-m"], prepare) else { return };
    let theirs = shell.ask("them", &["acquire", "theirs", "--tree", "src/**"]).expect(0, "acquire");
    let pid = shell.run(
        "\"$BIN\" --store \"$STORE\" --json --owner waiter acquire w --tree src/x --wait 50s >waiter 2>/dev/null </dev/null & echo $!",
    );
    poll("the waiter is in the line", DEADLINE, || {
        let seen = shell.run("LEASE_LANE_OWNER=o \"$BIN\" --store \"$STORE\" tail --op WAIT");
        seen.contains("waiter").then_some(())
    });
    shell.run(DIE);
    let began = std::time::Instant::now();
    let code = shell.run(&format!("wait {pid} && echo 0 || echo $?"));
    assert!(began.elapsed() < Duration::from_secs(5), "it went on waiting for {:?}", began.elapsed());
    let told: Value = serde_json::from_str(&shell.run("cat waiter")).unwrap();
    assert_eq!((&*code, &told["outcome"]), ("6", &Value::from("io")), "{told}");
    for verb in [
        &["acquire", "x", "--tree", "free"][..],
        &["release", "theirs"],
        &["live"],
        &["verify"],
        &["compact"],
    ] {
        let said = shell.ask("them", verb);
        assert_eq!(said.code, 6, "{verb:?}: {said:?}");
    }
    shell.run("umount disk && mount -o loop image disk");
    assert_eq!(shell.live(), [theirs["lease"].as_u64().unwrap()]);
    let next = shell.ask("next", &["acquire", "next", "--tree", "next"]);
    assert!(next.took < 3 * CRASH_COST_MAX, "{:?}", next.took);
    next.expect(0, "acquire");
    shell.assert_sound();
}

#[test]
fn a_disk_that_turns_read_only_and_back_loses_nothing() {
    let lab = Lab::without_repository();
    let prepare = "mkdir disk && mount -t tmpfs -o size=4m,mode=700 none disk && STORE=$PWD/disk/store";
    let Some(mut shell) = Shell::enter(&lab, &["unshare", "-m"], prepare) else { return };
    let theirs = shell.ask("them", &["acquire", "theirs", "--tree", "src/**"]).expect(0, "acquire");
    let theirs = theirs["lease"].as_u64().unwrap();
    let mut mine = vec![theirs];
    for n in 0..3 {
        // Once in the middle of a record, once between a seal and its successor, as a crash may have left it.
        if n == 1 {
            shell.run("printf '{\"seq\":99,\"ts' >>$(ls \"$STORE\"/journal/*.jsonl | tail -1)");
        }
        if n == 2 {
            shell.ask("them", &["compact", "--keep", "all"]).expect(0, "ok");
            shell.run("ls \"$STORE\"/journal/*.jsonl | tail -1 | xargs rm; ls \"$STORE\"/marks/* | tail -1 | xargs rm");
        }
        shell.run("mount -o remount,ro disk");
        assert_eq!(shell.ask("me", &["acquire", "mine", "--tree", "free"]).code, 6);
        shell.ask("me", &["acquire", "mine", "--tree", "src/x"]).expect(1, "refuse");
        assert_eq!(shell.ask("them", &["release", "theirs"]).code, 6);
        assert_eq!(shell.live(), mine);
        shell.ask("them", &["check", "src/x"]).expect(0, "ok");
        shell.ask("me", &["check", "src/x"]).expect(1, "not_held");
        shell.assert_sound();
        shell.run("mount -o remount,rw disk");
        let lane = format!("l{n}");
        let granted = shell.ask("me", &["acquire", &lane, "--tree", &lane]).expect(0, "acquire");
        mine.push(granted["lease"].as_u64().unwrap());
        assert_eq!(shell.live(), mine);
        shell.assert_sound();
    }
}

// ---------------------------------------------------------------------------------------------------- another boot

/// Boot ids and machine ids of our own, in a mount namespace.
fn machine_with_a_boot_id(lab: &Lab, machine_id: &str) -> Option<Shell> {
    lab.write("boot", "11111111-1111-4111-8111-111111111111\n");
    lab.write("machine", machine_id);
    let prepare = "mount --bind boot /proc/sys/kernel/random/boot_id && mount --bind machine /etc/machine-id";
    Shell::enter(lab, &["unshare", "-m"], prepare)
}

const MACHINE_ID: &str = "0123456789abcdef0123456789abcdef\n";
const REBOOT: &str = "echo 22222222-2222-4222-8222-222222222222 >boot";

#[test]
fn after_a_reboot_a_bound_lease_goes_at_once_and_an_unbound_one_with_its_time() {
    let lab = Lab::new();
    let Some(mut shell) = machine_with_a_boot_id(&lab, MACHINE_ID) else { return };
    // The process lives on and has the same number and start time: it is another one all the same.
    let pid = shell.sleeper().to_string();
    shell.ask("old", &["acquire", "bound", "--tree", "bound/**", "--bind", &pid]).expect(0, "acquire");
    shell.ask("old", &["acquire", "free", "--tree", "free/**", "--ttl", "1s"]).expect(0, "acquire");
    shell.ask("old", &["acquire", "long", "--tree", "long/**"]).expect(0, "acquire");
    shell.ask("early", &["acquire", "x", "--tree", "bound/x"]).expect(1, "refuse");
    shell.run(REBOOT);
    let bound = shell.ask("next", &["acquire", "bound", "--tree", "bound/x"]);
    assert!(bound.took < CRASH_COST_MAX, "{:?}", bound.took);
    let bound = bound.expect(0, "acquire");
    assert_eq!(bound["evicted"][0]["why"], "dead", "{bound}");
    // What is bound to nobody ends by the wall clock, and not before.
    let long = shell.ask("next", &["acquire", "x", "--tree", "long/x"]).expect(1, "refuse");
    assert_eq!(long["conflicts"][0]["alive"], "unknown", "{long}");
    let free = poll("a lease of the former boot runs out", DEADLINE, || {
        let said = shell.ask("next", &["acquire", "y", "--tree", "free/y"]);
        (said.code == 0).then_some(said.value)
    });
    assert_eq!(free["evicted"][0]["why"], "expired", "{free}");
    // Its former holder is told, and cannot touch what the new one has.
    assert_eq!(shell.ask("old", &["release", "free"]).expect(3, "expired")["outcome"], "expired");
    shell.ask("old", &["heartbeat", "long"]).expect(0, "beat");
    shell.assert_sound();
}

#[test]
fn another_boot_of_a_machine_without_a_name_of_its_own_proves_nothing() {
    let lab = Lab::new();
    let Some(mut shell) = machine_with_a_boot_id(&lab, "") else { return };
    let pid = shell.sleeper().to_string();
    shell.ask("old", &["acquire", "bound", "--tree", "bound/**", "--bind", &pid]).expect(0, "acquire");
    shell.run(REBOOT);
    let refused = shell.ask("next", &["acquire", "x", "--tree", "bound/x"]).expect(1, "refuse");
    assert_eq!(refused["conflicts"][0]["alive"], "unknown", "{refused}");
    shell.assert_sound();
}

// --------------------------------------------------------------------------------------------------- the same pid

const PID_NAMESPACE: [&str; 4] = ["unshare", "-pf", "--mount-proc", "--kill-child"];

/// Waits until whoever starts now starts in a later hundredth of a second than this process did: the kernel tells
/// starts apart no better.
fn await_a_later_start(shell: &mut Shell, pid: u32) {
    let started = |shell: &mut Shell, pid: u32| {
        shell.run(&format!("cut -d ')' -f 2 /proc/{pid}/stat | cut -d ' ' -f 21"))
    };
    let before = started(shell, pid);
    poll("a later start", DEADLINE, || {
        let other = shell.sleeper();
        let after = started(shell, other);
        shell.kill(other);
        (after != before).then_some(())
    });
}

/// Starts a process with this number, which nobody has now.
fn sleeper_with_pid(shell: &mut Shell, pid: u32) {
    let start = format!(
        "echo {} >/proc/sys/kernel/ns_last_pid; sleep 600 </dev/null >/dev/null 2>&1 & echo $!",
        pid - 1
    );
    poll("the number comes again", DEADLINE, || {
        let got: u32 = shell.run(&start).parse().unwrap();
        if got != pid {
            shell.kill(got);
        }
        (got == pid).then_some(())
    });
}

#[test]
fn a_pid_that_comes_again_is_another_holder() {
    let lab = Lab::new();
    let Some(mut shell) = Shell::enter(&lab, &PID_NAMESPACE, "true") else { return };
    let first = shell.sleeper();
    let bind = first.to_string();
    let acquire = |owner: &str, shell: &mut Shell| {
        shell.ask(owner, &["acquire", owner, "--tree", "src/**", "--bind", &bind])
    };
    acquire("first", &mut shell).expect(0, "acquire");
    let refused = acquire("second", &mut shell).expect(1, "refuse");
    assert_eq!(refused["conflicts"][0]["alive"], "yes");
    await_a_later_start(&mut shell, first);
    shell.kill(first);
    sleeper_with_pid(&mut shell, first);
    let live = shell.ask("o", &["live"]).expect(0, "ok");
    assert_eq!(live["leases"][0]["alive"], "no", "the number is there and the process is not: {live}");
    let granted = acquire("second", &mut shell).expect(0, "acquire");
    assert_eq!(granted["evicted"][0]["why"], "dead", "{granted}");
    // The second process holds in its own right.
    let refused = acquire("third", &mut shell).expect(1, "refuse");
    assert_eq!(
        (&refused["conflicts"][0]["owner"], &refused["conflicts"][0]["alive"]),
        (&"second".into(), &"yes".into())
    );
    shell.ask("first", &["release", "first"]).expect(3, "expired");
    shell.assert_sound();
}

// ------------------------------------------------------------------------------------------------- pid namespaces

#[test]
fn a_holder_in_another_pid_namespace_is_never_judged_dead() {
    let lab = Lab::new();
    let Some(mut here) = Shell::enter(&lab, &PID_NAMESPACE, "true") else { return };
    let Some(mut there) = Shell::enter(&lab, &PID_NAMESPACE, "true") else { return };
    // `/proc` shows the numbers outside, where other processes have ours.
    let Some(mut blind) = Shell::enter(&lab, &["unshare", "-pf", "--kill-child"], "true") else { return };
    let holder = here.sleeper();
    here.ask("h", &["acquire", "h", "--tree", "src/**", "--bind", &holder.to_string()]).expect(0, "acquire");
    let outside = kit::Sleeper::new();
    lab.json_as("out", &["acquire", "out", "--tree", "out/**", "--bind", &outside.pid()])
        .expect(0, "acquire");

    let is_unknown = |who: &str, refused: Value| {
        assert_eq!(refused["conflicts"][0]["alive"], "unknown", "{who}: {refused}");
    };
    // First nobody has the number elsewhere, then somebody has.
    for has_number in [false, true] {
        if has_number {
            sleeper_with_pid(&mut there, holder);
            sleeper_with_pid(&mut blind, holder);
        }
        for (who, shell) in [("there", &mut there), ("blind", &mut blind)] {
            is_unknown(who, shell.ask(who, &["acquire", "x", "--tree", "src/x"]).expect(1, "refuse"));
            is_unknown(who, shell.ask(who, &["acquire", "x", "--tree", "out/x"]).expect(1, "refuse"));
        }
        is_unknown("outside", lab.json_as("o", &["acquire", "x", "--tree", "src/x"]).expect(1, "refuse"));
    }
    // Who cannot tell processes apart binds to none, and can do all else.
    let bound = blind.ask("b", &["acquire", "b", "--tree", "b/**", "--bind", "parent"]);
    assert_eq!(bound.code, 2, "{bound:?}");
    assert!(bound.value["error"]["hint"].as_str().unwrap().contains("--mount-proc"), "{bound:?}");
    blind.ask("b", &["acquire", "b", "--tree", "b/**"]).expect(0, "acquire");

    // Dead for those who can know, unknown for the others.
    here.kill(holder);
    is_unknown("there", there.ask("t", &["acquire", "x", "--tree", "src/x"]).expect(1, "refuse"));
    is_unknown("blind", blind.ask("b", &["acquire", "x", "--tree", "src/x"]).expect(1, "refuse"));
    let granted = here.ask("heir", &["acquire", "heir", "--tree", "src/x"]).expect(0, "acquire");
    assert_eq!(granted["evicted"][0]["why"], "dead", "{granted}");

    // What cannot be probed ends by its time, and is called expired.
    let holder = here.sleeper().to_string();
    here.ask("s", &["acquire", "s", "--tree", "s/**", "--bind", &holder, "--ttl", "1s"]).expect(0, "acquire");
    let granted = poll("the lease of the unknown runs out", DEADLINE, || {
        let said = there.ask("t", &["acquire", "t", "--tree", "s/x"]);
        (said.code == 0).then_some(said.value)
    });
    assert_eq!(granted["evicted"][0]["why"], "expired", "{granted}");
    lab.assert_sound();
}

#[test]
fn a_holder_of_the_mutex_killed_in_another_pid_namespace_costs_its_ttl_and_nothing_else() {
    let lab = Lab::new();
    // Killed when it comes to take its entry away: inside the mutex, and its record is written.
    let killed = "strace -f -o /dev/null -e trace=unlinkat -e inject=unlinkat:signal=KILL \"$BIN\" --store \"$STORE\" --owner dead";
    let works = format!("{killed} --version >/dev/null");
    let Some(mut here) = Shell::enter(&lab, &PID_NAMESPACE, &works) else { return };
    let Some(mut there) = Shell::enter(&lab, &PID_NAMESPACE, "true") else { return };
    lab.grant("first", "first", "first");
    let die = |shell: &mut Shell, n: &str| {
        lab.leave_mutex();
        shell.run(&format!("{killed} acquire d{n} --tree d{n} >/dev/null 2>&1 </dev/null || true"));
        let entry = std::fs::read_to_string(lab.store().join("mutex")).unwrap();
        assert!(entry.contains("\"owner\":\"dead\""), "it was not killed inside: {entry}");
    };
    for (n, ttl_ms) in [300, 600].into_iter().enumerate() {
        // From its own namespace it is seen to be gone.
        die(&mut here, &format!("{n}-own"));
        let next = here.ask("own", &["acquire", &format!("own{n}"), "--tree", &format!("own{n}")]);
        assert!(next.took < CRASH_COST_MAX, "{:?}", next.took);
        next.expect(0, "acquire");
        // From another one it is not, and the TTL goes by.
        die(&mut here, &format!("{n}-other"));
        let ttl = Duration::from_millis(ttl_ms);
        let tree = format!("there{n}");
        let said = there.ask_with(
            &format!("LEASE_LANE_MUTEX_TTL={ttl_ms}ms"),
            "t",
            &["acquire", &tree, "--tree", &tree],
        );
        assert!(
            ttl <= said.took && said.took < ttl + Duration::from_secs(3),
            "{:?} with a TTL of {ttl:?}",
            said.took
        );
        said.expect(0, "acquire");
        assert!(!lab.store().join("mutex").exists());
        let next = there.ask("t", &["release", &tree]);
        assert!(next.took < CRASH_COST_MAX, "{:?}", next.took);
        next.expect(0, "released");
        // What the dead one had written is a lease like any other.
        there.ask("t", &["acquire", "x", "--tree", &format!("d{n}-other/x")]).expect(1, "refuse");
    }
    lab.assert_sound();
}
