//! What an author wrote: a TOML text, parsed once into a [`Plan`] that cannot be wrong, or refused
//! with every [`Problem`] and its place.

mod file;
mod problem;

use std::ops::Range;
use std::time::Duration;

use crate::machine::{Selector, matches};
use crate::metric::Metric;
use crate::model::ModelRef;
use crate::suite::{Case, Subject, Suite};

pub use problem::Problem;
/// A value and where in the plan's text it stands (bytes).
pub use toml::Spanned as Span;

/// A default: a value that stands nowhere in the plan's text.
pub fn unwritten<T>(value: T) -> Span<T> {
    Span::new(0..0, value)
}

/// Longest plan that is read, in bytes.
pub const MAX_PLAN_BYTES: usize = 256 * 1024;

/// As a plan writes it: `1d`, `90m`.
pub fn period(time: Duration) -> String {
    let seconds = time.as_secs();
    let units = [("d", 86_400), ("h", 3600), ("m", 60)];
    let whole = units
        .iter()
        .find(|(_, unit)| seconds > 0 && seconds.is_multiple_of(*unit));
    match whole {
        Some((name, unit)) => format!("{}{name}", seconds / unit),
        None => format!("{seconds}s"),
    }
}

/// A checked plan.
#[derive(Clone, Debug)]
pub struct Plan {
    pub name: String,
    pub description: String,
    /// On each machine, jobs of a higher one are granted before those of a lower one; 0 is usual.
    pub priority: i32,
    /// The plan is submitted again so long after its last time, and again.
    pub every: Option<Duration>,
    pub machines: Selector,
    pub protocol: Protocol,
    pub models: Vec<PlannedModel>,
    pub suites: Vec<(Suite, Vec<Case>)>,
    /// The metrics that summaries show first; by default those of the suites.
    pub headline: Vec<Metric>,
    pub(crate) places: Places,
}

/// Where `[machines]` says which machines are meant, for problems that only a fleet shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    table: Range<usize>,
    names: Vec<Span<String>>,
    chips: Vec<Span<String>>,
}

/// One model in one precision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedModel {
    pub model: ModelRef,
    /// The suites that measure it; `None` for all of the plan.
    pub suites: Option<Vec<Suite>>,
}

/// However quiet a machine, an interval over fewer launches is not believed.
pub const LEAST_LAUNCHES: u32 = 3;

/// How every case of a plan is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Protocol {
    /// Fresh worker processes per case; with a `precision`, the most of them.
    pub launches: u32,
    /// `launches = "auto"`: a case is done before that, from [`LEAST_LAUNCHES`] on, when the 95 %
    /// interval of its headline metric reaches no farther than this share of the value to either side.
    pub precision: Option<f64>,
    /// Measured passes per launch.
    pub iterations: u32,
    /// Shortest timed region; shorter work is repeated inside it where the suite can.
    pub min_region: Duration,
    pub warmup_max_iterations: u32,
    pub warmup_max: Duration,
    /// A worker that takes longer is killed.
    pub launch_timeout: Duration,
    /// How long to wait for a quiet machine before measuring anyway, marked tainted.
    pub gate_timeout: Duration,
    /// Whether a fixed piece of work beside each launch shows how fast the machine is.
    pub canary: bool,
    /// How long to wait between launches until the machine is as cool as before the run.
    pub cooldown_max: Duration,
    /// How long to wait between launches where no sensor tells a temperature.
    pub cooldown_pause: Duration,
    /// From it come the order of launches and the tokens of prompts.
    pub seed: u64,
}

impl Default for Protocol {
    fn default() -> Self {
        Self {
            launches: 10,
            precision: None,
            iterations: 5,
            min_region: Duration::from_millis(500),
            warmup_max_iterations: 10,
            warmup_max: Duration::from_secs(30),
            launch_timeout: Duration::from_mins(10),
            gate_timeout: Duration::from_mins(1),
            canary: true,
            cooldown_max: Duration::from_mins(2),
            cooldown_pause: Duration::ZERO,
            seed: 42,
        }
    }
}

