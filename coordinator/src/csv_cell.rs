//! A cell of a statement's answer in a file that a spreadsheet may open.

/// Whether a type of Postgres is one of numbers.
pub fn is_number(kind: &str) -> bool {
    matches!(
        kind,
        "int2" | "int4" | "int8" | "float4" | "float8" | "numeric"
    )
}

/// A name is its owner's; `=HYPERLINK(…)` must stay a text in a spreadsheet, as in a report's CSV. What may begin
/// with a sign by its type stays as it is.
pub fn csv_cell(text: &str, kind: &str) -> String {
    let may_have_sign = is_number(kind) || kind == "interval";
    if !may_have_sign && text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        return format!("'{text}");
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_a_text_in_a_spreadsheet_and_a_number_a_number() {
        for (text, kind, written) in [
            ("=1+1", "text", "'=1+1"),
            ("@a", "fleet_label", "'@a"),
            ("mini-1", "text", "mini-1"),
            ("-3.5", "float8", "-3.5"),
            ("-3", "int4", "-3"),
            ("-3", "numeric", "-3"),
            ("-00:00:01", "interval", "-00:00:01"),
        ] {
            assert_eq!(csv_cell(text, kind), written, "{kind}");
        }
    }
}
