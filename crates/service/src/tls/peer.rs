//! An agent's side of its identity, and how the coordinator reads it back.

use domain::ids::MachineId;
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use secrecy::{ExposeSecret, SecretString};
use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;

use super::{Error, Fingerprint};

const MACHINE_URI: &str = "mlx-fleet://machine/";

pub(super) fn machine_uri(machine: MachineId) -> String {
    format!("{MACHINE_URI}{machine}")
}

/// An agent's key before and after it has a certificate; it never leaves the machine.
pub struct AgentKey(KeyPair);

impl AgentKey {
    pub fn generate() -> Result<Self, Error> {
        Ok(Self(KeyPair::generate()?))
    }

    pub fn from_pem(pem: &SecretString) -> Result<Self, Error> {
        Ok(Self(KeyPair::from_pem(pem.expose_secret())?))
    }

    pub fn to_pem(&self) -> SecretString {
        self.0.serialize_pem().into()
    }

    /// A certificate request (PEM) that proves the possession of the key and asks for nothing.
    pub fn request(&self) -> Result<String, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, "mlx-fleet agent");
        Ok(params.serialize_request(&self.0)?.pem()?)
    }
}

/// What an agent shows: its certificate and its key, both PEM.
pub struct ClientIdentity {
    certificate: String,
    key: SecretString,
}

impl ClientIdentity {
    pub fn new(certificate: String, key: SecretString) -> Self {
        Self { certificate, key }
    }

    /// The certificate and the key.
    pub fn into_parts(self) -> (String, SecretString) {
        (self.certificate, self.key)
    }

    pub(super) fn certificate(&self) -> &str {
        &self.certificate
    }

    pub(super) fn key(&self) -> &SecretString {
        &self.key
    }

    /// Who the certificate says we are, and until when.
    pub fn identity(&self) -> Result<PeerIdentity, Error> {
        let der = CertificateDer::from_pem_slice(self.certificate.as_bytes()).map_err(|_| {
            Error::BadCertificate {
                what: "the agent's certificate",
            }
        })?;
        PeerIdentity::read(&der)
    }
}

/// What a certificate of ours says about the machine that shows it. TLS has checked the signature;
/// whether it was revoked is for the database to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    pub machine: MachineId,
    pub fingerprint: Fingerprint,
    pub not_after: OffsetDateTime,
}

impl PeerIdentity {
    pub fn read(der: &CertificateDer<'_>) -> Result<Self, Error> {
        let bad = |reason| Error::BadPeer { reason };
        let (_, certificate) =
            x509_parser::parse_x509_certificate(der).map_err(|_| bad("it cannot be parsed"))?;
        let names = certificate
            .subject_alternative_name()
            .map_err(|_| bad("its names cannot be parsed"))?
            .ok_or_else(|| bad("it has no alternative name"))?;
        let [GeneralName::URI(uri)] = names.value.general_names[..] else {
            return Err(bad("it has not exactly one URI"));
        };
        let machine = uri
            .strip_prefix(MACHINE_URI)
            .and_then(|id| id.parse().ok())
            .ok_or_else(|| bad("its URI is not a machine's"))?;
        Ok(Self {
            machine,
            fingerprint: Fingerprint::of(der),
            not_after: certificate.validity().not_after.to_datetime(),
        })
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::super::{Authority, server_names};
    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-06-01 12:00 UTC);

    #[test]
    fn a_signed_request_names_its_machine_and_its_end() {
        let (authority, _) = Authority::generate(NOW).unwrap();
        let key = AgentKey::generate().unwrap();
        let machine = MachineId::new();
        let pem = authority
            .sign_agent(&key.request().unwrap(), machine, NOW)
            .unwrap();
        let identity = ClientIdentity::new(pem.clone(), key.to_pem())
            .identity()
            .unwrap();
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let expected = PeerIdentity {
            machine,
            fingerprint: Fingerprint::of(&der),
            not_after: datetime!(2027-06-01 12:00 UTC),
        };
        assert_eq!(identity, expected);
    }

    #[test]
    fn a_servers_certificate_names_no_machine() {
        let (authority, _) = Authority::generate(NOW).unwrap();
        let names = server_names("127.0.0.1:1".parse().unwrap(), &[]);
        let server = authority.issue_server(&names, NOW).unwrap();
        let pem = server.pem().expose_secret().as_bytes();
        let error = PeerIdentity::read(&CertificateDer::from_pem_slice(pem).unwrap());
        let text = error.unwrap_err().to_string();
        assert!(text.ends_with("it has not exactly one URI"), "{text}");
    }

    #[test]
    fn a_key_survives_its_text() {
        let key = AgentKey::generate().unwrap();
        let back = AgentKey::from_pem(&key.to_pem()).unwrap();
        assert_eq!(back.0.public_key_raw(), key.0.public_key_raw());
    }
}
