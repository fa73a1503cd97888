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
        let folded = fold_case(&exact);
        let fold = (folded != exact).then(|| folded.into_boxed_str());
        Self { exact: exact.into_boxed_str(), fold }
    }

    pub(super) fn get(&self, case: Case) -> &str {
        match (case, &self.fold) {
            (Case::Fold, Some(fold)) => fold,
            _ => &self.exact,
        }
    }
}
