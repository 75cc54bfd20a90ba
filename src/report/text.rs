//! The plan as text: what would be done, grouped by cluster and link; then what can't be; then counts.
//!
//! Emphasis never carries meaning of its own: every symbol comes with its words. Lines are wrapped
//! to the width given; without one (a pipe) they are as long as they are.

use std::fmt;

use super::words::{self, Obstacle};
use super::{clean, grouped};
use crate::plan::model::{
    Action, Address, Change, Counts, Entry, Place, Plan, PlannedCluster, Rehearsal,
};
use crate::plan::reason::Reason;

/// How a piece of text is to stand out, where that is possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emphasis {
    Strong,
    Dim,
    Create,
    Change,
    Delete,
    Blocked,
}

/// How the text is made.
#[derive(Clone, Copy)]
pub struct TextOptions<'a> {
    /// Columns to stay within.
    pub width: Option<usize>,
    pub paint: &'a dyn Fn(Emphasis, &str) -> String,
    /// Milliseconds since the epoch, for ages.
    pub now_ms: i64,
}

impl fmt::Debug for TextOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextOptions")
            .field("width", &self.width)
            .finish_non_exhaustive()
    }
}

impl TextOptions<'_> {
    /// Without emphasis and without a limit.
    pub const PLAIN: TextOptions<'static> = TextOptions {
        width: None,
        paint: &|_, text| text.to_owned(),
        now_ms: 0,
    };
}

/// The whole plan.
pub fn plan(plan: &Plan, options: TextOptions<'_>) -> String {
    let mut text = Text {
        out: String::new(),
        options,
    };
    text.heading(plan);
    text.legend(plan);
    let groups = groups(plan);
    for group in &groups {
        text.group(group, plan);
    }
    text.blocked(plan);
    text.notes(plan);
    text.closing(plan);
    text.out
}

/// Counts in words: `4 to create, 2 unchanged`.
pub fn counts(plan: &Plan) -> String {
    counted(plan.counts)
}

/// The same for some entries.
pub(super) fn counts_of<'p>(entries: impl IntoIterator<Item = &'p Entry>) -> String {
    counted(Counts::of(entries))
}

