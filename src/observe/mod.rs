//! Live clusters observed in batched calls.
