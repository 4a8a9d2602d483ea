//! Times and spans as pages show them. A browser with script shows the reader's own clock instead.

use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// As HTML, for templates, which hand over references: `<time datetime="2026-03-04T09:05:07Z">2026-03-04 09:05:07 UTC</time>`.
pub fn moment(at: &OffsetDateTime) -> String {
    let at = *at;
    let machine = machine(at);
    let whole = format!("{} {}", at.date(), clock(at));
    format!("<time datetime=\"{machine}\">{whole}</time>")
}

/// `2026-03-04T09:05:07Z`, as scripts read it.
pub fn machine(at: OffsetDateTime) -> String {
    let at = at.replace_millisecond(0).unwrap_or(at);
    at.format(&Rfc3339).unwrap_or_default()
}

pub fn clock(at: OffsetDateTime) -> String {
    let (hour, minute, second) = (at.hour(), at.minute(), at.second());
    format!("{hour:02}:{minute:02}:{second:02} UTC")
}

/// `42 s`, `3 min`, `3 min 05 s`, `2 h 10 min`.
pub fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 if seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// An estimate is no more exact than a tenth of itself.
pub fn rounded(estimate: Duration) -> String {
    let seconds = estimate.as_secs().max(1);
    let step = match seconds {
        0..60 => 10,
        60..600 => 30,
        _ => 60,
    };
    span(seconds.div_ceil(step) * step)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_time_is_whole_and_in_utc_for_people_and_for_machines() {
        assert_eq!(
            moment(&datetime!(2026-03-04 09:05:07.25 UTC)),
            "<time datetime=\"2026-03-04T09:05:07Z\">2026-03-04 09:05:07 UTC</time>"
        );
        assert_eq!(span(59), "59 s");
        assert_eq!(span(180), "3 min");
        assert_eq!(span(185), "3 min 05 s");
        assert_eq!(span(7800), "2 h 10 min");
    }
}
