//! The CA: made once, kept in the data folder, and what it signs.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration as StdDuration;

use domain::ids::MachineId;
use rand::RngExt;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
    SanType, SerialNumber,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use secrecy::{ExposeSecret, SecretString};
use time::{Duration, OffsetDateTime};

use super::{CaCertificate, Error, Fingerprint, SERVER_NAME, peer};
use crate::folders::{self, DataFolder};
use crate::sys;

const CA_LIFE: Duration = Duration::days(3650);
const LEAF_LIFE: Duration = Duration::days(365);
/// A server certificate with less than this left is renewed at start.
const RENEW_BEFORE: Duration = Duration::days(30);
/// Machines whose clocks are behind must accept a new certificate too.
const CLOCK_SLACK: Duration = Duration::days(1);

/// The fleet's CA with its key.
pub struct Authority {
    certificate: CaCertificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes a CA and leaves nothing on disk; the second value is its key.
    pub fn generate(now: OffsetDateTime) -> Result<(Self, SecretString), Error> {
        let key = KeyPair::generate()?;
        let mut params = params(now, CA_LIFE);
        // Two CAs never have the same name: verifiers look issuers up by name.
        let name = format!(
            "mlx-fleet CA {}",
            hex::encode(rand::rng().random::<[u8; 4]>())
        );
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = CaCertificate::from_der(params.self_signed(&key)?.der().clone());
        let secret = SecretString::from(key.serialize_pem());
        let issuer = Issuer::new(params, key);
        let authority = Self {
            certificate,
            issuer,
        };
        Ok((authority, secret))
    }

