//! The agent's own affairs: its folder, its disk, its place in the fleet, and who else measures here.

use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use proto::wire::agent_service_client::AgentServiceClient;
use service::folders::DataFolder;
use service::tls::explain;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::time::timeout;
use tonic::Code;
use tonic::metadata::MetadataMap;
use tonic::transport::Endpoint;

use super::Finding;
use crate::enrol::{self, Membership};
use crate::host_lock;

const LITTLE_DISK_BYTES: u64 = 20_000_000_000;
const NO_DISK_BYTES: u64 = 2_000_000_000;

/// A certificate that ends so soon is told.
const ENDS_SOON: time::Duration = time::Duration::days(30);

/// Coordinators tell the time in whole seconds, and the answer takes its way.
const CLOCK_TOLERANCE: time::Duration = time::Duration::seconds(5);
/// Beyond it certificates look expired, or not valid yet.
const CLOCK_LIMIT: time::Duration = time::Duration::minutes(10);

const PATIENCE: Duration = Duration::from_secs(10);

pub async fn findings(folder: &DataFolder, host: &Path, agent: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(service::disk::free_bytes(folder.root()).map(|free| disk(folder.root(), free)));
    findings.push(others(host));
    findings.push(daemon(agent));
    let now = OffsetDateTime::now_utc();
    match enrol::held(folder) {
        Ok(None) => findings.push(Finding::warn(
            "fleet",
            "this machine belongs to none",
            "no job comes",
            &joining(folder.root()),
        )),
        Err(error) => findings.push(broken(&error)),
        Ok(Some(member)) => {
            let mend = joining_again(folder.root());
            findings.push(certificate(member.ends(), now, &mend));
            match member.endpoints() {
                Err(error) => findings.push(broken(&error)),
                Ok(endpoints) => findings.extend(coordinators(&member, endpoints, &mend).await),
            }
        }
    }
    findings
}

fn joining(root: &Path) -> String {
    line_again(root).unwrap_or_else(|| {
        format!(
            "`mlx-fleet token create` at the coordinator, then `mlx-fleet-agent run --coordinator URL --token \
             TOKEN --data-dir {}` here",
            root.display()
        )
    })
}

/// A token of the same fleet, where the machine has a certificate that is none any more.
fn joining_again(root: &Path) -> String {
    line_again(root).unwrap_or_else(|| {
        format!(
            "`mlx-fleet token create` at the coordinator; here stop the agent, then `mlx-fleet-agent enrol \
             --token TOKEN --data-dir {}`, and start it again",
            root.display()
        )
    })
}

/// Where install-agent.sh put the agent: its folder lies beside the script.
fn line_again(root: &Path) -> Option<String> {
    let prefix = root.parent()?;
    if !prefix.join("install-agent.sh").is_file() {
        return None;
    }
    let elsewhere = match prefix.to_str() {
        Some("/opt/mlx-fleet") => String::new(),
        _ => format!(
            " with ` --prefix {}` before its last bracket",
            prefix.display()
        ),
    };
    Some(format!(
        "`mlx-fleet machine add` at the coordinator, and paste its line into a terminal of this machine{elsewhere}"
    ))
}

fn broken(error: &impl Display) -> Finding {
    Finding::spoils(
        "fleet",
        error.to_string(),
        "the agent cannot join its fleet",
        "see who owns the data folder, or enrol the machine again with a join token",
    )
}

fn disk(folder: &Path, free: u64) -> Finding {
    let found = format!("{:.0} GB free for {}", free as f64 / 1e9, folder.display());
    if free < NO_DISK_BYTES {
        Finding::spoils(
            "disk",
            found,
            "what is measured goes to this disk before it is sent: launches fail when it is full",
            "free some space, or give the agent another --data-dir",
        )
    } else if free < LITTLE_DISK_BYTES {
        Finding::warn(
            "disk",
            found,
            "synthetic models of several billion parameters will not fit (16 GB for 8 billion in bf16)",
            "free some space, or give the agent another --data-dir",
        )
    } else {
        Finding::ok("disk", found)
    }
}

fn others(lock: &Path) -> Finding {
    const CHECK: &str = "measuring now";
    match host_lock::try_take(lock) {
        Ok(Some(_)) => Finding::ok(CHECK, "nobody on this host"),
        Ok(None) => Finding::warn(
            CHECK,
            "an agent measures on this host",
            "launches of another would wait for it, and this page does not judge the load",
            "look again when it is done",
        ),
        Err(error) => Finding::spoils(
            CHECK,
            format!("{} cannot be locked: {error}", lock.display()),
            "launches cannot be kept apart, so none is made",
            "delete the file if nobody measures here",
        ),
    }
}

fn daemon(lock: &Path) -> Finding {
    // Where there is no file there never was an agent; taking the lock would make one.
    let runs = lock.exists() && matches!(host_lock::try_take(lock), Ok(None));
    let found = if runs { "runs" } else { "does not run now" };
    Finding::ok("agent", found)
}

fn certificate(
    ends: Result<OffsetDateTime, enrol::Error>,
    now: OffsetDateTime,
    mend: &str,
) -> Finding {
    const CHECK: &str = "certificate";
    let ends = match ends {
        Ok(ends) => ends,
        Err(error) => return broken(&error),
    };
    let found = format!("good until {}", ends.date());
    if ends <= now {
        let found = format!("ended on {}", ends.date());
        Finding::spoils(CHECK, found, "the coordinator refuses this machine", mend)
    } else if ends - now < ENDS_SOON {
        Finding::warn(
            CHECK,
            found,
            "then the coordinator refuses this machine",
            mend,
        )
    } else {
        Finding::ok(CHECK, found)
    }
}

/// Why one does not answer.
enum Trouble {
    Away(String),
    /// It is there, and wants no such certificate.
    Refused(String),
}

