//! How a machine joins a fleet: a token once, a certificate from then on.
//!
//! The token names the CA by fingerprint, so the first connection can be trusted; the key is made
//! here and never leaves. What is kept, in the data folder: the key (0600), the certificate, the CA
//! and where the fleet's coordinators are.

use std::path::PathBuf;

use domain::ids::MachineId;
use domain::machine::Inventory;
use proto::wire;
use proto::wire::agent_service_client::AgentServiceClient;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use service::folders::{self, DataFolder};
use service::tls::{self, AgentKey, CaCertificate, ClientIdentity, Fingerprint, PeerIdentity};
use service::token::{BadToken, Token, TokenKind};
use time::OffsetDateTime;
use tonic::Code;
use tonic::transport::Endpoint;

const SETTINGS: &str = "agent.json";
/// The authority of the fleet that the folder joined first, by its fingerprint.
const FIRST_FLEET: &str = "first-fleet";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Folder(#[from] folders::Error),
    #[error(transparent)]
    Tls(#[from] tls::Error),
    #[error(transparent)]
    Token(#[from] BadToken),
    #[error("{path} is not what was written there: {source}", path = path.display())]
    Settings {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("{path} is not the fingerprint that was written there; the fleet knows this machine by it", path = .0.display())]
    FirstFleet(PathBuf),
    #[error("this machine is not enrolled yet: give it a join token (`mlx-fleet token create`)")]
    NoToken,
    #[error("where is the coordinator? name it with --coordinator URL")]
    NoCoordinator,
    #[error(
        "this data folder is enrolled with another coordinator (CA {ours}), the token is for CA \
         {theirs}: use another --data-dir, or delete {path} to leave the old one for good",
        path = path.display()
    )]
    Elsewhere {
        ours: Fingerprint,
        theirs: Fingerprint,
        path: PathBuf,
    },
    #[error("the certificate of this machine ended on {0}: enrol it again with a join token")]
    Expired(time::Date),
    #[error("the coordinator refuses this machine: {0}")]
    Refused(String),
    #[error("cannot enrol: {0}")]
    Unreachable(String),
}

