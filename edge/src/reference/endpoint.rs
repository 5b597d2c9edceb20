//! One call, as the OpenAPI document describes it.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use utoipa::ToSchema;

use crate::{OverRate, Problem, Rate};

/// A call: how it is made, and every answer that it may get.
#[derive(Debug)]
pub struct Endpoint {
    method: &'static str,
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    description: &'static str,
    parameters: Vec<Parameter>,
    body: Option<Value>,
    data: Value,
    /// The example of a stream of server-sent events, where a success is one.
    events: Option<String>,
    /// The schemas that `data` refers to, by name.
    components: Map<String, Value>,
    examples: Map<String, Value>,
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

    fn new(method: &'static str, path: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self {
            method,
            path,
            id,
            summary,
            description: "",
            parameters: Vec::new(),
            body: None,
            data: Value::Null,
            events: None,
            components: Map::new(),
            examples: Map::new(),
            answer_headers: Vec::new(),
            problems: vec![Problem::HeadTooLarge, Problem::Overloaded, over_rate()],
        }
    }

    /// What a caller must know besides the summary.
    pub fn described(self, description: &'static str) -> Self {
        Self { description, ..self }
    }

    /// It takes these parameters.
    pub fn takes(mut self, parameters: impl IntoIterator<Item = Parameter>) -> Self {
        self.parameters.extend(parameters);
        self
    }

    /// It takes a JSON body.
    pub fn body(self, schema: Value, example: Value) -> Self {
        Self { body: Some(json!({"schema": schema, "example": example})), ..self }.refuses([
            Problem::TooLarge,
            Problem::UnsupportedMediaType,
            Problem::TooSlow,
        ])
    }

    /// The `data` of a success, as `T` is serialized, with an example.
    pub fn gives<T: ToSchema>(self, example: Value) -> Self {
        self.refers_to::<T>().gives_data(to_value(&T::schema()), example)
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
        self.refers_to::<T>().gives_data(list, json!({"totalCount": 1, "list": [example]}))
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
        self.components.extend(schemas.into_iter().map(|(name, schema)| (name, to_value(&schema))));
        self
    }

    fn gives_data(mut self, schema: Value, example: Value) -> Self {
        self.data = schema;
        let success = json!({"result": true, "code": "01", "message": null, "data": example, "status": 200});
        self.examples.insert("01".into(), success);
        self
    }

    /// A success is a stream of server-sent events named `event`, each with a `T` as its data, with an example.
    pub fn gives_events_of<T: ToSchema>(self, event: &str, example: &Value) -> Self {
        let mut endpoint = self.refers_to::<T>();
        endpoint.data = to_value(&T::schema());
        endpoint.events = Some(format!("id: AQGS06AAAHAAgAAAAAAAAAEEAQMCBw\nevent: {event}\ndata: {example}\n\n"));
        endpoint
    }

    /// Its answers have these headers, each with what it says.
    pub fn answers_with(mut self, headers: impl IntoIterator<Item = (&'static str, &'static str)>) -> Self {
        self.answer_headers.extend(headers);
        self
    }

    /// It may be refused so.
    pub fn refuses(mut self, problems: impl IntoIterator<Item = Problem>) -> Self {
        self.problems.extend(problems);
        self
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

    pub(super) fn operation(&self, needs_token: bool) -> Value {
        let mut operation = json!({
            "operationId": self.id,
            "summary": self.summary,
            "description": self.description,
            "parameters": self.parameters.iter().map(Parameter::document).collect::<Vec<_>>(),
            "responses": self.responses(),
        });
        if let Some(body) = &self.body {
            operation["requestBody"] = json!({"required": true, "content": {"application/json": body}});
        }
        if needs_token {
            operation["security"] = json!([{"token": []}]);
        }
        operation
    }

    /// By status; each code is an example of its status.
    fn responses(&self) -> Value {
        let mut by_status: BTreeMap<u16, Map<String, Value>> = BTreeMap::new();
        by_status.insert(StatusCode::OK.as_u16(), self.examples.clone());
        for problem in &self.problems {
            let body = problem.body();
            by_status.entry(body.status).or_default().insert(body.code.into(), to_value(&body));
        }
        let responses =
            by_status.into_iter().map(|(status, examples)| (status.to_string(), self.response(status, examples)));
        Value::Object(responses.collect())
    }

    fn response(&self, status: u16, examples: Map<String, Value>) -> Value {
        let described = |(name, value)| (name, json!({"value": value}));
        let codes: Vec<_> = examples.keys().cloned().collect();
        let data = if status == StatusCode::OK.as_u16() { self.data.clone() } else { json!({"type": "null"}) };
        let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or_default();
        let headers: Map<_, _> = self
            .answer_headers
            .iter()
            .filter(|_| status == StatusCode::OK.as_u16())
            .map(|(name, says)| ((*name).to_owned(), json!({"description": says, "schema": {"type": "string"}})))
            .collect();
        if let Some(events) = self.events.as_ref().filter(|_| status == StatusCode::OK.as_u16()) {
            let described = json!({
                "type": "string",
                "description": "Server-sent events. The data of each, as JSON, is described by contentSchema.",
                "contentMediaType": "text/event-stream",
                "contentSchema": self.data,
            });
            let content = json!({"text/event-stream": {"schema": described, "example": events}});
            return json!({"description": "A stream that goes on", "headers": headers, "content": content});
        }
        json!({
            "description": format!("{reason}: `code` is one of {}", codes.join(", ")),
            "headers": headers,
            "content": {"application/json": {
                "schema": envelope(&data, &codes, status),
                "examples": examples.into_iter().map(described).collect::<Map<_, _>>(),
            }},
        })
    }
}

impl Parameter {
    fn document(&self) -> Value {
        let Self { location, name, is_required, description, schema } = *self;
        json!({"in": location, "name": name, "required": is_required, "description": description, "schema": schema()})
    }
}

/// What a listener whose calls are limited refuses with.
fn over_rate() -> Problem {
    const WRITES: Rate = Rate::per_second(NonZeroU32::new(10).unwrap(), NonZeroU32::new(20).unwrap());
    Problem::OverRate(OverRate { whose: "user", rate: WRITES, wait: WRITES.interval() })
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
