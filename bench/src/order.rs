//! The functions that the hot verbs call, for the linker to put side by side: `.cargo/order.txt`.
//!
//! Callgrind names them, of a build with symbols. What it cannot see is added: the C library has several of each function
//! on strings, of which it picks one for the processor, and valgrind shows another processor and no vDSO.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use crate::Answer;
use crate::budget::{self, VERBS};
use crate::process::{command, expect};
use crate::tools::{Work, built_with};

const FILE_HEAD: &str = "\
# The functions that the hot verbs call. Written by `scripts/order`; docs/adr/0018-order.md.
";

/// How the C library ends the names of what it has several of. Of a symbol with one of them all are taken.
const KINDS: &[&str] = &[
    "_avx2",
    "_avx2_movbe",
    "_avx2_unaligned_erms",
    "_avx512",
    "_avx512_unaligned_erms",
    "_avx_unaligned_erms",
    "_evex",
    "_evex_movbe",
    "_evex_unaligned_erms",
    "_sse2",
    "_sse2_unaligned",
    "_sse2_unaligned_erms",
    "_sse42",
    "_sse4_1",
];

/// What valgrind hides: the search for the clock in the vDSO, by the C library, which locks what it goes through, and by
/// rustix; and what the compiler adds, which has no name there.
const HIDDEN: &[&str] = &[
    "_dl_lookup_symbol_x",
    "__strcmp_evex",
    "__strcmp_avx2",
    "pthread_mutex_lock",
    "pthread_mutex_unlock",
    "frame_dummy",
    "_ZN6rustix7backend4vdso4Vdso9check_sym17h0E",
    "_ZN6rustix7backend5param4auxv14check_elf_base17h0E",
    "_ZN6rustix7backend5param4auxv9init_auxv17h0E",
    "_ZN6rustix7backend5param4auxv13init_from_auxv17h0E",
    "_ZN3std4sync9once_lock17OnceLock$LT$T$GT$10initialize17h0E",
    "_ZN3std4sync4once4Once15call_once_force28_$u7b$$u7b$closure$u7d$$u7d$17h0E",
];

/// Of each symbol, the verbs that call it, by number.
type Callers = BTreeMap<String, BTreeSet<usize>>;

/// Finds out, and writes the list.
pub(crate) fn run() -> Answer<ExitCode> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cargo/order.txt");
    let work = Work::new(Some(Path::new("/tmp")))?;
    let found = called_by_all(&work);
    work.remove()?;
    let Some(found) = found? else { return Ok(ExitCode::SUCCESS) };
    let before = fs::read_to_string(&file).unwrap_or_default();
    let list = render(&found);
    let kept = list.lines().filter(|name| before.lines().any(|before| before == *name)).count();
    fs::write(&file, &list)?;
    eprintln!(
        "order: wrote {} names, {kept} of them as before; the next release build uses them",
        list.lines().count()
    );
    Ok(ExitCode::SUCCESS)
}

/// Each symbol that is called, and by which verbs; none where valgrind cannot be had.
fn called_by_all(work: &Work) -> Answer<Option<Callers>> {
    if let Err(why) = budget::find_valgrind(work) {
        eprintln!("order: SKIPPED, NO ORDER WAS WRITTEN: {why}");
        return Ok(None);
    }
    let program = built_with("lease-lane", "lease-lane", &["--release"], &["-C", "strip=none"])?;
    let mut found = Callers::new();
    for (n, verb) in VERBS.iter().enumerate() {
        for name in called(&budget::profile(verb, &program, work)?) {
            found.entry(name).or_default().insert(n);
        }
    }
    for name in called_where_it_is_used(&program, work)? {
        found.entry(name).or_default().insert(VERBS.len());
    }
    Ok(Some(found))
}

