//! Finding the coordinator, trusting it by the fingerprint in the token, and speaking to it.

use std::path::{Path, PathBuf};

use proto::wire::fleet_service_client::FleetServiceClient;
use secrecy::ExposeSecret;
use service::folders::{self, DataFolder};
use service::tls::CaCertificate;
use service::token::{Token, TokenKind};
use service::{bearer, tls};
use tonic::codegen::{Service, http};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::exit::{Failure, chain};

const COORDINATOR: &str = "MLX_FLEET_COORDINATOR";
const TOKEN_FILE: &str = "MLX_FLEET_TOKEN_FILE";
const DATA_DIR: &str = "MLX_FLEET_DATA_DIR";

/// Where the coordinator is; see `mlx-fleet --help` for the order.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Finding the coordinator")]
pub struct Where {
    /// The coordinator's address, such as https://bench.example:7420; of several of one database, with
    /// commas, the first that can be reached
    #[arg(long, value_name = "URL")]
    pub coordinator: Option<String>,
    /// A file that holds the operator's token
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The data folder of a coordinator on this machine
    #[arg(long, value_name = "DIR", conflicts_with = "coordinator")]
    pub data_dir: Option<PathBuf>,
}

/// A client whose every call carries the token.
pub type Client = FleetServiceClient<InterceptedService<Channel, Bearer>>;

/// A coordinator that answers, and whom it proved to be.
pub struct Reached {
    /// As it was named; of several, all.
    pub urls: String,
    pub authority: CaCertificate,
    pub client: Client,
    channel: Channel,
}

/// Puts the token before every call.
#[derive(Clone)]
pub struct Bearer(Token);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        bearer::attach(&self.0, request.metadata_mut());
        Ok(request)
    }
}

/// The data folder that a flag, the environment or the platform names.
pub fn data_dir(flag: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(dir) = flag.map(Path::to_owned).or_else(|| variable(DATA_DIR)) {
        return Ok(std::path::absolute(dir)?);
    }
    let folder = DataFolder::default_location().map_err(|error| Failure::chain(&error))?;
    Ok(folder.root().to_owned())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the operator's environment"
)]
pub fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

impl Where {
    /// A coordinator on this machine, by its data folder.
    pub fn local(data_dir: &Path) -> Self {
        Self {
            data_dir: Some(data_dir.to_owned()),
            ..Self::default()
        }
    }

    fn resolve(&self) -> Result<(String, Token), Failure> {
        let named = || variable(COORDINATOR).filter(|_| self.data_dir.is_none());
        let named = || named().map(|url| url.to_string_lossy().into_owned());
        if let Some(url) = self.coordinator.clone().or_else(named) {
            let file = self.token_file.clone().or_else(|| variable(TOKEN_FILE));
            let file = file.ok_or_else(|| {
                Failure::Refused(format!(
                    "the coordinator at {url} wants a token: name its file with --token-file or \
                     {TOKEN_FILE}"
                ))
            })?;
            return Ok((url, read_token(&file)?));
        }
        let folder = DataFolder::at(data_dir(self.data_dir.as_deref())?);
        let file = folder.read_coordinator().map_err(|error| {
            Failure::Unreachable(format!(
                "no coordinator runs with the data folder {}; start one with `mlx-fleet serve \
                 --data-dir {0}`, or name one with --coordinator and --token-file ({})",
                folder.root().display(),
                chain(&error)
            ))
        })?;
        let token = self
            .token_file
            .clone()
            .unwrap_or_else(|| folder.operator_token());
        Ok((file.url, read_token(&token)?))
    }

    pub async fn connect(&self) -> Result<Client, Failure> {
        Ok(self.reach().await?.client)
    }

    /// Connects, trusting only the authority whose fingerprint the token carries.
    pub async fn reach(&self) -> Result<Reached, Failure> {
        let (urls, token) = self.resolve()?;
        let mut why = Vec::new();
        for url in urls.split(',') {
            match dial(url, &token).await {
                Err(Failure::Unreachable(told)) => why.push(told),
                Err(failure) => return Err(failure),
                Ok((authority, channel)) => {
                    let client =
                        FleetServiceClient::with_interceptor(channel.clone(), Bearer(token))
                            .max_decoding_message_size(proto::MAX_MESSAGE_BYTES);
                    return Ok(Reached {
                        urls,
                        authority,
                        client,
                        channel,
                    });
                }
            }
        }
        Err(Failure::Unreachable(why.join("; ")))
    }
}

impl Reached {
    /// A short text that the coordinator serves to everybody; None where it has none.
    pub async fn download(&mut self, path: &str) -> Result<Option<String>, Failure> {
        const MAX_BYTES: usize = 1024 * 1024;
        let lost = |error: tonic::transport::Error| Failure::Unreachable(tls::explain(&error));
        let mut request = http::Request::new(tonic::body::Body::empty());
        *request.uri_mut() = path.parse().map_err(Failure::broke)?;
        std::future::poll_fn(|context| self.channel.poll_ready(context))
            .await
            .map_err(lost)?;
        let response = self.channel.call(request).await.map_err(lost)?;
        match response.status() {
            http::StatusCode::OK => {}
            http::StatusCode::NOT_FOUND => return Ok(None),
            other => {
                return Err(Failure::broke(format_args!(
                    "the coordinator answered {other} to {path}"
                )));
            }
        }
        let body = axum::body::Body::new(response.into_body());
        let bytes = axum::body::to_bytes(body, MAX_BYTES)
            .await
            .map_err(Failure::broke)?;
        String::from_utf8(bytes.to_vec())
            .map(Some)
            .map_err(Failure::broke)
    }
}

async fn dial(url: &str, token: &Token) -> Result<(CaCertificate, Channel), Failure> {
    let unreachable = |error: &(dyn std::error::Error + 'static)| {
        let why = tls::explain(error);
        Failure::Unreachable(format!("cannot reach the coordinator at {url}: {why}"))
    };
    let address = tls::address(url).map_err(|error| unreachable(&error))?;
    let ca = tls::fetch_ca(&address, token.ca())
        .await
        .map_err(|error| unreachable(&error))?;
    let endpoint = tls::endpoint(url, Some(&ca), None).map_err(|error| unreachable(&error))?;
    let channel = endpoint
        .connect()
        .await
        .map_err(|error| unreachable(&error))?;
    Ok((ca, channel))
}

fn read_token(file: &Path) -> Result<Token, Failure> {
    let refused = |why: String| Failure::Refused(format!("token file {}: {why}", file.display()));
    let text = folders::read_secret(file).map_err(|error| refused(chain(&error)))?;
    text.expose_secret()
        .parse::<Token>()
        .and_then(|token| token.of_kind(TokenKind::Operator))
        .map_err(|error| refused(chain(&error)))
}