fn counted(counts: Counts) -> String {
    let parts: Vec<_> = [
        (counts.create, "to create"),
        (counts.update, "to update"),
        (counts.pause, "to pause"),
        (counts.resume, "to resume"),
        (counts.promote, "to promote"),
        (counts.failover, "to fail over"),
        (counts.delete, "to delete"),
        (counts.unchanged, "unchanged"),
        (counts.blocked, "blocked"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{} {what}", grouped(count as u64)))
    .collect();
    if parts.is_empty() {
        "nothing is asked for".to_owned()
    } else {
        parts.join(", ")
    }
}

/// That the plan is not the whole one, where it is not.
pub(super) fn targets(plan: &Plan) -> Option<String> {
    let targets: Vec<String> = plan.targets.iter().map(|target| clean(target)).collect();
    (!targets.is_empty()).then(|| format!("Only {}, and what that depends on.", targets.join(", ")))
}

/// A line for each cluster.
pub(super) fn clusters(clusters: &[PlannedCluster]) -> Vec<String> {
    let names = clusters.iter().map(|cluster| cluster.name.len()).max();
    let line = |cluster: &PlannedCluster| {
        let brokers = if cluster.brokers == 1 {
            "broker"
        } else {
            "brokers"
        };
        format!(
            "  {:name$}  cluster id {}, {} {brokers}",
            cluster.name,
            clean(&cluster.cluster_id),
            cluster.brokers,
            name = names.unwrap_or(0),
        )
    };
    clusters.iter().map(line).collect()
}

/// `file:line`; the file's name is shortened to its last part where it is `own`.
pub(super) fn shown_place(place: &Place, own: &str) -> String {
    let file = if place.file == own {
        place.file.rsplit(['/', '\\']).next().unwrap_or(&place.file)
    } else {
        &place.file
    };
    format!("{}:{}", clean(file), place.line)
}

/// A symbol and what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub symbol: &'static str,
    pub word: &'static str,
    emphasis: Emphasis,
}

const CREATE: Mark = Mark {
    symbol: "+",
    word: "create",
    emphasis: Emphasis::Create,
};
const CHANGE: Mark = Mark {
    symbol: "~",
    word: "change",
    emphasis: Emphasis::Change,
};
const HAND_OVER: Mark = Mark {
    symbol: "^",
    word: "hand over, for good",
    emphasis: Emphasis::Delete,
};
const DELETE: Mark = Mark {
    symbol: "-",
    word: "delete",
    emphasis: Emphasis::Delete,
};
const BLOCKED: Mark = Mark {
    symbol: "!",
    word: "blocked",
    emphasis: Emphasis::Blocked,
};

fn mark(action: Action) -> Option<Mark> {
    match action {
        Action::Create => Some(CREATE),
        Action::Update | Action::Pause | Action::Resume => Some(CHANGE),
        Action::Promote | Action::FailOver => Some(HAND_OVER),
        Action::Delete => Some(DELETE),
        Action::Blocked => Some(BLOCKED),
        Action::Unchanged => None,
    }
}

/// The symbols that the plan uses.
pub(super) fn legend(plan: &Plan) -> Vec<Mark> {
    let used: Vec<Mark> = plan
        .entries
        .iter()
        .filter_map(|entry| mark(entry.action))
        .collect();
    let all = [CREATE, CHANGE, HAND_OVER, DELETE, BLOCKED];
    all.into_iter().filter(|mark| used.contains(mark)).collect()
}

/// One entry as in the whole plan, its symbol in the first column; without emphasis.
pub(super) fn entry(entry: &Entry, plan: &Plan, width: usize) -> String {
    let mut text = Text {
        out: String::new(),
        options: TextOptions {
            // Two columns are taken away below.
            width: Some(width + 2),
            ..TextOptions::PLAIN
        },
    };
    match entry.action {
        Action::Blocked => text.blocked_entry(entry, plan),
        _ => text.entry(entry, plan),
    }
    let lines = text.out.lines().map(|line| line.get(2..).unwrap_or(""));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// A sentence, its later lines below its first.
pub(super) fn sentence(text: &str, width: usize) -> String {
    let mut lines = wrap(text, Some(width)).join("\n    ");
    lines.push('\n');
    lines
}

/// Entries of one cluster or of one link.
pub(super) struct Group<'p> {
    pub title: String,
    pub entries: Vec<&'p Entry>,
}

pub(super) fn groups(plan: &Plan) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for entry in &plan.entries {
        let title = match &entry.address {
            Address::Cluster(name) | Address::Control(name) => format!("cluster {name}"),
            Address::Topic { cluster, .. } => format!("cluster {cluster}"),
            Address::Link(link) | Address::Mirror { link, .. } => format!("link {link}"),
        };
        match groups.last_mut() {
            Some(group) if group.title == title => group.entries.push(entry),
            _ => groups.push(Group {
                title,
                entries: vec![entry],
            }),
        }
    }
    groups
}

struct Text<'a> {
    out: String,
    options: TextOptions<'a>,
}

