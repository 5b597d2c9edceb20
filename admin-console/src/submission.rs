//! A form that a visitor sent.

use axum::extract::{Form, FromRequest, FromRequestParts, Request};
use axum::response::{IntoResponse as _, Redirect, Response};
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::backend::Refused;
use crate::console::Console;
use crate::error::Failure;
use crate::protect::is_same_origin;
use crate::session::{CSRF_FIELD, Notice, Visitor, key};

/// The fields of a form, from a page of this session.
pub(crate) struct Submission {
    pub(crate) visitor: Visitor,
    fields: BTreeMap<String, String>,
}

impl Submission {
    /// What was filled in, without blanks around it; empty where nothing was.
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", |value| value.trim())
    }

    /// Leads to the page at `to`, which says what came of it.
    pub(crate) fn answer(
        self,
        console: &Console,
        done: Result<String, Refused>,
        to: &str,
    ) -> Response {
        let notice = match done {
            Ok(done) => Notice::Done(done),
            Err(refused) => Notice::Failed(refused.message),
        };
        console.sessions.notify(&self.visitor, notice);
        Redirect::to(to).into_response()
    }
}

impl FromRequest<Arc<Console>> for Submission {
    type Rejection = Failure;

    async fn from_request(request: Request, console: &Arc<Console>) -> Result<Self, Failure> {
        let (mut parts, body) = request.into_parts();
        let visitor = Visitor::from_request_parts(&mut parts, console).await?;
        if !is_same_origin(&parts.headers) {
            return Err(Failure::Forged);
        }
        let fields = fields(Request::from_parts(parts, body)).await?;
        let sent = fields.get(CSRF_FIELD).map_or("", String::as_str);
        if key(sent) != key(&visitor.csrf) {
            return Err(Failure::Forged);
        }
        Ok(Self { visitor, fields })
    }
}

/// The fields of any form; the last of several with the same name counts.
pub(crate) async fn fields(request: Request) -> Result<BTreeMap<String, String>, Failure> {
    let form = Form::<BTreeMap<String, String>>::from_request(request, &()).await;
    form.map(|Form(fields)| fields)
        .map_err(|why| Failure::Malformed(why.body_text()))
}
