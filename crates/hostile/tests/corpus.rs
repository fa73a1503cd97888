//! What fuzzers found, and what they start from, on every run of the tests.

use std::path::{Path, PathBuf};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus")
}

#[test]
fn every_kept_input_passes_its_door() {
    for (name, door) in hostile::DOORS {
        let mut n = 0;
        for entry in std::fs::read_dir(corpus().join(name)).expect(name) {
            let path = entry.expect("a file of the corpus").path();
            let bytes = std::fs::read(&path).expect("a file of the corpus");
            let passed = std::panic::catch_unwind(|| door(&bytes)).is_ok();
            assert!(passed, "{} does not pass `{name}`: what was wrong stands above", path.display());
            n += 1;
        }
        assert!(n > 0, "the corpus of `{name}` is empty");
        door(b"");
    }
}

#[test]
fn every_door_has_a_corpus_and_a_target_and_nothing_else_has() {
    let mut corpora: Vec<String> = std::fs::read_dir(corpus())
        .expect("fuzz/corpus")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .collect();
    corpora.sort_unstable();
    let mut doors: Vec<&str> = hostile::DOORS.iter().map(|(name, _)| *name).collect();
    doors.sort_unstable();
    assert_eq!(corpora, doors);
    let manifest = std::fs::read_to_string(corpus().join("../Cargo.toml")).expect("fuzz/Cargo.toml");
    for name in doors {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "`{name}` is no target in fuzz/Cargo.toml");
        assert!(corpus().join(format!("../fuzz_targets/{name}.rs")).is_file(), "`{name}` has no target file");
    }
}
