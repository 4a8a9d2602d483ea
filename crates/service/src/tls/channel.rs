//! tonic's client and server with our TLS, keep-alive and error words.

use std::error::Error as StdError;
use std::net::IpAddr;
use std::time::Duration;

use secrecy::ExposeSecret;
use tonic::Extensions;
use tonic::codegen::http::Uri;
use tonic::transport::server::TlsConnectInfo;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig};

use super::{
    CaCertificate, ClientIdentity, ConnectionInfo, Error, PeerIdentity, SERVER_NAME, ServerIdentity,
};

/// A sleeping Mac leaves a connection that looks alive; these find out within 15 seconds.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
pub(super) const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A client that opens a connection and then says nothing is dropped after this.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Requests at work on one connection: an agent needs two, and one that resets them as fast as it makes
/// them is cut off.
const MAX_STREAMS: u32 = 64;
/// Names of methods and tokens are short.
const MAX_HEADER_BYTES: u32 = 8 * 1024;

/// A server with keep-alive and limits; services and TLS are the caller's.
pub fn server() -> Server {
    Server::builder()
        .max_concurrent_streams(Some(MAX_STREAMS))
        .http2_max_header_list_size(Some(MAX_HEADER_BYTES))
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
}

/// Shows the server's certificate and checks a client's where it shows one. Showing none is
/// allowed, for operators and for a machine's enrolment: each service decides what it needs.
pub fn server_config(identity: &ServerIdentity, ca: &CaCertificate) -> ServerTlsConfig {
    let pem = identity.pem().expose_secret();
    ServerTlsConfig::new()
        .identity(Identity::from_pem(pem, pem))
        .client_ca_root(Certificate::from_pem(ca.pem()))
        .client_auth_optional(true)
        .timeout(HANDSHAKE_TIMEOUT)
}

/// How to reach a coordinator. `https` needs its CA; `http` is for this machine's loopback only.
pub fn endpoint(
    url: &str,
    ca: Option<&CaCertificate>,
    client: Option<&ClientIdentity>,
) -> Result<Endpoint, Error> {
    let bad = || Error::BadUrl {
        url: url.to_owned(),
    };
    let uri: Uri = url.parse().map_err(|_| bad())?;
    let host = uri.host().ok_or_else(bad)?;
    let endpoint = Endpoint::from(uri.clone())
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .tcp_keepalive(Some(TCP_KEEPALIVE))
        .tcp_nodelay(true);
    match uri.scheme_str() {
        Some("http") if is_loopback(host) => Ok(endpoint),
        Some("http") => Err(Error::PlainText {
            url: url.to_owned(),
        }),
        Some("https") => {
            let ca = ca.ok_or_else(|| Error::NoAuthority {
                url: url.to_owned(),
            })?;
            let mut tls = ClientTlsConfig::new()
                .ca_certificate(Certificate::from_pem(ca.pem()))
                .domain_name(SERVER_NAME);
            if let Some(client) = client {
                let key = client.key().expose_secret();
                tls = tls.identity(Identity::from_pem(client.certificate(), key));
            }
            Ok(endpoint.tls_config(tls)?)
        }
        _ => Err(bad()),
    }
}

/// The `host:port` of a coordinator's URL.
pub fn address(url: &str) -> Result<String, Error> {
    let uri: Option<Uri> = url.parse().ok();
    uri.as_ref()
        .and_then(|uri| Some(format!("{}:{}", uri.host()?, uri.port_u16()?)))
        .ok_or_else(|| Error::BadUrl {
            url: url.to_owned(),
        })
}

/// Whether a URL's host is this machine alone.
pub fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || bare
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

/// The machine that a request comes from; `None` when its client showed no certificate.
pub fn peer(extensions: &Extensions) -> Result<Option<PeerIdentity>, Error> {
    let connection = extensions.get::<TlsConnectInfo<ConnectionInfo>>();
    let certificates = connection.and_then(TlsConnectInfo::peer_certs);
    let leaf = certificates.as_ref().and_then(|chain| chain.first());
    leaf.map(PeerIdentity::read).transpose()
}

/// The connection that a request came over, from [`super::accept`].
pub fn connection_of(extensions: &Extensions) -> Option<&ConnectionInfo> {
    let connection = extensions.get::<TlsConnectInfo<ConnectionInfo>>()?;
    Some(connection.get_ref())
}

/// Where a request comes from.
pub fn peer_address(extensions: &Extensions) -> Option<IpAddr> {
    let address = connection_of(extensions)?.tcp.remote_addr()?;
    Some(address.ip())
}

/// What TLS calls a failure, and what that means here.
const MEANINGS: [(&str, &str); 9] = [
    (
        "CertificateRequired",
        "this machine showed no certificate: enrol it with a join token",
    ),
    (
        "UnknownCA",
        "this machine's certificate is another coordinator's: enrol it again",
    ),
    (
        "DecryptError",
        "this machine's certificate is another coordinator's: enrol it again",
    ),
    (
        "BadCertificate",
        "this machine's certificate is refused: enrol it again",
    ),
    (
        "CertificateExpired",
        "this machine's certificate has ended: enrol it again",
    ),
    (
        "CertificateUnknown",
        "this machine's certificate is refused: enrol it again",
    ),
    (
        "UnknownIssuer",
        "the coordinator's certificate is not signed by the CA that is trusted here: is it another coordinator?",
    ),
    (
        "Expired",
        "the coordinator's certificate has ended, or this machine's clock is wrong",
    ),
    (
        "NotValidYet",
        "the coordinator's certificate is not valid yet: is this machine's clock wrong?",
    ),
];

/// The whole chain of an RPC's or a connection's error in one line, with what it means where the
/// transport alone would only say "transport error".
pub fn explain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    let mut details = format!("{error:?}");
    while let Some(inner) = source {
        let words = inner.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        details = format!("{details} {inner:?}");
        source = inner.source();
    }
    match MEANINGS.iter().find(|(name, _)| details.contains(name)) {
        Some((_, meaning)) => format!("{text}; {meaning}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_for_loopback_only() {
        for url in ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1"] {
            endpoint(url, None, None).unwrap();
        }
        for url in [
            "http://10.0.0.1:1",
            "http://localhost.example:1",
            "http://127.0.0.1.example",
        ] {
            let error = endpoint(url, None, None).unwrap_err();
            assert!(matches!(error, Error::PlainText { .. }), "{url}: {error}");
        }
    }

    #[test]
    fn a_url_that_is_none_and_a_missing_ca_are_refused_by_name() {
        for url in ["", "coordinator", "ftp://host:1", "https://"] {
            let error = endpoint(url, None, None).unwrap_err();
            assert!(matches!(error, Error::BadUrl { .. }), "{url}: {error}");
        }
        let error = endpoint("https://host:1", None, None).unwrap_err();
        assert!(matches!(error, Error::NoAuthority { .. }), "{error}");
    }
}
