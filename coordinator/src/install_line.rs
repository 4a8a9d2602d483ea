//! The one line for a new machine's terminal. It carries the authority's certificate whole, so that the first
//! connection is as safe as every later one, and a join token, which goes through a pipe.

use std::fmt::Write;

use service::tls::SERVER_NAME;

/// Whether only this machine can reach the address.
pub fn names_this_machine(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let ip = bare.parse::<std::net::IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

/// For bash, zsh and sh. The certificate carries a name that no public authority may sign for, and curl goes
/// to the address under it: Apple's curl also believes the authorities of the system's keychain.
pub fn line(authority: &str, urls: &str, address: &str, token: &str, more: &str) -> String {
    let (port, address) = (
        address.rsplit_once(':').map_or("", |(_, port)| port),
        quoted(&format!("::{address}")),
    );
    let mut certificate = String::new();
    for line in authority.lines() {
        // A String takes everything.
        _ = write!(certificate, " {}", quoted(line));
    }
    let (urls, token) = (quoted(urls), quoted(token));
    format!(
        "(d=$(mktemp -d) && trap 'rm -rf \"$d\"' EXIT && \
         printf '%s\\n'{certificate} >\"$d/ca.pem\" && \
         curl -fsS --noproxy '*' --retry 8 --cacert \"$d/ca.pem\" --connect-to {address} \
         -o \"$d/install-agent.sh\" https://{SERVER_NAME}:{port}/install-agent.sh && \
         printf '%s\\n' {token} | bash \"$d/install-agent.sh\" install --coordinator {urls} --ca \"$d/ca.pem\"{more})"
    )
}

/// As one word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_reads_what_others_wrote_as_words() {
        let evil = "https://a'$(touch x)`;\" \\:1";
        let script = format!("printf %s {}", quoted(evil));
        let said = Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&said.stdout), evil);
    }

    #[test]
    fn the_line_is_one_and_a_shell_can_read_it() {
        let pem = "-----BEGIN CERTIFICATE-----\nAAAA\nBBBB\n-----END CERTIFICATE-----\n";
        let line = line(pem, "https://mini:7420", "mini:7420", "mlxfleet_join_x", "");
        assert_eq!(line.lines().count(), 1);
        let parsed = Command::new("bash").args(["-n", "-c", &line]).status();
        assert!(parsed.unwrap().success());
        assert!(line.contains("'AAAA' 'BBBB'") && line.contains("--connect-to '::mini:7420'"));
    }

    #[test]
    fn an_address_that_only_this_machine_reaches_is_told() {
        for address in ["127.0.0.1:7420", "localhost:1", "[::1]:7420"] {
            assert!(names_this_machine(address), "{address}");
        }
        for address in ["192.0.2.7:7420", "mini:7420", "[2001:db8::1]:7420"] {
            assert!(!names_this_machine(address), "{address}");
        }
    }
}
