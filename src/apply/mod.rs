//! Planned changes carried out on the clusters: order, parallelism, journal, progress, retries.
