//! `token create`: what lets machines join and operators in.

use std::process::ExitCode;

use proto::wire;

use super::connect::Where;
use super::exit::Failure;
use super::show;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Make a token and print it alone; it is shown once and stored only as a hash
    Create(CreateArgs),
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
    let Command::Create(args) = command;
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