impl Error {
    /// Whether the same try may succeed later.
    pub fn is_temporary(&self) -> bool {
        matches!(
            self,
            Self::Unreachable(_) | Self::Tls(tls::Error::Unreachable { .. })
        )
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Settings {
    /// URLs, with a comma between them.
    coordinator: String,
}

/// Everything needed to dial as this machine.
pub struct Membership {
    coordinators: Vec<String>,
    ca: CaCertificate,
    client: ClientIdentity,
}

impl Membership {
    /// Those of one fleet, in the order in which they are tried.
    pub fn coordinators(&self) -> &[String] {
        &self.coordinators
    }

    pub fn endpoints(&self) -> Result<Vec<Endpoint>, Error> {
        let urls = self.coordinators.iter();
        let endpoints = urls.map(|url| tls::endpoint(url, Some(&self.ca), Some(&self.client)));
        Ok(endpoints.collect::<Result<_, _>>()?)
    }

    /// Who its certificate says that this machine is.
    pub fn machine_id(&self) -> Result<MachineId, Error> {
        Ok(self.peer()?.machine)
    }

    /// Until when the certificate is good.
    pub fn ends(&self) -> Result<OffsetDateTime, Error> {
        Ok(self.peer()?.not_after)
    }

    /// Which fleet it is.
    pub fn fleet(&self) -> Fingerprint {
        self.ca.fingerprint()
    }

    fn peer(&self) -> Result<PeerIdentity, Error> {
        Ok(self.client.identity()?)
    }
}

/// What the operator of this machine said.
#[derive(Debug, Default)]
pub struct Wishes {
    /// Empty: where they were the last time.
    pub coordinators: Vec<String>,
    /// Needed the first time, and when the certificate has ended.
    pub token: Option<SecretString>,
    /// The token buys a new certificate whatever is held: that may be revoked, which nothing here says.
    pub again: bool,
}

/// The fleet that salts this machine's identity: the first that the folder joined, so that a fleet whose
/// authority is renewed knows its machines again; before that, the one that the token is for.
pub fn fleet(folder: &DataFolder, wishes: &Wishes) -> Result<Option<Fingerprint>, Error> {
    let path = folder.root().join(FIRST_FLEET);
    match folders::read_public(&path) {
        Ok(text) => {
            let first = text.trim().parse();
            return first.map(Some).map_err(|_| Error::FirstFleet(path));
        }
        Err(error) if error.is_missing() => {}
        Err(error) => return Err(error.into()),
    }
    if let Some(member) = held(folder)? {
        return Ok(Some(member.fleet()));
    }
    let token = wishes.token.as_ref().map(read_token).transpose()?;
    Ok(token.map(|token| token.ca()))
}

/// Takes up the membership of the data folder, or joins with the token.
pub async fn join(
    folder: &DataFolder,
    wishes: Wishes,
    inventory: &Inventory,
    now: OffsetDateTime,
) -> Result<Membership, Error> {
    folder.create()?;
    let member = take_up(folder, wishes, inventory, now).await?;
    let first = folder.root().join(FIRST_FLEET);
    if !first.exists() {
        folders::write_public(&first, &format!("{}\n", member.fleet()))?;
    }
    Ok(member)
}

async fn take_up(
    folder: &DataFolder,
    wishes: Wishes,
    inventory: &Inventory,
    now: OffsetDateTime,
) -> Result<Membership, Error> {
    let token = wishes.token.as_ref().map(read_token).transpose()?;
    let held = held(folder)?;
    let held = match held {
        None => None,
        Some(mut member) => {
            if let Some(token) = &token
                && token.ca() != member.ca.fingerprint()
            {
                return Err(Error::Elsewhere {
                    ours: member.ca.fingerprint(),
                    theirs: token.ca(),
                    path: folder.agent_certificate(),
                });
            }
            // The CA says who a coordinator is; where it is may change.
            if !wishes.coordinators.is_empty() && wishes.coordinators != member.coordinators {
                member.coordinators.clone_from(&wishes.coordinators);
                save_settings(folder, &member.coordinators)?;
            }
            Some(member)
        }
    };
    let ended = match &held {
        Some(member) => Some(member.peer()?.not_after).filter(|end| *end <= now),
        None => None,
    };
    match (held, ended, token) {
        (Some(member), None, token) if token.is_none() || !wishes.again => Ok(member),
        (Some(_), Some(end), None) => Err(Error::Expired(end.date())),
        (_, _, None) => Err(Error::NoToken),
        (held, _, Some(token)) => {
            let mut coordinators = wishes.coordinators;
            if let (true, Some(member)) = (coordinators.is_empty(), held) {
                coordinators = member.coordinators;
            }
            enrol_with_any(folder, coordinators, &token, inventory).await
        }
    }
}

fn read_token(text: &SecretString) -> Result<Token, BadToken> {
    use secrecy::ExposeSecret;
    text.expose_secret()
        .parse::<Token>()?
        .of_kind(TokenKind::Join)
}

/// The membership of the data folder; None where it never joined.
pub fn held(folder: &DataFolder) -> Result<Option<Membership>, Error> {
    let certificate = match folders::read_public(&folder.agent_certificate()) {
        Ok(certificate) => certificate,
        Err(error) if error.is_missing() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let key = folders::read_secret(&folder.agent_key())?;
    let ca = CaCertificate::from_pem(&folders::read_public(&folder.agent_authority())?)?;
    let path = folder.root().join(SETTINGS);
    let text = folders::read_public(&path)?;
    let Settings { coordinator } =
        serde_json::from_str(&text).map_err(|source| Error::Settings { path, source })?;
    Ok(Some(Membership {
        coordinators: coordinator.split(',').map(str::to_owned).collect(),
        ca,
        client: ClientIdentity::new(certificate, key),
    }))
}

fn save_settings(folder: &DataFolder, coordinators: &[String]) -> Result<(), Error> {
    let path = folder.root().join(SETTINGS);
    let text = serde_json::json!({ "coordinator": coordinators.join(",") });
    Ok(folders::write_public(&path, &format!("{text}\n"))?)
}

/// The first that can be reached has the last word.
async fn enrol_with_any(
    folder: &DataFolder,
    coordinators: Vec<String>,
    token: &Token,
    inventory: &Inventory,
) -> Result<Membership, Error> {
    let mut last = Error::NoCoordinator;
    for url in &coordinators {
        match enrol(folder, url, &coordinators, token, inventory).await {
            Ok((ca, client)) => {
                return Ok(Membership {
                    coordinators,
                    ca,
                    client,
                });
            }
            Err(error) if error.is_temporary() => {
                tracing::warn!(url, %error, "a coordinator cannot be reached");
                last = error;
            }
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

async fn enrol(
    folder: &DataFolder,
    url: &str,
    coordinators: &[String],
    token: &Token,
    inventory: &Inventory,
) -> Result<(CaCertificate, ClientIdentity), Error> {
    let ca = tls::fetch_ca(&tls::address(url)?, token.ca()).await?;
    let key = match folders::read_secret(&folder.agent_key()) {
        Ok(pem) => AgentKey::from_pem(&pem)?,
        Err(error) if error.is_missing() => AgentKey::generate()?,
        Err(error) => return Err(error.into()),
    };
    let unreachable = |error: &(dyn std::error::Error + 'static)| {
        Error::Unreachable(format!("{url}: {}", tls::explain(error)))
    };
    let endpoint = tls::endpoint(url, Some(&ca), None)?;
    let channel = endpoint
        .connect()
        .await
        .map_err(|error| unreachable(&error))?;
    let request = wire::EnrollRequest {
        token: token.expose().as_str().to_owned(),
        csr_pem: key.request()?,
        inventory: Some(inventory.into()),
    };
    let answer = AgentServiceClient::new(channel).enroll(request).await;
    let wire::EnrollResponse {
        machine_id,
        certificate_pem,
        ca_pem: _,
    } = answer
        .map_err(|status| match status.code() {
            Code::Unavailable
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Unknown => unreachable(&status),
            _ => Error::Refused(status.message().to_owned()),
        })?
        .into_inner();
    tracing::info!(machine = machine_id, coordinator = url, "enrolled");
    let client = ClientIdentity::new(certificate_pem.clone(), key.to_pem());
    client.identity()?;
    folders::write_secret(&folder.agent_key(), &key.to_pem())?;
    folders::write_public(&folder.agent_authority(), &ca.pem())?;
    save_settings(folder, coordinators)?;
    // Last: its presence says that the others are there.
    folders::write_public(&folder.agent_certificate(), &certificate_pem)?;
    Ok((ca, client))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_stays_what_it_was_in_its_first_fleet() {
        let dir = tempfile::tempdir().unwrap();
        let folder = DataFolder::at(dir.path());
        let [first, second] = ["one", "two"].map(|ca| Fingerprint::of(ca.as_bytes()));
        let made = |ca| Token::generate(TokenKind::Join, ca, &mut rand::rng());
        let wishes = Wishes {
            coordinators: Vec::new(),
            token: Some(made(second).expose().as_str().into()),
            again: false,
        };
        assert_eq!(fleet(&folder, &wishes).unwrap(), Some(second));
        // Its authority was renewed, and the machine enrols again.
        folders::write_public(&dir.path().join(FIRST_FLEET), &format!("{first}\n")).unwrap();
        assert_eq!(fleet(&folder, &wishes).unwrap(), Some(first));
        folders::write_public(&dir.path().join(FIRST_FLEET), "one\n").unwrap();
        let refused = fleet(&folder, &wishes).unwrap_err().to_string();
        assert!(refused.contains(FIRST_FLEET), "{refused}");
    }
}
