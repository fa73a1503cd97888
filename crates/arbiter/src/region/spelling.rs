//! Text kept in both spellings a comparison may ask for, so that comparing allocates nothing.

use alloc::boxed::Box;
use alloc::string::String;

use super::fold::{Case, fold_case};

/// A text and, where it differs, its folded form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spelling {
    exact: Box<str>,
    fold: Option<Box<str>>,
}

impl Spelling {
    pub(super) fn new(exact: String) -> Self {
        let is_folded = exact.bytes().all(|b| b.is_ascii() && !b.is_ascii_uppercase());
        let folded = (!is_folded).then(|| fold_case(&exact));
        let fold = folded.filter(|folded| *folded != exact).map(String::into_boxed_str);
        Self { exact: exact.into_boxed_str(), fold }
    }

    pub(super) fn get(&self, case: Case) -> &str {
        match (case, &self.fold) {
            (Case::Fold, Some(fold)) => fold,
            _ => &self.exact,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_any_text() {
        for text in ["", "src/a.rs", "Src/A.RS", "é", "É", "a\u{130}b", "zZ"] {
            let spelling = Spelling::new(text.into());
            assert_eq!(
                (spelling.get(Case::Exact), spelling.get(Case::Fold)),
                (text, &*fold_case(text)),
                "{text}"
            );
        }
    }
}
