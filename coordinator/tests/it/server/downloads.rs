//! What strangers download over the port of all else, and what they do not.

use std::fs;

use axum::body::{Body, to_bytes};
use tonic::codegen::{Service, http};
use tonic::transport::Channel;

use super::world::{World, soon};

const NAME: &str = "mlx-fleet-0.1.0-linux-x86_64.tar.gz";
/// More than flow control lets through at once.
const ARCHIVE_BYTES: usize = 3_000_000;

async fn get(channel: &mut Channel, path: &str) -> (http::StatusCode, Vec<u8>) {
    let mut request = http::Request::new(tonic::body::Body::empty());
    *request.uri_mut() = path.parse().unwrap();
    std::future::poll_fn(|context| channel.poll_ready(context))
        .await
        .unwrap();
    let response = soon("an answer", channel.call(request)).await.unwrap();
    let status = response.status();
    if status == http::StatusCode::TOO_MANY_REQUESTS {
        assert!(response.headers().contains_key("retry-after"));
    }
    let body = to_bytes(Body::new(response.into_body()), usize::MAX);
    (status, soon("a body", body).await.unwrap().to_vec())
}

/// A folder of archives in the data folder, with a list that names more than it should.
fn offer(world: &World) -> Vec<u8> {
    let folder = world.folder.root().join("releases");
    fs::create_dir(&folder).unwrap();
    let archive: Vec<u8> = (0..ARCHIVE_BYTES).map(|at| (at / 7) as u8).collect();
    fs::write(folder.join(NAME), &archive).unwrap();
    fs::write(folder.join("mlx-fleet-notes.txt"), "not listed").unwrap();
    let sum = "ab".repeat(32);
    let names = [
        NAME,
        "mlx-fleet-gone.tar.gz",
        "../ca.key",
        "mlx-fleet-notes.txt",
    ];
    let lines = names.map(|name| format!("{sum}  {name}\n"));
    fs::write(folder.join("SHA256SUMS"), lines.concat()).unwrap();
    archive
}

#[tokio::test]
async fn a_stranger_downloads_what_is_listed_and_nothing_else() {
    let world = World::start().await;
    let mut channel = world.channel().await;
    let (status, told) = get(&mut channel, "/releases/SHA256SUMS").await;
    assert_eq!(status, 404, "no archives yet");
    assert!(String::from_utf8_lossy(&told).contains("docs/install.md"));

    let archive = offer(&world);
    let (status, sums) = get(&mut channel, "/releases/SHA256SUMS").await;
    let sums = String::from_utf8(sums).unwrap();
    assert_eq!(
        (status.as_u16(), sums),
        (200, format!("{}  {NAME}\n", "ab".repeat(32)))
    );
    let (status, sent) = get(&mut channel, &format!("/releases/{NAME}")).await;
    assert_eq!(status, 200);
    assert!(sent == archive, "{} of {} bytes", sent.len(), archive.len());
    let (status, script) = get(&mut channel, "/install-agent.sh").await;
    assert_eq!(status, 200);
    assert!(script.starts_with(b"#!/usr/bin/env bash\n"));

    for path in [
        "/releases/mlx-fleet-notes.txt",
        "/releases/mlx-fleet-gone.tar.gz",
        "/releases/..%2Fca.key",
        "/releases/%2e%2e%2fca.key",
        "/releases/..%2f..%2f..%2fetc%2fpasswd",
    ] {
        let (status, told) = get(&mut channel, path).await;
        assert_eq!(status, 404, "{path}");
        assert!(!String::from_utf8_lossy(&told).contains("KEY"), "{path}");
    }
    // And what is no path of ours is answered as a method that does not exist.
    let (status, told) = get(&mut channel, "/ca.key").await;
    assert_eq!((status.as_u16(), told.len()), (200, 0));
}

#[tokio::test]
async fn who_asks_too_often_waits_and_an_operator_does_not() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let mut channel = world.channel().await;
    let mut heard = 0;
    let refused = loop {
        let (status, _) = get(&mut channel, "/install-agent.sh").await;
        if status != 200 {
            break status;
        }
        heard += 1;
        assert!(heard < 1000, "nothing holds it");
    };
    assert_eq!(refused, 429);
    assert!(heard >= 60, "{heard}");
    assert!(operator.machines().await.is_empty());
}

#[tokio::test]
async fn a_coordinator_stops_under_a_reader_that_takes_nothing() {
    let mut world = World::start().await;
    let archive = offer(&world);
    let mut channel = world.channel().await;
    let mut request = http::Request::new(tonic::body::Body::empty());
    *request.uri_mut() = format!("/releases/{NAME}").parse().unwrap();
    std::future::poll_fn(|context| channel.poll_ready(context))
        .await
        .unwrap();
    let response = soon("an answer", channel.call(request)).await.unwrap();
    let began = std::time::Instant::now();
    world.down().await;
    assert!(
        began.elapsed() < coordinator::server::GRACE,
        "{:?}",
        began.elapsed()
    );
    let rest = to_bytes(Body::new(response.into_body()), usize::MAX).await;
    assert!(
        rest.is_err(),
        "an archive cut short is an error, of {} bytes",
        archive.len()
    );
}
