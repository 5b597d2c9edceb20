//! Parses query parameters, as strictly as bodies.

use axum::extract::{FromRequestParts, Query};
use axum::http::Uri;
use axum::http::request::Parts;
use domain::ProductId;
use std::fmt::Display;

use crate::field_problem::plain_integer;
use crate::{FieldProblem, Problem};

/// The last page that may be asked for. `MAX_PAGE_NUMBER * MAX_ROWS_PER_PAGE` fits an `i64`.
pub const MAX_PAGE_NUMBER: i64 = 1_000_000_000;
/// The most rows of one page.
pub const MAX_ROWS_PER_PAGE: i64 = 1_000;
const DEFAULT_ROWS_PER_PAGE: i64 = 20;

/// Which rows of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Paging {
    page: i64,
    size: i64,
}

impl Paging {
    /// How many rows to skip; at most [`MAX_PAGE_NUMBER`] times [`MAX_ROWS_PER_PAGE`].
    pub fn offset(&self) -> i64 {
        self.page * self.size
    }

    /// How many rows to give, 1 to [`MAX_ROWS_PER_PAGE`].
    pub fn size(&self) -> i64 {
        self.size
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Paging {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut params = Params::of(&parts.uri)?;
        params.paging().ok_or_else(|| params.refuse())
    }
}

/// The query parameters of a request. Each getter gives the value or remembers what was wrong; unknown parameters are
/// ignored.
#[derive(Debug)]
pub struct Params {
    pairs: Vec<(String, String)>,
    problems: Vec<FieldProblem>,
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::of(&parts.uri)
    }
}

impl Params {
    fn of(uri: &Uri) -> Result<Self, Problem> {
        let pairs = Query::try_from_uri(uri);
        let Query(pairs) = pairs
            .map_err(|_| Problem::invalid(FieldProblem::new("query", "must be name=value&...")))?;
        Ok(Self {
            pairs,
            problems: Vec::new(),
        })
    }

    /// Whether a parameter of this name is given, right or wrong.
    pub fn has(&self, name: &str) -> bool {
        self.pairs.iter().any(|(param, _)| param == name)
    }

    /// `page` from 0 to [`MAX_PAGE_NUMBER`] (0 when absent) and `size` from 1 to [`MAX_ROWS_PER_PAGE`] (20 when absent).
    pub fn paging(&mut self) -> Option<Paging> {
        let page = self.int("page", |n| within(n, 0, MAX_PAGE_NUMBER));
        let size = self.int("size", |n| within(n, 1, MAX_ROWS_PER_PAGE));
        Some(Paging {
            page: page?.unwrap_or(0),
            size: size?.unwrap_or(DEFAULT_ROWS_PER_PAGE),
        })
    }

    /// `productId`; `Some(None)` when absent.
    pub fn product_id(&mut self) -> Option<Option<ProductId>> {
        self.int("productId", ProductId::try_from)
    }

    /// `true` or `false`; `default` when absent.
    pub fn flag(&mut self, name: &'static str, default: bool) -> Option<bool> {
        self.read(name, |text| {
            text.parse().map_err(|_| "must be true or false".into())
        })
        .map(|it| it.unwrap_or(default))
    }

    /// Remembers something wrong that only the parameters together show, or that one is missing.
    pub fn wrong(&mut self, name: &'static str, wrong: impl Display) {
        self.problems
            .push(FieldProblem::new(name, wrong.to_string()));
    }

    /// Everything that was wrong. To be called when a getter gave `None`.
    pub fn refuse(self) -> Problem {
        Problem::Invalid(self.problems)
    }

