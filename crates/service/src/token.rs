//! Tokens that people carry: a machine's right to join, an operator's right to command.
//!
//! `mlxfleet_<kind>_<id>_<secret>_<ca>`: the id finds the row, the secret proves the right (its
//! hash alone is stored), and the CA's fingerprint tells the bearer whom to trust.

use std::fmt;
use std::str::FromStr;

use rand::CryptoRng;
use secrecy::zeroize::Zeroizing;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::tls::Fingerprint;

const PREFIX: &str = "mlxfleet";
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;

/// What a token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// Lets a machine enrol.
    Join,
    /// Lets a person or script command the coordinator.
    Operator,
}

impl TokenKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Operator => "op",
        }
    }
}

/// The public part, by which a token is listed and revoked.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenId([u8; ID_BYTES]);

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenId({self})")
    }
}

impl FromStr for TokenId {
    type Err = BadToken;

    fn from_str(text: &str) -> Result<Self, BadToken> {
        fixed_hex(text).map(Self).ok_or(BadToken::Id)
    }
}

/// Why a text is no token; says which part, and never repeats a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    #[error("the token is empty")]
    Empty,
    #[error("a token begins with `mlxfleet_join_` or `mlxfleet_op_`; this text does not")]
    Prefix,
    #[error("the token's kind is neither `join` nor `op`")]
    Kind,
    #[error("the token has {found} parts instead of 5: was it cut short when copied?")]
    Parts { found: usize },
    #[error("the token's id is not {} hexadecimal digits", 2 * ID_BYTES)]
    Id,
    #[error("the token's secret is not {} hexadecimal digits", 2 * SECRET_BYTES)]
    Secret,
    #[error("the token's CA fingerprint is not 64 hexadecimal digits")]
    Fingerprint,
    #[error("this is a `{found}` token, and a `{wanted}` token is needed here")]
    WrongKind {
        found: &'static str,
        wanted: &'static str,
    },
}

/// A whole token. `Display` and `Debug` hide the secret; [`Token::expose`] does not.
#[derive(Clone)]
pub struct Token {
    kind: TokenKind,
    id: TokenId,
    secret: Zeroizing<[u8; SECRET_BYTES]>,
    ca: Fingerprint,
}

impl Token {
    pub fn generate(kind: TokenKind, ca: Fingerprint, rng: &mut impl CryptoRng) -> Self {
        let mut id = [0; ID_BYTES];
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        rng.fill_bytes(&mut id);
        rng.fill_bytes(secret.as_mut_slice());
        Self {
            kind,
            id: TokenId(id),
            secret,
            ca,
        }
    }

    pub fn kind(&self) -> TokenKind {
        self.kind
    }

    pub fn id(&self) -> TokenId {
        self.id
    }

    /// The only CA that the bearer should trust.
    pub fn ca(&self) -> Fingerprint {
        self.ca
    }

    /// Refuses a token of the other kind by name.
    pub fn of_kind(self, wanted: TokenKind) -> Result<Self, BadToken> {
        if self.kind == wanted {
            return Ok(self);
        }
        Err(BadToken::WrongKind {
            found: self.kind.as_str(),
            wanted: wanted.as_str(),
        })
    }

    /// What to store in place of the secret. A plain hash is enough: the secret is 256 random bits.
    pub fn secret_hash(&self) -> SecretHash {
        SecretHash(Sha256::digest(self.secret.as_slice()).into())
    }

    /// The text with its secret, to hand to its bearer.
    pub fn expose(&self) -> Zeroizing<String> {
        let secret = Zeroizing::new(hex::encode(self.secret.as_slice()));
        let (kind, id, ca) = (self.kind.as_str(), self.id, self.ca);
        Zeroizing::new(format!("{PREFIX}_{kind}_{id}_{}_{ca}", secret.as_str()))
    }
}

impl FromStr for Token {
    type Err = BadToken;

