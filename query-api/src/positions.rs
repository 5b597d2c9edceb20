//! The positions of a consumer, as an SQL expression: every view's statement reads them with its rows, in one snapshot.

/// `positions_of!("'holdings'")` is an SQL expression: the consumer's position in each of `$1` partitions, as an array; 0 where
/// it has no checkpoint. The consumer is an SQL expression too.
macro_rules! positions_of {
    ($consumer:literal) => {
        concat!(
            "array(select coalesce(position, 0)
                 from generate_series(0, $1 - 1) as n
                 left join checkpoints on consumer = ",
            $consumer,
            " and partition = n
                 order by n)"
        )
    };
}
