//! Who somebody on a connection is: SASL as brokers carry it (KIP-43, KIP-152), its rules about what may be said when.
//!
//! Before it is through, a client may ask for the versions, name a mechanism, and exchange that mechanism's messages; anything
//! else ends the connection without an answer. A refused client is told why, and the connection ends.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::ResponseError as E;
use kafka_protocol::messages::{
    ApiKey, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest,
    SaslHandshakeResponse,
};

use super::MAX_REQUEST_BYTES;
use super::meta::text;
use crate::kafka::security::sasl::server::{Accounts, Dialogue, Reply};

/// Kafka's own default of `sasl.server.max.receive.size`: who has not said who they are gets little memory.
const MAX_SASL_BYTES: usize = 512 * 1024;

/// The authentication of one connection.
#[derive(Debug)]
pub struct Login {
    accounts: Option<Arc<Accounts>>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// No mechanism is named yet.
    Fresh,
    Talking(Dialogue),
    /// Through, or nobody is asked.
    In,
    Refused,
}

impl Login {
    /// Without accounts nobody is asked who they are.
    pub fn new(accounts: Option<Arc<Accounts>>) -> Self {
        let stage = match accounts {
            Some(_) => Stage::Fresh,
            None => Stage::In,
        };
        Login { accounts, stage }
    }

    /// Bytes of the longest request that is taken now.
    pub fn longest_request(&self) -> usize {
        match self.stage {
            Stage::In => MAX_REQUEST_BYTES,
            _ => MAX_SASL_BYTES,
        }
    }

    /// Whether the answer that is about to be sent is the last one.
    pub fn is_refused(&self) -> bool {
        matches!(self.stage, Stage::Refused)
    }

    /// Why a request is not taken now, if so.
    pub fn objection(&self, key: ApiKey) -> Option<String> {
        let (allowed, during): (&[ApiKey], _) = match &self.stage {
            Stage::In => return None,
            Stage::Fresh => (&[ApiKey::ApiVersions, ApiKey::SaslHandshake], "handshake"),
            Stage::Talking(_) | Stage::Refused => (&[ApiKey::SaslAuthenticate], "authentication"),
        };
        (!allowed.contains(&key))
            .then(|| format!("unexpected request of type {key:?} during SASL {during}"))
    }

    /// Takes the mechanism that a client names. Version 0 goes on in frames of another form, which is not spoken here.
    pub fn handshake(
        &mut self,
        request: &SaslHandshakeRequest,
        version: i16,
    ) -> SaslHandshakeResponse {
        let answer = SaslHandshakeResponse::default();
        let Some(accounts) = self.accounts.as_ref().filter(|_| !self.is_in()) else {
            return answer.with_error_code(E::IllegalSaslState.code());
        };
        let offered = accounts.mechanisms().iter();
        let answer = answer.with_mechanisms(offered.map(|it| text(it.name())).collect());
        if version == 0 {
            self.stage = Stage::Refused;
            return answer.with_error_code(E::UnsupportedVersion.code());
        }
        match accounts.offered(&request.mechanism) {
            Some(mechanism) => {
                self.stage = Stage::Talking(Dialogue::new(mechanism));
                answer
            }
            None => {
                self.stage = Stage::Refused;
                answer.with_error_code(E::UnsupportedSaslMechanism.code())
            }
        }
    }

    /// Takes a message of the mechanism.
    pub fn authenticate(&mut self, request: &SaslAuthenticateRequest) -> SaslAuthenticateResponse {
        let answer = SaslAuthenticateResponse::default();
        let (Some(accounts), Stage::Talking(dialogue)) = (&self.accounts, &mut self.stage) else {
            return answer
                .with_error_code(E::IllegalSaslState.code())
                .with_error_message(Some(text(
                    "SaslAuthenticate request received after successful authentication",
                )));
        };
        match dialogue.step(accounts, &request.auth_bytes) {
            Ok(Reply::Challenge(message)) => answer.with_auth_bytes(Bytes::from(message)),
            Ok(Reply::Welcome(message)) => {
                self.stage = Stage::In;
                answer.with_auth_bytes(Bytes::from(message))
            }
            Err(refused) => {
                self.stage = Stage::Refused;
                answer
                    .with_error_code(E::SaslAuthenticationFailed.code())
                    .with_error_message(Some(text(refused.0)))
            }
        }
    }

    fn is_in(&self) -> bool {
        matches!(self.stage, Stage::In)
    }
}
