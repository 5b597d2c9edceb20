//! Named tokens: whose they are, what they may do, and their hashes. The file of them has an entry on each line:
//!
//! ```text
//! # name  role  SHA-256 of the token, in hex
//! ann operator 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
//! ```

use crate::secret::Secret;
use edge::{Actor, InvalidActorError, Role};
use std::collections::{BTreeMap, BTreeSet};

/// Entries of a file at most: each request is compared with all.
const MAX_ENTRIES: usize = 1_000;
/// Names that stand for the tokens of the settings.
const RESERVED_NAMES: [&str; 2] = ["operator", "auditor"];

type TokenHash = [u8; 32];

/// Why a line is no entry. It never shows the line, which may hold a token by mistake.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EntryError {
    /// It has fewer or more words.
    #[error("must be a name, a role and a hash, as `moa token new NAME --role ROLE` prints it")]
    Words,
    /// Its name or its role cannot be one.
    #[error(transparent)]
    Actor(#[from] InvalidActorError),
    /// Its name is a setting's.
    #[error(
        "the names operator and auditor are those of MOA_OPERATOR_TOKEN and MOA_AUDITOR_TOKEN: choose another"
    )]
    Reserved,
    /// Its hash cannot be one.
    #[error("the hash must be the SHA-256 of the token in 64 hex digits")]
    Hash,
    /// Another line gives its name the other role.
    #[error("a name has one role, and another line gives it the other one")]
    TwoRoles,
    /// Another line has the same token.
    #[error("another line has the same hash: a token has one name")]
    SameHash,
    /// It is one too many.
    #[error("a file has at most {MAX_ENTRIES} entries")]
    TooMany,
}

/// A file that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub(crate) struct TokensFileError {
    line: usize,
    why: EntryError,
}

impl TokensFileError {
    /// What is wrong with the line.
    pub(super) fn why(self) -> EntryError {
        self.why
    }
}

/// The hash of a token, and who shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedToken {
    hash: TokenHash,
    actor: Actor,
}

/// Tokens that are known. One name may have several, so that a new one can be given out before the old one is taken back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NamedTokens(Vec<NamedToken>);

impl NamedTokens {
    /// Those of the settings.
    pub(crate) fn of_settings(
        operator: Option<&Secret>,
        auditor: Option<&Secret>,
    ) -> Result<Self, InvalidActorError> {
        let set = [(operator, Role::Operator), (auditor, Role::Auditor)];
        let named = set
            .into_iter()
            .filter_map(|(token, role)| Some((token?, role)));
        let named = named.map(|(token, role)| {
            Ok(NamedToken {
                hash: Secret::digest(token.reveal()),
                actor: Actor::new(&role.to_string(), role)?,
            })
        });
        Ok(Self(named.collect::<Result<_, _>>()?))
    }

    /// Those of a file with this text. Empty lines and those that begin with `#` are no entries.
    pub(crate) fn parse(text: &str) -> Result<Self, TokensFileError> {
        let (mut tokens, mut roles, mut hashes) = (Vec::new(), BTreeMap::new(), BTreeSet::new());
        let entries = (1..)
            .zip(text.lines())
            .map(|(number, line)| (number, line.trim()));
        for (line, text) in entries.filter(|(_, text)| !text.is_empty() && !text.starts_with('#')) {
            let wrong = |why| TokensFileError { line, why };
            let token = entry(text).map_err(wrong)?;
            let (name, role) = (token.actor.name().to_owned(), token.actor.role());
            if *roles.entry(name).or_insert(role) != role {
                return Err(wrong(EntryError::TwoRoles));
            }
            if !hashes.insert(token.hash) {
                return Err(wrong(EntryError::SameHash));
            }
            if tokens.len() == MAX_ENTRIES {
                return Err(wrong(EntryError::TooMany));
            }
            tokens.push(token);
        }
        Ok(Self(tokens))
    }

