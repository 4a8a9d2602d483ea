//! Tokens: who may join, and who may command what.

use std::time::Duration;

use domain::text::is_plain;
use service::token::{SecretHash, Token, TokenKind};

use super::{Dispatch, Error, Result};
use crate::store::event::{Event, Kind};
use crate::store::{self, certificate, event, token};

/// A join token lives so long when nobody says otherwise, and never longer than the second.
const JOIN_TTL: Duration = Duration::from_hours(1);
const JOIN_TTL_MAX: Duration = Duration::from_hours(30 * 24);
const JOIN_USES_MAX: u32 = 10_000;
const OPERATOR_TTL_MAX: Duration = Duration::from_hours(10 * 365 * 24);
const MAX_NAME_CHARS: usize = 80;

/// What an operator may do; each role may do all that the one before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    Viewer,
    Operator,
    Admin,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Viewer, Self::Operator, Self::Admin]
            .into_iter()
            .find(|role| role.as_str() == text)
    }
}

/// Who asks: the holder of an operator's token.
#[derive(Clone, Debug)]
pub struct Caller {
    pub role: Role,
    /// As events keep it: the token's name and id.
    pub actor: String,
}

/// What a new token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Join,
    Command(Role),
}

impl Purpose {
    fn as_str(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Command(role) => role.as_str(),
        }
    }

    pub fn parse(text: &str) -> Result<Self> {
        if text == "join" {
            return Ok(Self::Join);
        }
        Role::parse(text).map(Self::Command).ok_or_else(|| {
            Error::Invalid(format!(
                "there is no token of kind `{text}`: join, viewer, operator or admin"
            ))
        })
    }
}

impl Dispatch {
    /// Zeros mean the defaults: one use within an hour to join; no end for an operator's.
    pub async fn create_token(
        &self,
        purpose: Purpose,
        ttl: Duration,
        uses: u32,
        name: &str,
        actor: &str,
    ) -> Result<Token> {
        if name.chars().count() > MAX_NAME_CHARS || !name.chars().all(is_plain) {
            return Err(Error::Invalid(format!(
                "a token's name has at most {MAX_NAME_CHARS} printable characters"
            )));
        }
        let (kind, ttl, uses) = match purpose {
            Purpose::Join => {
                let ttl = if ttl.is_zero() { JOIN_TTL } else { ttl };
                at_most(
                    "a join token's life",
                    ttl.as_secs(),
                    JOIN_TTL_MAX.as_secs(),
                    "seconds",
                )?;
                let uses = uses.max(1);
                at_most(
                    "a join token's uses",
                    uses.into(),
                    JOIN_USES_MAX.into(),
                    "times",
                )?;
                (TokenKind::Join, Some(ttl), Some(uses))
            }
            Purpose::Command(_) => {
                let longest = OPERATOR_TTL_MAX.as_secs();
                at_most("a token's life", ttl.as_secs(), longest, "seconds")?;
                (TokenKind::Operator, (!ttl.is_zero()).then_some(ttl), None)
            }
        };
        let made = Token::generate(kind, self.authority.fingerprint(), &mut rand::rng());
        let (token_id, hash) = (made.id().to_string(), made.secret_hash());
        let mut tx = store::begin(&self.pool).await?;
        let new = token::New {
            token_id: &token_id,
            kind: purpose.as_str(),
            name,
            secret_sha256: hash.as_bytes(),
            ttl_seconds: ttl.map(|ttl| ttl.as_secs_f64()),
            uses,
        };
        token::insert(&mut *tx, &new).await?;
        let detail = format!("{} {} ({name})", purpose.as_str(), made.id());
        let created = Event::new(Kind::TokenCreated, detail);
        event::insert(&mut *tx, actor, &[created]).await?;
        store::commit(tx).await?;
        Ok(made)
    }

    pub async fn list_tokens(&self) -> Result<Vec<token::Summary>> {
        Ok(token::summaries(&self.pool).await?)
    }

    /// Nobody is let in by it from now on; whom it let in as a machine stays one. Says whether it was still
    /// good.
    pub async fn revoke_token(&self, token_id: &str, actor: &str) -> Result<bool> {
        let mut tx = store::begin(&self.pool).await?;
        let Some(stored) = token::find(&mut *tx, token_id).await? else {
            return Err(Error::NotFound {
                noun: "token",
                name: token_id.to_owned(),
                help: ": `mlx-fleet token list` shows their ids",
            });
        };
        if token::revoke(&mut *tx, token_id).await? {
            let detail = format!("{} {token_id} ({})", stored.kind, stored.name);
            let revoked = Event::new(Kind::TokenRevoked, detail);
            event::insert(&mut *tx, actor, &[revoked]).await?;
        }
        store::commit(tx).await?;
        Ok(stored.live)
    }

    /// Whether the authority that this token tells its bearer to trust is ours.
    pub fn is_ours(&self, token: &Token) -> bool {
        token.ca() == self.authority.fingerprint()
    }

    /// What an earlier authority of this fleet gave out is worth nothing any more: whoever has its key
    /// may know all of it.
    pub async fn renounce(&self) -> Result<()> {
        let mut tx = store::begin(&self.pool).await?;
        let tokens = token::revoke_all(&mut *tx).await?;
        let certificates = certificate::revoke_all(&mut *tx).await?;
        let detail = format!("{tokens} tokens and {certificates} certificates revoked");
        tracing::warn!(tokens, certificates, "the authority is a new one");
        event::insert(&mut *tx, "", &[Event::new(Kind::AuthorityRenewed, detail)]).await?;
        Ok(store::commit(tx).await?)
    }

    /// Whose token this is, and what they may do.
    pub async fn caller(&self, token: &Token) -> Result<Caller> {
        const UNKNOWN: &str = "the token is unknown, expired or revoked";
        if token.kind() != TokenKind::Operator {
            let why = "a join token lets a machine join; an operator's token is needed here";
            return Err(Error::Unauthenticated(why.to_owned()));
        }
        let stored = self.recognise(token, UNKNOWN).await?;
        let role = Role::parse(&stored.kind);
        let actor = format!("{} (token {})", stored.name, token.id());
        Ok(Caller {
            role: role.ok_or_else(|| Error::Unauthenticated(UNKNOWN.to_owned()))?,
            actor: actor.trim_start().to_owned(),
        })
    }

    /// The stored token, if it is still good; `refusal` is one text for all that it is not, from which
    /// nobody learns anything.
    pub(super) async fn recognise(
        &self,
        token: &Token,
        refusal: &'static str,
    ) -> Result<token::Stored> {
        let stored = token::find(&self.pool, &token.id().to_string()).await?;
        let knows_the_secret = |stored: &token::Stored| {
            SecretHash::from_bytes(&stored.secret_sha256).is_some_and(|hash| hash.accepts(token))
        };
        match stored.filter(knows_the_secret) {
            None => Err(Error::Guessed(refusal)),
            Some(stored) if stored.live => Ok(stored),
            Some(_) => Err(Error::Unauthenticated(refusal.to_owned())),
        }
    }
}

fn at_most(what: &str, asked: u64, most: u64, unit: &str) -> Result<()> {
    if asked <= most {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "{what} is at most {most} {unit}, not {asked}"
    )))
}
