//! Drift as text and JSON: by cluster and link, then what is blocked; then counts.

use super::text::{Emphasis, TextOptions, wrap};
use super::words::{self, Obstacle};
use super::{clean, grouped, json};
use crate::plan::drift::{Difference, Direction, Drift, DriftCounts, Drifted, is_inherited};
use crate::plan::model::{Address, Place};

/// The document, indented, with a final newline.
pub fn json(drift: &Drift) -> String {
    json::document(drift)
}

/// The whole drift for people.
pub fn text(drift: &Drift, options: TextOptions<'_>) -> String {
    let paint = options.paint;
    let mut out = format!("Drift of {}\n\n", clean(&drift.file));
    for line in super::text::clusters(&drift.clusters) {
        out.push_str(&paint(Emphasis::Dim, &line));
        out.push('\n');
    }
    out.push('\n');
    let legend: Vec<String> = legend(drift)
        .into_iter()
        .map(|(symbol, word)| format!("{} {word}", paint(emphasis(symbol), symbol)))
        .collect();
    if !legend.is_empty() {
        out.push_str(&format!("Symbols: {}\n\n", legend.join(", ")));
    }
    for (title, entries) in sections(drift) {
        out.push_str(&paint(Emphasis::Strong, &title));
        out.push('\n');
        for drifted in entries {
            let width = options.width.map(|width| width.saturating_sub(2));
            for (index, line) in lines(drifted, drift, width, options.now_ms)
                .iter()
                .enumerate()
            {
                let symbol = symbol(drifted);
                match line.strip_prefix(symbol).filter(|_| index == 0) {
                    Some(rest) => {
                        out.push_str(&format!("  {}{rest}\n", paint(emphasis(symbol), symbol)));
                    }
                    None => out.push_str(&format!("  {line}\n")),
                }
            }
        }
        out.push('\n');
    }
    for note in &drift.notes {
        let note = format!("Note: {}.", words::note(note, options.now_ms));
        for line in wrap(&note, options.width) {
            out.push_str(&paint(Emphasis::Dim, &line));
            out.push('\n');
        }
    }
    if !drift.notes.is_empty() {
        out.push('\n');
    }
    let (headline, rest) = closing(drift);
    out.push_str(&format!("{}{rest}\n", paint(Emphasis::Strong, &headline)));
    out
}

/// The last line, in a part to stand out and another.
pub(super) fn closing(drift: &Drift) -> (String, String) {
    let counts = counts(drift.counts);
    if drift.entries.is_empty() {
        let rest = if counts.is_empty() {
            " Nothing is declared.".to_owned()
        } else {
            format!(" The clusters are as declared ({counts}).")
        };
        ("No drift.".to_owned(), rest)
    } else {
        (format!("Drift: {counts}."), String::new())
    }
}

/// Counts in words.
fn counts(counts: DriftCounts) -> String {
    let parts: Vec<_> = [
        (counts.declared_but_missing, "declared but missing"),
        (counts.changed_live, "changed live"),
        (counts.live_but_undeclared, "live but undeclared"),
        (counts.declared_but_not_applied, "declared but not applied"),
        (counts.blocked, "blocked"),
        (counts.as_declared, "as declared"),
        (counts.ignored, "ignored"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{} {what}", grouped(count as u64)))
    .collect();
    parts.join(", ")
}

/// A direction in words.
pub(super) fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::DeclaredButMissing => "declared but missing",
        Direction::ChangedLive => "changed live",
        Direction::LiveButUndeclared => "live but undeclared",
        Direction::DeclaredButNotApplied => "declared but not applied",
    }
}

/// What is said of an entry in its first line.
pub(super) fn verdict(drifted: &Drifted) -> &'static str {
    match drifted.direction {
        _ if !drifted.blocked.is_empty() => "blocked",
        Some(direction) => self::direction(direction),
        None => "changed live",
    }
}

const SYMBOLS: [(&str, &str); 5] = [
    ("-", "declared but missing"),
    ("~", "changed live"),
    ("+", "live but undeclared"),
    (">", "declared but not applied"),
    ("!", "blocked"),
];

fn symbol(drifted: &Drifted) -> &'static str {
    let verdict = verdict(drifted);
    let found = SYMBOLS.iter().find(|(_, word)| *word == verdict);
    found.map_or("~", |(symbol, _)| symbol)
}

