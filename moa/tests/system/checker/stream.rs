//! I7, the shape of the streams: places without holes, times that never fall, each product in its partition.

use std::collections::BTreeMap;

use super::{Fault, Log};

pub fn faults(log: &Log) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut heads = BTreeMap::new();
    let mut sequences = BTreeMap::new();
    for event in &log.events {
        let mut fault = |what: String| faults.push(Fault::new("I7", what));
        let (partition, position, product) = (event.partition, event.position, event.product);
        let (before, last_time) = heads
            .insert(partition, (position, event.recorded_at))
            .unwrap_or_default();
        if position != before + 1 {
            fault(format!(
                "partition {partition} goes from position {before} to {position}"
            ));
        }
        if event.recorded_at < last_time {
            fault(format!(
                "time falls at partition {partition} position {position}"
            ));
        }
        let before = sequences.insert(product, event.sequence).unwrap_or(0);
        if event.sequence != before + 1 {
            fault(format!(
                "product {product} goes from sequence {before} to {}",
                event.sequence
            ));
        }
        if product % i64::from(log.partitions) != i64::from(partition) {
            fault(format!("product {product} is in partition {partition}"));
        }
    }
    faults
}
