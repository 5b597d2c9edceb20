//! The reference of the admin listener: what its OpenAPI document says of each call.

use super::job::{Begun, Dropped, JobView, Live};
use super::{mass_refund, product, projection, restore};
use broker::parked::ParkedDelivery;
use edge::reference::{CORRELATION_ID, Endpoint, Listener, PAGE, PRODUCT_ID, Parameter, SIZE};
use edge::{FieldProblem, Problem};
use projector::PROJECTIONS;
use serde_json::{Value, json};

/// The admin listener.
pub(super) const LISTENER: Listener = Listener {
    title: "Moa: admin",
    description: "For operators and auditors; never expose it. Products, read models and their rebuilds, parked deliveries, and the audit of \
                  the log. Times are local to the service's zone, without an offset.",
    bearer: Some(
        "The operator's token, which may do everything, or the auditor's, which may only read.",
    ),
    console: Some(admin_console::PATH),
};

const NAME: Parameter = Parameter {
    location: "path",
    name: "name",
    is_required: true,
    description: "A read model.",
    schema: || json!({"type": "string", "enum": PROJECTIONS.iter().map(|known| known.name).collect::<Vec<_>>()}),
};
const ID: Parameter = Parameter {
    location: "path",
    name: "id",
    is_required: true,
    description: "The id, as a list or an earlier answer has it.",
    schema: || json!({"type": "integer", "format": "int64"}),
};
const MAX_RATE: Parameter = Parameter {
    location: "query",
    name: "maxRate",
    is_required: false,
    description: "Events a second, at most; as fast as it goes when absent.",
    schema: || json!({"type": "integer", "format": "int32", "minimum": 1, "maximum": i32::MAX}),
};
const SWITCH: Parameter = flag(
    "switch",
    "Whether it goes live by itself once it is compared.",
    || json!({"type": "boolean", "default": true}),
);
const ACCEPT_DIFFERENCES: Parameter = flag(
    "acceptDifferences",
    "Whether it may go live although its rows differ.",
    || json!({"type": "boolean", "default": false}),
);

const fn flag(name: &'static str, description: &'static str, schema: fn() -> Value) -> Parameter {
    Parameter {
        location: "query",
        name,
        is_required: false,
        description,
        schema,
    }
}

/// Every call of the listener.
pub(super) fn endpoints() -> Vec<Endpoint> {
    let products = command_api::reference::product_endpoints()
        .into_iter()
        .chain([products(), refunds()]);
    let guarded = products
        .chain(projections())
        .chain(jobs())
        .chain(parked())
        .chain([accept()]);
    let guarded = guarded
        .chain(audit::reference::endpoints())
        .map(guarded_as_it_is);
    guarded.chain(crate::ops::reference::endpoints()).collect()
}

/// What every call behind the guard takes and may answer.
fn guarded_as_it_is(endpoint: Endpoint) -> Endpoint {
    let endpoint = if endpoint.is_read() {
        endpoint
    } else {
        endpoint.refuses([Problem::Forbidden])
    };
    let correlated = endpoint
        .takes([CORRELATION_ID])
        .answers_with([("X-Correlation-Id", "The name of this request.")]);
    correlated.refuses([Problem::Unauthorized])
}

fn products() -> Endpoint {
    let only = Parameter {
        location: "query",
        is_required: false,
        description: "Only this product.",
        ..PRODUCT_ID
    };
    Endpoint::get("/admin/product", "listAllProducts", "All products, open or not, newest first")
        .takes([PAGE, SIZE, only])
        .gives_list_of::<product::Item>(json!({
            "productId": 2, "title": "product1", "totalInvestingAmount": 1_000, "currentInvestingAmount": 210, "investingCnt": 3,
            "startedAt": "2026-11-20T23:59:00", "finishedAt": "2026-12-12T23:59:00", "state": "ONGOING",
        }))
        .refuses([not_a_page()])
}

fn refunds() -> Endpoint {
    Endpoint::get("/admin/mass-refund", "listMassRefunds", "The products that ended and are given back, and how far each is")
        .gives_list_of::<mass_refund::Item>(json!({
            "productId": 2, "beganAt": "2026-11-22T23:59:01.677448", "readPercent": 100, "secondsLeft": 0, "queuedRefunds": 2,
            "openReservations": 0,
        }))
}

