//! Examples of every command, for its page of help. A test parses each of them.

/// A command below `moa`, with lines as a shell takes them; the empty one is `moa` itself. A command without a line here has only
/// commands below it, and shows theirs.
pub(super) const EXAMPLES: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "moa serve --ephemeral",
            "moa product list",
            "moa audit events --user user4",
        ],
    ),
    (
        "serve",
        &[
            "moa serve                       # a private PostgreSQL, kept between starts",
            "moa serve --no-demo --database-url postgres://moa@db/moa",
            "moa serve query-api --database-url postgres://moa@db/moa",
        ],
    ),
    (
        "serve command-api",
        &["moa serve command-api --database-url postgres://command_api@db/moa"],
    ),
    (
        "serve query-api",
        &[
            "moa serve query-api --database-url postgres://query_api@db/moa \\\n      --redis-url redis://cache",
        ],
    ),
    (
        "serve projector",
        &[
            "moa serve projector --database-url postgres://projector@db/moa \\\n      --amqp-url amqp://moa@rabbit",
        ],
    ),
    (
        "serve relay",
        &[
            "moa serve relay --database-url postgres://relay@db/moa \\\n      --amqp-url amqp://moa@rabbit",
        ],
    ),
    (
        "serve admin",
        &[
            "moa serve admin --database-url postgres://admin@db/moa \\\n      --tokens-file /etc/moa/tokens",
        ],
    ),
    (
        "serve sealer",
        &[
            "moa serve sealer --database-url postgres://sealer@db/moa \\\n      --seal-key-file seal-key.pem --seals-file seals.ndjson",
        ],
    ),
    (
        "migrate",
        &[
            "moa migrate --database-url postgres://owner@db/moa",
            "moa migrate --partitions 8           # and create the log",
        ],
    ),
    (
        "config check",
        &[
            "moa config check --no-demo",
            "moa config check query-api --database-url postgres://query_api@db/moa",
        ],
    ),
    (
        "doctor",
        &[
            "moa doctor",
            "moa doctor projector --database-url postgres://projector@db/moa",
        ],
    ),
    (
        "healthcheck",
        &[
            "moa healthcheck",
            "moa healthcheck 127.0.0.1:8082",
            "moa healthcheck https://moa.internal:8082",
        ],
    ),
    (
        "product open",
        &[
            "moa product open --title \"Bridge loan 7\" --total 5000000 \\\n      --starts 2026-12-01T09:00:00 --finishes 2026-12-02T00:00:00",
        ],
    ),
    ("product close", &["moa product close 4"]),
    (
        "product cancel",
        &["moa product cancel 4 --reason \"the orchard froze\""],
    ),
    (
        "product list",
        &[
            "moa product list",
            "moa product list --page 1 --size 100 --json",
        ],
    ),
    (
        "status",
        &[
            "moa status",
            "moa status --check               # ends with 1 when an operator is needed",
        ],
    ),
    ("projection list", &["moa projection list"]),
    (
        "projection rebuild",
        &[
            "moa projection rebuild holdings",
            "moa projection rebuild holdings --no-switch --max-rate 5000",
        ],
    ),
    ("projection switch", &["moa projection switch holdings"]),
    ("projection rollback", &["moa projection rollback holdings"]),
    ("projection pause", &["moa projection pause holdings"]),
    ("projection resume", &["moa projection resume holdings"]),
    ("projection diff", &["moa projection diff holdings"]),
    ("projection drop", &["moa projection drop holdings"]),
    ("parked list", &["moa parked list --limit 5"]),
    ("parked show", &["moa parked show 17"]),
    (
        "parked drop",
        &["moa parked drop 17", "moa parked drop --all"],
    ),
    (
        "restore",
        &["moa restore --accept-loss", "moa restore --accept-clock"],
    ),
    (
        "replay",
        &[
            "moa replay --to billing --from 2026-11-22T09:00:00Z --max-rate 500 \\\n      --database-url postgres://relay@db/moa --amqp-url amqp://moa@rabbit",
        ],
    ),
    (
        "audit events",
        &[
            "moa audit events --user user4",
            "moa audit events --type InvestFailed --order desc --limit 10",
        ],
    ),
    ("audit export", &["moa audit export --out log.ndjson"]),
    (
        "audit product",
        &[
            "moa audit product 3 --at 2026-11-22T18:00:00",
            "moa audit product 3 --sequence 7",
        ],
    ),
    (
        "audit products",
        &["moa audit products --at 2026-11-22T18:00:00"],
    ),
    (
        "audit holdings",
        &["moa audit holdings --user user4 --at 2026-11-22T18:00:00"],
    ),
    (
        "audit invest-log",
        &["moa audit invest-log --user user4 --at 2026-11-22T18:00:00"],
    ),
    (
        "audit summary",
        &["moa audit summary --user user4 --at 2026-11-22T18:00:00"],
    ),
    (
        "audit invest",
        &["moa audit invest 01a20688-aca6-71c1-9950-dac7abfabb63"],
    ),
    (
        "audit refusals",
        &["moa audit refusals --product 3 --code SOLD_OUT"],
    ),
    (
        "audit verify",
        &[
            "moa audit verify",
            "moa audit verify --export log.ndjson \\\n      --seals seals.ndjson --public-key seal-key.pem.pub",
        ],
    ),
    (
        "audit prove",
        &["moa audit prove 01a20688-aca6-71c1-9950-dac7abfabb63 --out proof.json"],
    ),
    (
        "audit check",
        &["moa audit check proof.json --public-key seal-key.pem.pub"],
    ),
    ("audit seals", &["moa audit seals --out seals.ndjson"]),
    ("audit key", &["moa audit key seal-key.pem"]),
    (
        "audit acts",
        &[
            "moa audit acts --actor ann",
            "moa audit acts --act SWITCH --from 2026-11-22T00:00:00",
        ],
    ),
    ("audit access", &["moa audit access --limit 100"]),
    (
        "backup verify",
        &[
            "moa backup verify --dump moa.dump \\\n      --seals seals.ndjson --public-key seal-key.pem.pub",
        ],
    ),
    (
        "completions",
        &["moa completions bash > ~/.local/share/bash-completion/completions/moa"],
    ),
    ("man", &["moa man ~/.local/share/man/man1"]),
    ("token new", &["moa token new ann --role operator"]),
];

/// The lines of a command.
pub(super) fn of(path: &str) -> &'static [&'static str] {
    EXAMPLES
        .iter()
        .find(|(name, _)| *name == path)
        .map_or(&[], |(_, lines)| lines)
}

/// The words of a line, as a shell makes them of quotes, comments and a broken line.
#[cfg(test)]
pub(super) fn words(line: &str) -> Vec<String> {
    let line = line.replace("\\\n", " ");
    let line = line.split(['#', '>']).next().unwrap_or_default();
    let quoted = line.split('"').enumerate();
    let words = quoted.flat_map(|(at, part)| match at % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect(),
        _ => vec![part.to_owned()],
    });
    words.collect()
}
