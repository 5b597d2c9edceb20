//! A folder of a test's own.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// An empty folder in the system's place for temporary files; removed with all it has when the value goes.
#[derive(Debug)]
pub struct TempFolder(PathBuf);

impl TempFolder {
    /// A new one; `what` is a part of its name.
    pub fn new(what: &str) -> Self {
        let path = std::env::temp_dir().join(format!("moa-{what}-{}", Uuid::now_v7().simple()));
        std::fs::create_dir(&path).expect("a folder for temporary files");
        Self(path)
    }

    /// The path of a file in it, as an argument of a program.
    pub fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Deref for TempFolder {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl AsRef<Path> for TempFolder {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        // What cannot be removed is the system's to clean up.
        std::fs::remove_dir_all(&self.0).ok();
    }
}
