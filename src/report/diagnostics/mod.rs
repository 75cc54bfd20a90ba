//! What is found wrong in topology files, as documents for programs.
//!
//! The text for people is made in [`crate::topology::render`]; these are the forms that scripts,
//! GitHub and code scanning read. All are made of the same [`Checked`] values, and none of them
//! shows a secret, because the diagnostics do not.

use std::path::Path;

use crate::topology::diagnostic::{Diagnostic, Diagnostics, Label};

mod github;
mod json;
mod junit;
mod markdown;
mod sarif;

/// The forms there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One document with everything.
    Json,
    /// Workflow commands, which GitHub turns into annotations of a pull request.
    Github,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// A comment on a pull request.
    Markdown,
    /// JUnit's XML.
    Junit,
}

/// A topology file with what is to be said about it.
#[derive(Clone, Copy, Debug)]
pub struct Checked<'a> {
    /// As the user typed it.
    pub path: &'a Path,
    pub is_valid: bool,
    pub diagnostics: &'a Diagnostics,
}

/// The document, with a final newline unless it is empty.
pub fn document(files: &[Checked<'_>], form: Form) -> String {
    match form {
        Form::Json => json::document(files),
        Form::Github => github::document(files),
        Form::Sarif => sarif::document(files),
        Form::Markdown => markdown::document(files),
        Form::Junit => junit::document(files),
    }
}

/// The place of the mistake itself, if it has one in a text.
fn main_label<'d>(diagnostics: &Diagnostics, diagnostic: &'d Diagnostic) -> Option<&'d Label> {
    diagnostic
        .labels
        .first()
        .filter(|label| !diagnostics.file(label.span.file).text().is_empty())
}

/// Message and label in one line, help in another.
fn summary(diagnostics: &Diagnostics, diagnostic: &Diagnostic) -> String {
    let mut text = diagnostic.message.clone();
    if let Some(label) = main_label(diagnostics, diagnostic)
        && !label.text.is_empty()
    {
        text.push_str(": ");
        text.push_str(&label.text);
    }
    if let Some(help) = &diagnostic.help {
        text.push_str("\nhelp: ");
        text.push_str(help);
    }
    text
}