    fn from_str(text: &str) -> Result<Self, BadToken> {
        let text = text.trim();
        if text.is_empty() {
            return Err(BadToken::Empty);
        }
        let parts: Vec<&str> = text.split('_').collect();
        if parts[0] != PREFIX {
            return Err(BadToken::Prefix);
        }
        let [_, kind, id, secret, ca] = parts[..] else {
            return Err(BadToken::Parts { found: parts.len() });
        };
        let kind = match kind {
            "join" => TokenKind::Join,
            "op" => TokenKind::Operator,
            _ => return Err(BadToken::Kind),
        };
        Ok(Self {
            kind,
            id: id.parse()?,
            secret: fixed_hex(secret)
                .map(Zeroizing::new)
                .ok_or(BadToken::Secret)?,
            ca: ca.parse().map_err(|_| BadToken::Fingerprint)?,
        })
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}_{}_{}_…", self.kind.as_str(), self.id)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({self})")
    }
}

/// SHA-256 of a token's secret. Compared in constant time only, so it has no `==`.
#[derive(Clone, Copy, Debug)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// From the database; `None` when the length is wrong.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether the token knows the secret.
    pub fn accepts(&self, token: &Token) -> bool {
        self.0.ct_eq(&token.secret_hash().0).into()
    }
}

/// Lower-case only, so that a token has one spelling.
fn fixed_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    use super::*;

    fn token(seed: u64, kind: TokenKind) -> Token {
        let ca = Fingerprint::of(b"a certificate");
        Token::generate(kind, ca, &mut ChaCha20Rng::seed_from_u64(seed))
    }

    #[test]
    fn a_token_survives_its_text_and_white_space_around_it() {
        for kind in [TokenKind::Join, TokenKind::Operator] {
            let token = token(1, kind);
            let text = format!("  {}\n", token.expose().as_str());
            let back: Token = text.parse().unwrap();
            assert_eq!(
                (back.kind(), back.id(), back.ca()),
                (kind, token.id(), token.ca())
            );
            assert!(token.secret_hash().accepts(&back));
        }
    }

    #[test]
    fn another_secret_is_not_accepted() {
        let (one, other) = (token(1, TokenKind::Join), token(2, TokenKind::Join));
        assert!(!one.secret_hash().accepts(&other));
        let stored = SecretHash::from_bytes(one.secret_hash().as_bytes()).unwrap();
        assert!(stored.accepts(&one));
        assert!(SecretHash::from_bytes(b"short").is_none());
    }

    #[test]
    fn neither_display_nor_debug_shows_the_secret() {
        let token = token(3, TokenKind::Operator);
        let text = token.expose();
        let secret = text.split('_').nth(3).unwrap();
        assert_eq!(secret.len(), 64);
        for shown in [format!("{token}"), format!("{token:?}")] {
            assert!(!shown.contains(secret), "{shown}");
            assert!(shown.contains(&token.id().to_string()), "{shown}");
        }
    }

    #[test]
    fn each_broken_part_is_named() {
        let good = token(4, TokenKind::Join).expose();
        let parts: Vec<&str> = good.split('_').collect();
        let with = |index: usize, part: &str| {
            let mut parts = parts.clone();
            parts[index] = part;
            parts.join("_").parse::<Token>().unwrap_err()
        };
        assert_eq!("".parse::<Token>().unwrap_err(), BadToken::Empty);
        assert_eq!(with(0, "github"), BadToken::Prefix);
        assert_eq!(with(1, "admin"), BadToken::Kind);
        assert_eq!(with(2, "xyz"), BadToken::Id);
        assert_eq!(with(3, &parts[3][1..]), BadToken::Secret);
        assert_eq!(with(3, &parts[3].to_uppercase()), BadToken::Secret);
        assert_eq!(with(4, "00"), BadToken::Fingerprint);
        let cut = parts[..4].join("_").parse::<Token>().unwrap_err();
        assert_eq!(cut, BadToken::Parts { found: 4 });
        let wrong = token(5, TokenKind::Join).of_kind(TokenKind::Operator);
        let wrong = wrong.unwrap_err().to_string();
        assert_eq!(
            wrong,
            "this is a `join` token, and a `op` token is needed here"
        );
    }
}