    /// A whole number written plainly, then parsed; `Some(None)` when absent. The error's words follow the name.
    pub fn int<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(i64) -> Result<T, E>,
    ) -> Option<Option<T>> {
        self.read(name, |text| {
            plain_integer(text)
                .map_err(String::from)
                .and_then(|n| parse(n).map_err(|e| e.to_string()))
        })
    }

    /// A text, then parsed; `Some(None)` when absent. The error's words follow the name.
    pub fn text<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Option<T>> {
        self.read(name, |text| parse(text).map_err(|error| error.to_string()))
    }

    fn read<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Option<T>> {
        let read = self.at_most_one(name).and_then(|text| {
            let read = text.map(|text| {
                parse(text).map_err(|wrong| FieldProblem::new(name, wrong).given(text))
            });
            read.transpose()
        });
        read.map_err(|problem| self.problems.push(problem)).ok()
    }

    fn at_most_one(&self, name: &'static str) -> Result<Option<&str>, FieldProblem> {
        let mut named = self.pairs.iter().filter(|(param, _)| param == name);
        match (named.next(), named.next()) {
            (Some(_), Some(_)) => Err(FieldProblem::new(name, "is repeated")),
            (first, _) => Ok(first.map(|(_, text)| text.as_str())),
        }
    }
}

fn within(n: i64, least: i64, most: i64) -> Result<i64, String> {
    if (least..=most).contains(&n) {
        Ok(n)
    } else {
        Err(format!("must be a whole number from {least} to {most}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn params(query: &str) -> Params {
        Params::of(&format!("http://localhost/?{query}").parse().unwrap()).unwrap()
    }

    #[rstest]
    #[case("", 0, 20)]
    #[case("page=0&size=10", 0, 10)]
    #[case("page=3&size=7&other=x&other=y", 21, 7)]
    #[case("page=1000000000&size=1000", 1_000_000_000_000, 1000)]
    #[case("p%61ge=1", 20, 20)]
    fn good_paging(#[case] query: &str, #[case] offset: i64, #[case] size: i64) {
        let paging = params(query).paging().unwrap();
        assert_eq!((paging.offset(), paging.size()), (offset, size));
    }

    #[rstest]
    #[case("page=-1", "page must be a whole number from 0 to 1000000000, was -1")]
    #[case(
        "page=1000000001",
        "page must be a whole number from 0 to 1000000000, was 1000000001"
    )]
    #[case("size=0", "size must be a whole number from 1 to 1000, was 0")]
    #[case("size=1001", "size must be a whole number from 1 to 1000, was 1001")]
    #[case(
        "size=1.0",
        "size must be a whole number without quotes, fraction or exponent, was 1.0"
    )]
    #[case(
        "page=",
        "page must be a whole number without quotes, fraction or exponent, was "
    )]
    #[case(
        "page=+1",
        "page must be a whole number without quotes, fraction or exponent, was  1"
    )]
    #[case(
        "page=01",
        "page must be a whole number without quotes, fraction or exponent, was 01"
    )]
    #[case("page=1&page=1", "page is repeated")]
    fn bad_paging_is_named(#[case] query: &str, #[case] sentence: &str) {
        let mut params = params(query);
        assert!(params.paging().is_none());
        assert_eq!(params.problems[0].to_string(), sentence);
    }

    #[rstest]
    #[case("", Some(true))]
    #[case("switch=false", Some(false))]
    #[case("switch=true", Some(true))]
    #[case("switch=", None)]
    #[case("switch=0", None)]
    #[case("switch=True", None)]
    #[case("switch=true&switch=true", None)]
    fn a_flag_is_true_or_false_or_absent(#[case] query: &str, #[case] read: Option<bool>) {
        assert_eq!(params(query).flag("switch", true), read);
    }

    #[rstest]
    #[case("", false)]
    #[case("cursor=", true)]
    #[case("cursor", true)]
    #[case("cursor=a&cursor=b", true)]
    #[case("page=cursor", false)]
    fn a_parameter_is_given_also_when_it_is_empty_or_wrong(
        #[case] query: &str,
        #[case] is_given: bool,
    ) {
        assert_eq!(params(query).has("cursor"), is_given);
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let mut params = params("page=x&size=y&productId=0");
        assert!(params.paging().is_none() && params.product_id().is_none());
        assert_eq!(params.problems.len(), 3);
    }
}