/// Each symbol that is called by those who type no more than they need: in a project with a repository and a policy, for
/// text; in a young store and behind a checkpoint, with an owner that is said and without.
fn called_where_it_is_used(program: &Path, work: &Work) -> Answer<BTreeSet<String>> {
    let project = work.sub("project")?;
    fs::create_dir_all(project.join(".git/objects"))?;
    fs::create_dir_all(project.join(".git/refs"))?;
    fs::write(project.join(".git/HEAD"), "ref: refs/heads/main\n")?;
    let mut found = BTreeSet::new();
    for (n, policy) in ["", "[lanes.docs]\ntree = [\"docs/**\"]\n"].into_iter().enumerate() {
        if !policy.is_empty() {
            fs::write(project.join("lease-lane.toml"), policy)?;
        }
        let (lane, tree) = (format!("lane-{n}"), format!("src/{n}/**"));
        let path = format!("src/{n}/main.rs");
        let call = |words: &[&str]| -> Answer<Command> {
            let mut typed = command(program, work)?;
            typed.args(words).current_dir(&project);
            if n == 0 {
                typed.env("LEASE_LANE_OWNER", "bench");
            }
            Ok(typed)
        };
        let acquire = &["acquire", &lane, "--tree", &tree, "--bind", "parent"][..];
        let [refuse, in_words, ask, beat, check, live, release] = [
            (&["acquire", "--tree", &path, "--json"][..], 1),
            (&["--owner", "other", "acquire", "--tree", &path], 1),
            (&["--owner", "other", "check", &path], 1),
            (&["heartbeat", &lane], 0),
            (&["check", &path], 0),
            (&["live"], 0),
            (&["release", &lane], 0),
        ];
        for calls in [
            &[(acquire, 0), refuse, beat, check, live][..],
            &[in_words, ask, beat, check, live, release, ask],
        ] {
            for &(words, code) in calls {
                found.extend(called(&budget::profile_of(&call(words)?, code, work)?));
            }
            expect(call(&["compact"])?.status()?, 0, work)?;
        }
    }
    Ok(found)
}

/// The symbols that a profile of callgrind names, each once.
fn called(profile: &str) -> Vec<String> {
    let named = profile.lines().filter_map(|line| line.strip_prefix("fn=").or(line.strip_prefix("cfn=")));
    let names = named.filter_map(|text| text.split_once(") ")).map(|(_, name)| {
        // A function in itself is told apart by a number.
        name.split('\'').next().unwrap_or(name)
    });
    let mut names: Vec<String> =
        names.filter(|name| !name.starts_with("0x") && !name.contains(' ')).map(str::to_owned).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// What the first verb calls comes first, of that what the second calls too, and so on: what any of them calls lies in
/// few pieces.
fn render(found: &Callers) -> String {
    let mut names: Vec<(&str, &BTreeSet<usize>)> =
        found.iter().map(|(name, verbs)| (name.as_str(), verbs)).collect();
    names.sort_by_key(|(_, verbs)| {
        (0..=VERBS.len()).map(|verb| !verbs.contains(&verb)).collect::<Vec<bool>>()
    });
    let mut text = FILE_HEAD.to_owned();
    let hidden = HIDDEN.iter().map(|name| (*name).to_owned());
    for name in hidden.chain(names.into_iter().flat_map(|(name, _)| all_kinds(name))) {
        text.push_str(&name);
        text.push('\n');
    }
    text
}

/// A symbol, with those that the C library has beside it for other processors.
fn all_kinds(name: &str) -> Vec<String> {
    let plain = KINDS.iter().filter_map(|kind| name.strip_suffix(kind)).min_by_key(|plain| plain.len());
    match plain.filter(|plain| plain.starts_with("__")) {
        Some(plain) => KINDS.iter().map(|kind| format!("{plain}{kind}")).collect(),
        None => vec![name.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_names_what_was_called() {
        let profile = "events: Ir\n\nfl=(1) a.rs\nfn=(1) main\n0x1 3 4\ncfn=(2) twice\ncalls=1 0\n0x2 1 9\n\
            fn=(2)\n0x5 1 1\nfn=(3) twice'2\nfn=(4) 0x0000\nfn=(5) (below main)\n";
        assert_eq!(called(profile), ["main", "twice"]);
    }

    #[test]
    fn what_a_verb_calls_lies_side_by_side() {
        let called_by = |name: &str, verbs: &[usize]| (name.to_owned(), verbs.iter().copied().collect());
        let found = [("a", &[2][..]), ("b", &[0, 1]), ("c", &[0, 2]), ("d", &[1]), ("e", &[0, 1])];
        let text = render(&found.map(|(name, verbs)| called_by(name, verbs)).into());
        assert!(text.ends_with("\nb\ne\nc\nd\na\n"), "{text}");
    }

    #[test]
    fn the_c_library_s_kinds_of_a_function_are_taken_together() {
        let kinds = all_kinds("__memcpy_avx_unaligned_erms");
        assert!(kinds.contains(&"__memcpy_evex_unaligned_erms".to_owned()), "{kinds:?}");
        assert!(
            all_kinds("__memset_avx2_unaligned_erms").contains(&"__memset_avx512_unaligned_erms".to_owned())
        );
        assert!(all_kinds("__memcmp_avx2_movbe").contains(&"__memcmp_evex_movbe".to_owned()));
        assert_eq!(all_kinds("malloc"), ["malloc"]);
    }

    #[test]
    fn the_committed_list_names_functions_of_the_program() {
        let list = include_str!("../../.cargo/order.txt");
        for part in ["lease_lane", "journal", "arbiter", "malloc"] {
            assert!(list.lines().any(|name| name.contains(part)), "{part}");
        }
    }
}
