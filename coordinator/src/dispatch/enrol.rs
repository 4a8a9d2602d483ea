//! A machine joins: a join token buys it a certificate.

use domain::ids::MachineId;
use domain::machine::Inventory;
use secrecy::SecretString;
use service::tls::{ClientIdentity, PeerIdentity};
use service::token::Token;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Dispatch, Error, Result};
use crate::store::event::{Event, Kind};
use crate::store::{self, certificate, event, machine, roster, token, wake};

const USELESS: &str =
    "the join token is unknown, expired or used up: `mlx-fleet token create` makes a new one";

/// What an enrolled machine takes home.
#[derive(Debug)]
pub struct Enrolled {
    pub machine_id: MachineId,
    pub certificate_pem: String,
    pub ca_pem: String,
}

impl Dispatch {
    /// What a machine checks the coordinator by.
    pub fn authority_pem(&self) -> String {
        self.authority.certificate().pem()
    }

    /// One transaction: a token's use is taken only when a certificate is given. A machine whose
    /// identity is known keeps its row, its name and its history, but not its older certificates: two
    /// holders of one identity show themselves, since the first is thrown out.
    pub async fn enrol(
        &self,
        token: &Token,
        request_pem: &str,
        inventory: &Inventory,
        now: OffsetDateTime,
    ) -> Result<Enrolled> {
        // Before anything is locked or written: whoever has no token holds up nobody.
        let stored = self.recognise(token, USELESS).await?;
        if stored.kind != "join" {
            return Err(Error::Unauthenticated(USELESS.to_owned()));
        }
        let mut tx = store::begin(&self.pool).await?;
        store::lock_enrolment(&mut *tx).await?;
        if !token::take_use(&mut *tx, &token.id().to_string()).await? {
            return Err(Error::Unauthenticated(USELESS.to_owned()));
        }

        let known = machine::find(&mut *tx, &inventory.identity).await?;
        let (machine_id, name) = if let Some(known) = known {
            known
        } else {
            let wanted = Some(inventory.hostname.as_str()).filter(|name| !name.is_empty());
            let wanted = wanted.unwrap_or("machine");
            let taken = machine::names_beginning(&mut *tx, wanted).await?;
            (MachineId::new(), free_name(wanted, &taken))
        };
        machine::put(&mut *tx, machine_id, &name, inventory).await?;
        // Asked each time: whoever holds a join token could come as a machine that was let in.
        roster::approve(&mut *tx, machine_id, !self.approve_machines).await?;

        let certificate_pem = self
            .authority
            .sign_agent(request_pem, machine_id, now)
            .map_err(|why| Error::Invalid(why.to_string()))?;
        let signed = read_back(&certificate_pem)?;
        let fingerprint = signed.fingerprint.to_string();
        let mut events = Vec::new();
        if certificate::revoke_of_machine(&mut *tx, machine_id).await? > 0 {
            wake::session(&mut *tx, machine_id, Uuid::now_v7()).await?;
            let detail = format!("{name} enrolled again with token {}", token.id());
            events.push(Event::new(Kind::MachineRevoked, detail).machine(machine_id));
        }
        certificate::insert(&mut *tx, &fingerprint, machine_id, signed.not_after).await?;
        let waits = if self.approve_machines {
            ", waits for approval"
        } else {
            ""
        };
        let detail = format!(
            "{name}, token {}, certificate {fingerprint}{waits}",
            token.id()
        );
        events.push(Event::new(Kind::MachineEnrolled, detail).machine(machine_id));
        event::insert(&mut *tx, "", &events).await?;
        store::commit(tx).await?;
        tracing::info!(machine = name, %machine_id, "a machine has joined{waits}");
        Ok(Enrolled {
            machine_id,
            certificate_pem,
            ca_pem: self.authority.certificate().pem(),
        })
    }

    /// The machine of a certificate that a connection showed.
    pub async fn machine_of(&self, peer: Option<PeerIdentity>) -> Result<PeerIdentity> {
        let refuse = |why: &str| Err(Error::Unauthenticated(why.to_owned()));
        let Some(peer) = peer else {
            return refuse("no client certificate: enrol this machine with a join token");
        };
        let found = certificate::find(&self.pool, &peer.fingerprint.to_string()).await?;
        match found {
            None => refuse("this certificate is not known here: enrol this machine again"),
            Some(known) if known.machine_id != peer.machine => {
                refuse("this certificate is another machine's")
            }
            Some(known) if known.revoked => refuse("this machine's certificate was revoked"),
            Some(known) if known.expired => {
                refuse("this machine's certificate has expired: enrol it again")
            }
            Some(_) => Ok(peer),
        }
    }
}

/// What the certificate that we just made says of itself.
fn read_back(pem: &str) -> Result<PeerIdentity> {
    // The key is not needed for that, and never leaves the machine.
    ClientIdentity::new(pem.to_owned(), SecretString::default())
        .identity()
        .map_err(|why| Error::Internal(why.to_string()))
}

/// The wanted name, or with the first number that makes it unique.
fn free_name(wanted: &str, taken: &[String]) -> String {
    let free = |name: &String| !taken.contains(name);
    let numbered = (2..).map(|number| format!("{wanted}-{number}"));
    std::iter::once(wanted.to_owned())
        .chain(numbered)
        .find(free)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_host_of_the_same_name_gets_a_number() {
        let taken = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(free_name("mini", &taken(&[])), "mini");
        assert_eq!(free_name("mini", &taken(&["mini-2"])), "mini");
        assert_eq!(
            free_name("mini", &taken(&["mini", "mini-2", "mini-4"])),
            "mini-3"
        );
    }
}
