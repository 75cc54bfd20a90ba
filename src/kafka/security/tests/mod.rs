//! Security against a broker made of a script, with certificates made for the occasion, and against stores and keys that
//! Java's keytool and OpenSSL made (in `stores/`; all passwords are `store-pw`, those of keys `key-pw`).

pub(super) mod broker;
pub(super) mod certificates;
mod connections;
mod java;
mod rest;
mod stores;
