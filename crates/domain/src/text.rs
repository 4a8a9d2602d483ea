//! What a name may hold. Names come from machines, plans and files of others, and go into tables, pages,
//! logs and terminals, where they must stay names.

/// Whether a character shows as itself: it controls nothing, breaks no line, and does not turn the
/// direction of what stands after it.
pub fn is_plain(c: char) -> bool {
    let turns = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let breaks = matches!(c, '\u{2028}' | '\u{2029}');
    !(c.is_control() || turns || breaks)
}

#[cfg(test)]
mod tests {
    use super::is_plain;

    #[test]
    fn letters_of_every_script_are_plain_and_what_steers_a_terminal_is_not() {
        assert!(
            "Mac Studio №2 — über, 研究室, מעבדה, 🚀"
                .chars()
                .all(is_plain)
        );
        for c in [
            '\0', '\t', '\n', '\r', '\u{1b}', '\u{7f}', '\u{9b}', '\u{202e}', '\u{2028}',
            '\u{2066}',
        ] {
            assert!(!is_plain(c), "{c:?}");
        }
    }
}