fn emphasis(symbol: &str) -> Emphasis {
    match symbol {
        "+" => Emphasis::Create,
        "!" | "-" => Emphasis::Blocked,
        _ => Emphasis::Change,
    }
}

/// The symbols that are used, with their words.
pub(super) fn legend(drift: &Drift) -> Vec<(&'static str, &'static str)> {
    let used: Vec<&str> = drift.entries.iter().map(symbol).collect();
    SYMBOLS
        .into_iter()
        .filter(|(symbol, _)| used.contains(symbol))
        .collect()
}

/// Entries by cluster and link, and those that are blocked at the end.
pub(super) fn sections(drift: &Drift) -> Vec<(String, Vec<&Drifted>)> {
    let (blocked, others): (Vec<&Drifted>, Vec<&Drifted>) = drift
        .entries
        .iter()
        .partition(|drifted| !drifted.blocked.is_empty());
    let mut sections: Vec<(String, Vec<&Drifted>)> = Vec::new();
    for drifted in others {
        let title = group(&drifted.address);
        match sections.last_mut() {
            Some((last, entries)) if *last == title => entries.push(drifted),
            _ => sections.push((title, vec![drifted])),
        }
    }
    if !blocked.is_empty() {
        sections.push(("blocked".to_owned(), blocked));
    }
    sections
}

/// What an address belongs to.
pub(super) fn group(address: &Address) -> String {
    match address {
        Address::Cluster(name) | Address::Control(name) => format!("cluster {name}"),
        Address::Topic { cluster, .. } => format!("cluster {cluster}"),
        Address::Link(link) | Address::Mirror { link, .. } => format!("link {}", clean(link)),
    }
}

/// An entry, its symbol in the first column.
pub(super) fn lines(
    drifted: &Drifted,
    drift: &Drift,
    width: Option<usize>,
    now_ms: i64,
) -> Vec<String> {
    let mut lines = vec![format!(
        "{} {}: {}{}",
        symbol(drifted),
        clean(&drifted.address.to_string()),
        verdict(drifted),
        place(drifted.asked_by.as_ref(), drift)
    )];
    for said in details(drifted, drift, now_ms) {
        for line in wrap(&said, width.map(|width| width.saturating_sub(4))) {
            lines.push(format!("    {line}"));
        }
    }
    lines
}

/// Everything that is said of an entry besides its first line.
pub(super) fn details(drifted: &Drifted, drift: &Drift, now_ms: i64) -> Vec<String> {
    let mut said: Vec<String> = drifted.route.iter().map(words::route).collect();
    // Of what is missing altogether, it is enough to say so.
    if drifted.direction != Some(Direction::DeclaredButMissing)
        || drifted.differences.iter().any(|it| it.live.is_some())
    {
        said.extend(drifted.differences.iter().map(|it| difference(it, drift)));
    }
    said.extend(drifted.reasons.iter().map(words::reason));
    said.extend(drifted.seen.iter().map(|note| words::note(note, now_ms)));
    for blocker in &drifted.blocked {
        let Obstacle { cause, remedy } = words::blocker(blocker);
        said.extend([cause, remedy]);
    }
    said
}

fn difference(difference: &Difference, drift: &Drift) -> String {
    let attribute = &difference.attribute;
    let value = |side: &crate::plan::model::Side| {
        format!(
            "{}, {}",
            words::value(attribute, &side.value),
            words::origin(side.origin)
        )
    };
    let live = match &difference.live {
        Some(live) => format!("live {}", value(live)),
        None => "live nothing".to_owned(),
    };
    let declared = match &difference.declared {
        None => "nothing is declared".to_owned(),
        Some(inherited) if is_inherited(inherited.origin) => {
            format!("nothing is declared (inherited {})", value(inherited))
        }
        Some(declared) => format!("declared {}", value(declared)),
    };
    let place = place(difference.asked_by.as_ref(), drift);
    format!("{}: {live}; {declared}{place}", clean(attribute))
}

fn place(place: Option<&Place>, drift: &Drift) -> String {
    place.map_or_else(String::new, |place| {
        format!(" ({})", super::text::shown_place(place, &drift.file))
    })
}
