//! The wire client: connections, version negotiation, routing, and typed, batched calls over them.
