//! Real servers in temporary folders: started, killed, attached to, moved.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use private_postgres::{Error, Options, Origin, Server};
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_mins(1);

fn options(data_dir: &Path) -> Options {
    Options::new(data_dir)
}

/// Runs SQL through psql; `Err` holds what psql said.
fn sql(server: &Server, url: &str, text: &str) -> Result<String, String> {
    let psql = server.installation().bin().join("psql");
    let output = Command::new(&psql)
        .args([
            "-X",
            "-w",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            text,
            url,
        ])
        .output()
        .unwrap_or_else(|error| panic!("this test needs {}: {error}", psql.display()));
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap().trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn query(server: &Server, text: &str) -> String {
    sql(server, &server.url("postgres"), text).unwrap()
}

/// Whether the process was there to be signalled.
fn signal(name: &str, pid: &str) -> bool {
    let kill = format!("kill -{name} {pid}");
    let status = Command::new("sh").args(["-c", &kill]).status().unwrap();
    status.success()
}

fn kill_9(pid: i32) {
    assert!(signal("KILL", &pid.to_string()));
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(
            Instant::now() < deadline,
            "not so within {DEADLINE:?}: {what}"
        );
        std::thread::yield_now();
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_new_server_is_private_and_durable_and_keeps_its_port_and_data() {
    let dir = TempDir::new().unwrap();
    // What a start leaves that was killed during initdb.
    fs::create_dir_all(dir.path().join("postgres/cluster.new/base")).unwrap();

    let mut server = Server::start(&options(dir.path())).unwrap();
    assert_eq!(server.origin(), Origin::Started);
    for (setting, value) in [
        ("fsync", "on"),
        ("data_checksums", "on"),
        ("listen_addresses", "127.0.0.1"),
        ("unix_socket_directories", ""),
        ("password_encryption", "scram-sha-256"),
        ("server_encoding", "UTF8"),
        ("lc_messages", "C"),
        ("TimeZone", "UTC"),
    ] {
        assert_eq!(
            query(&server, &format!("show {setting}")),
            value,
            "{setting}"
        );
    }
    let hashed = "select rolname, left(rolpassword, 14) from pg_authid where rolcanlogin";
    assert_eq!(query(&server, hashed), "fleet|SCRAM-SHA-256$");

    let files = server.folder().to_owned();
    for secret in ["password", "port", "log"] {
        assert_eq!(mode(&files.join(secret)), 0o600, "{secret}");
    }
    assert_eq!(mode(&files.join("cluster")), 0o700);
    let password = fs::read_to_string(files.join("password")).unwrap();
    let password = password.trim();
    assert_eq!(password.len(), 48);
    let wrong = server.url("postgres").replace(password, "wrong");
    let refusal = sql(&server, &wrong, "select 1").unwrap_err();
    assert!(
        refusal.contains("password authentication failed"),
        "{refusal}"
    );
    assert!(!format!("{server:?}").contains(password));

    query(
        &server,
        "create table kept (x int); insert into kept values (7)",
    );
    let (url, pid) = (server.url("postgres"), server.pid().unwrap());
    server.stop().unwrap();
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    server.stop().unwrap();
    drop(server);

    let server = Server::start(&options(dir.path())).unwrap();
    assert_eq!(server.url("postgres"), url);
    assert_eq!(query(&server, "select x from kept"), "7");
    let log = fs::read_to_string(server.log_file()).unwrap();
    assert!(!log.contains("not properly shut down"), "{log}");
}

#[test]
fn a_taken_port_is_left_for_another() {
    let dir = TempDir::new().unwrap();
    let mut server = Server::start(&options(dir.path())).unwrap();
    let first = server.port();
    server.stop().unwrap();
    drop(server);

    let taken = TcpListener::bind(("127.0.0.1", first)).unwrap();
    let server = Server::start(&options(dir.path())).unwrap();
    assert_ne!(server.port(), first);
    assert_eq!(query(&server, "select 1"), "1");
    drop((taken, server));
}

#[test]
fn a_second_owner_is_refused_and_does_the_first_no_harm() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(&options(dir.path())).unwrap();
    let error = Server::start(&options(dir.path())).unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "{error}");
    assert_eq!(query(&server, "select 1"), "1");
}

/// Processes that stand still do not notice that their server was killed.
#[cfg(target_os = "linux")]
#[test]
fn a_server_starts_although_a_killed_one_left_processes_that_stand_still() {
    let dir = TempDir::new().unwrap();
    let mut server = Server::start(&options(dir.path())).unwrap();
    query(
        &server,
        "create table kept (x int); insert into kept values (7)",
    );
    let pid = server.pid().unwrap();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    // The backend of the query may end between the two.
    let stopped = children.split_whitespace().filter(|c| signal("STOP", c));
    assert!(stopped.count() > 1, "{children}");
    kill_9(pid);
    wait_until("the server comes back", || {
        server.ensure_running().is_ok_and(|started| started)
    });
    assert_eq!(query(&server, "select x from kept"), "7");
}

