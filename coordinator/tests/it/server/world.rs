//! A private Postgres and a coordinator on it, for one test.

use std::fs::Permissions;
use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use coordinator::server::{Config, Coordinator, GRACE, Listen, Running};
use private_postgres::{Options, Server};
use proto::wire;
use proto::wire::fleet_service_client::FleetServiceClient;
use secrecy::ExposeSecret;
use service::folders::{self, DataFolder};
use service::lifecycle::{Ending, Lifecycle, Signals, Stop};
use service::tls::CaCertificate;
use service::token::Token;
use sqlx::PgPool;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::Request;
use tonic::transport::Channel;

/// Longer than anything here takes on a busy machine.
pub const DEADLINE: Duration = Duration::from_mins(1);

/// Two cases of decode on every machine that takes part, two launches each.
pub const PLAN: &str = r#"
name = "small"
[protocol]
launches = 2
iterations = 2
[[model]]
source = "synthetic:nano-llama"
[suite.decode]
new_tokens = [16, 32]
"#;

pub struct World {
    pub db: PgPool,
    pub folder: DataFolder,
    database_url: String,
    listen: SocketAddr,
    /// As the next start of the coordinator has it.
    pub approve_machines: bool,
    coordinator: Option<Up>,
    beside: Option<Up>,
    postgres: Mutex<Server>,
    _dir: TempDir,
}

struct Up {
    running: Running,
    stop: Stop,
    ended: JoinSet<Ending>,
}

impl World {
    pub async fn start() -> Self {
        service::crypto::install();
        let dir = tempfile::Builder::new()
            // Postgres runs as another user when the tests run as root.
            .permissions(Permissions::from_mode(0o755))
            .tempdir()
            .unwrap();
        let postgres = postgres(dir.path().to_owned()).await;
        let database_url = postgres.url("postgres");
        let mut world = Self {
            db: PgPool::connect_lazy(&database_url).unwrap(),
            folder: DataFolder::at(dir.path().join("coordinator")),
            database_url,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            approve_machines: false,
            coordinator: None,
            beside: None,
            postgres: Mutex::new(postgres),
            _dir: dir,
        };
        world.up().await;
        world
    }

    /// Starts the coordinator; a second start listens where the first did.
    pub async fn up(&mut self) {
        self.try_up().await.unwrap();
    }

    pub async fn try_up(&mut self) -> Result<(), coordinator::server::Error> {
        let up = self.start_coordinator(&self.folder, self.listen).await?;
        let address = up.running.url().strip_prefix("https://").unwrap();
        self.listen = address.parse().unwrap();
        self.coordinator = Some(up);
        Ok(())
    }

    /// Starts a second coordinator of the same database.
    pub async fn up_beside(&mut self) {
        let folder = DataFolder::at(self.folder.root().with_file_name("beside"));
        folder.create().unwrap();
        std::fs::copy(self.folder.ca_certificate(), folder.ca_certificate()).unwrap();
        std::fs::copy(self.folder.ca_key(), folder.ca_key()).unwrap();
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let up = self.start_coordinator(&folder, anywhere).await.unwrap();
        self.beside = Some(up);
    }

    async fn start_coordinator(
        &self,
        folder: &DataFolder,
        listen: SocketAddr,
    ) -> Result<Up, coordinator::server::Error> {
        let lifecycle = Lifecycle::new();
        let config = Config {
            data_dir: folder.root().to_owned(),
            database_url: Some(self.database_url.clone()),
            listen,
            host_names: Vec::new(),
            approve_machines: self.approve_machines,
            metrics_listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            dashboard_listen: Listen::At(SocketAddr::from(([127, 0, 0, 1], 0))),
            releases: None,
            models: None,
        };
        let running = Coordinator::start(config, &lifecycle).await?;
        let stop = lifecycle.stop_handle();
        let mut ended = JoinSet::new();
        ended.spawn(lifecycle.run(Signals::catch().unwrap(), GRACE));
        Ok(Up {
            running,
            stop,
            ended,
        })
    }

