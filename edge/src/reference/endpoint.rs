//! One call, as the OpenAPI document describes it.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use utoipa::ToSchema;

use crate::{OverRate, Problem, Rate, problem_details};

/// The name of [`problem_details_schema`] among a document's schemas.
pub(super) const PROBLEM_DETAILS: &str = "ProblemDetails";
const EVENT_STREAM: &str = "text/event-stream";
const PLAIN_TEXT: &str = "text/plain";

/// A call: how it is made, and every answer that it may get.
#[derive(Debug)]
pub struct Endpoint {
    method: &'static str,
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    description: &'static str,
    needs_token: bool,
    parameters: Vec<Parameter>,
    body: Option<Value>,
    /// The status of a success.
    success: StatusCode,
    /// What the envelope of a success holds.
    data: Value,
    /// The schemas that `data` refers to, by name.
    components: Map<String, Value>,
    examples: Map<String, Value>,
    /// Answers that are no envelope: their status, media type and content.
    others: Vec<(StatusCode, &'static str, Value)>,
    answer_headers: Vec<(&'static str, &'static str)>,
    problems: Vec<Problem>,
}

/// A parameter or header of a call.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// `query`, `path` or `header`.
    pub location: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Whether a call without it is refused.
    pub is_required: bool,
    /// What it means, and its bounds.
    pub description: &'static str,
    /// Its JSON schema.
    pub schema: fn() -> Value,
}

impl Endpoint {
    /// A GET; `id` is the name that generated clients give it.
    pub fn get(path: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self::new("get", path, id, summary)
    }

    /// A POST.
    pub fn post(path: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self::new("post", path, id, summary)
    }

    fn new(
        method: &'static str,
        path: &'static str,
        id: &'static str,
        summary: &'static str,
    ) -> Self {
        Self {
            method,
            path,
            id,
            summary,
            description: "",
            needs_token: true,
            parameters: Vec::new(),
            body: None,
            success: StatusCode::OK,
            data: Value::Null,
            components: Map::new(),
            examples: Map::new(),
            others: Vec::new(),
            answer_headers: Vec::new(),
            problems: of_every_listener(),
        }
    }

    /// It needs no token, also where the listener has one.
    pub fn without_token(self) -> Self {
        Self {
            needs_token: false,
            ..self
        }
    }

    /// What a caller must know besides the summary.
    pub fn described(self, description: &'static str) -> Self {
        Self {
            description,
            ..self
        }
    }

    /// It takes these parameters.
    pub fn takes(mut self, parameters: impl IntoIterator<Item = Parameter>) -> Self {
        self.parameters.extend(parameters);
        self
    }

    /// It takes a JSON body.
    pub fn body(self, schema: Value, example: Value) -> Self {
        Self {
            body: Some(json!({"schema": schema, "example": example})),
            ..self
        }
        .refuses([
            Problem::TooLarge,
            Problem::UnsupportedMediaType,
            Problem::TooSlow,
        ])
    }

    /// The `data` of a success, as `T` is serialized, with an example.
    pub fn gives<T: ToSchema>(self, example: Value) -> Self {
        self.refers_to::<T>()
            .gives_data(to_value(&T::schema()), example)
    }

    /// The same, as 202: the work begins and goes on after the answer.
    pub fn begins<T: ToSchema>(self, example: Value) -> Self {
        Self {
            success: StatusCode::ACCEPTED,
            ..self
        }
        .gives::<T>(example)
    }

    /// The `data` of a success is a page of these.
    pub fn gives_list_of<T: ToSchema>(self, example: Value) -> Self {
        let list = json!({
            "type": "object",
            "required": ["totalCount", "list"],
            "properties": {
                "totalCount": {"type": "integer", "format": "int64", "description": "Of all pages together."},
                "list": {"type": "array", "items": to_value(&T::schema())},
            },
        });
        self.refers_to::<T>()
            .gives_data(list, json!({"totalCount": 1, "list": [example]}))
    }

    /// Where it is asked with a cursor, its list says where the next page begins.
    pub fn continues(mut self) -> Self {
        self.data["properties"]["nextCursor"] = json!({
            "type": ["string", "null"],
            "description": "To be sent as cursor for what follows; null at the end. Only where the request had a cursor.",
        });
        self
    }

    fn refers_to<T: ToSchema>(mut self) -> Self {
        let mut schemas = Vec::new();
        T::schemas(&mut schemas);
        self.components.extend(
            schemas
                .into_iter()
                .map(|(name, schema)| (name, to_value(&schema))),
        );
        self
    }