impl Text<'_> {
    fn line(&mut self, text: &str) {
        self.out.push_str(text.trim_end());
        self.out.push('\n');
    }

    fn paint(&self, emphasis: Emphasis, text: &str) -> String {
        (self.options.paint)(emphasis, text)
    }

    /// A sentence below `indent` columns, wrapped.
    fn wrapped(&mut self, indent: usize, text: &str, emphasis: Option<Emphasis>) {
        for line in wrap(
            text,
            self.options.width.map(|width| width.saturating_sub(indent)),
        ) {
            let line = match emphasis {
                Some(emphasis) => self.paint(emphasis, &line),
                None => line,
            };
            self.line(&format!("{:indent$}{line}", ""));
        }
    }

    fn heading(&mut self, plan: &Plan) {
        self.line(&format!("Plan for {}", clean(&plan.file)));
        if let Some(targets) = targets(plan) {
            self.wrapped(0, &targets, None);
        }
        self.line("");
        for line in clusters(&plan.clusters) {
            let line = self.paint(Emphasis::Dim, &line);
            self.line(&line);
        }
        self.line("");
    }

    fn legend(&mut self, plan: &Plan) {
        let symbols: Vec<String> = legend(plan)
            .into_iter()
            .map(|mark| format!("{} {}", self.paint(mark.emphasis, mark.symbol), mark.word))
            .collect();
        if !symbols.is_empty() {
            self.line(&format!("Symbols: {}", symbols.join(", ")));
            self.line("");
        }
    }

    fn symbol(&self, action: Action) -> String {
        match mark(action) {
            Some(mark) => self.paint(mark.emphasis, mark.symbol),
            None => " ".to_owned(),
        }
    }

    fn group(&mut self, group: &Group<'_>, plan: &Plan) {
        let unchanged = group
            .entries
            .iter()
            .filter(|entry| entry.action == Action::Unchanged)
            .count();
        let changing: Vec<_> = group
            .entries
            .iter()
            .filter(|entry| entry.action.changes())
            .collect();
        if unchanged == 0 && changing.is_empty() {
            return;
        }
        let title = self.paint(Emphasis::Strong, &group.title);
        self.line(&title);
        for entry in changing {
            self.entry(entry, plan);
        }
        if unchanged > 0 {
            let line = format!("    {} unchanged", grouped(unchanged as u64));
            let line = self.paint(Emphasis::Dim, &line);
            self.line(&line);
        }
        self.line("");
    }

    fn entry(&mut self, entry: &Entry, plan: &Plan) {
        let verb = words::outcome(entry.action);
        let address = self.paint(Emphasis::Strong, &clean(&entry.address.to_string()));
        let place = self.place(entry.asked_by.as_ref(), plan);
        self.line(&format!(
            "  {} {address} {verb}{place}",
            self.symbol(entry.action)
        ));
        self.route(entry);
        self.changes(entry, plan);
        for reason in &entry.reasons {
            self.wrapped(6, &words::reason(reason), Some(Emphasis::Dim));
        }
        if let Rehearsal::NotRehearsed { needs } = &entry.rehearsal {
            self.wrapped(6, &format!("not rehearsed: needs {}", clean(needs)), None);
        }
    }

    fn route(&mut self, entry: &Entry) {
        if let Some(route) = &entry.route {
            let line = words::route(route);
            self.line(&format!("      {line}"));
        }
    }

    fn changes(&mut self, entry: &Entry, plan: &Plan) {
        let names = entry
            .changes
            .iter()
            .map(|it| clean(&it.attribute).chars().count());
        let name_width = names.max().unwrap_or(0);
        let values: Vec<String> = entry.changes.iter().map(old_to_new).collect();
        // One very long value must not push all the others' origins away.
        let value_width = values
            .iter()
            .map(|value| value.chars().count())
            .filter(|width| *width <= 44)
            .max()
            .unwrap_or(0);
        for (change, value) in entry.changes.iter().zip(&values) {
            let attribute = clean(&change.attribute);
            let origin = self.paint(Emphasis::Dim, &origins(change));
            // The entry's own place is told in its head.
            let asked_by = change
                .asked_by
                .as_ref()
                .filter(|place| Some(place.line) != entry.asked_by.as_ref().map(|own| own.line));
            let place = self.place(asked_by, plan);
            let room = self
                .options
                .width
                .map(|width| width.saturating_sub(8 + name_width));
            let mut lines = wrap(value, room).into_iter();
            let first = lines.next().unwrap_or_default();
            self.line(&format!(
                "      {attribute:name_width$}  {first:value_width$}  {origin}{place}"
            ));
            for line in lines {
                self.line(&format!("{:indent$}{line}", "", indent = 8 + name_width));
            }
        }
    }

    /// ` (file:line)`; the file's name is shortened to its last part where it is the plan's own.
    fn place(&self, place: Option<&Place>, plan: &Plan) -> String {
        let Some(place) = place else {
            return String::new();
        };
        let text = format!(" ({})", shown_place(place, &plan.file));
        self.paint(Emphasis::Dim, &text)
    }

    fn blocked(&mut self, plan: &Plan) {
        let blocked: Vec<_> = plan
            .entries
            .iter()
            .filter(|entry| entry.action == Action::Blocked)
            .collect();
        if blocked.is_empty() {
            return;
        }
        let title = self.paint(Emphasis::Strong, "blocked");
        self.line(&title);
        for entry in blocked {
            self.blocked_entry(entry, plan);
        }
        self.line("");
    }

    fn blocked_entry(&mut self, entry: &Entry, plan: &Plan) {
        let address = self.paint(Emphasis::Strong, &clean(&entry.address.to_string()));
        let place = self.place(entry.asked_by.as_ref(), plan);
        self.line(&format!(
            "  {} {address} is blocked{place}",
            self.symbol(Action::Blocked)
        ));
        self.route(entry);
        // Whoever is to allow a deletion has to see what would be gone.
        for reason in &entry.reasons {
            if matches!(reason, Reason::DeletesTopic { .. }) {
                self.wrapped(6, &words::reason(reason), None);
            }
        }
        for blocker in &entry.blocked {
            let Obstacle { cause, remedy } = words::blocker(blocker);
            self.wrapped(6, &cause, None);
            self.wrapped(6, &remedy, Some(Emphasis::Dim));
        }
    }

    fn notes(&mut self, plan: &Plan) {
        for note in &plan.notes {
            let text = format!("Note: {}.", words::note(note, self.options.now_ms));
            self.wrapped(0, &text, Some(Emphasis::Dim));
        }
        if !plan.notes.is_empty() {
            self.line("");
        }
    }

    fn closing(&mut self, plan: &Plan) {
        if plan.has_changes() || plan.is_blocked() {
            let counts = self.paint(Emphasis::Strong, &format!("Plan: {}.", counts(plan)));
            self.line(&counts);
        } else {
            let headline = self.paint(Emphasis::Strong, "No changes.");
            let unchanged = counts(plan);
            self.line(&format!(
                "{headline} The clusters are as the file says ({unchanged})."
            ));
        }
        if plan.is_blocked() && plan.has_changes() {
            self.wrapped(
                0,
                "An apply does nothing while something is blocked.",
                Some(Emphasis::Dim),
            );
        }
    }
}