impl Plan {
    /// What one machine does, in order: the suites about the machine itself, which give the ceilings that
    /// the rest is held against; then model by model, so that a model's files are loaded in a row.
    pub fn pairs(&self) -> impl Iterator<Item = (Option<&ModelRef>, Suite, &[Case])> {
        let about = |subject: Subject| {
            let suites = self.suites.iter();
            suites.filter(move |(suite, _)| suite.subject() == subject)
        };
        let machine = about(Subject::Machine).map(|(suite, cases)| (None, *suite, &cases[..]));
        let models = self.models.iter().flat_map(move |planned| {
            let wanted = |suite| {
                planned
                    .suites
                    .as_ref()
                    .is_none_or(|only| only.contains(&suite))
            };
            about(Subject::Model)
                .filter(move |(suite, _)| wanted(*suite))
                .map(|(suite, cases)| (Some(&planned.model), *suite, &cases[..]))
        });
        machine.chain(models)
    }

    /// Where `[machines]` is at fault when it matches none of these machines (name, chip), and the name
    /// or chip that may have been meant.
    pub fn misfit<'a>(
        &self,
        machines: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> (Range<usize>, Option<&'a str>) {
        let (names, chips): (Vec<&str>, Vec<&str>) = machines.unzip();
        let named = self.places.names.iter().map(|word| (word, &names));
        let mut all = named.chain(self.places.chips.iter().map(|word| (word, &chips)));
        let fits = |word: &str, known: &[&str]| known.iter().any(|text| matches(word, text));
        match all.find(|(word, known)| !fits(word.get_ref(), known)) {
            Some((word, known)) => (word.span(), problem::nearest(word.get_ref(), known)),
            None => (self.places.table.clone(), None),
        }
    }

    /// How many worker processes one machine starts; with a precision, at most.
    pub fn launches_per_machine(&self) -> usize {
        let cases: usize = self.pairs().map(|(_, _, cases)| cases.len()).sum();
        cases * self.protocol.launches as usize
    }

