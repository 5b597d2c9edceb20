//! Keys to seal with, and to check seals with: Ed25519 (RFC 8032) in the files that OpenSSL writes.

use crate::hex::hex;
use ed25519_dalek::pkcs8::KeypairBytes;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{
    DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _,
};
pub use ed25519_dalek::{SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Which key made a seal: the first 8 bytes of the SHA-256 of the 32 bytes of the public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyId(pub [u8; 8]);

impl KeyId {
    /// That of `key`.
    pub fn of(key: &VerifyingKey) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(Sha256::digest(key.as_bytes()));
        Self([a, b, c, d, e, f, g, h])
    }
}

impl std::fmt::Display for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// A key cannot be read or written. The text names the file, never what is in it.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("cannot {what} {path}")]
    File {
        /// What was tried.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It has no such key.
    #[error("{0} has no Ed25519 {1} key in PEM; `moa audit key` makes one")]
    NotAKey(PathBuf, &'static str),
    /// A new key cannot be written down.
    #[error("a new key cannot be written in PEM")]
    Unwritable,
}

fn file(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> KeyError {
    let path = path.to_owned();
    move |source| KeyError::File { what, path, source }
}

/// The key to seal with in `path`, a PKCS#8 file. Who else may read it is the caller's to ask.
pub fn signing_key(path: &Path) -> Result<SigningKey, KeyError> {
    let pem = fs::read_to_string(path).map_err(file("read", path))?;
    SigningKey::from_pkcs8_pem(&pem).map_err(|_| KeyError::NotAKey(path.to_owned(), "private"))
}

/// The key to check seals with in `path`, a SubjectPublicKeyInfo file.
pub fn public_key(path: &Path) -> Result<VerifyingKey, KeyError> {
    let pem = fs::read_to_string(path).map_err(file("read", path))?;
    VerifyingKey::from_public_key_pem(&pem)
        .map_err(|_| KeyError::NotAKey(path.to_owned(), "public"))
}

/// A fresh key, from the operating system's randomness.
pub fn generate_key() -> Result<SigningKey, KeyError> {
    let source = Path::new("/dev/urandom");
    let mut secret = [0; 32];
    let read = File::open(source).and_then(|mut random| random.read_exact(&mut secret));
    read.map_err(file("read", source))?;
    Ok(SigningKey::from_bytes(&secret))
}

/// Where the public key is written that belongs to the key in `path`: `path` with `.pub` at its end.
pub fn public_path(path: &Path) -> PathBuf {
    let mut public = path.as_os_str().to_owned();
    public.push(".pub");
    public.into()
}

/// Makes a key: the private one in `path`, for its owner alone, and the public one beside it. Neither may be there.
pub fn create_key(path: &Path) -> Result<SigningKey, KeyError> {
    let key = generate_key()?;
    // Without the public key in it, because older OpenSSL cannot read those.
    let pair = KeypairBytes {
        secret_key: key.to_bytes(),
        public_key: None,
    };
    let private = pair
        .to_pkcs8_pem(LineEnding::LF)
        .map_err(|_| KeyError::Unwritable)?;
    let public = key
        .verifying_key()
        .to_public_key_pem(LineEnding::LF)
        .map_err(|_| KeyError::Unwritable)?;
    write_new(path, 0o600, private.as_bytes())?;
    if let Err(error) = write_new(&public_path(path), 0o644, public.as_bytes()) {
        // A private key whose public half was never written down is of no use, and in the way of the next try.
        fs::remove_file(path).map_err(file("remove", path))?;
        return Err(error);
    }
    Ok(key)
}

fn write_new(path: &Path, rights: u32, bytes: &[u8]) -> Result<(), KeyError> {
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(rights)
        .open(path);
    let written = made.and_then(|mut made| made.write_all(bytes).and_then(|()| made.sync_all()));
    written.map_err(file("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Neither file may be there, whatever it is; and where the second one is, the first is not left behind.
    #[test]
    fn a_key_replaces_nothing_and_leaves_no_half() {
        let folder =
            std::env::temp_dir().join(format!("moa-key-{}", uuid::Uuid::now_v7().simple()));
        fs::create_dir(&folder).unwrap();
        let path = folder.join("key");
        fs::write(public_path(&path), "mine").unwrap();
        assert!(matches!(
            create_key(&path),
            Err(KeyError::File { what: "write", .. })
        ));
        assert_eq!(
            (path.exists(), fs::read(public_path(&path)).unwrap()),
            (false, b"mine".to_vec())
        );
        fs::remove_file(public_path(&path)).unwrap();
        let made = create_key(&path).unwrap();
        assert_eq!(
            public_key(&public_path(&path)).unwrap(),
            made.verifying_key()
        );
        assert!(create_key(&path).is_err(), "the key is there");
        assert_eq!(signing_key(&path).unwrap().to_bytes(), made.to_bytes());
        assert!(create_key(Path::new("/dev/full")).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }
}
