//! Who calls a guarded listener: the name and the role of the token that the caller showed.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use domain::resident_number;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::Problem;

/// Characters of a name at most.
const MAX_NAME_CHARS: usize = 64;

/// What the bearer of a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Operator,
    /// Read.
    Auditor,
}

impl Role {
    /// As it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "OPERATOR",
            Self::Auditor => "AUDITOR",
        }
    }
}

/// A name or a role cannot be one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidActorError {
    /// The name is empty, too long, has another character, or holds a resident registration number.
    #[error("a name must be 1 to {MAX_NAME_CHARS} of A-Z a-z 0-9 . _ -, without personal data")]
    Name,
    /// There is no such role.
    #[error("a role must be operator or auditor")]
    Role,
}

impl FromStr for Role {
    type Err = InvalidActorError;

    fn from_str(text: &str) -> Result<Self, InvalidActorError> {
        match text {
            "operator" => Ok(Self::Operator),
            "auditor" => Ok(Self::Auditor),
            _ => Err(InvalidActorError::Role),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Operator => "operator",
            Self::Auditor => "auditor",
        })
    }
}

/// The caller of a guarded listener, an extension of every request that its guard let in. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    name: Arc<str>,
    role: Role,
}

impl Actor {
    /// The bearer of the token of this name, which has this role.
    ///
    /// # Errors
    /// The name cannot be one: it is kept for ever with all that its bearer does.
    pub fn new(name: &str, role: Role) -> Result<Self, InvalidActorError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let is_plain = (1..=MAX_NAME_CHARS).contains(&name.len()) && name.bytes().all(allowed);
        let is_good = is_plain && !resident_number(name);
        if is_good {
            Ok(Self {
                name: name.into(),
                role,
            })
        } else {
            Err(InvalidActorError::Name)
        }
    }

    /// The name of the token.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it may do.
    pub fn role(&self) -> Role {
        self.role
    }
}

/// Whom the guard let in; nobody is past it.
impl<S: Send + Sync> FromRequestParts<S> for Actor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get().cloned().ok_or(Problem::Unauthorized)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail where it stands")]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_of_some_plain_characters() {
        for (name, is_good) in [
            ("ann", true),
            ("Ann.B_c-9", true),
            (&*"a".repeat(64), true),
            (&*"a".repeat(65), false),
            ("", false),
            ("ann b", false),
            ("ann\n", false),
            ("안나", false),
            ("ann:bob", false),
            ("900101-1234567", false),
        ] {
            assert_eq!(
                Actor::new(name, Role::Operator).is_ok(),
                is_good,
                "{name:?}"
            );
        }
    }

    #[test]
    fn a_role_is_read_as_it_is_written() {
        for role in [Role::Operator, Role::Auditor] {
            assert_eq!(role.to_string().parse(), Ok(role));
        }
        assert_eq!("OPERATOR".parse::<Role>(), Err(InvalidActorError::Role));
    }
}
