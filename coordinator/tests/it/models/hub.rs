//! A server that answers as Hugging Face's hub does: names and hashes from one host, what is large from
//! another. It does to the next file what the test says.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// What `printf '{}' | git hash-object --stdin` says.
pub const EMPTY_OBJECT: &str = "9e26dfeeb6e641a33dae4961196235bdb965b21b";

/// What goes wrong with a file.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// The connection breaks after so many bytes.
    Cut(usize),
    /// The last byte is another.
    Wrong,
    /// None: all of it comes, whatever was asked for.
    Whole,
    Status(&'static str),
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub path: String,
    pub token: Option<String>,
    pub range: Option<String>,
}

#[derive(Default)]
struct State {
    /// Without it there is no answer; one that ends in `-gated` may look and not read.
    token: String,
    files: BTreeMap<String, Vec<u8>>,
    other_host: String,
    faults: VecDeque<Fault>,
    /// At the hub itself, and at the other host.
    asked: [Vec<Asked>; 2],
}

pub struct Hub {
    pub url: String,
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
    servers: Vec<(SocketAddr, JoinHandle<()>)>,
}

impl Hub {
    /// Of one repository, `org/tiny`, with these files, for who has this token.
    pub fn start(token: &str, files: BTreeMap<String, Vec<u8>>) -> Self {
        let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (near, far) = (bind(), bind());
        let state = Arc::new(Mutex::new(State {
            token: token.to_owned(),
            files,
            other_host: format!("http://localhost:{}", far.local_addr().unwrap().port()),
            ..State::default()
        }));
        let stop = Arc::<AtomicBool>::default();
        let url = format!("http://{}", near.local_addr().unwrap());
        let serve = |listener: TcpListener, host: usize| {
            let (state, stop) = (Arc::clone(&state), Arc::clone(&stop));
            let address = listener.local_addr().unwrap();
            let server = thread::spawn(move || {
                for stream in listener.incoming() {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    // Who goes away in the midst of an answer does so on purpose.
                    stream.and_then(|stream| answer(&stream, host, &state)).ok();
                }
            });
            (address, server)
        };
        let servers = vec![serve(near, 0), serve(far, 1)];
        Self {
            url,
            state,
            stop,
            servers,
        }
    }

    pub fn faults(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().unwrap().faults.extend(faults);
    }

    /// What was asked since the last time: at the hub itself, and at the other host.
    pub fn asked(&self) -> [Vec<Asked>; 2] {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for (address, server) in self.servers.drain(..) {
            drop(TcpStream::connect(address));
            server.join().unwrap();
        }
    }
}

fn answer(stream: &TcpStream, host: usize, state: &Mutex<State>) -> std::io::Result<()> {
    let asked = read(stream)?;
    let mut state = state.lock().unwrap();
    state.asked[host].push(asked.clone());
    let not_found = || ("404 Not Found", Vec::new(), String::new());
    let name = asked.path.rsplit('/').next().unwrap_or_default().to_owned();
    let (status, body, head) = if host == 1 {
        return send(stream, &asked, &name, &mut state);
    } else if asked.token.as_deref() != Some(&format!("Bearer {}", state.token)) {
        ("401 Unauthorized", Vec::new(), String::new())
    } else if state.token.ends_with("-gated") && asked.path.contains("/resolve/") {
        ("403 Forbidden", Vec::new(), String::new())
    } else if asked.path == "/api/models/org/tiny/revision/main" {
        let info = json!({ "id": "org/tiny", "sha": COMMIT });
        ("200 OK", info.to_string().into_bytes(), String::new())
    } else if asked.path == format!("/api/models/org/tiny/tree/{COMMIT}") {
        let tree = Value::from(tree(&state.files));
        ("200 OK", tree.to_string().into_bytes(), String::new())
    } else if !asked
        .path
        .starts_with(&format!("/org/tiny/resolve/{COMMIT}/"))
    {
        not_found()
    } else if is_small(&name) {
        return send(stream, &asked, &name, &mut state);
    } else {
        let to = format!("Location: {}/{name}\r\n", state.other_host);
        ("302 Found", Vec::new(), to)
    };
    write(stream, status, &head, body.len(), &body)
}

fn is_small(name: &str) -> bool {
    name == "generation_config.json"
}

/// As the hub lists a folder: with what no model needs, and what nobody should write anywhere.
fn tree(files: &BTreeMap<String, Vec<u8>>) -> Vec<Value> {
    let mut entries = vec![
        json!({ "type": "directory", "oid": COMMIT, "size": 0, "path": "onnx.json" }),
        json!({ "type": "file", "oid": COMMIT, "size": 7, "path": "README.md" }),
        json!({ "type": "file", "oid": COMMIT, "size": 7, "path": "modeling.py" }),
        json!({ "type": "file", "oid": COMMIT, "size": 7, "path": "../../evil.json" }),
        json!({ "type": "file", "oid": COMMIT, "size": 7, "path": "/evil.json" }),
    ];
    for (name, content) in files {
        let mut entry = json!({
            "type": "file", "oid": EMPTY_OBJECT, "size": content.len(), "path": name
        });
        if !is_small(name) {
            let oid = hex::encode(Sha256::digest(content));
            entry["lfs"] = json!({ "oid": oid, "size": content.len(), "pointerSize": 134 });
        }
        entries.push(entry);
    }
    entries
}

fn send(stream: &TcpStream, asked: &Asked, name: &str, state: &mut State) -> std::io::Result<()> {
    let Some(content) = state.files.get(name) else {
        return write(stream, "404 Not Found", "", 0, &[]);
    };
    let mut content = content.clone();
    let range = asked.range.as_deref().and_then(|range| {
        let from = range.strip_prefix("bytes=")?.strip_suffix('-')?;
        from.parse::<usize>().ok()
    });
    let fault = state.faults.pop_front();
    let mut from = range.unwrap_or(0);
    match fault {
        Some(Fault::Status(status)) => return write(stream, status, "", 0, &[]),
        Some(Fault::Wrong) => *content.last_mut().unwrap() ^= 1,
        Some(Fault::Whole) => from = 0,
        Some(Fault::Cut(_)) | None => {}
    }
    let rest = &content[from..];
    let sent = match fault {
        Some(Fault::Cut(bytes)) => &rest[..bytes],
        _ => rest,
    };
    if from == 0 {
        return write(stream, "200 OK", "", rest.len(), sent);
    }
    let all = content.len();
    let head = format!("Content-Range: bytes {from}-{}/{all}\r\n", all - 1);
    write(stream, "206 Partial Content", &head, rest.len(), sent)
}

fn read(stream: &TcpStream) -> std::io::Result<Asked> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let mut asked = Asked {
        path: first.split(' ').nth(1).unwrap_or_default().to_owned(),
        token: None,
        range: None,
    };
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(": ") else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => asked.token = Some(value.to_owned()),
            "range" => asked.range = Some(value.to_owned()),
            _ => {}
        }
    }
    Ok(asked)
}

fn write(
    mut stream: &TcpStream,
    status: &str,
    head: &str,
    announced: usize,
    body: &[u8],
) -> std::io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {announced}\r\nConnection: close\r\n{head}\r\n"
    )?;
    stream.write_all(body)
}