    /// The CA of a data folder, made where there is none.
    pub fn open(folder: &DataFolder, now: OffsetDateTime) -> Result<Self, Error> {
        let path = folder.ca_certificate();
        let text = match folders::read_public(&path) {
            Ok(text) => text,
            Err(error) if error.is_missing() => {
                let (authority, secret) = Self::generate(now)?;
                // The key first: a certificate that is there has its key.
                folders::write_secret(&folder.ca_key(), &secret)?;
                folders::write_public(&path, &authority.certificate.pem())?;
                tracing::info!(fingerprint = %authority.fingerprint(), "made the fleet's CA");
                return Ok(authority);
            }
            Err(error) => return Err(error.into()),
        };
        let certificate = CaCertificate::from_pem(&text)?;
        let secret = folders::read_secret(&folder.ca_key())?;
        let mismatch = || Error::Mismatch {
            certificate: path.clone(),
            key: folder.ca_key(),
        };
        let key = KeyPair::from_pem(secret.expose_secret()).map_err(|_| mismatch())?;
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate.der())
            .map_err(|_| Error::BadCertificate { what: "ca.pem" })?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(mismatch());
        }
        let issuer = Issuer::from_ca_cert_der(certificate.der(), key)?;
        Ok(Self {
            certificate,
            issuer,
        })
    }

    pub fn certificate(&self) -> &CaCertificate {
        &self.certificate
    }

    pub fn fingerprint(&self) -> Fingerprint {
        self.certificate.fingerprint()
    }

    /// A new key and certificate for a server of these names.
    pub fn issue_server(
        &self,
        names: &BTreeSet<String>,
        now: OffsetDateTime,
    ) -> Result<ServerIdentity, Error> {
        let key = KeyPair::generate()?;
        let mut params = params(now, LEAF_LIFE);
        params
            .distinguished_name
            .push(DnType::CommonName, SERVER_NAME);
        params.subject_alt_names = names
            .iter()
            .map(|name| san(name))
            .collect::<Result<_, _>>()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&key, &self.issuer)?;
        // The CA goes along, so that a client with its fingerprint can find it.
        let chain = format!("{}{}", leaf.pem(), self.certificate.pem());
        Ok(ServerIdentity {
            pem: format!("{chain}{}", key.serialize_pem()).into(),
        })
    }

    /// The server's certificate of a data folder; made again when it is missing, of another CA,
    /// lacks a name or ends within 30 days.
    pub fn open_server(
        &self,
        folder: &DataFolder,
        names: &BTreeSet<String>,
        now: OffsetDateTime,
    ) -> Result<ServerIdentity, Error> {
        let path = folder.server_identity();
        match folders::read_secret(&path) {
            Ok(pem) => {
                let kept = ServerIdentity { pem };
                if self.still_good(&kept, names, now) {
                    return Ok(kept);
                }
            }
            Err(error) if error.is_missing() => {}
            Err(error) => return Err(error.into()),
        }
        let fresh = self.issue_server(names, now)?;
        folders::write_secret(&path, &fresh.pem)?;
        tracing::info!(?names, "made the server's certificate");
        Ok(fresh)
    }

    /// Asks what a client will ask, about the day when renewing is due.
    fn still_good(
        &self,
        server: &ServerIdentity,
        names: &BTreeSet<String>,
        now: OffsetDateTime,
    ) -> bool {
        let (Ok(leaf), Ok(verifier)) = (server.leaf(), self.certificate.verifier()) else {
            return false;
        };
        let due = (now + RENEW_BEFORE).unix_timestamp();
        let due = UnixTime::since_unix_epoch(StdDuration::from_secs(due.unsigned_abs()));
        names.iter().all(|name| {
            ServerName::try_from(name.as_str()).is_ok_and(|name| {
                verifier
                    .verify_server_cert(&leaf, &[], &name, &[], due)
                    .is_ok()
            })
        })
    }

    /// Signs an agent's request for this machine. Of the request only the key counts: what the
    /// certificate says is ours to decide.
    pub fn sign_agent(
        &self,
        request_pem: &str,
        machine: MachineId,
        now: OffsetDateTime,
    ) -> Result<String, Error> {
        let request = CertificateSigningRequestParams::from_pem(request_pem).map_err(|error| {
            Error::BadRequest {
                reason: error.to_string(),
            }
        })?;
        if request.public_key.algorithm() != &rcgen::PKCS_ECDSA_P256_SHA256 {
            return Err(Error::BadRequest {
                reason: "its key is not ECDSA P-256".to_owned(),
            });
        }
        let mut params = params(now, LEAF_LIFE);
        params
            .distinguished_name
            .push(DnType::CommonName, format!("machine:{machine}"));
        params.subject_alt_names = vec![SanType::URI(peer::machine_uri(machine).try_into()?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        Ok(params.signed_by(&request.public_key, &self.issuer)?.pem())
    }
}

impl CaCertificate {
    /// Checks servers against this CA and nothing else.
    pub(super) fn verifier(&self) -> Result<Arc<WebPkiServerVerifier>, Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone())?;
        let provider = Arc::new(ring::default_provider());
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|_| Error::BadCertificate { what: "the CA" })
    }
}

/// A server's chain and key in one PEM text.
pub struct ServerIdentity {
    pem: SecretString,
}

impl ServerIdentity {
    pub fn pem(&self) -> &SecretString {
        &self.pem
    }

    fn leaf(&self) -> Result<CertificateDer<'static>, Error> {
        CertificateDer::from_pem_slice(self.pem.expose_secret().as_bytes())
            .map_err(|_| Error::BadCertificate { what: "server.pem" })
    }
}

/// Every name by which this machine's server may be called.
pub fn server_names(listen: SocketAddr, extra: &[String]) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = extra.iter().cloned().collect();
    names.extend([SERVER_NAME, "localhost"].map(str::to_owned));
    names.extend([
        Ipv4Addr::LOCALHOST.to_string(),
        Ipv6Addr::LOCALHOST.to_string(),
    ]);
    if !listen.ip().is_unspecified() {
        names.insert(listen.ip().to_string());
    } else if let Some(address) = outward_address() {
        names.insert(address.to_string());
    }
    let host = sys::hostname().filter(|host| ServerName::try_from(host.as_str()).is_ok());
    names.extend(host);
    names
}

/// The address that this machine would use towards other networks; nothing is sent to find out.
fn outward_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // An address of the documentation block: connecting a datagram socket only picks a route.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

