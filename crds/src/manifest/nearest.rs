//! "Did you mean": the known word closest to what was written.

/// The word of `known` nearest to `word`, if one is near enough to be a slip of the fingers: at most one edit for every
/// three characters (an edit inserts, deletes or replaces a character, or swaps two neighbours), whatever the case.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let most = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.to_lowercase()), candidate))
        .filter(|(edits, _)| *edits <= most)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Edits between `a` and `b` (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    // A word far longer than any we know is not near one of them; keeps the table small for any input.
    if a.len().abs_diff(b.len()) > 32 {
        return usize::MAX;
    }
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut edits = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                edits = edits.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = edits;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    const FIELDS: [&str; 5] = ["slot", "kind", "interface", "address", "cost"];

    #[test]
    fn a_slip_finds_the_word_that_was_meant() {
        for (slip, meant) in
            [("slott", "slot"), ("solt", "slot"), ("Slot", "slot"), ("interfcae", "interface"), ("adress", "address")]
        {
            assert_eq!(nearest(slip, FIELDS), Some(meant), "{slip}");
        }
    }

    #[test]
    fn another_word_finds_nothing() {
        assert_eq!(nearest("colour", FIELDS), None);
        assert_eq!(nearest("", FIELDS), None);
        assert_eq!(nearest(&"x".repeat(100_000), FIELDS), None);
    }
}
