//! The rows of the table of client keys.

use super::Effect::{CarriedOut, NoEffect, Refused};
use super::Spelling::{Both, Java, Librdkafka, Own};
use super::Value::{
    Bool, Class, Id, List, Millis, Number, Path, PemKey, PemPublic, Secret, Url, Word,
};
use super::{Key, Prefix};

const ENGINE: &str = "the engine copies batches as they are and decides this itself";
const GROUP: &str = "workers share one group of their own, `kmirror`";
const OFFSETS: &str =
    "positions are kept with the copied data; where a new mirror begins is `start` of the link";
const TRANSACTIONS: &str = "copies are written once by sequence numbers, not by transactions";
const CONNECTIONS: &str = "kmirror keeps and renews its connections by itself";
const METRICS: &str = "kmirror has no Kafka metrics to report";
const CLASSES: &str = "kmirror runs no Java classes";
const JVM: &str = "there is no Java virtual machine";
const CALLBACKS: &str = "it is for programs that are linked with librdkafka";
const LIBRDKAFKA: &str = "it tunes librdkafka, which only keeps the workers' group here";
const BROKER: &str = "it is for brokers and what validates tokens, not for clients";
const SUITES: &str = "TLS 1.2 and 1.3 with the suites that are held to be safe";
const REGISTRY: &str = "kmirror does not read what records hold, so it needs no schema registry";
const KERBEROS: &str = "Kerberos is not supported: use SCRAM-SHA-512, PLAIN, OAUTHBEARER, or a client certificate with security.protocol=SSL";
const ASSERTION: &str = "tokens are asked for with a client id and secret: set sasl.oauthbearer.client.credentials.client.id and .client.secret, or sasl.oauthbearer.token for one of your own";
const REVOCATION: &str = "revocation lists are not looked at; take the authority that issues the certificates away instead";
const ENGINES: &str = "keys have to be in files, in PEM form, or in a JKS or PKCS12 store";

/// Rows of the form `"name" spelling Value: "meaning" => "how or why"`, below their effect.
macro_rules! rows {
    ($($effect:ident { $($name:literal $spelling:ident $value:ident: $meaning:literal => $text:expr;)* })*) => {
        &[$($(Key {
            name: $name,
            spelling: $spelling,
            value: $value,
            meaning: $meaning,
            effect: $effect($text),
        },)*)*]
    };
}

