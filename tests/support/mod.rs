//! What tests on real Kafka stand on.
//!
//! [`jars`] obtains Kafka once per machine, [`cluster`] starts brokers from it, [`secured`] guards them with TLS, SASL and
//! an authorizer, [`proxy`] stands between them and clients and misbehaves, [`tools`] drives Kafka's own command line tools, [`client`] is an independent client (librdkafka) that
//! writes test data and reads it back, [`dataset`] generates the reference data set, [`worker`] runs the program under
//! test, and [`runner`] decides which tests run and how many brokers may live at a time. A test gets one [`lab::Lab`]:
//! its folder, its diary, its processes.

pub mod client;
pub mod cluster;
pub mod dataset;
pub mod jars;
pub mod lab;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod runner;
pub mod secured;
pub mod tools;
pub mod worker;
