//! What shells and `man` are given of the command line.

#![allow(clippy::unwrap_used, reason = "a test fails so")]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use testbed::TempFolder;

fn moa(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_moa"))
        .args(args)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn is_installed(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok()
}

/// A shell reads what it is given, and says nothing.
fn is_read_by(shell: &str, file: &Path) {
    let read = Command::new(shell).arg("-n").arg(file).output().unwrap();
    assert!(
        read.status.success() && read.stderr.is_empty(),
        "{shell}: {}",
        text(&read.stderr)
    );
}

#[test]
fn shells_read_their_completions() {
    let folder = TempFolder::new("completions");
    for shell in ["bash", "zsh", "fish"] {
        let done = moa(&["completions", shell]);
        assert!(
            done.status.success() && done.stderr.is_empty(),
            "{}",
            text(&done.stderr)
        );
        assert!(
            text(&done.stdout).contains("withdrawable-until"),
            "{shell} does not know a flag"
        );
        let file = folder.file(shell);
        std::fs::write(&file, done.stdout).unwrap();
        if shell == "bash" || is_installed(shell) {
            is_read_by(shell, Path::new(&file));
        }
    }
}

/// What bash offers after `moa pro`, and after `moa product open --ti`.
#[test]
fn bash_completes_commands_and_flags() {
    let folder = TempFolder::new("completions");
    let file = folder.file("bash");
    std::fs::write(&file, moa(&["completions", "bash"]).stdout).unwrap();
    for (words, expected) in [
        ("moa pro", "product projection"),
        ("moa product open --ti", "--title"),
    ] {
        let script = format!(
            "source {file}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _moa moa \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD - 1]}}\"; echo ${{COMPREPLY[@]}}"
        );
        let offered = Command::new("bash").args(["-c", &script]).output().unwrap();
        assert_eq!(
            text(&offered.stdout).trim(),
            expected,
            "{}",
            text(&offered.stderr)
        );
    }
}

#[test]
fn every_command_has_a_page_that_man_reads_without_a_warning() {
    let folder = TempFolder::new("man");
    let pages = folder.file("man1");
    let done = moa(&["man", &pages]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let pages: Vec<_> = std::fs::read_dir(pages)
        .unwrap()
        .map(|page| page.unwrap().path())
        .collect();
    assert!(pages.len() > 50, "{} pages", pages.len());
    for page in &pages {
        let source = std::fs::read_to_string(page).unwrap();
        assert!(
            source.contains("\nExamples:\n"),
            "{} has no example",
            page.display()
        );
    }
    if is_installed("man") {
        let mut man = Command::new("man");
        man.args(["--warnings", "-l"])
            .args(&pages)
            .env("MANPAGER", "cat")
            .env("MANWIDTH", "80")
            .env("LC_ALL", "C.UTF-8");
        let shown = man.output().unwrap();
        assert!(
            shown.status.success() && shown.stderr.is_empty(),
            "{}",
            text(&shown.stderr)
        );
        assert!(
            text(&shown.stdout).contains("moa product open"),
            "{}",
            text(&shown.stdout)
        );
    }
}

#[test]
fn a_folder_that_cannot_be_written_to_is_named() {
    let done = moa(&["man", "/dev/null/man1"]);
    assert_eq!(done.status.code(), Some(1));
    assert!(
        text(&done.stderr).starts_with("moa: cannot write the manual into /dev/null/man1"),
        "{}",
        text(&done.stderr)
    );
}
