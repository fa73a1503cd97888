//! The text of a region's entry, and a path.

use arbiter::region::{Case, Entry, PatternError, ProjectPath};

/// Any text as two entries and a path: read or refused, never a panic, and in the time that a caller has. What is read
/// prints, prints shorter than the limit, and reads as the same; what is refused says where, in one plain line.
///
/// # Panics
///
/// When the region algebra breaks its word.
pub fn pattern(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut texts = text.splitn(3, '\n');
    let [ours, theirs, path] = [(); 3].map(|()| texts.next().unwrap_or_default());
    let (ours, theirs) = (read(ours), read(theirs));
    let path = ProjectPath::parse(path).ok();
    for case in [Case::Exact, Case::Fold] {
        if let (Some(ours), Some(theirs)) = (&ours, &theirs) {
            let witness = ours.overlap(theirs, case);
            assert_eq!(witness, theirs.overlap(ours, case), "overlap has no sides");
            if let Some(witness) = &witness
                && !witness.is_resource()
            {
                let shared = ProjectPath::parse(witness.as_str()).expect("a witness is a path");
                // `o[\u{301}]` and `??` meet in a name that no path has, because paths are composed: a refusal too many.
                let is_composed = shared.as_str() == witness.as_str();
                assert!(
                    !is_composed || ours.covers(&shared, case) && theirs.covers(&shared, case),
                    "{witness}"
                );
            }
            if let Some(path) = path.as_ref().filter(|path| !path.is_root()) {
                let common = ours.covers(path, case) && theirs.covers(path, case);
                assert!(!common || witness.is_some(), "`{}` is named by both", path.as_str());
            }
        }
        for entry in [&ours, &theirs].into_iter().flatten() {
            if let Some(path) = &path {
                let again = Entry::parse(entry.as_str()).expect("read before");
                assert_eq!(entry.covers(path, case), again.covers(path, case));
            }
        }
    }
}

fn read(text: &str) -> Option<Entry> {
    match Entry::parse(text) {
        Ok(entry) => {
            let printed = entry.as_str();
            assert!(printed.len() <= Entry::BYTES_MAX);
            let again = Entry::parse(printed).unwrap_or_else(|error| panic!("`{text}`: {error}"));
            assert_eq!((again.as_str(), &again), (printed, &entry), "what prints reads as the same");
            assert!(again.literal_components().eq(entry.literal_components()), "`{text}`");
            Some(entry)
        }
        Err(error) => {
            refused(&error);
            None
        }
    }
}

fn refused(error: &PatternError) {
    assert!(error.entry.is_char_boundary(error.at), "{error:?}");
    let said = error.to_string();
    assert!(!said.contains(char::is_control), "{said:?}");
    let _hinted = error.hint();
}
