//! What the types of a policy cannot say: whether its parts fit together.

use std::collections::BTreeSet;
use std::ops::Range;

use arbiter::name::{LaneKey, LaneName};
use arbiter::policy::{LanePolicy, Policy};
use arbiter::region::{Entry, Region};
use arbiter::text::{Text, nearest, shown};
use arbiter::time::Span;
use toml::de::{DeTable, DeValue};

/// How many are named; whoever has more begins with these.
pub(super) const FAULTS_MAX: usize = 100;

/// Something that does not fit, and the keys that lead to it.
pub(super) struct Fault {
    pub(super) path: Vec<Step>,
    pub(super) what: String,
    pub(super) hint: Option<String>,
}

/// One step into a document.
pub(super) enum Step {
    Key(String),
    Item(usize),
}

/// Everything that does not fit.
pub(super) fn faults(policy: &Policy) -> Vec<Fault> {
    let mut faults = Faults::default();
    for (key, span) in [("ttl", policy.ttl), ("ceiling", policy.ceiling)] {
        if span == Some(Span::ZERO) {
            faults.say(keys([key]), format!("`{key}` is zero"));
        }
    }
    if let Some((one, other)) = policy.doubled_lane() {
        let what = format!("lanes `{one}` and `{other}` are one lane: case does not tell lanes apart");
        faults.say(keys(["lanes", other.as_str()]), what);
    }
    let pools: BTreeSet<String> = policy.pools.keys().filter_map(|name| key_of(name.as_str())).collect();
    for (name, lane) in &policy.lanes {
        check_lane(policy, &pools, name, lane, &mut faults);
    }
    check_ladder(policy, &mut faults);
    for (name, class) in &policy.classes {
        if class.max == 0 {
            let what = format!("`max` of class `{name}` is zero: none of its lanes could ever be had");
            faults.say(keys(["classes", name.as_str(), "max"]), what);
        }
    }
    check_pools(policy, &mut faults);
    let protected = &policy.protect.paths;
    check_pools_of(
        policy,
        &pools,
        protected,
        "`[protect]` names",
        || keys(["protect", "paths"]),
        &mut faults,
    );
    faults.0
}

fn check_lane(
    policy: &Policy,
    pools: &BTreeSet<String>,
    name: &LaneName,
    lane: &LanePolicy,
    faults: &mut Faults,
) {
    let at = |key: &str| keys(["lanes", name.as_str(), key]);
    if lane.tree.is_empty() && lane.read.is_empty() && !lane.exclusive {
        faults.say(keys(["lanes", name.as_str()]), format!("lane `{name}` has neither `tree` nor `read`"));
    }
    if lane.ttl == Some(Span::ZERO) {
        faults.say(at("ttl"), format!("`ttl` of lane `{name}` is zero"));
    }
    if let Some(class) = &lane.class
        && !policy.classes.contains_key(class)
    {
        let what = format!("lane `{name}` is of class `{class}`, which is not there");
        let known = policy.classes.keys().map(Text::as_str);
        faults.offer(at("class"), &what, class.as_str(), known, "add it: [classes.NAME] with `max`");
    }
    for (key, region) in [("tree", &lane.tree), ("read", &lane.read)] {
        check_pools_of(policy, pools, region, &format!("lane `{name}` takes from"), || at(key), faults);
    }
}

/// Every pool that a region names is there.
fn check_pools_of(
    policy: &Policy,
    pools: &BTreeSet<String>,
    region: &Region,
    who: &str,
    path: impl Fn() -> Vec<Step>,
    faults: &mut Faults,
) {
    for (idx, entry) in region.entries().iter().enumerate() {
        let Some(pool) = entry.pool_name() else { continue };
        if pools.contains(pool) {
            continue;
        }
        let known = policy.pools.keys().map(Text::as_str);
        let what = format!("{who} pool `{}`, which is not there", shown(pool, 100));
        let mut path = path();
        path.push(Step::Item(idx));
        faults.offer(path, &what, pool, known, "add it: [pools.NAME] with `capacity`");
    }
}

