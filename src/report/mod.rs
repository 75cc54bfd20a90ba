//! Plans and findings turned into text, JSON and other documents.
