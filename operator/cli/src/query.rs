//! Queries of requests.

/// `path` with `pairs` behind it; those with nothing to say are left out.
pub fn with(path: &str, pairs: &[(&str, &str)]) -> String {
    let said: Vec<String> = pairs
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name}={}", encoded(value)))
        .collect();
    if said.is_empty() { path.to_owned() } else { format!("{path}?{}", said.join("&")) }
}

/// Everything but unreserved characters as `%XX` (RFC 3986, section 2.1).
fn encoded(value: &str) -> String {
    let one = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    value.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_meaning_in_a_query_is_encoded_and_what_is_empty_left_out() {
        assert_eq!(with("/v1/sites", &[("a", ""), ("b", "")]), "/v1/sites");
        assert_eq!(with("/v1/sites", &[("a", "x=y,!ä"), ("b", "1")]), "/v1/sites?a=x%3Dy%2C%21%C3%A4&b=1");
    }
}
