//! A range of positions.

use log_format::Position;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Positions from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PositionRange {
    /// Its first position.
    #[schema(value_type = i64)]
    pub first: Position,
    /// Its last.
    #[schema(value_type = i64)]
    pub last: Position,
}