    /// The database goes away, and is not there again.
    pub fn stop_database(&self) {
        self.postgres.lock().unwrap().stop().unwrap();
    }

    /// Stops the coordinator as a signal would.
    pub async fn down(&mut self) -> Ending {
        let Up {
            running,
            stop,
            mut ended,
        } = self.coordinator.take().unwrap();
        stop.stop();
        let ending = soon("the coordinator's end", ended.join_next())
            .await
            .unwrap()
            .unwrap();
        running.finish().await.unwrap();
        ending
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.listen)
    }

    pub fn metrics_url(&self) -> String {
        let up = self.coordinator.as_ref().unwrap();
        up.running.metrics_url().unwrap()
    }

    pub fn dashboard_url(&self) -> String {
        let up = self.coordinator.as_ref().unwrap();
        up.running.dashboard_url().unwrap()
    }

    pub fn ca(&self) -> CaCertificate {
        let pem = folders::read_public(&self.folder.ca_certificate()).unwrap();
        CaCertificate::from_pem(&pem).unwrap()
    }

    pub async fn channel(&self) -> Channel {
        service::tls::endpoint(&self.url(), Some(&self.ca()), None)
            .unwrap()
            .connect()
            .await
            .unwrap()
    }

    /// A client with the token of whoever owns the data folder.
    pub async fn operator(&self) -> Operator {
        let text = folders::read_secret(&self.folder.operator_token()).unwrap();
        Operator {
            token: text.expose_secret().parse().unwrap(),
            client: FleetServiceClient::new(self.channel().await),
        }
    }

    pub async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.db).await.unwrap()
    }

    pub async fn texts(&self, sql: &'static str) -> Vec<String> {
        sqlx::query_scalar(sql).fetch_all(&self.db).await.unwrap()
    }

    /// Waits until a count is what it should be.
    pub async fn until(&self, what: &str, sql: &'static str, wanted: i64) {
        let mut found = None;
        let reached = tokio::time::timeout(DEADLINE, async {
            loop {
                let now = self.number(sql).await;
                if now == wanted {
                    return;
                }
                found = Some(now);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        assert!(
            reached.await.is_ok(),
            "{what}: found {found:?}, wanted {wanted}"
        );
    }
}

async fn postgres(dir: PathBuf) -> Server {
    let mut options = Options::new(dir.join("data"));
    options.fallback_dir = dir.join("cluster");
    // Nothing here outlives the test.
    options.settings = vec![("fsync".to_owned(), "off".to_owned())];
    tokio::task::spawn_blocking(move || Server::start(&options))
        .await
        .unwrap()
        .unwrap()
}

/// What a server of plain HTTP answers: its status, its head and its body.
pub async fn exchange(address: &str, request: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon("an answer", stream.read_to_string(&mut answer))
        .await
        .unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head[9..12].parse().unwrap();
    (status, head.to_owned(), body.to_owned())
}

/// Waits for what should come soon.
pub async fn soon<T>(what: &str, it: impl Future<Output = T>) -> T {
    let come = tokio::time::timeout(DEADLINE, it).await.ok();
    come.unwrap_or_else(|| panic!("{what} did not come within {DEADLINE:?}"))
}

/// An operator's client.
#[derive(Clone)]
pub struct Operator {
    pub token: Token,
    pub client: FleetServiceClient<Channel>,
}

impl Operator {
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        service::bearer::attach(&self.token, request.metadata_mut());
        request
    }

    pub async fn token(&mut self, kind: &str, uses: u32) -> Token {
        let request = self.request(wire::CreateTokenRequest {
            kind: kind.to_owned(),
            ttl_seconds: 0,
            uses,
            name: "test".to_owned(),
        });
        let made = self
            .client
            .create_token(request)
            .await
            .unwrap()
            .into_inner();
        made.token.parse().unwrap()
    }

    pub async fn token_state(&mut self, id: &str) -> Option<String> {
        let request = self.request(wire::ListTokensRequest {});
        let answer = self.client.list_tokens(request).await.unwrap();
        let mut tokens = answer.into_inner().tokens.into_iter();
        Some(tokens.find(|token| token.token_id == id)?.state)
    }

    /// Whether it was still good.
    pub async fn revoke_token(&mut self, id: &str) -> Result<bool, tonic::Status> {
        let token_id = id.to_owned();
        let request = self.request(wire::RevokeTokenRequest { token_id });
        Ok(self
            .client
            .revoke_token(request)
            .await?
            .into_inner()
            .was_live)
    }

    /// Says the run's id.
    pub async fn submit(&mut self, plan: &str) -> String {
        let submitted = self.try_submit(plan).await;
        assert!(submitted.problems.is_empty(), "{:?}", submitted.problems);
        submitted.run_id
    }

    pub async fn try_submit(&mut self, plan: &str) -> wire::SubmitRunResponse {
        let request = self.request(wire::SubmitRunRequest {
            plan_toml: plan.to_owned(),
            file_name: "test.toml".to_owned(),
            once: false,
        });
        self.client.submit_run(request).await.unwrap().into_inner()
    }

    pub async fn cancel(&mut self, run: &str) -> u32 {
        let request = self.request(wire::CancelRunRequest {
            run: run.to_owned(),
        });
        self.client
            .cancel_run(request)
            .await
            .unwrap()
            .into_inner()
            .jobs_cancelled
    }

    /// The run as it ends.
    pub async fn watch(&mut self, run: &str) -> wire::RunSnapshot {
        let request = self.request(wire::WatchRunRequest {
            run: run.to_owned(),
        });
        let mut snapshots = self.client.watch_run(request).await.unwrap().into_inner();
        let mut all = soon("a snapshot", snapshots.message())
            .await
            .unwrap()
            .unwrap();
        while let Some(news) = soon("a snapshot", snapshots.message()).await.unwrap() {
            all.run = news.run;
            all.jobs
                .retain(|old| news.jobs.iter().all(|job| job.job_id != old.job_id));
            all.jobs.extend(news.jobs);
        }
        all
    }

    pub async fn resume_run(&mut self, run: &str) -> Result<u32, tonic::Status> {
        let request = self.request(wire::ResumeRunRequest {
            run: run.to_owned(),
        });
        let resumed = self.client.resume_run(request).await?;
        Ok(resumed.into_inner().jobs_resumed)
    }

    /// Of a run or, unnamed, of the fleet.
    pub async fn events(&mut self, run: &str) -> Vec<wire::EventRow> {
        let request = self.request(wire::ListEventsRequest {
            run: run.to_owned(),
            ..Default::default()
        });
        let mut answer = self.client.list_events(request).await.unwrap().into_inner();
        let mut rows = Vec::new();
        while let Some(row) = soon("an event", answer.message()).await.unwrap() {
            rows.push(row);
        }
        rows
    }

    /// The run as it is now.
    pub async fn watch_once(&mut self, run: &str) -> wire::RunRow {
        let request = self.request(wire::WatchRunRequest {
            run: run.to_owned(),
        });
        let mut snapshots = self.client.watch_run(request).await.unwrap().into_inner();
        let first = soon("a snapshot", snapshots.message()).await.unwrap();
        first.unwrap().run.unwrap()
    }

    pub async fn machines(&mut self) -> Vec<wire::MachineRow> {
        let request = self.request(wire::ListMachinesRequest {
            machine: String::new(),
        });
        self.client
            .list_machines(request)
            .await
            .unwrap()
            .into_inner()
            .machines
    }

    pub async fn query(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>, tonic::Status> {
        let request = self.request(wire::QueryRequest {
            sql: sql.to_owned(),
        });
        let mut answer = self.client.query(request).await?.into_inner();
        let mut rows = Vec::new();
        while let Some(row) = soon("a row", answer.message()).await? {
            rows.push(row.values.into_iter().map(|value| value.text).collect());
        }
        Ok(rows)
    }
}