    /// Who shows the token with this hash. All are compared to their ends: the time it takes says nothing about any.
    pub(crate) fn bearer(&self, hash: &TokenHash) -> Option<&Actor> {
        let found = self.0.iter().fold(None, |found, token| {
            if is_same(&token.hash, hash) {
                Some(token)
            } else {
                found
            }
        });
        found.map(|token| &token.actor)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether an operator is among them.
    pub(crate) fn has_operator(&self) -> bool {
        self.0
            .iter()
            .any(|token| token.actor.role() == Role::Operator)
    }
}

fn is_same(one: &TokenHash, other: &TokenHash) -> bool {
    std::hint::black_box(
        one.iter()
            .zip(other)
            .fold(0, |differs, (a, b)| differs | (a ^ b)),
    ) == 0
}

fn entry(line: &str) -> Result<NamedToken, EntryError> {
    let words: Vec<_> = line.split_whitespace().collect();
    let [name, role, hash] = words[..] else {
        return Err(EntryError::Words);
    };
    if RESERVED_NAMES.contains(&name) {
        return Err(EntryError::Reserved);
    }
    let actor = Actor::new(name, role.parse()?)?;
    Ok(NamedToken {
        hash: proof::hex::unhex(hash).ok_or(EntryError::Hash)?,
        actor,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb";
    const B: &str = "3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d";

    fn bearer(tokens: &NamedTokens, token: &str) -> Option<(String, Role)> {
        tokens
            .bearer(&Secret::digest(token))
            .map(|actor| (actor.name().to_owned(), actor.role()))
    }

    #[test]
    fn each_token_has_its_name_and_role() {
        let text = format!("# ours\n\n  ann operator {A}\r\nbob\tauditor   {B}  \n");
        let tokens = NamedTokens::parse(&text).unwrap();
        assert_eq!(tokens.len(), 2);
        assert_eq!(bearer(&tokens, "a"), Some(("ann".into(), Role::Operator)));
        assert_eq!(bearer(&tokens, "b"), Some(("bob".into(), Role::Auditor)));
        for stranger in ["", "c", "A", "ab", A] {
            assert_eq!(bearer(&tokens, stranger), None, "{stranger}");
        }
    }

    #[test]
    fn one_name_may_have_an_old_and_a_new_token() {
        let tokens = NamedTokens::parse(&format!("ann operator {A}\nann operator {B}\n")).unwrap();
        assert_eq!(bearer(&tokens, "a"), bearer(&tokens, "b"));
        assert!(tokens.has_operator());
    }

    #[test]
    fn an_empty_file_lets_nobody_in() {
        for text in ["", "\n", "# nobody\n"] {
            let tokens = NamedTokens::parse(text).unwrap();
            assert_eq!(
                (tokens.len(), tokens.has_operator(), bearer(&tokens, "")),
                (0, false, None)
            );
        }
    }

    #[test]
    fn what_is_no_entry_is_named_by_its_line_and_not_shown() {
        for (text, line, why) in [
            (format!("ann {A}"), 1, EntryError::Words),
            (format!("ann operator {A} more"), 1, EntryError::Words),
            ("a-token-that-was-pasted-here".into(), 1, EntryError::Words),
            (
                format!("\n# x\nann admin {A}"),
                3,
                InvalidActorError::Role.into(),
            ),
            (
                format!("an:n operator {A}"),
                1,
                InvalidActorError::Name.into(),
            ),
            (format!("operator operator {A}"), 1, EntryError::Reserved),
            (format!("auditor auditor {A}"), 1, EntryError::Reserved),
            (format!("ann operator {}", &A[1..]), 1, EntryError::Hash),
            (
                format!("ann operator {}", A.to_uppercase()),
                1,
                EntryError::Hash,
            ),
            ("ann operator the-token-itself".into(), 1, EntryError::Hash),
            (
                format!("ann operator {A}\nann auditor {B}"),
                2,
                EntryError::TwoRoles,
            ),
            (
                format!("ann operator {A}\nbob operator {A}"),
                2,
                EntryError::SameHash,
            ),
        ] {
            let error = NamedTokens::parse(&text).unwrap_err();
            let said = error.to_string();
            assert_eq!(error, TokensFileError { line, why }, "{text}");
            assert!(
                !said.contains("pasted") && !said.contains("itself"),
                "{said}"
            );
        }
    }

    #[test]
    fn a_file_has_so_many_entries_and_no_more() {
        let lines = |number: usize| {
            (0..number)
                .map(|n| {
                    format!(
                        "ann operator {}\n",
                        proof::hex::hex(&Secret::digest(&n.to_string()))
                    )
                })
                .collect::<String>()
        };
        assert_eq!(
            NamedTokens::parse(&lines(MAX_ENTRIES)).unwrap().len(),
            MAX_ENTRIES
        );
        let error = NamedTokens::parse(&lines(MAX_ENTRIES + 1)).unwrap_err();
        assert_eq!(
            error,
            TokensFileError {
                line: MAX_ENTRIES + 1,
                why: EntryError::TooMany
            }
        );
    }
}
