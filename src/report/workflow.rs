//! Workflow commands of GitHub Actions: `::error file=mirror.toml,line=2,title=K0010::message`.
//!
//! A command is one line. The escapes are those of GitHub's own toolkit; what would end the line or
//! steer a terminal is written out.

use super::clean;

/// One command with a final newline. Properties are written in the order given.
pub(super) fn command(level: &str, properties: &[(&str, String)], message: &str) -> String {
    let properties: Vec<_> = properties
        .iter()
        .map(|(key, value)| format!("{key}={}", escaped_property(value)))
        .collect();
    format!("::{level} {}::{}\n", properties.join(","), escaped(message))
}

fn escaped(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(clean).collect();
    lines.join("\n").replace('%', "%25").replace('\n', "%0A")
}

fn escaped_property(text: &str) -> String {
    escaped(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_file_can_start_another_command() {
        assert_eq!(escaped("100%\n::error::x"), "100%25%0A::error::x");
        assert_eq!(escaped("a\r\nb"), "a\\u{d}%0Ab");
        assert_eq!(escaped_property("C:\\a,b%\n"), "C%3A\\a%2Cb%25%0A");
    }
}
