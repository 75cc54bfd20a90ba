//! Which word was probably meant by one that does not exist.

use std::cmp::Reverse;

/// The candidate within a small edit distance, if there is one.
pub fn nearest<'c>(written: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    let allowed = match written.chars().count() {
        0..=2 => 0,
        3..=5 => 1,
        6..=9 => 2,
        _ => 3,
    };
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(written, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        // `stat` is nearer to `state` than to `start`.
        .min_by_key(|(distance, candidate)| (*distance, Reverse(common_prefix(written, candidate))))
        .map(|(_, candidate)| candidate)
}

fn common_prefix(one: &str, two: &str) -> usize {
    one.chars()
        .zip(two.chars())
        .take_while(|(one, two)| one == two)
        .count()
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_near_miss_is_found_and_a_far_one_is_not() {
        let words = || ["state", "start", "topics"].into_iter();
        assert_eq!(nearest("stat", words()), Some("state"));
        assert_eq!(nearest("topcis", words()), Some("topics"));
        assert_eq!(nearest("partitions", words()), None);
        assert_eq!(nearest("st", words()), None);
    }
}
