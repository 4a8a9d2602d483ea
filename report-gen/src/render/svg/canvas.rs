//! The few shapes that charts are made of. Attributes rather than a style sheet: slide programs read
//! those. Lengths are in user units, of which a slide's width has 960.

use std::fmt::Write as _;

pub type Place = (f64, f64);

/// How a text is set.
#[derive(Clone, Copy)]
pub struct Type {
    pub size: f64,
    pub weight: u16,
    pub colour: &'static str,
    pub anchor: Anchor,
}

/// Which part of a text its place is.
#[derive(Clone, Copy)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

impl Type {
    #[must_use]
    pub fn anchored(self, anchor: Anchor) -> Self {
        Self { anchor, ..self }
    }

    /// About as wide as the text will be, in whatever font of the list there is.
    pub fn width(&self, text: &str) -> f64 {
        let em = |c: char| match c {
            'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' => 0.28,
            'f' | 't' | 'r' | ' ' | '(' | ')' | '[' | ']' | '-' | '/' => 0.38,
            'm' | 'w' | 'M' | 'W' | '%' | '@' => 0.9,
            'A'..='Z' | '0'..='9' | '—' | '†' | '✗' => 0.66,
            '\u{2e80}'.. => 1.0,
            _ => 0.58,
        };
        text.chars().map(em).sum::<f64>() * self.size
    }

    /// Lines no wider than `most`; a word that is wider is cut.
    pub fn wrap(&self, text: &str, most: f64) -> Vec<String> {
        let mut lines = Vec::new();
        for given in text.split('\n') {
            let mut line = String::new();
            for word in given.split(' ') {
                let gap = if line.is_empty() { "" } else { " " };
                let longer = format!("{line}{gap}{word}");
                if line.is_empty() || self.width(&longer) <= most {
                    line = longer;
                } else {
                    lines.push(std::mem::replace(&mut line, word.to_owned()));
                }
            }
            lines.push(line);
        }
        lines.iter().map(|line| self.cut(line, most)).collect()
    }

    fn cut(&self, line: &str, most: f64) -> String {
        if self.width(line) <= most {
            return line.to_owned();
        }
        let mut short = line.to_owned();
        while short.pop().is_some() && self.width(&short) + self.size > most {}
        short + "…"
    }
}

#[derive(Default)]
pub struct Canvas {
    body: String,
}

impl Canvas {
    /// `paint` is attributes: fill, stroke.
    pub fn bar(&mut self, (x1, y1): Place, (x2, y2): Place, paint: &str) {
        let (x, y) = (x1.min(x2), y1.min(y2));
        let (width, height) = ((x2 - x1).abs(), (y2 - y1).abs());
        _ = writeln!(
            self.body,
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" {paint}/>"#
        );
    }

    pub fn dot(&mut self, (x, y): Place, radius: f64, paint: &str) {
        _ = writeln!(
            self.body,
            r#"<circle cx="{x:.1}" cy="{y:.1}" r="{radius}" {paint}/>"#
        );
    }

    pub fn line(&mut self, places: &[Place], stroke: &str) {
        let places: Vec<String> = places
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        let places = places.join(" ");
        _ = writeln!(
            self.body,
            r#"<polyline points="{places}" fill="none" {stroke}/>"#
        );
    }

    /// An interval: a line with caps across its ends.
    pub fn whisker(&mut self, from: Place, to: Place, stroke: &str) {
        const CAP: f64 = 4.0;
        let upright = (from.0 - to.0).abs() < (from.1 - to.1).abs();
        let (dx, dy) = if upright { (CAP, 0.0) } else { (0.0, CAP) };
        for end in [from, to] {
            self.line(
                &[(end.0 - dx, end.1 - dy), (end.0 + dx, end.1 + dy)],
                stroke,
            );
        }
        // Of no length it would be no line: rasterisers complain.
        if (from.0 - to.0).abs() + (from.1 - to.1).abs() >= 0.1 {
            self.line(&[from, to], stroke);
        }
    }

    /// A line of text whose middle is as high as the place.
    pub fn text(&mut self, (x, y): Place, text: &str, of: Type) {
        let Type {
            size,
            weight,
            colour,
            anchor,
        } = of;
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        // Half the height of capitals: not every program knows `dominant-baseline`.
        let base = y + 0.36 * size;
        let text = escape(text);
        _ = writeln!(
            self.body,
            r#"<text x="{x:.1}" y="{base:.1}" font-size="{size}" font-weight="{weight}" fill="{colour}" text-anchor="{anchor}">{text}</text>"#
        );
    }

    /// Lines below one another around the middle of `place`.
    pub fn lines_of_text(&mut self, (x, y): Place, lines: &[String], of: Type) {
        let above = (lines.len().max(1) - 1) as f64 / 2.0;
        for (at, line) in lines.iter().enumerate() {
            self.text((x, y + (at as f64 - above) * leading(of)), line, of);
        }
    }

    pub fn into_body(self) -> String {
        self.body
    }
}

/// From one line of text to the next.
pub fn leading(of: Type) -> f64 {
    of.size * 1.25
}

/// Text that stays text; XML has no place at all for control characters.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Type = Type {
        size: 10.0,
        weight: 400,
        colour: "black",
        anchor: Anchor::Start,
    };

    #[test]
    fn lines_are_no_wider_than_wanted() {
        let text = "qwen3-0.6b (affine 4-bit g64, bf16)\nprompt 512, averyveryverylongwordindeed";
        let lines = PLAIN.wrap(text, 90.0);
        assert!(
            lines.iter().all(|line| PLAIN.width(line) <= 90.0),
            "{lines:?}"
        );
        assert!(
            lines.len() > 3 && lines[0].starts_with("qwen3"),
            "{lines:?}"
        );
        assert!(lines.last().unwrap().ends_with('…'), "{lines:?}");
    }

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(
            escape("</text>\u{1}&\"x\""),
            "&lt;/text&gt; &amp;&quot;x&quot;"
        );
    }
}