fn check_ladder(policy: &Policy, faults: &mut Faults) {
    let lanes: BTreeSet<LaneKey> = policy.lanes.keys().map(LaneName::key).collect();
    let mut seen: BTreeSet<LaneKey> = BTreeSet::new();
    for (idx, name) in policy.ladder.iter().enumerate() {
        let path = || vec![Step::Key("ladder".into()), Step::Item(idx)];
        if !lanes.contains(&name.key()) {
            let what = format!("the ladder names lane `{name}`, which is not there");
            let known = policy.lanes.keys().map(LaneName::as_str);
            faults.offer(path(), &what, name.as_str(), known, "add it: [lanes.NAME] with `tree`");
        }
        if !seen.insert(name.key()) {
            faults.say(path(), format!("the ladder names lane `{name}` twice"));
        }
    }
}

fn check_pools(policy: &Policy, faults: &mut Faults) {
    if let Some((one, other)) = policy.doubled_pool() {
        let what = format!("pools `{one}` and `{other}` are one pool: case does not tell pools apart");
        faults.say(keys(["pools", other.as_str()]), what);
    }
    for (name, pool) in &policy.pools {
        if key_of(name.as_str()).is_none() {
            let what = format!("pool `{name}` can never be asked for: `pool://{name}` is no entry");
            faults.say(keys(["pools", name.as_str()]), what);
        }
        if pool.capacity == 0 {
            let what = format!("`capacity` of pool `{name}` is zero: nobody could ever have one");
            faults.say(keys(["pools", name.as_str(), "capacity"]), what);
        }
    }
}

/// What all spellings of a pool's name have in common; none if it can be no name.
fn key_of(name: &str) -> Option<String> {
    Entry::parse(&format!("pool://{name}")).ok()?.pool_name().map(Into::into)
}

#[derive(Default)]
struct Faults(Vec<Fault>);

impl Faults {
    fn say(&mut self, path: Vec<Step>, what: impl Into<String>) {
        if !self.are_enough() {
            self.0.push(Fault { path, what: short(&what.into()), hint: None });
        }
    }

    fn are_enough(&self) -> bool {
        self.0.len() >= FAULTS_MAX
    }

    /// A name that leads nowhere: offers the nearest that leads somewhere.
    fn offer<'a>(
        &mut self,
        path: Vec<Step>,
        what: &str,
        there: &str,
        known: impl Iterator<Item = &'a str>,
        otherwise: &str,
    ) {
        if self.are_enough() {
            return;
        }
        let meant = nearest(there, known).map(|meant| format!("did you mean `{}`?", shown(meant, 100)));
        self.0.push(Fault { path, what: short(what), hint: Some(meant.unwrap_or_else(|| otherwise.into())) });
    }
}

/// Names may be long, and longer when they are made harmless.
fn short(what: &str) -> String {
    shown(what, 400).to_string()
}

fn keys<const N: usize>(keys: [&str; N]) -> Vec<Step> {
    keys.into_iter().map(|key| Step::Key(key.into())).collect()
}

/// Where in the document the path leads: to the value, or to the key of a table. As far as it goes.
pub(super) fn find(document: &DeTable<'_>, path: &[Step]) -> Option<Range<usize>> {
    let mut at = None;
    let mut table = Some(document);
    let mut value: Option<&DeValue<'_>> = None;
    for step in path {
        match step {
            Step::Key(name) => {
                let Some((key, found)) =
                    table.and_then(|table| table.iter().find(|(key, _)| key.get_ref() == name))
                else {
                    break;
                };
                let is_table = found.get_ref().is_table();
                at = Some(if is_table { key.span() } else { found.span() });
                table = found.get_ref().as_table();
                value = Some(found.get_ref());
            }
            Step::Item(idx) => {
                let Some(found) = value.and_then(DeValue::as_array).and_then(|array| array.get(*idx)) else {
                    break;
                };
                at = Some(found.span());
                value = Some(found.get_ref());
            }
        }
    }
    at
}