async fn coordinators(member: &Membership, endpoints: Vec<Endpoint>, mend: &str) -> Vec<Finding> {
    const CHECK: &str = "coordinator";
    let mut findings = Vec::new();
    let mut clock = None;
    for (url, endpoint) in member.coordinators().iter().zip(endpoints) {
        let asked = match timeout(PATIENCE, ask(endpoint)).await {
            Ok(asked) => asked,
            Err(_) => Err(Trouble::Away(format!("no answer in {PATIENCE:?}"))),
        };
        match asked {
            Ok(date) => {
                findings.push(Finding::ok(CHECK, format!("{url} answers")));
                clock = clock.or(date.map(|date| date - OffsetDateTime::now_utc()));
            }
            Err(Trouble::Refused(why)) => findings.push(Finding::spoils(
                CHECK,
                format!("{url}: {why}"),
                "no job comes from there; what is measured stays on this disk until the machine joins again",
                mend,
            )),
            Err(Trouble::Away(why)) => findings.push(Finding::spoils(
                CHECK,
                format!("{url}: {why}"),
                "no job comes from there; what is measured stays on this disk until it is back",
                "see that it runs (`mlx-fleet machine list`) and that a firewall lets this machine through",
            )),
        }
    }
    findings.extend(clock.map(skew));
    findings
}

/// Opens an upload of nothing: what the machine's certificate is good for, and no trace of it. The answer's
/// head has the coordinator's time.
async fn ask(endpoint: Endpoint) -> Result<Option<OffsetDateTime>, Trouble> {
    let channel = endpoint.connect().await;
    let channel = channel.map_err(|error| Trouble::Away(explain(&error)))?;
    let answer = AgentServiceClient::new(channel)
        .upload(tokio_stream::empty())
        .await;
    let answer = answer.map_err(|status| match status.code() {
        Code::Unauthenticated => Trouble::Refused(explain(&status)),
        _ => Trouble::Away(explain(&status)),
    })?;
    Ok(date(answer.metadata()))
}

fn date(head: &MetadataMap) -> Option<OffsetDateTime> {
    let date = head.get("date")?.to_str().ok()?;
    OffsetDateTime::parse(&date.replace("GMT", "+0000"), &Rfc2822).ok()
}

fn skew(ahead: time::Duration) -> Finding {
    const CHECK: &str = "clock";
    let seconds = ahead.whole_seconds();
    let found = match seconds {
        0.. => format!("{seconds} s behind the coordinator's"),
        _ => format!("{} s ahead of the coordinator's", -seconds),
    };
    let mend = "let the system set the time by the network (macOS: System Settings, General, Date & Time; Linux: \
                `timedatectl set-ntp true`)";
    if ahead.abs() > CLOCK_LIMIT {
        Finding::spoils(
            CHECK,
            found,
            "certificates look as if they had ended, or were not valid yet",
            mend,
        )
    } else if ahead.abs() > CLOCK_TOLERANCE {
        Finding::warn(
            CHECK,
            found,
            "durations are right, but launches and readings stand at wrong times beside other machines'",
            mend,
        )
    } else {
        Finding::ok(CHECK, "agrees with the coordinator's")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_disk_that_is_nearly_full_is_told_and_a_full_one_spoils() {
        let verdict = |free| disk(Path::new("/data"), free).verdict;
        assert_eq!(verdict(500_000_000_000), Verdict::Ok);
        assert_eq!(verdict(10_000_000_000), Verdict::Warn);
        assert_eq!(verdict(1_000_000_000), Verdict::Spoils);
    }

    #[test]
    fn a_certificate_is_told_before_it_ends() {
        let now = OffsetDateTime::UNIX_EPOCH;
        let verdict = |days| certificate(Ok(now + time::Duration::days(days)), now, "").verdict;
        assert_eq!(verdict(200), Verdict::Ok);
        assert_eq!(verdict(7), Verdict::Warn);
        assert_eq!(verdict(0), Verdict::Spoils);
    }

    #[test]
    fn an_installed_agent_joins_again_by_its_line_and_another_by_enrol() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let told = joining_again(&data);
        let command = format!("enrol --token TOKEN --data-dir {}`", data.display());
        assert!(told.contains(&command), "{told}");
        std::fs::write(dir.path().join("install-agent.sh"), "").unwrap();
        let told = joining_again(&data);
        let prefix = format!("--prefix {}`", dir.path().display());
        assert!(
            told.contains("machine add") && told.contains(&prefix),
            "{told}"
        );
    }

    #[test]
    fn a_clock_is_held_against_the_coordinators() {
        let verdict = |seconds| skew(time::Duration::seconds(seconds)).verdict;
        assert_eq!(verdict(-2), Verdict::Ok);
        assert_eq!(verdict(90), Verdict::Warn);
        assert_eq!(verdict(-3600), Verdict::Spoils);
        assert!(
            skew(time::Duration::seconds(-90))
                .found
                .contains("90 s ahead")
        );
        let mut head = MetadataMap::new();
        assert_eq!(date(&head), None);
        head.insert("date", "Thu, 01 Jan 1970 00:01:40 GMT".parse().unwrap());
        assert_eq!(date(&head).unwrap().unix_timestamp(), 100);
    }

    #[test]
    fn who_measures_here_is_seen_by_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host.lock");
        assert_eq!(others(&path).verdict, Verdict::Ok);
        let held = host_lock::try_take(&path).unwrap();
        assert!(held.is_some());
        assert_eq!(others(&path).verdict, Verdict::Warn);
        assert_eq!(daemon(&path).found, "runs");
        assert_eq!(
            daemon(&dir.path().join("agent.lock")).found,
            "does not run now"
        );
        assert!(!dir.path().join("agent.lock").exists());
    }
}
