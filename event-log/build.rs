//! Rebuilds this crate when a migration is added or edited: the macro that embeds them cannot ask for that itself.

fn main() {
    println!("cargo:rerun-if-changed=../migrations");
}
