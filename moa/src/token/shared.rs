//! Named tokens that change while the process runs.

use super::NamedTokens;
use std::sync::{Arc, PoisonError, RwLock};

/// The tokens that are valid now; clones share them.
#[derive(Clone, Debug)]
pub(crate) struct SharedTokens(Arc<RwLock<Arc<NamedTokens>>>);

impl SharedTokens {
    /// These, at first.
    pub(crate) fn new(tokens: NamedTokens) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(tokens))))
    }

    /// As they are now.
    pub(crate) fn get(&self) -> Arc<NamedTokens> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// These instead, from now on.
    pub(crate) fn replace(&self, tokens: NamedTokens) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(tokens);
    }
}
