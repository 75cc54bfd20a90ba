//! Line by line, for a text in which quotes and brackets may be out of step.

use super::{Mask, is_word};
use crate::client::keys;
use crate::client::sensitive::looks_secret;
use crate::topology::read::keys::Kind;

/// Hides the values of what looks like a secret's key, and what may belong to them below.
pub(super) fn hide(text: &str, mask: &mut Mask) {
    let mut start = 0;
    // A line before hides something that may go on.
    let mut goes_on = false;
    let mut in_client = false;
    for line in text.split_inclusive('\n') {
        let end = start + line.trim_end().len();
        let trimmed = line.trim();
        let indent = line.len() - line.trim_start().len();
        let header = header_end(line);
        if let Some(at) = header {
            in_client = is_client_header(&line[..at]);
        }
        let secret = match header {
            // One that is not closed may have run into any key below it.
            Some(at) => secret_in(&line[at..], in_client)
                .or_else(|| line[at..].find('=').map(|equals| equals + 1))
                .map(|behind| at + behind),
            None => secret_in(line, in_client),
        };
        let secret = match (secret, stray_string(line)) {
            (Some(secret), Some(stray)) => Some(secret.min(stray)),
            (secret, stray) => secret.or(stray),
        };
        let begins_anew = header.is_some() || begins_anew(trimmed);
        if goes_on && !begins_anew {
            mask.hide(start + indent..end);
        } else if let Some(at) = secret {
            mask.hide(start + at..end);
            goes_on = true;
        } else if !trimmed.is_empty() {
            // Of an address that was broken in two the rest is below, even if the quote was
            // closed before it.
            goes_on = line.contains("://");
        }
        start += line.len();
    }
}

/// Where the names in a header end, also in one that is not closed; `None` for any other line that
/// begins with a bracket.
fn header_end(line: &str) -> Option<usize> {
    let names = line.trim_start().trim_start_matches(['[', ' ', '\t']);
    let bracket = line.trim_start().starts_with('[');
    let first = names
        .split(|char: char| !char.is_alphanumeric())
        .next()
        .unwrap_or_default();
    let is_header = bracket && matches!(first, "clusters" | "links");
    let length = names
        .find(|char: char| char.is_whitespace() || "]=#".contains(char))
        .unwrap_or(names.len());
    is_header.then(|| line.len() - names.len() + length)
}

/// `[clusters.NAME.client`, however badly it is written.
fn is_client_header(header: &str) -> bool {
    header
        .split(|char: char| !char.is_alphanumeric())
        .rfind(|word| !word.is_empty())
        == Some("client")
}

/// Whether the line gives a value to a key of the file. Any other `=` may be a part of a secret that
/// goes on, such as the end of a Base64 text; and what looks like a comment may be as well.
fn begins_anew(line: &str) -> bool {
    let Some((key, _)) = line.split_once('=') else {
        return false;
    };
    let name = key.trim().replace(['"', '\''], "");
    let is_key = |name: &str| {
        Kind::ALL
            .into_iter()
            .any(|kind| kind.keys().any(|key| key == name))
    };
    match name.split_once('.') {
        Some(("client", property)) => keys::find(property).is_some(),
        Some((table, key)) => is_key(table) && (is_key(key) || keys::find(key).is_some()),
        None => is_key(&name),
    }
}

/// Where in a line a string begins that belongs to no key, because the `=` is missing.
fn stray_string(line: &str) -> Option<usize> {
    let quotes = ['"', '\''];
    line.match_indices(quotes).map(|(at, _)| at).find(|at| {
        let before = line[..*at].trim_end_matches([' ', '\t']);
        let has_gap = before.len() < *at;
        has_gap && before.ends_with(|char: char| is_word(char) || quotes.contains(&char))
    })
}

/// Where in a line that may be broken anywhere the value of a secret begins.
pub(super) fn secret_in(line: &str, mut in_client: bool) -> Option<usize> {
    let mut at = 0;
    while at < line.len() {
        let rest = &line[at..];
        let length = rest.find(|char| !is_word(char)).unwrap_or(rest.len());
        if length == 0 {
            at += rest.chars().next()?.len_utf8();
            continue;
        }
        let word = &rest[..length];
        at += length;
        let rest = &line[at..];
        let value = rest.trim_start_matches([' ', '\t', '"', '\'']);
        let assigned = value.strip_prefix(['=', ':']);
        // Of the client properties only those are shown that are known to be harmless.
        let property = match word.rsplit_once("client.") {
            Some((_, property)) => Some(property),
            None => in_client.then_some(word),
        };
        let is_secret = match property {
            Some(property) if assigned.is_some() || property.contains('.') => {
                !keys::is_harmless(property)
            }
            _ => looks_secret(word),
        };
        in_client |= word == "client";
        if is_secret {
            let value = assigned.map_or(rest, str::trim_start);
            return Some(line.len() - value.len());
        }
    }
    None
}