pub(super) const KEYS: &[Key] = rows! {
CarriedOut {
    "security.protocol" Both Word: "how brokers are spoken to" => "PLAINTEXT (the default), SSL, SASL_PLAINTEXT or SASL_SSL";
    "sasl.mechanism" Both Word: "how the client shows who it is" => "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER or AWS_MSK_IAM; required with SASL";
    "sasl.mechanisms" Librdkafka Word: "the same as sasl.mechanism" => "one mechanism";
    "sasl.jaas.config" Java Secret: "login module with its options" => "PlainLoginModule, ScramLoginModule, OAuthBearerLoginModule and IAMLoginModule, also from shaded packages";
    "sasl.username" Librdkafka Id: "user for PLAIN and SCRAM" => "instead of sasl.jaas.config";
    "sasl.password" Librdkafka Secret: "password for PLAIN and SCRAM" => "instead of sasl.jaas.config";
    "sasl.login.callback.handler.class" Java Class: "where a token comes from" => "Kafka's own OAuthBearerLoginCallbackHandler, Strimzi's JaasClientOauthLoginCallbackHandler and Amazon's IAMOAuthBearerLoginCallbackHandler are understood; any other class is refused";
    "sasl.client.callback.handler.class" Java Class: "how credentials are handed to the mechanism" => "Amazon's IAMClientCallbackHandler is understood; any other class is refused";
    "sasl.oauthbearer.token" Own Secret: "a bearer token to be shown as it is" => "best with { file = … }: it is read again when the file changes";
    "sasl.oauthbearer.token.endpoint.url" Both Url: "where tokens are asked for" => "https (or http); file: names a file that holds the token";
    "sasl.oauthbearer.client.credentials.client.id" Both Id: "client id for the token endpoint" => "instead of clientId in sasl.jaas.config";
    "sasl.oauthbearer.client.credentials.client.secret" Both Secret: "client secret for the token endpoint" => "instead of clientSecret in sasl.jaas.config";
    "sasl.oauthbearer.client.id" Librdkafka Id: "client id for the token endpoint" => "the older spelling";
    "sasl.oauthbearer.client.secret" Librdkafka Secret: "client secret for the token endpoint" => "the older spelling";
    "sasl.oauthbearer.scope" Both Word: "scope that is asked for" => "handed to the token endpoint";
    "sasl.oauthbearer.extensions" Librdkafka List: "SASL extensions, NAME=VALUE" => "handed to the broker with the token; in sasl.jaas.config they are extension_NAME";
    "sasl.oauthbearer.method" Librdkafka Word: "where a token comes from" => "oidc; default is refused, because it makes tokens that are not signed";
    "sasl.oauthbearer.grant.type" Librdkafka Word: "how a token is asked for" => "client_credentials; any other is refused";
    "sasl.oauthbearer.jwt.retriever.class" Java Class: "how a token is asked for" => "Kafka's DefaultJwtRetriever, ClientCredentialsJwtRetriever and FileJwtRetriever are understood; any other class is refused";
    "https.ca.location" Librdkafka Path: "authorities of the token endpoint, PEM file" => "the system's where it is not set";
    "https.ca.pem" Librdkafka PemPublic: "authorities of the token endpoint" => "the system's where it is not set";
    "ssl.truststore.location" Java Path: "authorities that sign the brokers' certificates" => "a JKS, PKCS12 or PEM file";
    "ssl.truststore.type" Java Word: "form of the trust store" => "JKS (the default), PKCS12 or PEM; a store of the other form is read nevertheless";
    "ssl.truststore.password" Java Secret: "password of the trust store" => "without it the store's integrity is not checked, as in Java";
    "ssl.truststore.certificates" Java PemPublic: "authorities that sign the brokers' certificates" => "PEM text";
    "ssl.ca.location" Librdkafka Path: "authorities that sign the brokers' certificates, PEM file" => "`probe` means the system's";
    "ssl.ca.pem" Librdkafka PemPublic: "authorities that sign the brokers' certificates" => "PEM text";
    "ssl.keystore.location" Both Path: "the client's certificate with its key" => "a JKS, PKCS12 or PEM file";
    "ssl.keystore.type" Java Word: "form of the key store" => "JKS (the default), PKCS12 or PEM; a store of the other form is read nevertheless";
    "ssl.keystore.password" Both Secret: "password of the key store" => "for JKS and PKCS12";
    "ssl.keystore.key" Java PemKey: "the client's private key" => "PEM text (PKCS#8), with ssl.keystore.certificate.chain";
    "ssl.keystore.certificate.chain" Java PemPublic: "the client's certificate and those above it" => "PEM text, leaf first";
    "ssl.certificate.location" Librdkafka Path: "the client's certificate, PEM file" => "with ssl.key.location or ssl.key.pem";
    "ssl.certificate.pem" Librdkafka PemPublic: "the client's certificate" => "PEM text";
    "ssl.key.location" Librdkafka Path: "the client's private key, PEM file" => "with ssl.certificate.location or ssl.certificate.pem";
    "ssl.key.pem" Librdkafka PemKey: "the client's private key" => "PEM text";
    "ssl.key.password" Both Secret: "password of the client's private key" => "for encrypted keys; that of the store where it is not set";
    "ssl.endpoint.identification.algorithm" Both Word: "whether the broker's host name is checked" => "https (the default); empty or none leaves the check out, with a warning";
    "enable.ssl.certificate.verification" Librdkafka Bool: "whether the broker's certificate is checked" => "false checks nothing at all, with a warning";
    "ssl.enabled.protocols" Java List: "versions of TLS" => "TLSv1.2 and TLSv1.3; older ones are never spoken";
    "client.id" Both Word: "name in the brokers' logs and quotas" => "`kmirror` where it is not set";
    "request.timeout.ms" Java Millis: "how long an answer is waited for" => "30 seconds where it is not set";
    "socket.timeout.ms" Librdkafka Millis: "how long an answer is waited for" => "the same as request.timeout.ms";
    "socket.connection.setup.timeout.ms" Both Millis: "how long a connection may take" => "5 seconds where it is not set";
    "bootstrap.servers" Both List: "the first brokers to ask" => "in a properties file, where the cluster has no bootstrap_servers";
    "metadata.broker.list" Librdkafka List: "the same as bootstrap.servers" => "in a properties file, where the cluster has no bootstrap_servers";
}
Refused {
    "sasl.kerberos.service.name" Both Word: "Kerberos name of the brokers" => KERBEROS;
    "sasl.kerberos.kinit.cmd" Both Path: "Kerberos login command" => KERBEROS;
    "sasl.kerberos.min.time.before.relogin" Both Millis: "Kerberos login interval" => KERBEROS;
    "sasl.kerberos.ticket.renew.jitter" Java Number: "Kerberos ticket renewal" => KERBEROS;
    "sasl.kerberos.ticket.renew.window.factor" Java Number: "Kerberos ticket renewal" => KERBEROS;
    "sasl.kerberos.principal" Librdkafka Id: "Kerberos name of the client" => KERBEROS;
    "sasl.kerberos.keytab" Librdkafka Path: "Kerberos keys of the client" => KERBEROS;
    "sasl.login.class" Java Class: "custom login" => CLASSES;
    "sasl.oauthbearer.config" Librdkafka Word: "tokens that are not signed" => "brokers in earnest refuse such tokens: set sasl.oauthbearer.token.endpoint.url, or sasl.oauthbearer.token";
    "enable.sasl.oauthbearer.unsecure.jwt" Librdkafka Bool: "tokens that are not signed" => "brokers in earnest refuse such tokens: set sasl.oauthbearer.token.endpoint.url, or sasl.oauthbearer.token";
    "sasl.oauthbearer.assertion.algorithm" Both Word: "asking for tokens with a signed assertion" => ASSERTION;
    "sasl.oauthbearer.assertion.file" Both Path: "asking for tokens with a signed assertion" => ASSERTION;
    "sasl.oauthbearer.assertion.private.key.file" Both Path: "asking for tokens with a signed assertion" => ASSERTION;
    "sasl.oauthbearer.assertion.private.key.pem" Librdkafka PemKey: "asking for tokens with a signed assertion" => ASSERTION;
    "sasl.oauthbearer.assertion.private.key.passphrase" Both Secret: "asking for tokens with a signed assertion" => ASSERTION;
    "sasl.oauthbearer.assertion.template.file" Java Path: "asking for tokens with a signed assertion" => ASSERTION;
    "sasl.oauthbearer.assertion.jwt.template.file" Librdkafka Path: "asking for tokens with a signed assertion" => ASSERTION;
    "sasl.oauthbearer.assertion.claim.aud" Both Word: "asking for tokens with a signed assertion" => ASSERTION;
    "sasl.oauthbearer.assertion.claim.exp.seconds" Both Number: "asking for tokens with a signed assertion" => ASSERTION;
    "sasl.oauthbearer.assertion.claim.iss" Both Word: "asking for tokens with a signed assertion" => ASSERTION;
    "sasl.oauthbearer.assertion.claim.jti.include" Both Bool: "asking for tokens with a signed assertion" => ASSERTION;
    "sasl.oauthbearer.assertion.claim.nbf.seconds" Both Number: "asking for tokens with a signed assertion" => ASSERTION;
    "sasl.oauthbearer.assertion.claim.sub" Both Word: "asking for tokens with a signed assertion" => ASSERTION;
    "sasl.oauthbearer.metadata.authentication.type" Librdkafka Word: "tokens from a cloud's own service" => "set sasl.oauthbearer.token with { file = … }, and let the cloud's agent write the file";
    "sasl.oauthbearer.header.urlencode" Java Bool: "form of client id and secret in the request" => "id and secret are sent as they are, as Kafka does by default";
    "ssl.engine.factory.class" Java Class: "custom TLS" => CLASSES;
    "ssl.engine.location" Librdkafka Path: "OpenSSL engine that holds keys" => ENGINES;
    "ssl.engine.id" Librdkafka Id: "OpenSSL engine that holds keys" => ENGINES;
    "ssl.crl.location" Librdkafka Path: "revoked certificates" => REVOCATION;
}
NoEffect {
    "acks" Both Word: "how many replicas confirm a write" => ENGINE;
    "request.required.acks" Librdkafka Number: "how many replicas confirm a write" => ENGINE;
    "enable.idempotence" Both Bool: "writing once" => "every copy is written once";
    "enable.gapless.guarantee" Librdkafka Bool: "writing in order" => "every copy is written in order";
    "batch.size" Both Number: "size of a batch" => ENGINE;
    "batch.num.messages" Librdkafka Number: "records in a batch" => ENGINE;
    "linger.ms" Both Millis: "waiting for a batch to fill" => ENGINE;
    "queue.buffering.max.ms" Librdkafka Millis: "waiting for a batch to fill" => ENGINE;
    "queue.buffering.max.messages" Librdkafka Number: "records waiting to be sent" => ENGINE;
    "queue.buffering.max.kbytes" Librdkafka Number: "memory of records waiting to be sent" => ENGINE;
    "queue.buffering.backpressure.threshold" Librdkafka Number: "requests waiting to be sent" => ENGINE;
    "queuing.strategy" Librdkafka Word: "order of records waiting to be sent" => ENGINE;
    "sticky.partitioning.linger.ms" Librdkafka Millis: "choice of a partition" => ENGINE;
    "buffer.memory" Java Number: "memory of records waiting to be sent" => ENGINE;
    "max.block.ms" Java Millis: "waiting for that memory" => ENGINE;
    "max.request.size" Java Number: "size of a request" => ENGINE;
    "message.max.bytes" Librdkafka Number: "size of a request" => ENGINE;
    "message.copy.max.bytes" Librdkafka Number: "size of records that are copied in memory" => ENGINE;
    "receive.message.max.bytes" Librdkafka Number: "size of an answer" => ENGINE;
    "max.in.flight.requests.per.connection" Both Number: "requests without an answer" => ENGINE;
    "max.in.flight" Librdkafka Number: "requests without an answer" => ENGINE;
    "delivery.timeout.ms" Both Millis: "how long a write is tried" => "a write is tried until it succeeds or a person stops the mirror";
    "message.timeout.ms" Librdkafka Millis: "how long a write is tried" => "a write is tried until it succeeds or a person stops the mirror";
    "retries" Both Number: "how often a request is tried" => "what may succeed later is tried again";
    "message.send.max.retries" Librdkafka Number: "how often a write is tried" => "what may succeed later is tried again";
    "retry.backoff.ms" Both Millis: "pause before a request is tried again" => CONNECTIONS;
    "retry.backoff.max.ms" Both Millis: "pause before a request is tried again" => CONNECTIONS;
    "compression.type" Both Word: "compression of what is written" => "batches stay compressed as they are";
    "compression.codec" Librdkafka Word: "compression of what is written" => "batches stay compressed as they are";
    "compression.level" Librdkafka Number: "compression of what is written" => "batches stay compressed as they are";
    "compression.gzip.level" Java Number: "compression of what is written" => "batches stay compressed as they are";
    "compression.lz4.level" Java Number: "compression of what is written" => "batches stay compressed as they are";
    "compression.zstd.level" Java Number: "compression of what is written" => "batches stay compressed as they are";
    "partitioner" Librdkafka Word: "choice of a partition" => "a record stays in its partition";
    "partitioner.class" Java Class: "choice of a partition" => "a record stays in its partition";
    "partitioner.adaptive.partitioning.enable" Java Bool: "choice of a partition" => "a record stays in its partition";
    "partitioner.availability.timeout.ms" Java Millis: "choice of a partition" => "a record stays in its partition";
    "partitioner.ignore.keys" Java Bool: "choice of a partition" => "a record stays in its partition";
    "produce.offset.report" Librdkafka Bool: "offsets of what was written" => CALLBACKS;
    "delivery.report.only.error" Librdkafka Bool: "reports of what was written" => CALLBACKS;
    "key.serializer" Java Class: "making bytes of keys" => CLASSES;
    "value.serializer" Java Class: "making bytes of values" => CLASSES;
    "key.deserializer" Java Class: "making keys of bytes" => CLASSES;
    "value.deserializer" Java Class: "making values of bytes" => CLASSES;
    "interceptor.classes" Java Class: "custom code around records" => CLASSES;
    "interceptors" Librdkafka Word: "custom code around records" => CALLBACKS;
    "plugin.library.paths" Librdkafka Path: "libraries with custom code" => CALLBACKS;
    "transactional.id" Both Id: "name of a transactional producer" => TRANSACTIONS;
    "transaction.timeout.ms" Both Millis: "how long a transaction may last" => TRANSACTIONS;
    "transaction.two.phase.commit.enable" Java Bool: "transactions of another coordinator" => TRANSACTIONS;
    "isolation.level" Both Word: "whether open transactions are read" => "only what is committed is copied, with aborted records left out";
    "group.id" Both Id: "consumer group" => GROUP;
    "group.instance.id" Both Id: "static member of a group" => GROUP;
    "group.protocol" Both Word: "protocol of a group" => GROUP;
    "group.protocol.type" Librdkafka Word: "protocol of a group" => GROUP;
    "group.remote.assignor" Both Word: "who assigns partitions" => GROUP;
    "partition.assignment.strategy" Both List: "who assigns partitions" => GROUP;
    "session.timeout.ms" Both Millis: "when a member counts as gone" => GROUP;
    "heartbeat.interval.ms" Both Millis: "signs of life to the group" => GROUP;
    "max.poll.interval.ms" Both Millis: "when a member counts as stuck" => GROUP;
    "max.poll.records" Java Number: "records handed over at once" => ENGINE;
    "coordinator.query.interval.ms" Librdkafka Millis: "looking for the group's coordinator" => GROUP;
    "share.acknowledgement.mode" Java Word: "share groups" => GROUP;
    "share.acquire.mode" Java Word: "share groups" => GROUP;
    "enable.auto.commit" Both Bool: "committing offsets" => OFFSETS;
    "auto.commit.enable" Librdkafka Bool: "committing offsets" => OFFSETS;
    "auto.commit.interval.ms" Both Millis: "committing offsets" => OFFSETS;
    "enable.auto.offset.store" Librdkafka Bool: "committing offsets" => OFFSETS;
    "offset.store.method" Librdkafka Word: "committing offsets" => OFFSETS;
    "offset.store.path" Librdkafka Path: "committing offsets" => OFFSETS;
    "offset.store.sync.interval.ms" Librdkafka Millis: "committing offsets" => OFFSETS;
    "auto.offset.reset" Both Word: "where to begin without an offset" => OFFSETS;
    "exclude.internal.topics" Java Bool: "internal topics in patterns" => "patterns of a link never take internal topics";
    "allow.auto.create.topics" Both Bool: "creating topics by asking for them" => "topics are created by a plan, never by asking for them";
    "check.crcs" Both Bool: "checking batches" => "every batch is checked";
    "fetch.min.bytes" Both Number: "waiting for data" => ENGINE;
    "fetch.max.bytes" Both Number: "size of an answer" => ENGINE;
    "fetch.max.wait.ms" Java Millis: "waiting for data" => ENGINE;
    "fetch.wait.max.ms" Librdkafka Millis: "waiting for data" => ENGINE;
    "fetch.message.max.bytes" Librdkafka Number: "data of one partition in an answer" => ENGINE;
    "max.partition.fetch.bytes" Both Number: "data of one partition in an answer" => ENGINE;
    "fetch.queue.backoff.ms" Librdkafka Millis: "pause before reading on" => ENGINE;
    "fetch.error.backoff.ms" Librdkafka Millis: "pause after an error" => ENGINE;
    "queued.min.messages" Librdkafka Number: "records read ahead" => ENGINE;
    "queued.max.messages.kbytes" Librdkafka Number: "records read ahead" => ENGINE;
    "enable.partition.eof" Librdkafka Bool: "notice of a partition's end" => CALLBACKS;
    "consume.callback.max.messages" Librdkafka Number: "records handed over at once" => CALLBACKS;
    "client.rack" Both Word: "reading from the nearest replica" => "batches are read from leaders";
    "client.dns.lookup" Both Word: "addresses of a host" => "all addresses of a host are tried";
    "broker.address.family" Librdkafka Word: "addresses of a host" => "all addresses of a host are tried";
    "broker.address.ttl" Librdkafka Millis: "addresses of a host" => CONNECTIONS;
    "bootstrap.controllers" Java List: "controllers to ask" => "kmirror speaks to brokers only";
    "connections.max.idle.ms" Both Millis: "closing idle connections" => CONNECTIONS;
    "reconnect.backoff.ms" Both Millis: "pause before connecting again" => CONNECTIONS;
    "reconnect.backoff.max.ms" Both Millis: "pause before connecting again" => CONNECTIONS;
    "reconnect.backoff.jitter.ms" Librdkafka Millis: "pause before connecting again" => CONNECTIONS;
    "socket.connection.setup.timeout.max.ms" Java Millis: "how long a connection may take at most" => "socket.connection.setup.timeout.ms is not raised";
    "socket.blocking.max.ms" Librdkafka Millis: "waiting for a socket" => LIBRDKAFKA;
    "socket.send.buffer.bytes" Librdkafka Number: "buffer of a socket" => "the operating system sizes it";
    "socket.receive.buffer.bytes" Librdkafka Number: "buffer of a socket" => "the operating system sizes it";
    "send.buffer.bytes" Java Number: "buffer of a socket" => "the operating system sizes it";
    "receive.buffer.bytes" Java Number: "buffer of a socket" => "the operating system sizes it";
    "socket.keepalive.enable" Librdkafka Bool: "signs of life on a socket" => CONNECTIONS;
    "socket.nagle.disable" Librdkafka Bool: "waiting for small packets" => CONNECTIONS;
    "socket.max.fails" Librdkafka Number: "closing a broken connection" => CONNECTIONS;
    "default.api.timeout.ms" Java Millis: "how long a call may take" => "request.timeout.ms and retries bound it";
    "metadata.max.age.ms" Both Millis: "asking for the cluster's state again" => CONNECTIONS;
    "metadata.max.idle.ms" Java Millis: "forgetting unused topics" => CONNECTIONS;
    "metadata.recovery.strategy" Both Word: "when no known broker answers" => "the bootstrap servers are asked again";
    "metadata.recovery.rebootstrap.trigger.ms" Both Millis: "when no known broker answers" => "the bootstrap servers are asked again";
    "topic.metadata.refresh.interval.ms" Librdkafka Millis: "asking for topics again" => CONNECTIONS;
    "topic.metadata.refresh.fast.interval.ms" Librdkafka Millis: "asking for topics again" => CONNECTIONS;
    "topic.metadata.refresh.fast.cnt" Librdkafka Number: "asking for topics again" => CONNECTIONS;
    "topic.metadata.refresh.sparse" Librdkafka Bool: "asking for topics again" => CONNECTIONS;
    "topic.metadata.propagation.max.ms" Librdkafka Millis: "waiting for a created topic" => CONNECTIONS;
    "topic.blacklist" Librdkafka List: "topics to be left out" => "write `exclude` in the link";
    "api.version.request" Librdkafka Bool: "asking for a broker's versions" => "versions are always asked for";
    "api.version.request.timeout.ms" Librdkafka Millis: "asking for a broker's versions" => "versions are always asked for";
    "api.version.fallback.ms" Librdkafka Millis: "brokers that cannot be asked" => "versions are always asked for";
    "broker.version.fallback" Librdkafka Word: "brokers that cannot be asked" => "versions are always asked for";
    "metric.reporters" Java Class: "where metrics go" => METRICS;
    "metrics.num.samples" Java Number: "metrics" => METRICS;
    "metrics.recording.level" Java Word: "metrics" => METRICS;
    "metrics.sample.window.ms" Java Millis: "metrics" => METRICS;
    "enable.metrics.push" Both Bool: "metrics for the broker" => METRICS;
    "auto.include.jmx.reporter" Java Bool: "metrics" => METRICS;
    "statistics.interval.ms" Librdkafka Millis: "metrics" => METRICS;
    "internal.leave.group.on.close" Java Bool: "internals of Kafka's client" => GROUP;
    "internal.throw.on.fetch.stable.offset.unsupported" Java Bool: "internals of Kafka's client" => ENGINE;
    "internal.termination.signal" Librdkafka Number: "internals of librdkafka" => LIBRDKAFKA;
    "debug" Librdkafka List: "logging" => "write -v, -vv or -vvv";
    "log_level" Librdkafka Number: "logging" => "write -v, -vv or -vvv";
    "log.queue" Librdkafka Bool: "logging" => CALLBACKS;
    "log.thread.name" Librdkafka Bool: "logging" => LIBRDKAFKA;
    "log.connection.close" Librdkafka Bool: "logging" => LIBRDKAFKA;
    "enable.random.seed" Librdkafka Bool: "random numbers" => LIBRDKAFKA;
    "enabled_events" Librdkafka Number: "events" => CALLBACKS;
    "builtin.features" Librdkafka List: "what librdkafka was built with" => LIBRDKAFKA;
    "security.providers" Java Class: "Java's security providers" => JVM;
    "config.providers" Java List: "expansion of ${…}" => "${…} is never expanded: write { env = \"NAME\" } or { file = \"PATH\" } in the `client` table";
    "ssl.protocol" Java Word: "version of TLS" => "the versions are those of ssl.enabled.protocols";
    "ssl.provider" Java Word: "Java's TLS provider" => JVM;
    "ssl.providers" Librdkafka List: "OpenSSL's providers" => SUITES;
    "ssl.cipher.suites" Both List: "suites of TLS" => SUITES;
    "ssl.curves.list" Librdkafka List: "curves of TLS" => SUITES;
    "ssl.sigalgs.list" Librdkafka List: "signatures of TLS" => SUITES;
    "ssl.keymanager.algorithm" Java Word: "Java's key manager" => JVM;
    "ssl.trustmanager.algorithm" Java Word: "Java's trust manager" => JVM;
    "ssl.secure.random.implementation" Java Word: "Java's random numbers" => JVM;
    "ssl.ca.certificate.stores" Librdkafka List: "Windows' certificate stores" => "write ssl.ca.location, or nothing for the system's authorities";
    "sasl.login.refresh.window.factor" Java Number: "when a token is renewed" => "a token is renewed before it ends";
    "sasl.login.refresh.window.jitter" Java Number: "when a token is renewed" => "a token is renewed before it ends";
    "sasl.login.refresh.min.period.seconds" Java Number: "when a token is renewed" => "a token is renewed before it ends";
    "sasl.login.refresh.buffer.seconds" Java Number: "when a token is renewed" => "a token is renewed before it ends";
    "sasl.login.connect.timeout.ms" Java Millis: "how long the token endpoint is waited for" => "socket.connection.setup.timeout.ms holds for brokers; the endpoint has a limit of its own";
    "sasl.login.read.timeout.ms" Java Millis: "how long the token endpoint is waited for" => "the endpoint has a limit of its own";
    "sasl.login.retry.backoff.ms" Java Millis: "pause before a token is asked for again" => CONNECTIONS;
    "sasl.login.retry.backoff.max.ms" Java Millis: "pause before a token is asked for again" => CONNECTIONS;
    "sasl.oauthbearer.scope.claim.name" Java Word: "name of a claim" => "tokens are not looked into";
    "sasl.oauthbearer.sub.claim.name" Java Word: "name of a claim" => "tokens are not looked into";
    "sasl.oauthbearer.jwt.validator.class" Java Class: "checking tokens" => BROKER;
    "sasl.oauthbearer.jwks.endpoint.url" Java Url: "keys that tokens are signed with" => BROKER;
    "sasl.oauthbearer.jwks.endpoint.refresh.ms" Java Millis: "keys that tokens are signed with" => BROKER;
    "sasl.oauthbearer.jwks.endpoint.retry.backoff.ms" Java Millis: "keys that tokens are signed with" => BROKER;
    "sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms" Java Millis: "keys that tokens are signed with" => BROKER;
    "sasl.oauthbearer.clock.skew.seconds" Java Number: "checking tokens" => BROKER;
    "sasl.oauthbearer.expected.audience" Java List: "checking tokens" => BROKER;
    "sasl.oauthbearer.expected.issuer" Java Word: "checking tokens" => BROKER;
    "zookeeper.connect" Java List: "ZooKeeper" => "kmirror speaks to brokers only";
    "ssl.client.auth" Java Word: "client certificates at a broker" => BROKER;
}
};

/// Families of keys that belong to other programs.
pub(super) const PREFIXES: &[Prefix] = &[
    Prefix {
        prefix: "config.providers.",
        meaning: "expansion of ${…}",
        why: "${…} is never expanded",
    },
    Prefix {
        prefix: "confluent.",
        meaning: "Confluent's own clients and connectors",
        why: "kmirror is none of them",
    },
    Prefix {
        prefix: "schema.registry.",
        meaning: "schema registry",
        why: REGISTRY,
    },
    Prefix {
        prefix: "basic.auth.",
        meaning: "schema registry",
        why: REGISTRY,
    },
    Prefix {
        prefix: "bearer.auth.",
        meaning: "schema registry",
        why: REGISTRY,
    },
    Prefix {
        prefix: "metrics.context.",
        meaning: "metrics",
        why: METRICS,
    },
];
