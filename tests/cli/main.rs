//! The program as users see it: command, stdout, stderr and exit code. Needs no broker.
//!
//! What is shown is recorded in `snapshots/`; `INSTA_UPDATE=always` records it anew.

mod apply;
mod ci;
mod dead_source;
mod deletions;
mod demo;
mod diff;
mod doctor;
mod drift;
mod explain;
mod fmt;
mod formats;
mod general;
mod graph;
mod import;
mod import_clusters;
mod import_link;
mod inventory;
mod journal;
mod life;
mod links;
mod manual;
mod offsets;
mod outputs;
mod plan;
mod rest_both_ways;
mod rest_links;
mod rest_reversal;
mod rewrite_secrets;
mod run;
mod sandboxes;
mod saved;
mod scale;
mod schema;
mod serve;
#[path = "../support/cli.rs"]
mod support;
mod turns;
mod until_caught_up;
mod validate;
mod worker;

/// Compares everything a command showed with what is recorded under `name`.
fn assert_shown(name: &str, ran: &support::Ran) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    // Ids of topics and links are others in every run.
    settings.add_filter(
        "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        "UUID",
    );
    // Journals have time and process in their names.
    settings.add_filter(r"\d{4}-\d\d-\d\dT\d{6}\.\d{3}Z-\d+\.jsonl", "JOURNAL.jsonl");
    settings.add_filter(
        r"(begun|Ended|line) \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
        "$1 TIME",
    );
    settings.add_filter(r"by \S+@\S+ \(\d+\), begun", "by USER@HOST (PID), begun");
    settings.add_filter("_kmirror.doctor-[0-9a-f]{8}", "_kmirror.doctor-ID");
    settings.bind(|| insta::assert_snapshot!(name, ran.to_string()));
}
