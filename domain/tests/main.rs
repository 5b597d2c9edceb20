//! The rules, each with its boundary; then random histories against a plain model.
