//! `kmirror explain`, whole screens of it.

use crate::assert_shown;
use crate::support::Scenario;

#[test]
fn a_code_is_explained_with_example_and_remedy() {
    let ran = Scenario::new().run(&["explain", "k31"]);
    assert_shown("explain_code", &ran);
}

#[test]
fn all_codes_are_listed() {
    let ran = Scenario::new().run(&["explain"]);
    assert_shown("explain_list", &ran);
}

#[test]
fn a_code_that_is_none_leads_to_those_there_are() {
    let ran = Scenario::new().run(&["explain", "K0019"]);
    assert_shown("explain_unknown", &ran);
    let ran = Scenario::new().run(&["explain", "loop"]);
    assert!(ran.stderr.contains("K0052"), "{ran}");
    let ran = Scenario::new().run(&["explain", "\u{1b}[31m"]);
    assert!(!ran.stderr.contains('\u{1b}'), "{ran}");
}
