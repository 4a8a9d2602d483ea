//! A network between an agent and the coordinator that does as it is told.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

const CHUNK_BYTES: usize = 16 * 1024;
/// The most that is held back of one connection.
const HELD_BYTES: usize = 8 * 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    Fair,
    /// Connections break, and new ones are refused.
    Cut,
    /// Every piece comes so much later.
    Slow(Duration),
    /// Nothing is read: buffers fill, nothing is lost.
    Stalled,
    /// What is sent is acknowledged and gone: a connection that carried something stays half-open.
    Swallowing,
    /// Connections that stand are held back for so long, then broken towards the agent, which dials anew;
    /// what it had sent reaches the coordinator after the new connection.
    Late(Duration),
}

#[derive(Clone, Copy)]
struct Sky {
    weather: Weather,
    /// Counts the changes: a connection knows whether it is older than the weather.
    change: u64,
}

pub struct Proxy {
    port: u16,
    sky: watch::Sender<Sky>,
    task: AbortHandle,
}

impl Proxy {
    pub fn start(runtime: &Handle, coordinator: SocketAddr) -> Result<Self> {
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let port = listener.local_addr()?.port();
        let (sky, seen) = watch::channel(Sky {
            weather: Weather::Fair,
            change: 0,
        });
        let task = runtime.spawn(serve(listener, coordinator, seen));
        Ok(Self {
            port,
            sky,
            task: task.abort_handle(),
        })
    }

    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    pub fn set(&self, weather: Weather) {
        self.sky.send_modify(|sky| {
            sky.weather = weather;
            sky.change += 1;
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, coordinator: SocketAddr, sky: watch::Receiver<Sky>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((agent, _)) = accepted
                    && sky.borrow().weather != Weather::Cut
                {
                    connections.spawn(connect(agent, coordinator, sky.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connect(agent: TcpStream, coordinator: SocketAddr, mut sky: watch::Receiver<Sky>) {
    let born = sky.borrow().change;
    let Ok(coordinator) = TcpStream::connect(coordinator).await else {
        return;
    };
    let (mut from_agent, mut to_agent) = agent.into_split();
    let (mut from_coordinator, mut to_coordinator) = coordinator.into_split();
    let (up, down) = (sky.clone(), sky.clone());
    let (mut held, mut unsaid) = (Vec::new(), Vec::new());
    let hold = tokio::select! {
        // The end of either side is the end of both.
        () = pump(&mut from_agent, &mut to_coordinator, up, born, &mut held) => return,
        () = pump(&mut from_coordinator, &mut to_agent, down, born, &mut unsaid) => return,
        hold = struck(&mut sky, born) => hold,
    };
    let Some(hold) = hold else {
        return;
    };
    let mut said = (&mut from_agent).take(HELD_BYTES as u64);
    // An error is the agent's end of it; what came before counts.
    timeout(hold, said.read_to_end(&mut held)).await.ok();
    drop((from_agent, to_agent));
    sleep(hold).await;
    // The coordinator may have given it up.
    to_coordinator.write_all(&held).await.ok();
    to_coordinator.shutdown().await.ok();
    timeout(hold, from_coordinator.read_to_end(&mut held))
        .await
        .ok();
}

/// Waits for weather that ends a connection that stands: at once, or after so long.
async fn struck(sky: &mut watch::Receiver<Sky>, born: u64) -> Option<Duration> {
    let strikes = |sky: &Sky| match sky.weather {
        Weather::Cut => true,
        Weather::Late(_) => sky.change > born,
        Weather::Fair | Weather::Slow(_) | Weather::Stalled | Weather::Swallowing => false,
    };
    match sky.wait_for(strikes).await.map(|sky| sky.weather) {
        Ok(Weather::Late(hold)) => Some(hold),
        _ => None,
    }
}

/// What it had read when the weather struck is left in `held`.
async fn pump(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    mut sky: watch::Receiver<Sky>,
    born: u64,
    held: &mut Vec<u8>,
) {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut swallowed = false;
    loop {
        let Ok(read @ 1..) = from.read(&mut chunk).await else {
            return;
        };
        loop {
            let Sky { weather, change } = *sky.borrow_and_update();
            match weather {
                // After a gap nothing more makes sense.
                _ if swallowed => {}
                Weather::Swallowing => swallowed = true,
                Weather::Stalled => {
                    if sky.changed().await.is_err() {
                        return;
                    }
                    continue;
                }
                // Ours to wait for: `struck` ends us.
                Weather::Cut => std::future::pending().await,
                Weather::Late(_) if change > born => {
                    held.extend_from_slice(&chunk[..read]);
                    std::future::pending::<()>().await;
                }
                Weather::Slow(by) => {
                    sleep(by).await;
                    if to.write_all(&chunk[..read]).await.is_err() {
                        return;
                    }
                }
                Weather::Fair | Weather::Late(_) => {
                    if to.write_all(&chunk[..read]).await.is_err() {
                        return;
                    }
                }
            }
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Builder;
    use tokio::sync::mpsc;

    use super::*;

    const HOLD: Duration = Duration::from_secs(1);

    /// A server that tells what it reads, piece by piece, and a proxy before it.
    async fn server() -> (SocketAddr, mpsc::Receiver<String>, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, told) = mpsc::channel(16);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut readers = JoinSet::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let tell = tell.clone();
                readers.spawn(async move {
                    let mut bytes = [0; 64];
                    while let Ok(read @ 1..) = stream.read(&mut bytes).await {
                        let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
                        tell.send(text).await.unwrap();
                    }
                });
            }
        });
        (address, told, tasks)
    }

    #[test]
    fn what_an_older_connection_sent_comes_after_what_a_newer_one_did() {
        let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
        let (address, mut told, _server) = runtime.block_on(server());
        let proxy = Proxy::start(runtime.handle(), address).unwrap();
        runtime.block_on(async {
            let mut old = TcpStream::connect(("127.0.0.1", proxy.port)).await.unwrap();
            old.write_all(b"before").await.unwrap();
            assert_eq!(told.recv().await.unwrap(), "before");
            proxy.set(Weather::Late(HOLD));
            old.write_all(b"late").await.unwrap();
            let mut new = TcpStream::connect(("127.0.0.1", proxy.port)).await.unwrap();
            new.write_all(b"new").await.unwrap();
            assert_eq!(told.recv().await.unwrap(), "new");
            assert_eq!(old.read(&mut [0]).await.unwrap_or(0), 0, "cut off");
            assert_eq!(told.recv().await.unwrap(), "late");
        });
    }

    #[test]
    fn a_half_open_connection_stays_and_carries_nothing_more() {
        let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
        let (address, mut told, _server) = runtime.block_on(server());
        let proxy = Proxy::start(runtime.handle(), address).unwrap();
        runtime.block_on(async {
            let mut old = TcpStream::connect(("127.0.0.1", proxy.port)).await.unwrap();
            old.write_all(b"before").await.unwrap();
            assert_eq!(told.recv().await.unwrap(), "before");
            proxy.set(Weather::Swallowing);
            old.write_all(b"gone").await.unwrap();
            // It is not told of any end.
            timeout(HOLD, old.read(&mut [0])).await.unwrap_err();
            proxy.set(Weather::Fair);
            old.write_all(b"gone too").await.unwrap();
            let mut new = TcpStream::connect(("127.0.0.1", proxy.port)).await.unwrap();
            new.write_all(b"new").await.unwrap();
            assert_eq!(told.recv().await.unwrap(), "new");
        });
    }
}