fn projections() -> Vec<Endpoint> {
    let list = Endpoint::get("/admin/projection", "listConsumers", "How far each consumer of the log is")
        .described(
            "Read models and their standby generations, settlement's work list, the relay, and the counters in Redis.",
        )
        .gives_list_of::<projection::Status>(json!({
            "name": "product_list", "generation": 1, "version": 1, "state": "RUNNING", "positions": [7, 3, 0, 12],
            "head": [7, 3, 0, 12], "lagEvents": 0, "lagSeconds": 0.0, "stuck": [],
        }));
    let rebuild = of_one(
        Endpoint::post,
        "/admin/projection/{name}/rebuild",
        "rebuildProjection",
        "Rebuild a read model beside the live one",
    )
    .described("A job compares it with the live one, and switches to it if both are equal.")
    .takes([SWITCH, ACCEPT_DIFFERENCES, MAX_RATE])
    .begins::<Begun>(json!({"jobId": 1}))
    .refuses([invalid("switch", "must be true or false"), busy()]);
    let diff = of_one(
        Endpoint::get,
        "/admin/projection/{name}/diff",
        "diffProjection",
        "Compare a read model with the log, and change nothing",
    )
    .described("A job, as a rebuild that is dropped. It makes work, so it is the operator's alone.")
    .takes([MAX_RATE])
    .begins::<Begun>(json!({"jobId": 1}))
    .refuses([
        invalid("maxRate", "must be a whole number from 1 to 2147483647"),
        busy(),
        Problem::Forbidden,
    ]);
    let switch = of_one(
        Endpoint::post,
        "/admin/projection/{name}/switch",
        "switchProjection",
        "Make the standby live",
    )
    .takes([ACCEPT_DIFFERENCES])
    .gives::<Live>(json!({"generation": 2}))
    .refuses([
        invalid("acceptDifferences", "must be true or false"),
        Problem::Conflict("no standby of it is ready: rebuild it first".into()),
    ]);
    let rollback = of_one(
        Endpoint::post,
        "/admin/projection/{name}/rollback",
        "rollBackProjection",
        "Make the previous generation live again",
    )
    .gives::<Live>(json!({"generation": 1}))
    .refuses([Problem::Conflict(
        "there is no previous generation of it to go back to".into(),
    )]);
    let pause = of_one(
        Endpoint::post,
        "/admin/projection/{name}/pause",
        "pauseProjection",
        "Apply no more events, until it is resumed",
    )
    .gives::<String>(json!("OK"));
    let resume = of_one(
        Endpoint::post,
        "/admin/projection/{name}/resume",
        "resumeProjection",
        "Apply events again",
    )
    .gives::<String>(json!("OK"));
    let drop = of_one(
        Endpoint::post,
        "/admin/projection/{name}/drop",
        "dropStandbys",
        "Cancel its job and drop its standby generations",
    )
    .described("The live one stays.")
    .gives::<Dropped<usize>>(json!({"dropped": 1}));
    vec![list, rebuild, diff, switch, rollback, pause, resume, drop]
}

/// A call about one read model.
fn of_one(
    method: fn(&'static str, &'static str, &'static str) -> Endpoint,
    path: &'static str,
    id: &'static str,
    summary: &'static str,
) -> Endpoint {
    method(path, id, summary)
        .takes([NAME])
        .refuses([Problem::NotFound])
}

fn jobs() -> [Endpoint; 2] {
    let no = json!({"live": [], "new": []});
    let (digest, rows) = (
        json!({"live": "9f86d081", "new": "9f86d081"}),
        json!({"live": 2, "new": 2}),
    );
    let table = json!({"table": "holdings", "rows": rows, "sums": {}, "digest": digest, "differences": [], "only": no});
    let outcome = json!({"equal": true, "positions": [7, 3, 0, 12], "digest": digest, "tables": [table], "only": no});
    let job = json!({
        "jobId": 1, "kind": "REBUILD", "projection": "holdings", "generation": 2, "codeVersion": 1, "state": "DONE",
        "stage": "SWITCHING", "done": 22, "total": 22, "maxRate": null, "switches": true, "acceptDifferences": false,
        "problem": null, "outcome": outcome, "askedAt": "2026-11-22T23:59:01.677448",
        "movedAt": "2026-11-22T23:59:02.115211", "endedAt": "2026-11-22T23:59:02.115211",
    });
    [
        Endpoint::get(
            "/admin/job",
            "listJobs",
            "The latest job of each read model",
        )
        .gives_list_of::<JobView>(job.clone()),
        Endpoint::get("/admin/job/{id}", "getJob", "One job, running or ended")
            .takes([ID])
            .gives::<JobView>(job)
            .refuses([Problem::NotFound]),
    ]
}

fn parked() -> [Endpoint; 4] {
    let delivery = json!({
        "id": 1, "parkedAt": "2026-11-22T14:59:01.677448Z", "queue": "moa.holdings.0",
        "reason": "its hash chain does not match the log", "contentType": "application/cloudevents-batch+json",
        "headers": {"moa-first": "1"}, "bytes": 2,
    });
    let mut whole = delivery.clone();
    whole["body"] = json!("[]");
    [
        Endpoint::get(
            "/admin/parked",
            "listParked",
            "Deliveries that do not match the log, the newest first",
        )
        .described("Dead letters: they changed nothing.")
        .takes([PAGE, SIZE])
        .gives_list_of::<ParkedDelivery>(delivery)
        .refuses([not_a_page()]),
        Endpoint::get(
            "/admin/parked/{id}",
            "getParked",
            "One of them, with the beginning of its body",
        )
        .takes([ID])
        .gives::<ParkedDelivery>(whole)
        .refuses([Problem::NotFound]),
        Endpoint::post(
            "/admin/parked/{id}/drop",
            "dropParked",
            "Forget one of them",
        )
        .takes([ID])
        .gives::<Dropped<u64>>(json!({"dropped": 1}))
        .refuses([Problem::NotFound]),
        Endpoint::post("/admin/parked/drop", "dropAllParked", "Forget all of them")
            .gives::<Dropped<u64>>(json!({"dropped": 1})),
    ]
}

fn accept() -> Endpoint {
    let accepted = json!({"type": "string", "enum": ["LOSS", "CLOCK"]});
    let body =
        json!({"type": "object", "required": ["accept"], "properties": {"accept": accepted}});
    Endpoint::post(
        "/admin/restore",
        "acceptRestore",
        "Let writes continue after the database lost events, or its clock jumped",
    )
    .described("Read \"When the database was set back\" in docs/operating.md first: what was lost is lost then.")
    .body(body, json!({"accept": "CLOCK"}))
    .gives::<restore::Accepted>(json!({"heads": [7, 3, 0, 12]}))
    .refuses([invalid("accept", "must be LOSS or CLOCK")])
}

fn busy() -> Problem {
    Problem::Conflict("job 1 of it is running: wait for it, or drop it".into())
}

fn not_a_page() -> Problem {
    invalid("page", "must be a whole number from 0 to 1000000000")
}

fn invalid(name: &'static str, wrong: &'static str) -> Problem {
    Problem::invalid(FieldProblem::new(name, wrong))
}