fn san(name: &str) -> Result<SanType, Error> {
    if let Ok(address) = name.parse() {
        return Ok(SanType::IpAddress(address));
    }
    let bad = || Error::BadName {
        name: name.to_owned(),
    };
    ServerName::try_from(name).map_err(|_| bad())?;
    Ok(SanType::DnsName(name.try_into().map_err(|_| bad())?))
}

fn params(now: OffsetDateTime, life: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = now - CLOCK_SLACK;
    params.not_after = now + life;
    // A renewed certificate may keep its key, from which a serial would be derived otherwise.
    let mut serial: [u8; 16] = rand::rng().random();
    serial[0] &= 0x7f;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-06-01 12:00 UTC);

    fn names(extra: &[&str]) -> BTreeSet<String> {
        let extra: Vec<String> = extra.iter().map(|name| (*name).to_owned()).collect();
        server_names("10.1.2.3:4433".parse().unwrap(), &extra)
    }

    fn folder() -> (tempfile::TempDir, DataFolder) {
        let dir = tempfile::tempdir().unwrap();
        let folder = DataFolder::at(dir.path());
        (dir, folder)
    }

    #[test]
    fn the_ca_of_a_folder_is_made_once() {
        let (_dir, folder) = folder();
        let made = Authority::open(&folder, NOW).unwrap();
        let read = Authority::open(&folder, NOW + Duration::days(1)).unwrap();
        assert_eq!(made.fingerprint(), read.fingerprint());
        let server = read.issue_server(&names(&[]), NOW).unwrap();
        assert!(made.still_good(&server, &names(&[]), NOW));
    }

    #[test]
    fn a_key_of_another_ca_is_refused() {
        let (_dir, folder) = folder();
        Authority::open(&folder, NOW).unwrap();
        let (_, other) = Authority::generate(NOW).unwrap();
        folders::write_secret(&folder.ca_key(), &other).unwrap();
        let error = Authority::open(&folder, NOW).err().unwrap();
        assert!(matches!(error, Error::Mismatch { .. }), "{error}");
    }

    #[test]
    fn the_server_certificate_is_kept_until_there_is_a_reason() {
        let (_dir, folder) = folder();
        let authority = Authority::open(&folder, NOW).unwrap();
        let pem = |authority: &Authority, extra: &[&str], day: i64| {
            let now = NOW + Duration::days(day);
            let server = authority.open_server(&folder, &names(extra), now).unwrap();
            server.pem().expose_secret().trim().to_owned()
        };
        let first = pem(&authority, &[], 0);
        assert_eq!(pem(&authority, &[], 330), first, "35 days are left");
        let renewed = pem(&authority, &[], 336);
        assert_ne!(renewed, first, "29 days are left");
        let named = pem(&authority, &["fleet.example"], 336);
        assert_ne!(named, renewed, "a name was missing");
        assert_eq!(pem(&authority, &[], 336), named, "a name more does no harm");
        let (other, _) = Authority::generate(NOW).unwrap();
        assert_ne!(pem(&other, &[], 336), named, "it was another CA's");
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        let (authority, _) = Authority::generate(NOW).unwrap();
        let error = authority.issue_server(&names(&["not a name"]), NOW).err();
        let text = error.unwrap().to_string();
        assert_eq!(text, "`not a name` is neither a host name nor an address");
    }

    #[test]
    fn a_request_that_is_none_or_was_altered_is_refused() {
        let (authority, _) = Authority::generate(NOW).unwrap();
        let sign = |pem: &str| authority.sign_agent(pem, MachineId::new(), NOW);
        let error = sign("rubbish").unwrap_err();
        assert!(matches!(error, Error::BadRequest { .. }), "{error}");

        let request = peer::AgentKey::generate().unwrap().request().unwrap();
        let mut altered = pem::parse(&request).unwrap().into_contents();
        let last = altered.len() - 1;
        altered[last] ^= 1;
        let altered = pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", altered));
        let error = sign(&altered).unwrap_err();
        assert!(matches!(error, Error::BadRequest { .. }), "{error}");
        sign(&request).unwrap();
    }
}
