//! The message keys, as constants that the compiler checks: `t!` and `phrase!` do not compile with a key that does not
//! exist, or with other placeholders than the English message has.

include!(concat!(env!("OUT_DIR"), "/message_keys.rs"));

/// Whether there is a message `key` with exactly the placeholders `names`, in any order. The placeholder `n` of a
/// plural is not counted, because its number fills it.
pub const fn has(key: &str, names: &[&str]) -> bool {
    let mut at = 0;
    while at < MESSAGES.len() {
        let (known, places) = MESSAGES[at];
        if equal(known, key) {
            return all_in(places, names) && all_in(names, places);
        }
        at += 1;
    }
    false
}

const fn all_in(names: &[&str], places: &[&str]) -> bool {
    let mut at = 0;
    while at < names.len() {
        if !equal(names[at], "n") && !is_in(names[at], places) {
            return false;
        }
        at += 1;
    }
    true
}

const fn is_in(name: &str, places: &[&str]) -> bool {
    let mut at = 0;
    while at < places.len() {
        if equal(places[at], name) {
            return true;
        }
        at += 1;
    }
    false
}

const fn equal(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::has;

    #[test]
    fn a_message_is_known_by_its_key_and_its_placeholders() {
        assert!(has("close", &[]));
        assert!(has("address.ignored", &["value", "name", "expected"]));
        assert!(!has("address.ignored", &["value", "name"]));
        assert!(!has("address.ignored", &["value", "name", "other"]));
        assert!(!has("closed", &[]));
        // The number of a plural fills {n}.
        assert!(has("note.token", &["position"]));
    }
}
