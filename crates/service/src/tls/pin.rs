//! The first contact: a machine that knows only the CA's fingerprint (from its token) gets the CA.
//!
//! There is no moment without verification: the handshake succeeds only when the server's chain
//! holds the pinned CA and the server's certificate is good under that CA.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{CaCertificate, Error, Fingerprint, SERVER_NAME};

const TIMEOUT: Duration = Duration::from_secs(10);

/// Fetches the CA with this fingerprint from a coordinator at `host:port`.
pub async fn fetch_ca(address: &str, pinned: Fingerprint) -> Result<CaCertificate, Error> {
    let unreachable = |reason: String| Error::Unreachable {
        address: address.to_owned(),
        reason,
    };
    let verifier = Arc::new(PinnedCa {
        fingerprint: pinned,
        provider: ring::default_provider(),
        found: OnceLock::new(),
    });
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&verifier) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from(SERVER_NAME).map_err(|_| unreachable("no name".to_owned()))?;

    let handshake = async {
        let stream = TcpStream::connect(address).await?;
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    };
    match tokio::time::timeout(TIMEOUT, handshake).await {
        Err(_) => return Err(unreachable(format!("no answer within {TIMEOUT:?}"))),
        Ok(Err(error)) if is_pin_refusal(&error) => {
            return Err(Error::WrongAuthority {
                address: address.to_owned(),
                pinned,
            });
        }
        Ok(Err(error)) => return Err(unreachable(error.to_string())),
        Ok(Ok(_stream)) => {}
    }
    let found = verifier.found.get().cloned();
    found.ok_or_else(|| unreachable("the handshake showed no certificate".to_owned()))
}

fn is_pin_refusal(error: &std::io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(
        inner,
        Some(rustls::Error::InvalidCertificate(
            CertificateError::ApplicationVerificationFailure
        ))
    )
}

#[derive(Debug)]
struct PinnedCa {
    fingerprint: Fingerprint,
    provider: CryptoProvider,
    found: OnceLock<CaCertificate>,
}

impl ServerCertVerifier for PinnedCa {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let refusal =
            rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure);
        let pinned = chain
            .iter()
            .find(|der| Fingerprint::of(der) == self.fingerprint);
        let Some(ca) = pinned.map(|der| CaCertificate::from_der(der.clone().into_owned())) else {
            return Err(refusal);
        };
        let verifier = ca.verifier().map_err(|_| refusal)?;
        let verified = verifier.verify_server_cert(leaf, chain, name, ocsp, now)?;
        self.found.get_or_init(|| ca);
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, leaf, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, leaf, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
