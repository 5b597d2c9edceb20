//! What is on this machine: the room for a private PostgreSQL, the certificate, the key to seal with.

use super::Finding;
use crate::secret_file;
use crate::settings::DoctorSettings;
use chrono::{DateTime, TimeDelta, Utc};
use std::path::Path;

const GIB: u64 = 1024 * 1024 * 1024;
/// Below this PostgreSQL may have no room for its WAL.
const MIN_FREE_BYTES: u64 = GIB;
/// Below this it is time to make room.
const LOW_FREE_BYTES: u64 = 5 * GIB;
/// How long before its end a certificate should be renewed.
const RENEWAL_MARGIN: TimeDelta = TimeDelta::days(14);
/// The key of a private PostgreSQL's seals, in the data folder.
const KEY_FILE: &str = "seal-key.pem";

pub(super) fn check(settings: &DoctorSettings) -> Vec<Finding> {
    let database = &settings.database;
    let data_dir = (database.database_url.is_none() && !database.ephemeral)
        .then_some(database.data_dir.as_path());
    let kept_key = data_dir
        .map(|folder| folder.join(KEY_FILE))
        .filter(|path| path.exists());
    let key = settings.seal_key_file.clone().or(kept_key);
    let disk = data_dir.map(disk);
    let certificate = settings.tls_cert_file.as_deref().map(certificate);
    [disk, certificate, key.as_deref().map(seal_key)]
        .into_iter()
        .flatten()
        .collect()
}

fn disk(folder: &Path) -> Finding {
    const CHECK: &str = "disk";
    // The folder is made at the first start.
    let there = folder
        .ancestors()
        .find(|folder| folder.exists())
        .unwrap_or(Path::new("/"));
    match rustix::fs::statvfs(there) {
        Ok(disk) => judge_disk(folder, disk.f_bavail.saturating_mul(disk.f_frsize)),
        Err(error) => Finding::warn(
            CHECK,
            format!("{} cannot be asked: {error}", there.display()),
            "check it by hand",
        ),
    }
}

fn judge_disk(folder: &Path, free: u64) -> Finding {
    const CHECK: &str = "disk";
    let found = format!(
        "{:.1} GiB free for {}",
        free as f64 / GIB as f64,
        folder.display()
    );
    match free {
        ..MIN_FREE_BYTES => Finding::wrong(
            CHECK,
            found,
            "make room: PostgreSQL stops when its disk is full",
        ),
        MIN_FREE_BYTES..LOW_FREE_BYTES => Finding::warn(
            CHECK,
            found,
            "make room soon: PostgreSQL stops when its disk is full",
        ),
        _ => Finding::ok(CHECK, found),
    }
}

fn certificate(path: &Path) -> Finding {
    const CHECK: &str = "certificate";
    match tls::expires_at(path) {
        Ok(end) => judge_end(end, Utc::now(), path),
        Err(error) => Finding::wrong(
            CHECK,
            error.to_string(),
            "name another file in MOA_TLS_CERT_FILE",
        ),
    }
}

fn judge_end(end: DateTime<Utc>, now: DateTime<Utc>, path: &Path) -> Finding {
    const CHECK: &str = "certificate";
    let path = path.display();
    match end - now {
        left if left <= TimeDelta::zero() => Finding::wrong(
            CHECK,
            format!("the one in {path} expired at {end}"),
            "renew it: clients refuse it",
        ),
        left if left < RENEWAL_MARGIN => Finding::warn(
            CHECK,
            format!("the one in {path} expires at {end}"),
            "renew it: the file is read again",
        ),
        _ => Finding::ok(CHECK, format!("valid until {end}")),
    }
}

fn seal_key(path: &Path) -> Finding {
    const CHECK: &str = "seal key";
    match secret_file::check(path) {
        Ok(()) => Finding::ok(CHECK, format!("{} is for its owner alone", path.display())),
        // It says what to run.
        Err(error) => Finding::wrong(
            CHECK,
            crate::complaint::causes(&error),
            "a start is refused",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict::{Ok, Warn, Wrong};
    use super::*;

    #[test]
    fn a_disk_is_judged_by_what_is_free() {
        for (free, verdict) in [
            (0, Wrong),
            (GIB - 1, Wrong),
            (GIB, Warn),
            (5 * GIB - 1, Warn),
            (5 * GIB, Ok),
        ] {
            assert_eq!(
                judge_disk(Path::new("/data"), free).verdict,
                verdict,
                "{free}"
            );
        }
    }

    #[test]
    fn a_certificate_is_judged_by_what_is_left_of_it() {
        let now = DateTime::UNIX_EPOCH;
        for (days, verdict) in [
            (-1, Wrong),
            (0, Wrong),
            (1, Warn),
            (13, Warn),
            (14, Ok),
            (400, Ok),
        ] {
            assert_eq!(
                judge_end(now + TimeDelta::days(days), now, Path::new("/cert")).verdict,
                verdict,
                "{days}"
            );
        }
    }
}
