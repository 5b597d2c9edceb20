//! Older shapes of events, read as today's.

use cqrs_es::persist::{EventUpcaster, SemanticVersionEventUpcaster};
use serde_json::{Value, json};

/// All upcasters, oldest first. Every reader of the log applies them; the stored bytes are never touched.
pub fn upcasters() -> Vec<Box<dyn EventUpcaster>> {
    vec![Box::new(SemanticVersionEventUpcaster::new(
        "InvestFailed",
        "2.0.0",
        Box::new(split_fail_reason),
    ))]
}

/// `InvestFailed` 1.0 carried one text, `"reason": "CODE : detail"`, as the seed shows it; 2.0 carries its two halves.
fn split_fail_reason(mut payload: Value) -> Value {
    let Some(failed) = payload
        .get_mut("InvestFailed")
        .and_then(Value::as_object_mut)
    else {
        return payload;
    };
    if let Some(Value::String(reason)) = failed.remove("reason") {
        let (code, detail) = reason.split_once(" : ").unwrap_or((&reason, ""));
        failed.insert("code".into(), json!(code));
        failed.insert("detail".into(), json!(detail));
    }
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fail_reason_of_the_first_version_is_split_in_two() {
        let old = json!({"InvestFailed": {"amount": 10, "reason": "NOT_EXIST_PRODUCT : 1"}});
        let new =
            json!({"InvestFailed": {"amount": 10, "code": "NOT_EXIST_PRODUCT", "detail": "1"}});
        assert_eq!(split_fail_reason(old), new);
    }

    #[test]
    fn a_reason_without_a_detail_is_all_code() {
        let old = json!({"InvestFailed": {"reason": "PENDING"}});
        assert_eq!(
            split_fail_reason(old),
            json!({"InvestFailed": {"code": "PENDING", "detail": ""}})
        );
    }

    #[test]
    fn only_older_versions_of_that_event_are_upcast() {
        let [only] = <[_; 1]>::try_from(upcasters()).ok().expect("one upcaster");
        assert!(only.can_upcast("InvestFailed", "1.0.0"));
        assert!(!only.can_upcast("InvestFailed", "2.0.0"));
        assert!(!only.can_upcast("InvestSettled", "1.0.0"));
    }
}
