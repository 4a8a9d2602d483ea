//! An operator's client, without a process of its own: its start would be in every figure.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use proto::wire;
use proto::wire::agent_service_client::AgentServiceClient;
use proto::wire::fleet_service_client::FleetServiceClient;
use secrecy::ExposeSecret;
use service::folders::{self, DataFolder};
use service::tls::{self, CaCertificate};
use service::token::Token;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Streaming};

#[derive(Clone)]
pub struct Operator {
    token: Token,
    endpoint: Endpoint,
    channel: Channel,
}

impl Operator {
    pub async fn connect(data_dir: &Path, url: &str) -> Result<Self> {
        let folder = DataFolder::at(data_dir);
        let token = folders::read_secret(&folder.operator_token())?;
        let ca = CaCertificate::from_pem(&folders::read_public(&folder.ca_certificate())?)?;
        let endpoint = tls::endpoint(url, Some(&ca), None)?;
        Ok(Self {
            token: token.expose_secret().parse()?,
            channel: endpoint.connect().await?,
            endpoint,
        })
    }

    fn client(&self) -> FleetServiceClient<Channel> {
        FleetServiceClient::new(self.channel.clone())
            .max_decoding_message_size(proto::MAX_MESSAGE_BYTES)
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        service::bearer::attach(&self.token, request.metadata_mut());
        request
    }

    pub async fn join_token(&self, uses: u32) -> Result<String> {
        let request = self.request(wire::CreateTokenRequest {
            kind: "join".to_owned(),
            ttl_seconds: 3600,
            uses,
            name: "bench".to_owned(),
        });
        Ok(self
            .client()
            .create_token(request)
            .await?
            .into_inner()
            .token)
    }

    /// The run's id, and its jobs.
    pub async fn submit(&self, plan: &str) -> Result<(String, u32)> {
        let request = self.request(wire::SubmitRunRequest {
            plan_toml: plan.to_owned(),
            file_name: "bench.toml".to_owned(),
            once: false,
        });
        let answer = self.client().submit_run(request).await?.into_inner();
        ensure!(answer.problems.is_empty(), "{:?}", answer.problems);
        Ok((answer.run_id, answer.jobs))
    }

    pub async fn cancel(&self, run: &str) -> Result<u32> {
        let run = run.to_owned();
        let request = self.request(wire::CancelRunRequest { run });
        Ok(self
            .client()
            .cancel_run(request)
            .await?
            .into_inner()
            .jobs_cancelled)
    }

    /// On a connection of its own, as watchers are.
    pub async fn watch(&self, run: &str) -> Result<Streaming<wire::RunSnapshot>> {
        let channel = self.endpoint.connect().await?;
        let run = run.to_owned();
        let request = self.request(wire::WatchRunRequest { run });
        let mut client =
            FleetServiceClient::new(channel).max_decoding_message_size(proto::MAX_MESSAGE_BYTES);
        Ok(client.watch_run(request).await?.into_inner())
    }

    /// The least that a call takes: an enrolment without a token is refused before anything is read.
    pub async fn ping(&self) -> Result<()> {
        refused(self.channel.clone()).await
    }

    /// A connection made, and one call on it.
    pub async fn handshake(&self) -> Result<()> {
        refused(self.endpoint.connect().await?).await
    }
}

async fn refused(channel: Channel) -> Result<()> {
    let nothing = wire::EnrollRequest::default();
    let answer = AgentServiceClient::new(channel).enroll(nothing).await;
    let status = answer.err().context("nothing was enrolled")?;
    ensure!(status.code() == Code::Unauthenticated, "{status}");
    Ok(())
}