    fn gives_data(mut self, schema: Value, example: Value) -> Self {
        let status = self.success.as_u16();
        self.data = schema;
        let success = json!({"result": true, "code": "01", "message": null, "data": example, "status": status});
        self.examples.insert("01".into(), success);
        self
    }

    /// A success is a stream of server-sent events named `event`, each with a `T` as its data, with an example.
    pub fn gives_events_of<T: ToSchema>(self, event: &str, example: &Value) -> Self {
        let data = json!({
            "type": "string", "contentMediaType": "application/json", "contentSchema": to_value(&T::schema()),
        });
        // OpenAPI 3.1 has no word for a sequence; tools take the schema as that of each event, as the itemSchema of 3.2.
        let schema = json!({
            "type": "object",
            "description": "Server-sent events without an end, each with these fields.",
            "required": ["id", "event", "data"],
            "properties": {"id": {"type": "string"}, "event": {"type": "string", "const": event}, "data": data},
        });
        let example =
            format!("id: AQGS06AAAHAAgAAAAAAAAAEEAQMCBw\nevent: {event}\ndata: {example}\n\n");
        self.refers_to::<T>()
            .answers(StatusCode::OK, EVENT_STREAM, schema, &example)
    }

    /// A success is, by `Accept`, a text of this media type, with an example.
    pub fn gives_text(self, media_type: &'static str, description: &str, example: &str) -> Self {
        self.answers(
            StatusCode::OK,
            media_type,
            json!({"type": "string", "description": description}),
            example,
        )
    }

    /// It may be refused with this status and a plain text, which is no envelope.
    pub fn refuses_in_plain_text(self, status: StatusCode, example: &str) -> Self {
        self.answers(status, PLAIN_TEXT, json!({"type": "string"}), example)
    }

    fn answers(
        mut self,
        status: StatusCode,
        media_type: &'static str,
        schema: Value,
        example: &str,
    ) -> Self {
        self.others.push((
            status,
            media_type,
            json!({"schema": schema, "example": example}),
        ));
        self
    }

    /// Its answers have these headers, each with what it says.
    pub fn answers_with(
        mut self,
        headers: impl IntoIterator<Item = (&'static str, &'static str)>,
    ) -> Self {
        self.answer_headers.extend(headers);
        self
    }

    /// It may be refused so.
    pub fn refuses(mut self, problems: impl IntoIterator<Item = Problem>) -> Self {
        self.problems.extend(problems);
        self
    }

    /// Whether it changes nothing.
    pub fn is_read(&self) -> bool {
        self.method == "get"
    }

    pub(super) fn path(&self) -> &'static str {
        self.path
    }

    pub(super) fn components(&self) -> Map<String, Value> {
        self.components.clone()
    }

    pub(super) fn method(&self) -> &'static str {
        self.method
    }

    pub(super) fn operation(&self, has_token: bool) -> Value {
        let mut operation = json!({
            "operationId": self.id,
            "summary": self.summary,
            "description": self.description,
            "parameters": self.parameters.iter().map(Parameter::document).collect::<Vec<_>>(),
            "responses": self.responses(),
        });
        if let Some(body) = &self.body {
            operation["requestBody"] =
                json!({"required": true, "content": {"application/json": body}});
        }
        if has_token && self.needs_token {
            operation["security"] = json!([{"token": []}]);
        }
        operation
    }

    /// By status.
    fn responses(&self) -> Value {
        let mut envelopes = self.envelopes();
        for status in self
            .others
            .iter()
            .map(|(status, _, _)| *status)
            .chain(self.problems.iter().map(details_status))
        {
            envelopes.entry(status).or_default();
        }
        let responses = envelopes.into_iter().map(|(status, examples)| {
            (status.as_u16().to_string(), self.response(status, examples))
        });
        Value::Object(responses.collect())
    }

    /// The answers in the envelope, by status; each code is an example of its status.
    fn envelopes(&self) -> BTreeMap<StatusCode, Map<String, Value>> {
        let mut by_status: BTreeMap<StatusCode, Map<String, Value>> = BTreeMap::new();
        if !self.examples.is_empty() {
            by_status.insert(self.success, self.examples.clone());
        }
        for problem in &self.problems {
            by_status
                .entry(problem.status())
                .or_default()
                .insert(problem.code().into(), to_value(&problem.body()));
        }
        by_status
    }

    fn response(&self, status: StatusCode, examples: Map<String, Value>) -> Value {
        let codes: Vec<_> = examples.keys().cloned().collect();
        let mut contents: Map<_, _> = self
            .others
            .iter()
            .filter(|(of, _, _)| *of == status)
            .map(|(_, media_type, content)| ((*media_type).to_owned(), content.clone()))
            .collect();
        if !codes.is_empty() {
            contents.insert(
                "application/json".into(),
                self.envelope(status, &codes, examples),
            );
        }
        let detailed: Map<_, _> = self
            .problems
            .iter()
            .filter(|problem| details_status(problem) == status)
            .map(details)
            .collect();
        if !detailed.is_empty() {
            let schema = json!({"$ref": format!("#/components/schemas/{PROBLEM_DETAILS}")});
            contents.insert(
                problem_details::MEDIA_TYPE.into(),
                json!({"schema": schema, "examples": detailed}),
            );
        }
        let reason = status.canonical_reason().unwrap_or_default();
        let named = if codes.is_empty() {
            String::new()
        } else {
            format!(": `code` is one of {}", codes.join(", "))
        };
        json!({"description": format!("{reason}{named}"), "headers": self.headers(status), "content": contents})
    }

    fn envelope(
        &self,
        status: StatusCode,
        codes: &[String],
        examples: Map<String, Value>,
    ) -> Value {
        let nothing = json!({"type": "null"});
        let data = if status == self.success {
            &self.data
        } else {
            &nothing
        };
        let described = |(name, value)| (name, json!({"value": value}));
        let examples: Map<_, _> = examples.into_iter().map(described).collect();
        json!({"schema": envelope(data, codes, status.as_u16()), "examples": examples})
    }

    fn headers(&self, status: StatusCode) -> Map<String, Value> {
        let described = |says: &str| json!({"description": says, "schema": {"type": "string"}});
        let answered = self
            .answer_headers
            .iter()
            .filter(|_| status == self.success);
        answered
            .map(|(name, says)| ((*name).to_owned(), described(says)))
            .collect()
    }
}

