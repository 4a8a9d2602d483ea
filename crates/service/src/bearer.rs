//! A token on the wire: the `authorization: Bearer …` entry of a request.

use tonic::metadata::{Ascii, MetadataMap, MetadataValue};

use crate::token::{BadToken, Token};

const KEY: &str = "authorization";
const SCHEME: &str = "Bearer ";

/// Why a request's `authorization` entry is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the request carries no token")]
    Missing,
    #[error("the `authorization` entry is not `Bearer TOKEN`")]
    Scheme,
    #[error("the request's token is refused")]
    Token(#[from] BadToken),
}

/// Adds the token to a request, marked so that it is not logged or indexed on the way.
pub fn attach(token: &Token, metadata: &mut MetadataMap) {
    let text = format!("{SCHEME}{}", token.expose().as_str());
    // Hexadecimal digits, letters and `_` always make a value.
    if let Ok(mut value) = MetadataValue::<Ascii>::try_from(text) {
        value.set_sensitive(true);
        metadata.insert(KEY, value);
    }
}

pub fn read(metadata: &MetadataMap) -> Result<Token, Error> {
    let value = metadata.get(KEY).ok_or(Error::Missing)?;
    let text = value.to_str().map_err(|_| Error::Scheme)?;
    let token = text.strip_prefix(SCHEME).ok_or(Error::Scheme)?;
    Ok(token.parse()?)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    use super::*;
    use crate::tls::Fingerprint;
    use crate::token::TokenKind;

    #[test]
    fn a_token_survives_the_request() {
        let ca = Fingerprint::of(b"ca");
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let token = Token::generate(TokenKind::Operator, ca, &mut rng);
        let mut metadata = MetadataMap::new();
        assert_eq!(read(&metadata).unwrap_err(), Error::Missing);
        attach(&token, &mut metadata);
        assert!(token.secret_hash().accepts(&read(&metadata).unwrap()));
        assert!(metadata.get(KEY).unwrap().is_sensitive());
    }

    #[test]
    fn a_header_of_another_form_is_refused_by_name() {
        let mut metadata = MetadataMap::new();
        metadata.insert(KEY, "Basic abc".parse().unwrap());
        assert_eq!(read(&metadata).unwrap_err(), Error::Scheme);
        metadata.insert(KEY, "Bearer abc".parse().unwrap());
        assert_eq!(read(&metadata).unwrap_err(), Error::Token(BadToken::Prefix));
    }
}
