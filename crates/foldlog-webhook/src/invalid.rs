//! The error for an invalid setting.

use std::error::Error;
use std::fmt;

/// A setting of a [`Webhook`](crate::Webhook) that cannot work. The text names the setting and the reason, never a
/// secret.
#[derive(Debug)]
pub struct InvalidSetting {
    what: &'static str,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl InvalidSetting {
    pub(crate) fn new(what: &'static str) -> InvalidSetting {
        InvalidSetting { what, cause: None }
    }

    pub(crate) fn caused_by(self, cause: impl Error + Send + Sync + 'static) -> InvalidSetting {
        InvalidSetting { cause: Some(Box::new(cause)), ..self }
    }
}

impl fmt::Display for InvalidSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "webhook: {}", self.what)?;
        match &self.cause {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

impl Error for InvalidSetting {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}
