//! The URL of a database.

use super::ssl::SslParameters;
use crate::secret::Secret;
use crate::trust;
use anyhow::Context;
use reqwest::Url;
use sqlx::postgres::PgConnectOptions;
use std::str::FromStr as _;

/// The parameters that have an effect. sqlx logs any other with its value.
const PARAMETERS: [&str; 18] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

/// The longest part of a parameter's name that is shown, in characters.
const MAX_SHOWN_CHARS: usize = 40;

/// What `url` says, which `name` is the setting of. A parameter that is not known has no effect; it is logged by its name, never
/// with its value.
///
/// # Errors
/// It cannot be read: the reason would repeat it, and with it a password. Or what it says of TLS cannot be done.
pub(crate) fn read(name: &str, url: &Secret) -> anyhow::Result<PgConnectOptions> {
    // sqlx takes any scheme, and would go to a server of another kind.
    let ours = ["postgres://", "postgresql://"]
        .iter()
        .any(|scheme| url.reveal().starts_with(scheme));
    let cannot = || format!("{name} cannot be read: it must be postgres://user@host:port/name");
    let parsed = Url::parse(url.reveal())
        .ok()
        .filter(|_| ours)
        .with_context(cannot)?;
    let mut known = without_unknown(parsed, |parameter| {
        tracing::warn!("{name} has a parameter that is not known and has no effect: {parameter:?}");
    });
    let ssl = SslParameters::take(&mut known);
    let options = PgConnectOptions::from_str(known.as_str())
        .ok()
        .with_context(cannot)?;
    ssl.apply(options, trust::of_process())
        .with_context(|| format!("{name} cannot be read"))
}

fn without_unknown(mut url: Url, tell: impl Fn(String)) -> Url {
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let (known, unknown): (Vec<_>, Vec<_>) = pairs
        .into_iter()
        .partition(|(parameter, _)| is_known(parameter));
    if !unknown.is_empty() {
        url.query_pairs_mut().clear().extend_pairs(known);
    }
    unknown
        .iter()
        .for_each(|(parameter, _)| tell(parameter.chars().take(MAX_SHOWN_CHARS).collect()));
    url
}

fn is_known(parameter: &str) -> bool {
    PARAMETERS.contains(&parameter) || parameter.starts_with("options[") && parameter.ends_with(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_stays_as_it_was() {
        let url = "postgres://me:a%40b@host:1/a?sslmode=disable&colour=red&options[x]=1%202&options=-c%20y%3D3";
        let logged = std::cell::RefCell::new(Vec::new());
        let known = without_unknown(Url::parse(url).expect("a URL"), |name| {
            logged.borrow_mut().push(name)
        });
        assert_eq!(logged.into_inner(), ["colour"]);
        assert_eq!(known.password(), Some("a%40b"));
        let pairs: Vec<_> = known.query_pairs().into_owned().collect();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            pairs,
            [
                pair("sslmode", "disable"),
                pair("options[x]", "1 2"),
                pair("options", "-c y=3")
            ]
        );
    }

    /// What sqlx does not know it logs with its value, and it has no effect.
    #[test]
    fn nothing_is_kept_that_sqlx_does_not_know() {
        for name in PARAMETERS {
            let value = match name {
                "hostaddr" => "127.0.0.1",
                "port" | "statement-cache-capacity" => "7",
                "sslmode" | "ssl-mode" => "disable",
                _ => "x",
            };
            let plain = format!(
                "{:?}",
                PgConnectOptions::from_str("postgres://me@host/moa").expect("a URL")
            );
            let with =
                PgConnectOptions::from_str(&format!("postgres://me@host/moa?{name}={value}"))
                    .expect("a URL");
            assert_ne!(format!("{with:?}"), plain, "{name} changes nothing");
        }
    }
}
