//! The name somebody probably meant.

/// How many single-character edits may lie between a name and what was meant by it: more is a guess, not a hint.
const MAX_EDITS: usize = 3;

/// ``: did you mean `dal-a`?`` for the nearest of `names`; empty when none is near.
pub(crate) fn hint<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> String {
    let nearest = names.map(|name| (edits(wrong, name), name)).min();
    match nearest {
        Some((distance, name)) if distance <= MAX_EDITS && distance < wrong.chars().count() => {
            format!(": did you mean `{name}`?")
        }
        _ => String::new(),
    }
}

/// Levenshtein distance: insertions, deletions and substitutions from `a` to `b`.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered() {
        assert_eq!(hint("dal-b", ["dal-a", "chi-a"].into_iter()), ": did you mean `dal-a`?");
        assert_eq!(hint("starlnk", ["cellular", "starlink"].into_iter()), ": did you mean `starlink`?");
    }

    #[test]
    fn a_far_name_is_not_offered() {
        assert_eq!(hint("frankfurt", ["dal-a", "chi-a"].into_iter()), "");
        assert_eq!(hint("ab", ["xy"].into_iter()), "", "replacing every letter is no likeness");
        assert_eq!(hint("dal-a", std::iter::empty()), "");
    }

    #[test]
    fn edits_are_counted_like_levenshtein() {
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("abc", "abc"), 0);
    }
}
