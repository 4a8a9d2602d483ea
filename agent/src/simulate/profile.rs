//! What simulated machines are and do: a TOML file, checked once.

use std::time::Duration;

use domain::metric::Metric;
use serde::Deserialize;

/// The profile that is used when none is named, with what each key means.
pub const DEFAULT: &str = include_str!("profile.toml");

const MAX_ITERATIONS: u32 = 1000;
const MAX_TOKENS: u32 = 100_000;
/// A thousand sensors, once a second.
const MAX_READINGS: u32 = 1000;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Toml(#[from] toml::de::Error),
    #[error("`{key}` must be {allowed}")]
    Range { key: &'static str, allowed: String },
}

/// A checked profile.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    pub launch: Duration,
    /// None: as many as the plan asks for.
    pub iterations: Option<u32>,
    pub samples: u32,
    pub tokens: u32,
    /// Each second.
    pub readings: u32,
    /// Share of launches that crash.
    pub failures: f64,
    /// At least one.
    pub machines: Vec<Kind>,
}

/// One kind of machine.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kind {
    pub chip: String,
    pub gpu_cores: u32,
    pub memory_gb: u32,
    /// How many of these there are, beside the shares of the others.
    #[serde(default = "one")]
    pub share: u32,
}

fn one() -> u32 {
    1
}

/// As it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileFile {
    launch_ms: Option<u64>,
    iterations: Option<u32>,
    samples: Option<u32>,
    tokens: Option<u32>,
    readings: Option<u32>,
    failures: Option<f64>,
    #[serde(rename = "machine")]
    machines: Option<Vec<Kind>>,
}

impl Profile {
    /// What the text leaves out is as in [`DEFAULT`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        let ProfileFile {
            launch_ms,
            iterations,
            samples,
            tokens,
            readings,
            failures,
            machines,
        } = toml::from_str(text)?;
        let default: ProfileFile = toml::from_str(DEFAULT)?;
        let samples = samples.or(default.samples).unwrap_or_default();
        let tokens = tokens.or(default.tokens).unwrap_or_default();
        let readings = readings.or(default.readings).unwrap_or_default();
        let failures = failures.or(default.failures).unwrap_or_default();
        let machines = machines.or(default.machines).unwrap_or_default();
        let launch_ms = launch_ms.or(default.launch_ms).unwrap_or_default();
        let within = |key, is: bool, allowed: String| {
            if is {
                Ok(())
            } else {
                Err(Error::Range { key, allowed })
            }
        };
        let most = |key, value: u32, most: u32| within(key, value <= most, format!("0 to {most}"));
        most("iterations", iterations.unwrap_or(0), MAX_ITERATIONS)?;
        most("samples", samples, Metric::ALL.len() as u32)?;
        most("tokens", tokens, MAX_TOKENS)?;
        most("readings", readings, MAX_READINGS)?;
        let is_share = (0.0..=1.0).contains(&failures);
        within("failures", is_share, "a share, 0.0 to 1.0".to_owned())?;
        let some = machines.iter().any(|kind| kind.share > 0);
        within("machine", some, "one table or more with a share".to_owned())?;
        Ok(Self {
            launch: Duration::from_millis(launch_ms),
            iterations,
            samples,
            tokens,
            readings,
            failures,
            machines,
        })
    }

    /// The kind of a machine by its number: shares are kept in every stretch of so many numbers.
    pub fn kind(&self, number: u32) -> &Kind {
        let total: u64 = self.machines.iter().map(|kind| u64::from(kind.share)).sum();
        let mut place = u64::from(number) % total.max(1);
        self.machines
            .iter()
            .find(|kind| {
                let within = place < u64::from(kind.share);
                place = place.saturating_sub(u64::from(kind.share));
                within
            })
            .unwrap_or(&self.machines[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_as_the_default_file_says() {
        let profile = Profile::parse("launch_ms = 0\niterations = 3").unwrap();
        let default = Profile::parse("").unwrap();
        assert_eq!(Profile::parse(DEFAULT).unwrap(), default);
        assert_eq!(profile.launch, Duration::ZERO);
        assert_eq!((profile.iterations, default.iterations), (Some(3), None));
        assert_eq!(profile.machines, default.machines);
    }

    #[test]
    fn wrong_keys_and_numbers_are_refused_by_name() {
        for (text, told) in [
            ("launches = 3", "`launches`"),
            ("failures = 1.5", "`failures` must be a share"),
            ("samples = 1000", "`samples` must be 0 to"),
            ("machine = []", "`machine` must be"),
            ("[[machine]]\nchip = \"M1\"", "gpu_cores"),
        ] {
            let refused = Profile::parse(text).unwrap_err().to_string();
            assert!(refused.contains(told), "{text}: {refused}");
        }
    }

    #[test]
    fn kinds_come_in_their_shares() {
        let profile = Profile::parse(DEFAULT).unwrap();
        let count = |chip: &str| {
            (1..=100)
                .filter(|number| profile.kind(*number).chip == chip)
                .count()
        };
        assert_eq!(count("Apple M1"), 40);
        assert_eq!(count("Apple M4 Max"), 20);
    }
}
