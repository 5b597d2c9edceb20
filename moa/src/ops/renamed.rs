//! Metrics that were renamed in 0.1: for one release each is published under its old name too.

/// The new name and the old one. Renamed in 0.1; goes in 0.2.
const RENAMED_METRICS: &[(&str, &str)] = &[
    ("moa_append_conflicts_total", "moa_desk_lost_total"),
    ("moa_commands_total", "moa_orders_total"),
    (
        "moa_deliveries_gap_filled_total",
        "moa_deliveries_healed_total",
    ),
    ("moa_processor_append_seconds", "moa_desk_append_seconds"),
    ("moa_processor_batch_size", "moa_desk_batch_size"),
    ("moa_redis_circuit_open", "moa_redis_left_alone"),
];

/// `rendered`, in Prometheus' text format, with every renamed metric repeated under its old name.
pub(super) fn with_old_names(rendered: String) -> String {
    let mut old_metrics = String::new();
    for (new, old) in RENAMED_METRICS {
        for line in rendered.lines().filter(|line| is_about(line, new)) {
            old_metrics += &line.replacen(new, old, 1);
            old_metrics.push('\n');
        }
    }
    rendered + &old_metrics
}

fn is_about(line: &str, metric: &str) -> bool {
    let named = line
        .strip_prefix("# TYPE ")
        .or(line.strip_prefix("# HELP "))
        .unwrap_or(line);
    let rest = named.strip_prefix(metric).map(|rest| {
        let suffix = ["_bucket", "_sum", "_count"]
            .into_iter()
            .find_map(|suffix| rest.strip_prefix(suffix));
        suffix.unwrap_or(rest)
    });
    rest.is_some_and(|rest| rest.starts_with([' ', '{']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renamed_metric_keeps_its_old_name_beside_the_new_one() {
        let rendered = "# TYPE moa_deliveries_gap_filled_total counter\n\
                        moa_deliveries_gap_filled_total{consumer=\"holdings\"} 3\n\
                        moa_deliveries_total 4\n";
        let expected = "# TYPE moa_deliveries_healed_total counter\nmoa_deliveries_healed_total{consumer=\"holdings\"} 3\n";
        assert_eq!(
            with_old_names(rendered.into()),
            format!("{rendered}{expected}")
        );
        assert!(!is_about(
            "moa_deliveries_gap_filled_total_more 1",
            "moa_deliveries_gap_filled_total"
        ));
        assert!(is_about(
            "moa_deliveries_gap_filled_total_count 1",
            "moa_deliveries_gap_filled_total"
        ));
    }
}
