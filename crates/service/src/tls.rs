//! Who is who on the wire: one private CA per fleet, made by the coordinator.
//!
//! ```text
//!   Authority (ca.pem, ca.key) --issues--> ServerIdentity   EKU serverAuth, name SERVER_NAME
//!        |
//!        +--signs an agent's CSR---------> PeerIdentity     EKU clientAuth, URI of the machine
//!
//!   token -> Fingerprint -> pin::fetch_ca -> CaCertificate -> channel::endpoint -> RPC
//! ```
//!
//! Keys are ECDSA P-256 and come from ring's own randomness. An agent's key never leaves its Mac.

mod authority;
mod channel;
mod connection;
mod peer;
mod pin;

use std::fmt;
use std::str::FromStr;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};

pub use authority::{Authority, ServerIdentity, server_names};
pub use channel::{
    address, connection_of, endpoint, explain, is_loopback, peer, peer_address, server,
    server_config,
};
pub use connection::{Connection, ConnectionInfo, accept};
pub use peer::{AgentKey, ClientIdentity, PeerIdentity};
pub use pin::fetch_ca;

use crate::folders;

/// A name that every server certificate carries and every client checks. Addresses and host names
/// change under a fleet of laptops; which CA signed, and for which purpose, does not.
pub const SERVER_NAME: &str = "coordinator.mlx-fleet.internal";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Folder(#[from] folders::Error),
    #[error("cannot make a certificate")]
    Make(#[from] rcgen::Error),
    #[error("{what} is not a PEM certificate")]
    BadCertificate { what: &'static str },
    #[error(
        "{certificate} and {key} do not belong together: restore both from the same backup",
        certificate = certificate.display(),
        key = key.display()
    )]
    Mismatch {
        certificate: std::path::PathBuf,
        key: std::path::PathBuf,
    },
    #[error("the certificate request is refused: {reason}")]
    BadRequest { reason: String },
    #[error("`{name}` is neither a host name nor an address")]
    BadName { name: String },
    #[error("the peer's certificate names no machine: {reason}")]
    BadPeer { reason: &'static str },
    #[error("cannot reach {address}: {reason}")]
    Unreachable { address: String, reason: String },
    #[error(
        "{address} does not hold the CA {pinned} that the token names: the token is another \
         coordinator's, or someone stands between"
    )]
    WrongAuthority {
        address: String,
        pinned: Fingerprint,
    },
    #[error("`{url}` is not a coordinator's URL (such as https://host:4433)")]
    BadUrl { url: String },
    #[error(
        "`{url}` is not encrypted, which is allowed on this machine's loopback only: use https"
    )]
    PlainText { url: String },
    #[error("`{url}` needs the coordinator's CA certificate: enrol, or name a token")]
    NoAuthority { url: String },
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
    #[error("cannot set up TLS for the connection")]
    Transport(#[from] tonic::transport::Error),
}

/// SHA-256 of a certificate's DER.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// A text that is not 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is 64 lower-case hexadecimal digits")]
pub struct BadFingerprint;

impl FromStr for Fingerprint {
    type Err = BadFingerprint;

    fn from_str(text: &str) -> Result<Self, BadFingerprint> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| BadFingerprint)?;
        // One spelling each, so that texts can be compared too.
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(BadFingerprint);
        }
        Ok(Self(bytes))
    }
}

/// The certificate of a fleet's CA: all that a client has to trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaCertificate {
    der: CertificateDer<'static>,
}

impl CaCertificate {
    pub fn from_pem(text: &str) -> Result<Self, Error> {
        let der = CertificateDer::from_pem_slice(text.as_bytes())
            .map_err(|_| Error::BadCertificate { what: "the CA" })?;
        Ok(Self { der })
    }

    pub fn from_der(der: CertificateDer<'static>) -> Self {
        Self { der }
    }

    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    pub fn pem(&self) -> String {
        to_pem(&self.der)
    }

    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.der)
    }
}

fn to_pem(der: &[u8]) -> String {
    let lines = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new("CERTIFICATE", der), lines)
}
