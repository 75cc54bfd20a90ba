//! Numbers for people: durations, sizes and counts beside or instead of the raw value.

/// `604800000` is `7d`; two units at most. `None` for values that say nothing better in words.
pub fn duration(ms: i64) -> Option<String> {
    const UNITS: [(&str, i64); 5] = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("min", 60_000),
        ("s", 1_000),
        ("ms", 1),
    ];
    if ms == i64::MAX || ms == -1 {
        return Some("no limit".to_owned());
    }
    if ms < 1_000 {
        return None;
    }
    let mut rest = ms;
    let mut parts = Vec::new();
    for (unit, size) in UNITS {
        if rest >= size && parts.len() < 2 {
            parts.push(format!("{}{unit}", grouped(rest / size)));
            rest %= size;
        } else if !parts.is_empty() {
            break;
        }
    }
    if rest > 0 {
        parts.insert(0, "about".to_owned());
    }
    Some(parts.join(" "))
}

/// `1073741824` is `1 GiB`. `None` for values that say nothing better in words.
pub fn bytes(bytes: i64) -> Option<String> {
    if bytes == i64::MAX || bytes == -1 {
        return Some("no limit".to_owned());
    }
    let size = u64::try_from(bytes).ok().filter(|bytes| *bytes >= 1024)?;
    let text = bytesize::ByteSize::b(size).display().iec().to_string();
    // A whole number needs no decimals.
    Some(text.replace(".0 ", " "))
}

/// `1234567` is `1,234,567`.
pub fn grouped(number: impl Into<i128>) -> String {
    let number: i128 = number.into();
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0 {
        text.insert(0, '-');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(duration(604_800_000).as_deref(), Some("7d"));
        assert_eq!(duration(90_000).as_deref(), Some("1min 30s"));
        assert_eq!(duration(86_401_000).as_deref(), Some("about 1d"));
        assert_eq!(duration(-1).as_deref(), Some("no limit"));
        assert_eq!(duration(5), None);
        assert_eq!(bytes(1_073_741_824).as_deref(), Some("1 GiB"));
        assert_eq!(bytes(1_048_588).as_deref(), Some("1 MiB"));
        assert_eq!(bytes(512), None);
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(-100), "-100");
    }
}
