//! The pure core: a topology and what was observed become a plan. No I/O.
