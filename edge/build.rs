//! Takes the three files that the reference's page needs out of Swagger UI's archive: the whole of it is 13 MB, they are 1.6.

use std::io::{Cursor, Read as _};
use std::path::Path;
use std::{env, fs};

use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;

const FILES: [&str; 3] = [
    "swagger-ui-bundle.js",
    "swagger-ui.css",
    "favicon-32x32.png",
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let out = env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    let mut archive = zip::ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED))
        .expect("Swagger UI's archive is whole");
    for at in 0..archive.len() {
        let mut entry = archive.by_index(at).expect("an entry of the archive");
        let Some(name) = FILES
            .into_iter()
            .find(|name| is_distributed(entry.name(), name))
        else {
            continue;
        };
        let mut file = Vec::new();
        entry.read_to_end(&mut file).expect("a whole file");
        fs::write(Path::new(&out).join(name), file).expect("OUT_DIR can be written to");
    }
}

/// `swagger-ui-<version>/dist/<name>`
fn is_distributed(entry: &str, name: &str) -> bool {
    let parts: Vec<_> = entry.split('/').collect();
    matches!(parts[..], [_, "dist", file] if file == name)
}
