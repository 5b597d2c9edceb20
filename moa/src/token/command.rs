//! `moa token new`: a fresh token and its entry for the file of named tokens.

use super::NamedTokens;
use super::named::TokensFileError;
use crate::output::print_line;
use crate::secret::Secret;
use crate::settings::TokenCommand;
use edge::Actor;
use serde_json::json;

/// Prints a token that is kept nowhere, and the line for the file.
///
/// # Errors
/// The name cannot be one, or the system has no randomness.
pub fn run(command: &TokenCommand) -> anyhow::Result<()> {
    let TokenCommand::New { name, role, json } = command;
    let actor = Actor::new(name, *role)?;
    let token = Secret::fresh();
    let line = format!(
        "{} {} {}",
        actor.name(),
        actor.role(),
        proof::hex::hex(&Secret::digest(token.reveal()))
    );
    // Whatever the file refuses is refused here.
    NamedTokens::parse(&line).map_err(TokensFileError::why)?;
    if *json {
        print_line!("{}", json!({ "token": token.reveal(), "line": line }));
        return Ok(());
    }
    print_line!("The token, which is shown this once: {}", token.reveal());
    print_line!("Its line for MOA_TOKENS_FILE: {line}");
    Ok(())
}