    /// Parses and checks the text of a plan; problems come together, in the order of the text.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        if text.len() > MAX_PLAN_BYTES {
            return Err(vec![Problem::at(
                0..0,
                format!(
                    "the plan has {} bytes, more than the {MAX_PLAN_BYTES} allowed",
                    text.len()
                ),
            )]);
        }
        let raw: file::PlanFile =
            toml::from_str(text).map_err(|error| vec![Problem::from_toml(&error)])?;
        raw.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        name = "small"
        [[model]]
        source = "synthetic:nano-llama"
        dtypes = ["bf16", "f32"]
        suites = ["decode"]
        [suite.decode]
        new_tokens = [32]
    "#;

    fn refusal(text: &str) -> String {
        let problems = Plan::parse(text).unwrap_err();
        let place = |p: &Problem| text[p.span.clone()].to_owned();
        problems
            .iter()
            .map(|p| {
                format!(
                    "{} @ {} ({})",
                    p.message,
                    place(p),
                    p.help.as_deref().unwrap_or("")
                )
            })
            .collect::<Vec<_>>()
            .join("; ")
    }

    #[test]
    fn a_small_plan_has_the_documented_defaults() {
        let plan = Plan::parse(GOOD).unwrap();
        assert_eq!(plan.protocol, Protocol::default());
        assert_eq!(plan.models.len(), 2);
        assert_eq!(plan.suites[0].1[0].key(), "new=32,depth=0");
        assert_eq!(plan.headline[0], Metric::DecodeTps);
    }

    #[test]
    fn misspelt_words_are_met_with_the_near_one() {
        for (good, bad, hint) in [
            ("new_tokens", "new_token", "`new_tokens`"),
            ("suite.decode", "suite.decod", "`decode`"),
            ("nano-llama", "nano-lama", "`nano-llama`"),
            ("\"f32\"", "\"f33\"", "`f32`"),
            ("\"decode\"", "\"decade\"", "`decode`"),
        ] {
            let text = GOOD.replace(good, bad);
            let refusal = refusal(&text);
            assert!(refusal.contains(hint), "{refusal}");
            assert!(
                refusal.contains(bad.trim_matches('"').trim_start_matches("suite.")),
                "{refusal}"
            );
        }
    }

    #[test]
    fn wrong_types_empty_lists_and_bad_numbers_are_refused_where_they_stand() {
        assert!(refusal(&GOOD.replace("[32]", "\"many\"")).contains("invalid type"));
        assert!(refusal(&GOOD.replace("[32]", "[]")).contains("@ []"));
        assert!(refusal(&GOOD.replace("[32]", "[1]")).contains("2 to 131072"));
        assert!(refusal(&GOOD.replace("[32]", "[32, 32]")).contains("twice"));
        assert!(refusal("name = \"x\"").contains("no model"));
        let metric = format!("headline = [\"decode_tpz\"]\n{GOOD}");
        assert!(refusal(&metric).contains("`decode_tps`"));
        let duration = format!("{GOOD}\n[protocol]\nmin_region = \"soon\"");
        assert!(refusal(&duration).contains("@ \"soon\""));
    }

    #[test]
    fn launches_are_a_number_or_as_many_as_a_precision_needs() {
        let plan = |keys: &str| format!("{GOOD}\n[protocol]\n{keys}");
        let protocol = |keys: &str| {
            let Protocol {
                launches,
                precision,
                ..
            } = Plan::parse(&plan(keys)).unwrap().protocol;
            (launches, precision)
        };
        assert_eq!(protocol("launches = 4"), (4, None));
        assert_eq!(protocol("launches = \"auto\""), (30, Some(0.01)));
        let written = "launches = \"auto\"\nmax_launches = 12\nprecision = 0.005";
        assert_eq!(protocol(written), (12, Some(0.005)));
        for (keys, told) in [
            (
                "launches = \"many\"",
                "neither a number nor \"auto\" @ \"many\"",
            ),
            ("launches = 0", "1 to 1000"),
            ("launches = -1", "1 to 1000"),
            ("launches = 2.5", "neither a number"),
            ("max_launches = 9", "is for launches = \"auto\" only @ 9"),
            ("launches = 3\nprecision = 0.01", "only @ 0.01"),
            ("launches = \"auto\"\nmax_launches = 2", "3 to 1000"),
            ("launches = \"auto\"\nprecision = 1.0", "0.001 to 0.5 @ 1.0"),
            ("launches = \"auto\"\nprecision = nan", "0.001 to 0.5"),
        ] {
            let refusal = refusal(&plan(keys));
            assert!(refusal.contains(told), "{keys}: {refusal}");
        }
    }

    #[test]
    fn a_plan_says_whether_and_how_long_the_machine_cools() {
        let protocol = |keys: &str| Plan::parse(&format!("{GOOD}\n[protocol]\n{keys}"));
        let written = "canary = false\ncooldown_max = \"10s\"\ncooldown_pause = \"5s\"";
        let protocol = protocol(written).unwrap().protocol;
        assert!(!protocol.canary);
        assert_eq!(protocol.cooldown_max, Duration::from_secs(10));
        assert_eq!(protocol.cooldown_pause, Duration::from_secs(5));
        let longer = format!("{GOOD}\n[protocol]\ncooldown_pause = \"3m\"");
        let refusal = refusal(&longer);
        assert!(
            refusal.contains("longer than `cooldown_max` @ \"3m\""),
            "{refusal}"
        );
    }

    #[test]
    fn words_about_machines_are_short_and_plain_and_numbers_are_numbers() {
        let long = "x".repeat(201);
        for (keys, told) in [
            (
                format!("names = [\"{long}\"]"),
                "`names` is longer than 200 bytes",
            ),
            ("chips = [\"a\\u001b[2J\"]".to_owned(), "`chips` is longer"),
            (
                "labels = { lab = \"\\u202e\" }".to_owned(),
                "`labels` is longer",
            ),
            (
                "labels = { \"\\u0007\" = \"x\" }".to_owned(),
                "a label's name is",
            ),
            (
                "min_memory_gb = nan".to_owned(),
                "must be 0 to 1000000 @ nan",
            ),
            (
                "min_memory_gb = inf".to_owned(),
                "must be 0 to 1000000 @ inf",
            ),
            (
                "min_memory_gb = -1.0".to_owned(),
                "must be 0 to 1000000 @ -1.0",
            ),
        ] {
            let refusal = refusal(&format!("{GOOD}\n[machines]\n{keys}"));
            assert!(refusal.contains(told), "{keys}: {refusal}");
        }
    }

    #[test]
    fn lists_that_would_multiply_without_end_are_refused_before_they_do() {
        let many: Vec<String> = (2..20_000).map(|n| n.to_string()).collect();
        let many = many.join(", ");
        let text = format!(
            "name = \"p\"\n[[model]]\nsource = \"synthetic:nano-llama\"\n\
             [suite.prefill]\nprompt_tokens = [{many}]\ndepths = [{many}]\n"
        );
        let problems = Plan::parse(&text).unwrap_err();
        assert_eq!(
            problems[0].message,
            "`prompt_tokens` has 19998 entries; at most 64"
        );
        assert_eq!(problems[0].line_column(&text), (5, 17));
    }

    #[test]
    fn a_plan_may_go_before_others_and_come_back() {
        let plan = |keys: &str| Plan::parse(&format!("{keys}\n{GOOD}"));
        let usual = plan("").unwrap();
        assert_eq!((usual.priority, usual.every), (0, None));
        let nightly = plan("priority = -10\nevery = \"1d\"").unwrap();
        assert_eq!(nightly.priority, -10);
        assert_eq!(period(nightly.every.unwrap()), "1d");
        for (keys, told) in [
            ("priority = 101", "`priority` must be -100 to 100 @ 101"),
            ("priority = \"high\"", "invalid type"),
            ("every = \"daily\"", "`every` is no duration @ \"daily\""),
            ("every = \"30s\"", "`every` must be 1m to 366d @ \"30s\""),
            ("every = \"400d\"", "`every` must be 1m to 366d"),
        ] {
            let refusal = refusal(&format!("{keys}\n{GOOD}"));
            assert!(refusal.contains(told), "{keys}: {refusal}");
        }
        assert_eq!(period(Duration::from_mins(90)), "90m");
        assert_eq!(period(Duration::from_secs(61)), "61s");
    }

    #[test]
    fn a_model_may_keep_to_some_suites() {
        let text = format!("{GOOD}\n[suite.load]");
        let plan = Plan::parse(&text).unwrap();
        let suites: Vec<Suite> = plan.pairs().map(|(_, suite, _)| suite).collect();
        assert_eq!(suites, [Suite::Decode, Suite::Decode]);
        let absent = GOOD.replace("[\"decode\"]", "[\"load\"]");
        assert!(refusal(&absent).contains("[suite.load]"));
        assert!(refusal(&GOOD.replace("[\"decode\"]", "[]")).contains("@ []"));
    }

    #[test]
    fn a_selection_that_means_no_machine_is_met_where_it_stands() {
        let machines = [("mini", "Apple M3"), ("studio", "Apple M2 Ultra")];
        let misfit = |selection: &str| {
            let text = format!("{GOOD}\n[machines]\n{selection}");
            let (place, near) = Plan::parse(&text).unwrap().misfit(machines.into_iter());
            (text[place].to_owned(), near)
        };
        assert_eq!(
            misfit("chips = [\"Apple*\", \"Aple M3\"]"),
            ("\"Aple M3\"".to_owned(), Some("Apple M3"))
        );
        assert_eq!(
            misfit("names = [\"mimi\"]"),
            ("\"mimi\"".to_owned(), Some("mini"))
        );
        let (place, near) = misfit("min_memory_gb = 512");
        assert!(place.starts_with("[machines]"), "{place}");
        assert_eq!(near, None);
        let empty = format!("{GOOD}\n[machines]\nnames = []");
        assert!(refusal(&empty).contains("`names` is empty @ []"));
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let text = GOOD
            .replace("nano-llama", "nano-lama")
            .replace("[32]", "[]");
        assert_eq!(Plan::parse(&text).unwrap_err().len(), 2);
    }
}
