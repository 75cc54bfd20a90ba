//! The built-in engine's data plane: record batches copied as bytes, exactly once, in order.