impl Parameter {
    fn document(&self) -> Value {
        let Self {
            location,
            name,
            is_required,
            description,
            schema,
        } = *self;
        json!({"in": location, "name": name, "required": is_required, "description": description, "schema": schema()})
    }
}

/// A problem's status in problem details, which differs from the envelope's for a refusal by a product's rules.
fn details_status(problem: &Problem) -> StatusCode {
    problem_details::status(problem.status(), problem.code())
}

/// An example of the problem in problem details, by its code.
fn details(problem: &Problem) -> (String, Value) {
    let status = details_status(problem);
    let message = problem.body().message.unwrap_or_default();
    (
        problem.code().into(),
        json!({"value": problem_details::body(status, problem.code(), &message, "7b0c")}),
    )
}

/// What a listener whose calls are limited refuses with.
fn over_rate() -> Problem {
    const WRITES: Rate =
        Rate::per_second(NonZeroU32::new(10).unwrap(), NonZeroU32::new(20).unwrap());
    Problem::OverRate(OverRate {
        whose: "user",
        rate: WRITES,
        wait: WRITES.interval(),
    })
}

/// What any call of any listener may get before or instead of its own answer.
fn of_every_listener() -> Vec<Problem> {
    vec![
        Problem::HeadTooSlow,
        Problem::UriTooLong,
        Problem::WrongHost,
        over_rate(),
        Problem::HeadTooLarge,
        Problem::internal("as any call may"),
        Problem::Overloaded,
    ]
}

/// The shape of every refusal for callers that ask for problem details.
pub(super) fn problem_details_schema() -> Value {
    json!({
        "type": "object",
        "description": "RFC 9457, for callers whose Accept names application/problem+json.",
        "required": ["type", "title", "status", "detail", "code", "correlationId"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string", "description": "The status in words."},
            "status": {"type": "integer"},
            "detail": {"type": "string", "description": "For people."},
            "code": {"type": "string", "description": "For programs; as in the envelope."},
            "correlationId": {"type": "string", "description": "To be given to an operator."},
        },
    })
}

/// The shape of every answer.
fn envelope(data: &Value, codes: &[String], status: u16) -> Value {
    json!({
        "type": "object",
        "required": ["result", "code", "message", "data", "status"],
        "properties": {
            "result": {"type": "boolean", "description": "Whether what was asked was done."},
            "code": {"type": "string", "enum": codes},
            "message": {"type": ["string", "null"], "description": "For people; null for success."},
            "data": {"anyOf": [data, {"type": "null"}]},
            "status": {"type": "integer", "const": status},
        },
    })
}

/// Schemas, numbers and texts: they cannot fail to be serialized.
fn to_value(of: &impl serde::Serialize) -> Value {
    serde_json::to_value(of).unwrap_or_default()
}
