//! What a caller is told who asks again under the name it gave its request (feature C16).
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use arbiter::evidence::Evidence;
use arbiter::request::{Request, RequestId};
use arbiter::seq::LeaseId;
use journal::record::{Op, Record};
use journal::state::{ANSWERS_MAX, State};

use common::{clock, decide, release_of, request, seq, time};

fn named(n: u64, id: &str) -> Request {
    let mut asked = request("ann", &format!("lane-{n}"), &[&format!("dir-{n}")]);
    asked.request_id = RequestId::new(id).ok();
    asked
}

fn take(state: &mut State, n: u64, asked: &Request) {
    let (_, ops) = decide(state, asked, Evidence::at(clock(n)), time(n));
    for op in ops {
        state.apply(&Record { seq: seq(n), ts: time(n), nonce: n, op }).unwrap();
    }
}

fn id(text: &str) -> RequestId {
    RequestId::new(text).unwrap()
}

#[test]
fn a_grant_that_was_withdrawn_is_no_answer() {
    for withdrawn in [false, true] {
        let mut state = State::default();
        take(&mut state, 2, &named(2, "r"));
        let lease = state.live.get(LeaseId::from(seq(2))).cloned().unwrap();
        let Op::Release(mut release) = release_of(&lease) else { unreachable!() };
        release.withdrawn = withdrawn;
        state.apply(&Record { seq: seq(3), ts: time(3), nonce: 3, op: Op::Release(release) }).unwrap();
        // A lease given back by its holder was granted all the same; one that was never reported was not.
        assert_eq!(state.answer_to(&id("r")).is_none(), withdrawn);
    }
}

#[test]
fn many_live_leases_do_not_push_the_latest_answer_out() {
    let mut state = State::default();
    let last = ANSWERS_MAX as u64 + 20;
    for n in 2..=last {
        take(&mut state, n, &named(n, &format!("r-{n}")));
    }
    for n in 2..=last {
        assert_eq!(state.answer_to(&id(&format!("r-{n}"))).map(|answer| answer.at), Some(seq(n)), "r-{n}");
    }
    // A refusal among them, the latest of all.
    let mut refused = named(last, "no");
    refused.lane = named(999, "x").lane;
    take(&mut state, last + 1, &refused);
    assert_eq!(state.answer_to(&id("no")).map(|answer| answer.at), Some(seq(last + 1)));
}

#[test]
fn the_answers_of_leases_that_have_ended_go_again() {
    let mut state = State::default();
    let last = 3 * ANSWERS_MAX as u64;
    for n in 2..=last {
        take(&mut state, n, &named(n, &format!("r-{n}")));
    }
    for lease in state.live.iter().skip(1).cloned().collect::<Vec<_>>() {
        let op = release_of(&lease);
        state.apply(&Record { seq: seq(last + 1), ts: time(last), nonce: 1, op }).unwrap();
    }
    take(&mut state, last + 2, &named(last + 2, "after"));
    assert_eq!(state.checkpoint(false).answered.len(), ANSWERS_MAX);
    let (oldest, newest) = (id("r-3"), id(&format!("r-{last}")));
    assert!(state.answer_to(&id("r-2")).is_some(), "its lease lives");
    assert!(state.answer_to(&oldest).is_none() && state.answer_to(&newest).is_some());
}
