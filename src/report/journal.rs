//! A journal in words.

use super::{clean, grouped};
use crate::apply::Asked;
use crate::apply::journal::{Account, End, Fate};
use crate::plan::model::Action;

/// The whole account, a line for each action.
pub fn text(account: &Account) -> String {
    let mut text = format!(
        "Apply of {} by {}, begun {:.0}\n\n",
        clean(&account.file),
        clean(&account.holder),
        account.begun
    );
    for line in super::text::clusters(&account.clusters) {
        text.push_str(&format!("{line}\n"));
    }
    text.push('\n');
    for (address, action, fate) in &account.entries {
        let address = clean(&address.to_string());
        let told = match fate {
            Fate::Done => format!("{}: {address}", past(*action)),
            Fate::Failed { error, message } => {
                format!(
                    "failed: {address}: {}",
                    clean(&format!("{error}: {message}"))
                )
            }
            Fate::Skipped(because) => format!(
                "skipped: {address}: {} comes before it and is not there",
                clean(&because.to_string())
            ),
            Fate::Unknown(asked) => format!(
                "not known: {address}: {} was asked for, and no answer is written down",
                wanted(*asked)
            ),
            Fate::NotAsked => format!("not done: {address}"),
        };
        text.push_str(&format!("  {told}\n"));
    }
    if !account.entries.is_empty() {
        text.push('\n');
    }
    text.push_str(&closing(account));
    text.push('\n');
    text
}

fn closing(account: &Account) -> String {
    let counts = counts(account);
    match &account.end {
        End::NothingDone(reason) => format!("Nothing was done: {}.", clean(reason)),
        End::Ended => format!("Ended {:.0}: {counts}.", account.last),
        End::None => format!(
            "The journal has no end: the apply died, or it is still going on. Last line {:.0}: {counts}.\n\
             What is left is what the next plan shows: kmirror plan {}",
            account.last,
            clean(&account.file)
        ),
    }
}

fn counts(account: &Account) -> String {
    let count = |is: fn(&Fate) -> bool| {
        let fates = account.entries.iter().map(|(_, _, fate)| fate);
        fates.filter(|fate| is(fate)).count()
    };
    let parts: Vec<String> = [
        (count(|fate| matches!(fate, Fate::Done)), "done"),
        (count(|fate| matches!(fate, Fate::Failed { .. })), "failed"),
        (count(|fate| matches!(fate, Fate::Skipped(_))), "skipped"),
        (count(|fate| matches!(fate, Fate::Unknown(_))), "not known"),
        (count(|fate| matches!(fate, Fate::NotAsked)), "not done"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{} {what}", grouped(count as u64)))
    .collect();
    parts.join(", ")
}

fn past(action: Action) -> &'static str {
    match action {
        Action::Create => "created",
        Action::Update => "updated",
        Action::Pause => "paused",
        Action::Resume => "resumed",
        Action::Promote => "promoted",
        Action::FailOver => "failed over",
        Action::Delete => "deleted",
        Action::Unchanged | Action::Blocked => "done",
    }
}

fn wanted(asked: Asked) -> &'static str {
    match asked {
        Asked::Topic => "its topic",
        Asked::Record => "its record",
        Asked::Pause => "a pause",
        Asked::Deletion => "its deletion",
        Asked::Link => "its link",
    }
}