/// The change of a value in words.
pub(super) fn old_to_new(change: &Change) -> String {
    let attribute = &change.attribute;
    let text = |side: &crate::plan::model::Side| words::value(attribute, &side.value);
    match (&change.old, &change.new) {
        (None, Some(new)) => text(new),
        (Some(old), Some(new)) => format!("{} -> {}", text(old), text(new)),
        (Some(old), None) if is_config(attribute) => {
            format!("{} -> reset to what is inherited", text(old))
        }
        (Some(old), None) => format!("{} -> not set", text(old)),
        (None, None) => String::new(),
    }
}

fn is_config(attribute: &str) -> bool {
    attribute.starts_with("config.")
}

/// Where the values come from.
pub(super) fn origins(change: &Change) -> String {
    let mut text = match (&change.old, &change.new) {
        (Some(old), Some(new)) if old.origin != new.origin => {
            format!(
                "{} -> {}",
                words::origin(old.origin),
                words::origin(new.origin)
            )
        }
        (_, Some(new)) => words::origin(new.origin).to_owned(),
        (Some(old), None) => words::origin(old.origin).to_owned(),
        (None, None) => String::new(),
    };
    if let Some(remark) = words::remark(change) {
        text = format!("{text}; {remark}");
    }
    text
}

/// Breaks at spaces; words longer than the width stay whole.
pub(super) fn wrap(text: &str, width: Option<usize>) -> Vec<String> {
    let Some(width) = width.map(|width| width.max(24)) else {
        return vec![text.to_owned()];
    };
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().expect("starts with one line");
        let used = last.chars().count();
        if used > 0 && used + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if used > 0 {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}
