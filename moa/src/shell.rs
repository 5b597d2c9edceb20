//! `moa completions` and `moa man`: what a shell and `man` want to know of the command line.

use crate::output::{StandardOutput, print_line};
use crate::settings;
use anyhow::Context;
use clap_complete::Shell;
use std::fs;
use std::path::Path;

/// Prints the completions for this shell.
pub fn completions(shell: Shell) {
    clap_complete::generate(shell, &mut settings::command(), "moa", &mut StandardOutput);
}

/// Writes a page of the manual for each command into `folder`, which is made if it is not there.
///
/// # Errors
/// The folder cannot be written to.
pub fn man(folder: &Path) -> anyhow::Result<()> {
    let cannot = || format!("cannot write the manual into {}", folder.display());
    fs::create_dir_all(folder).with_context(cannot)?;
    clap_mangen::generate_to(settings::command(), folder).with_context(cannot)?;
    print_line!(
        "Wrote the manual into {}; `man -l {}/moa.1` shows its first page.",
        folder.display(),
        folder.display()
    );
    Ok(())
}
