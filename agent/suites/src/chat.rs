//! The chat template of a model: Jinja in its folder, rendered as transformers does.

use std::path::{Path, PathBuf};
use std::{fs, io};

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, Value, context};
use serde_json::Value as Json;

#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path}: {why}")]
    Malformed { path: PathBuf, why: String },
    #[error("{path}: the chat template fails: {source}")]
    Template {
        path: PathBuf,
        source: minijinja::Error,
    },
}

const NAME: &str = "chat";

pub struct ChatTemplate {
    /// Where it stands.
    path: PathBuf,
    environment: Environment<'static>,
    bos: Option<String>,
    eos: Option<String>,
}

impl ChatTemplate {
    /// `chat_template.jinja`, else the key of `tokenizer_config.json`; None where the model has
    /// neither.
    pub fn find(folder: &Path) -> Result<Option<Self>, ChatError> {
        let (own, config) = (
            folder.join("chat_template.jinja"),
            folder.join("tokenizer_config.json"),
        );
        let settings = read_settings(&config)?;
        let (path, source) = if own.is_file() {
            let text = fs::read_to_string(&own).map_err(|source| ChatError::Io {
                path: own.clone(),
                source,
            })?;
            (own, text)
        } else {
            match template_of(&settings) {
                Some(text) => (config, text.to_owned()),
                None => return Ok(None),
            }
        };
        let mut environment = environment();
        let added = environment.add_template_owned(NAME, source);
        added.map_err(|source| ChatError::Template {
            path: path.clone(),
            source,
        })?;
        Ok(Some(Self {
            path,
            environment,
            bos: token(&settings, "bos_token"),
            eos: token(&settings, "eos_token"),
        }))
    }

    /// The prompt of a conversation that a user opens with `question`, up to where the answer begins.
    pub fn ask(&self, question: &str) -> Result<String, ChatError> {
        let template = self.environment.get_template(NAME);
        template
            .and_then(|template| {
                template.render(context! {
                    messages => [context! { role => "user", content => question }],
                    add_generation_prompt => true,
                    bos_token => &self.bos,
                    eos_token => &self.eos,
                })
            })
            .map_err(|source| ChatError::Template {
                path: self.path.clone(),
                source,
            })
    }
}

/// With the settings and functions that templates are written for.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    environment.set_syntax(syntax.unwrap_or_default());
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function(
        "raise_exception",
        |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        },
    );
    // A prompt that changes with the day is another prompt: every day is this one.
    environment.add_function("strftime_now", |format: String| {
        format
            .replace("%d", "01")
            .replace("%b", "Jan")
            .replace("%B", "January")
            .replace("%m", "01")
            .replace("%Y", "2025")
    });
    environment
}

fn read_settings(path: &Path) -> Result<Json, ChatError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Json::Null),
        Err(source) => {
            return Err(ChatError::Io {
                path: path.to_owned(),
                source,
            });
        }
    };
    serde_json::from_slice(&text).map_err(|error| ChatError::Malformed {
        path: path.to_owned(),
        why: error.to_string(),
    })
}

/// A text, or a list of named ones.
fn template_of(settings: &Json) -> Option<&str> {
    match settings.get("chat_template")? {
        Json::String(text) => Some(text),
        Json::Array(named) => named
            .iter()
            .find(|entry| entry["name"] == "default")
            .and_then(|entry| entry["template"].as_str()),
        _ => None,
    }
}

/// A text, or an object that holds it.
fn token(settings: &Json, key: &str) -> Option<String> {
    let token = settings.get(key)?;
    let text = token.as_str().or_else(|| token["content"].as_str())?;
    Some(text.to_owned())
}
