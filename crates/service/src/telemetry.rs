//! Where log lines go: standard error, always, so that standard output is for answers.

use std::io::IsTerminal;
use std::str::FromStr;

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people; coloured on a terminal.
    #[default]
    Human,
    /// One JSON object a line, for collectors.
    Json,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("`{filter}` is not a log filter (such as `info` or `info,coordinator=debug`)")]
    Filter {
        filter: String,
        source: tracing_subscriber::filter::ParseError,
    },
    #[error("logging was set up before")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
}

/// A text that names no format.
#[derive(Clone, Debug, thiserror::Error)]
#[error("`{0}` is no log format: human or json")]
pub struct UnknownFormat(String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        match text {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            other => Err(UnknownFormat(other.to_owned())),
        }
    }
}

/// Sets up the process's log; once, in `main`. The filter is in the syntax of `RUST_LOG`.
pub fn init(format: Format, filter: &str) -> Result<(), Error> {
    use tracing_subscriber::util::SubscriberInitExt;
    let colour = std::io::stderr().is_terminal();
    subscriber(format, filter, colour, std::io::stderr)?
        .try_init()
        .map_err(Error::Twice)
}

fn subscriber<W>(
    format: Format,
    filter: &str,
    colour: bool,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, Error>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(filter).map_err(|source| Error::Filter {
        filter: filter.to_owned(),
        source,
    })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // A terminal that was closed takes no complaint either.
        .log_internal_errors(false)
        .with_writer(writer);
    Ok(match format {
        Format::Human => Box::new(lines.with_ansi(colour).with_target(false).finish()),
        Format::Json => Box::new(lines.json().flatten_event(true).finish()),
    })
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format, filter: &str) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(format, filter, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            let _job = tracing::info_span!("job", job_id = 7).entered();
            tracing::info!(port = 5432, "ready");
            tracing::debug!("hidden");
        });
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_lines_are_flat_objects() {
        let text = logged(Format::Json, "info");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&line["message"], &line["port"]),
            (&"ready".into(), &5432.into())
        );
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["spans"][0]["job_id"], 7, "whose it is");
    }

    #[test]
    fn human_lines_have_no_colour_codes_off_a_terminal() {
        let text = logged(Format::Human, "info");
        assert!(
            text.contains("INFO job{job_id=7}: ready port=5432"),
            "{text}"
        );
        assert!(
            !text.contains('\u{1b}') && !text.contains("hidden"),
            "{text}"
        );
    }

    #[test]
    fn a_bad_filter_is_refused_by_name() {
        let error = subscriber(Format::Human, "info,=", false, io::sink).err();
        let text = error.unwrap().to_string();
        assert!(text.contains("`info,=` is not a log filter"), "{text}");
    }
}
