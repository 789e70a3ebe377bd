//! How a command fails, and with which exit code.

use std::fmt;
use std::process::ExitCode;

use crate::config::ConfigError;
use crate::identity::IdentityError;

/// How a command failed.
pub(super) enum Failed {
    /// What it was given cannot be used.
    Usage(anyhow::Error),
    /// The work failed.
    Work(anyhow::Error),
    /// Somebody interrupted it.
    Interrupted,
}

impl Failed {
    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Work(_) => 1,
            Self::Usage(_) => 2,
            Self::Interrupted => 130,
        })
    }
}

impl From<ConfigError> for Failed {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.into())
    }
}

impl From<IdentityError> for Failed {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::Write { .. } | IdentityError::Random | IdentityError::Encrypt(_) => Self::Work(error.into()),
            unusable => Self::Usage(unusable.into()),
        }
    }
}

/// The error and its causes in one line.
impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(error) | Self::Work(error) => write!(f, "{error:#}"),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}
