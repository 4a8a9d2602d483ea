//! `token create|list|revoke`: what lets machines join and operators in.

use std::process::ExitCode;

use proto::wire;
use serde::Serialize;

use super::connect::Where;
use super::exit::Failure;
use super::show;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Make a token and print it alone; it is shown once and stored only as a hash
    Create(CreateArgs),
    /// List tokens, the newest first: what each is for, never its secret
    List(ListArgs),
    /// Let nobody in by a token any more; machines that joined with it stay
    Revoke(RevokeArgs),
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Kind {
    /// Lets a machine join the fleet
    Join,
    /// May look
    Viewer,
    /// May run and cancel plans too
    Operator,
    /// May make tokens too
    Admin,
}

#[derive(clap::Args)]
pub struct CreateArgs {
    /// What the token allows
    #[arg(long, value_enum, default_value = "join")]
    kind: Kind,
    /// How long it is good for, such as 30m, 24h or 90d
    #[arg(long, default_value = "24h", value_parser = ttl_seconds)]
    ttl: u64,
    /// How many machines may join with it
    #[arg(long, default_value_t = 1)]
    uses: u32,
    /// Whom or what it is for
    #[arg(long, default_value = "")]
    name: String,
    #[command(flatten)]
    coordinator: Where,
}

#[derive(clap::Args)]
pub struct ListArgs {
    /// Those too that are used up, expired or revoked
    #[arg(long)]
    all: bool,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    coordinator: Where,
}

#[derive(clap::Args)]
pub struct RevokeArgs {
    /// Its id: the third part of the token, as `token list` shows it
    #[arg(value_name = "ID")]
    token_id: String,
    #[command(flatten)]
    coordinator: Where,
}

/// A token as scripts see it.
#[derive(Serialize)]
struct Token {
    token_id: String,
    kind: String,
    name: String,
    state: String,
    created_at: String,
    expires_at: Option<String>,
    uses_left: Option<u32>,
}

impl From<wire::TokenRow> for Token {
    fn from(row: wire::TokenRow) -> Self {
        let wire::TokenRow {
            token_id,
            kind,
            name,
            state,
            created_unix_us,
            expires_unix_us,
            uses_left,
        } = row;
        Self {
            token_id,
            kind,
            name,
            state,
            created_at: show::instant(created_unix_us),
            expires_at: expires_unix_us.map(show::instant),
            uses_left,
        }
    }
}

/// `30m`, `24h`, `90d`
pub fn ttl_seconds(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no duration; write it as 30m, 24h or 90d");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let number: u64 = text[..text.len() - unit.len_utf8()]
        .parse()
        .map_err(|_| wrong())?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(seconds)
        .filter(|&ttl| ttl > 0)
        .ok_or_else(wrong)
}

pub async fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Create(args) => create(args).await,
        Command::List(args) => list(args).await,
        Command::Revoke(args) => revoke(args).await,
    }
}

async fn create(args: CreateArgs) -> Result<ExitCode, Failure> {
    let mut client = args.coordinator.connect().await?;
    let kind = match args.kind {
        Kind::Join => "join",
        Kind::Viewer => "viewer",
        Kind::Operator => "operator",
        Kind::Admin => "admin",
    };
    let request = wire::CreateTokenRequest {
        kind: kind.to_owned(),
        ttl_seconds: args.ttl,
        uses: args.uses,
        name: args.name,
    };
    show::line(client.create_token(request).await?.into_inner().token)?;
    Ok(ExitCode::SUCCESS)
}

async fn list(args: ListArgs) -> Result<ExitCode, Failure> {
    let mut client = args.coordinator.connect().await?;
    let answer = client.list_tokens(wire::ListTokensRequest {}).await?;
    let tokens = answer.into_inner().tokens.into_iter().map(Token::from);
    let tokens: Vec<Token> = tokens
        .filter(|token| args.all || token.state == "live")
        .collect();
    if args.json {
        show::json(&tokens)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = show::table(&[
        "id",
        "kind",
        "name",
        "state",
        "created",
        "expires",
        "uses left",
    ]);
    for token in tokens {
        table.add_row([
            token.token_id,
            token.kind,
            token.name,
            token.state,
            token.created_at,
            token.expires_at.unwrap_or_else(|| "never".to_owned()),
            token
                .uses_left
                .map(|uses| uses.to_string())
                .unwrap_or_default(),
        ]);
    }
    show::line(table)?;
    Ok(ExitCode::SUCCESS)
}

async fn revoke(args: RevokeArgs) -> Result<ExitCode, Failure> {
    let RevokeArgs {
        token_id,
        coordinator,
    } = args;
    let mut client = coordinator.connect().await?;
    let request = wire::RevokeTokenRequest {
        token_id: token_id.clone(),
    };
    let was_live = client.revoke_token(request).await?.into_inner().was_live;
    show::line(if was_live {
        format!("{token_id} lets nobody in any more")
    } else {
        format!("{token_id} let nobody in before either")
    })?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::ttl_seconds;

    #[test]
    fn lifetimes_have_units() {
        assert_eq!(ttl_seconds("90d"), Ok(7_776_000));
        for text in ["", "5", "0h", "ten", "5w", "99999999999999999999d"] {
            assert!(ttl_seconds(text).is_err(), "{text}");
        }
    }
}
