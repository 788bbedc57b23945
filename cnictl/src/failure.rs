//! The error of a command, for people and for programs.

use crate::screen::Screen;
use cni_runtime::{ConfigError, Error};

/// The failure of a command. It has several causes if the command goes on after an error, as GC
/// does.
#[derive(Debug)]
pub(crate) struct Failure(Vec<Cause>);

#[derive(Debug)]
enum Cause {
    /// A sentence.
    Text(String),
    /// An error of the runtime library, which may hold a plugin's.
    Runtime(Error),
}

impl Failure {
    /// Returns a failure with one cause, the sentence `text`.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self(vec![Cause::Text(text.into())])
    }

    /// Returns a failure with one cause for each sentence.
    pub(crate) fn texts(texts: Vec<String>) -> Self {
        Self(texts.into_iter().map(Cause::Text).collect())
    }

    /// Joins the errors of an operation that went on after an error into one failure.
    ///
    /// # Errors
    /// Fails with all `errors` unless the list is empty.
    pub(crate) fn join(errors: Vec<Error>) -> Result<(), Self> {
        if errors.is_empty() {
            Ok(())
        } else {
            Err(Self(errors.into_iter().map(Cause::Runtime).collect()))
        }
    }

    /// Prints each cause as a line on stderr and, with `--json`, all causes as one object on
    /// stdout.
    pub(crate) fn show(&self, screen: &Screen) {
        for cause in &self.0 {
            screen.message(&cause.sentence());
        }
        if screen.is_json() {
            let errors: Vec<_> = self.0.iter().map(Cause::as_json).collect();
            screen.json(&serde_json::json!({ "errors": errors }));
        }
    }
}

impl Cause {
    fn sentence(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Runtime(error) => error.to_string(),
        }
    }

    fn as_json(&self) -> serde_json::Value {
        match self {
            Self::Runtime(Error::Plugin {
                plugin,
                command,
                error,
            }) => serde_json::json!({
                "plugin": plugin, "command": command.as_str(),
                "code": error.code.0, "msg": error.msg, "details": error.details,
            }),
            other => serde_json::json!({ "msg": other.sentence() }),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(vec![Cause::Runtime(error)])
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::from(Error::from(error))
    }
}

impl From<cni_types::Error> for Failure {
    fn from(error: cni_types::Error) -> Self {
        Self::text(error.to_string())
    }
}