#[test]
fn a_killed_server_comes_back_at_the_same_address_with_its_data() {
    let dir = TempDir::new().unwrap();
    let mut server = Server::start(&options(dir.path())).unwrap();
    query(
        &server,
        "create table kept (x int); insert into kept values (7)",
    );
    let url = server.url("postgres");
    assert!(!server.ensure_running().unwrap());

    kill_9(server.pid().unwrap());
    wait_until("the kill shows", || server.ensure_running().unwrap());
    assert_eq!(server.url("postgres"), url);
    assert_eq!(query(&server, "select x from kept"), "7");
}

/// Plays both parts: with `OWNER_OF` set it is the owner that will be killed.
#[test]
fn the_server_of_a_killed_owner_is_attached_to_and_stopped_by_the_next() {
    #[expect(
        clippy::disallowed_methods,
        reason = "how this test tells itself apart"
    )]
    let owner_of = std::env::var_os("OWNER_OF");
    if let Some(dir) = owner_of {
        let server = Server::start(&options(Path::new(&dir))).unwrap();
        println!("\npid {}", server.pid().unwrap());
        // Until the kill, or the end of the test that plays the other part.
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        return;
    }
    let dir = TempDir::new().unwrap();
    let this = "the_server_of_a_killed_owner_is_attached_to_and_stopped_by_the_next";
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", this, "--nocapture"])
        .env("OWNER_OF", dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let pid: i32 = lines
        .map(Result::unwrap)
        .find_map(|line| line.strip_prefix("pid ")?.parse().ok())
        .expect("the owner says when it is ready");
    owner.kill().unwrap();
    owner.wait().unwrap();

    let mut server = Server::start(&options(dir.path())).unwrap();
    assert_eq!(
        (server.origin(), server.pid()),
        (Origin::Attached, Some(pid))
    );
    assert_eq!(query(&server, "select 1"), "1");
    server.stop().unwrap();
    let log = fs::read_to_string(server.log_file()).unwrap();
    assert!(log.contains("received fast shutdown request"), "{log}");
    assert!(
        log.trim_end().ends_with("database system is shut down"),
        "{log}"
    );
}

#[test]
fn a_cluster_of_another_major_version_is_refused_by_name() {
    let dir = TempDir::new().unwrap();
    let cluster = dir.path().join("postgres/cluster");
    fs::create_dir_all(&cluster).unwrap();
    fs::write(cluster.join("PG_VERSION"), "99\n").unwrap();
    let error = Server::start(&options(dir.path())).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::MajorVersion { .. }), "{text}");
    assert!(text.contains("made by PostgreSQL 99"), "{text}");
}

#[test]
fn a_setting_that_postgres_refuses_is_shown_with_its_words() {
    let dir = TempDir::new().unwrap();
    let mut options = options(dir.path());
    options.settings = vec![("work_mem".to_owned(), "much".to_owned())];
    let error = Server::start(&options).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("invalid value for parameter \"work_mem\""),
        "{text}"
    );
}

/// Postgres refuses root, and the account that root uses instead cannot enter a closed parent.
#[test]
fn a_closed_parent_moves_the_files_when_and_only_when_we_are_root() {
    let closed = TempDir::new().unwrap();
    fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let elsewhere = TempDir::new().unwrap();
    let we_are_root = fs::metadata(closed.path()).unwrap().uid() == 0;

    let data_dir = closed.path().join("data");
    let mut options = options(&data_dir);
    options.fallback_dir = elsewhere.path().join("clusters");
    let server = Server::start(&options).unwrap();
    assert_eq!(query(&server, "select 1"), "1");
    assert_eq!(server.is_relocated(), we_are_root);
    assert_eq!(data_dir.join("postgres").is_symlink(), we_are_root);
    assert_eq!(mode(closed.path()), 0o700, "the parent is not ours to open");
    let cluster = fs::metadata(server.folder().join("cluster")).unwrap();
    assert_ne!(cluster.uid(), 0, "postgres never runs as root");
    query(&server, "create table kept (x int)");
    drop(server);

    let server = Server::start(&options).unwrap();
    assert_eq!(query(&server, "select count(*) from kept"), "0");
    assert_eq!(server.is_relocated(), we_are_root);
}

#[test]
fn an_open_parent_keeps_the_files_in_the_data_folder() {
    let parent = TempDir::new().unwrap();
    fs::set_permissions(parent.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // The data folder itself is made closed, and opened as far as needed.
    let dir = parent.path().join("data");
    let server = Server::start(&options(&dir)).unwrap();
    assert!(!server.is_relocated());
    let inside = fs::canonicalize(&dir).unwrap().join("postgres");
    assert_eq!(server.folder(), inside);
}
