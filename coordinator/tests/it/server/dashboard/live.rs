//! Pages that stay as the fleet is: what an open one is told, and that a slow one holds up nobody.

use domain::ids::MachineId;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpSocket, TcpStream};

use super::super::fake_agent::{batch, join, launch, to_do};
use super::super::world::{PLAN, World, soon};
use super::Browser;
use super::pages::signed_in;

/// A page's events, as a browser reads them.
pub struct Events(Lines<BufReader<TcpStream>>);

impl Events {
    pub async fn of(browser: &Browser, path: &str) -> Self {
        let mut stream = TcpStream::connect(&browser.address).await.unwrap();
        let (host, cookie) = (&browser.host, &browser.cookie);
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut lines = BufReader::new(stream).lines();
        // With the head the page is watched: what happens from then on is an event.
        while !soon("a head", lines.next_line())
            .await
            .unwrap()
            .unwrap()
            .is_empty()
        {}
        Self(lines)
    }

    /// The data of the next event of this kind.
    pub async fn next(&mut self, kind: &str) -> String {
        let named = format!("event: {kind}");
        let mut data = String::new();
        let mut mine = false;
        loop {
            let line = soon("an event", self.0.next_line()).await.unwrap().unwrap();
            match line.strip_prefix("data: ") {
                Some(more) if mine => data.push_str(more),
                None if line.is_empty() && mine => return data,
                _ => mine |= line == named,
            }
        }
    }
}

#[tokio::test]
async fn an_open_page_is_told_what_changes_and_nothing_else() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    join(&world, &mut operator, "mini").await;
    join(&world, &mut operator, "studio").await;
    // However slow this test is, they do not fall silent in its midst.
    sqlx::query("update fleet.machine set last_seen_at = now() + interval '1 hour'")
        .execute(&world.db)
        .await
        .unwrap();
    let browser = signed_in(&world, &operator).await;
    let page = browser.see("/").await.body;
    let state = page.split("data-state=\"").nth(1).unwrap();
    let state = state.split('"').next().unwrap();
    let mut events = Events::of(&browser, &format!("/live/fleet?seen={state}")).await;
    assert_eq!(events.next("parts").await, "[]", "nothing has changed");
    operator.label_of("mini", "desk").await;
    let parts: Vec<(String, String)> = serde_json::from_str(&events.next("parts").await).unwrap();
    assert_eq!(parts.len(), 1, "one machine has changed: {parts:?}");
    let (id, html) = &parts[0];
    assert!(
        id.strip_prefix("machine-")
            .unwrap()
            .parse::<MachineId>()
            .is_ok()
    );
    assert!(
        html.starts_with("<tr id=\"machine-") && html.contains("place=desk"),
        "{html}"
    );

    // Another number of machines is another page.
    join(&world, &mut operator, "air").await;
    assert!(events.next("whole").await.contains("air"));

    // Who shows something old gets all of it, and a viewer nothing that may not be pressed.
    let mut viewer = Browser::of(&world);
    viewer.sign_in(&operator.token("viewer", 0).await).await;
    let whole = Events::of(&viewer, "/live/fleet?seen=old")
        .await
        .next("whole")
        .await;
    assert!(
        whole.contains("studio") && !whole.contains("<form"),
        "{whole}"
    );

    // What is shown may be old from now on, and that is told.
    world.stop_database();
    events.next("stale").await;
}

#[tokio::test]
async fn each_launch_appears_as_it_arrives_and_narrows_the_interval() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let mini = join(&world, &mut operator, "mini").await;
    let mut agent = mini.connect().await;
    let plan = PLAN.replace("launches = 2", "launches = 3");
    let run = operator.submit(&plan.replace("[16, 32]", "[16]")).await;
    agent.ready().await;
    let grant = agent.granted().await;
    let browser = signed_in(&world, &operator).await;
    let mut events = Events::of(&browser, &format!("/live/runs/{run}")).await;
    let mut seen = Vec::new();
    for (seq, (case_key, ordinal)) in to_do(&grant).into_iter().enumerate() {
        let records = launch(&case_key, ordinal).records();
        agent
            .upload(vec![batch(&grant, seq as u64, records)])
            .await
            .unwrap();
        // The first row is another number of rows, the others change it.
        let kind = if seq == 0 { "whole" } else { "parts" };
        let row = loop {
            let data = events
                .next(kind)
                .await
                .replace("\\\"", "\"")
                .replace("\\n", "\n");
            if data.matches("<circle ").count() == seq + 1 {
                break data;
            }
        };
        seen.push(row);
    }
    // 100, 101 and 102 tok/s; t is 12.7 with one degree of freedom and 4.3 with two.
    assert!(!seen[0].contains(" to "), "{}", seen[0]);
    assert!(
        seen[1].contains("<small>94.3 to 107.1</small>"),
        "{}",
        seen[1]
    );
    assert!(
        seen[2].contains("<small>98.5 to 103.5</small>"),
        "{}",
        seen[2]
    );
    assert!(seen[2].contains("<title>launches: 100.0 tok/s, 101.0 tok/s, 102.0 tok/s</title>"));
}

#[tokio::test]
async fn a_browser_that_reads_nothing_holds_up_nobody_and_misses_states() {
    const CHANGES: usize = 6;
    let world = World::start().await;
    let mut operator = world.operator().await;
    let mini = join(&world, &mut operator, "mini").await;
    // Pages of a megabyte, and another number of machines is a whole page.
    let more = async |name: &str, count: i32| {
        let like = "insert into fleet.machine
            select (jsonb_populate_record(machine, jsonb_build_object(
                'machine_id', gen_random_uuid(), 'identity', $1 || n, 'name', $1 || n
            ))).*
            from fleet.machine, generate_series(1, $2) as n
            where name = 'mini'";
        let like = sqlx::query(like).bind(name).bind(count);
        like.execute(&world.db).await.unwrap();
    };
    more("other-", 1000).await;
    let browser = signed_in(&world, &operator).await;
    let address = browser.address.parse().unwrap();
    let mut stalled = Vec::new();
    for _ in 0..10 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        let (host, cookie) = (&browser.host, &browser.cookie);
        let request = format!(
            "GET /live/fleet?seen=old HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        stalled.push(stream);
    }
    let mut events = Events::of(&browser, "/live/fleet?seen=old").await;
    let mut agent = mini.connect().await;
    operator.submit(PLAN).await;
    agent.ready().await;
    let grant = agent.granted().await;
    let mut launches = to_do(&grant).into_iter().zip(0..);
    for change in 0..CHANGES {
        let name = format!("late-{change}-");
        more(&name, 1).await;
        while !events.next("whole").await.contains(&name) {}
        if let Some(((case_key, ordinal), seq)) = launches.next() {
            let records = launch(&case_key, ordinal).records();
            let stored = agent.upload(vec![batch(&grant, seq, records)]);
            assert_eq!(soon("the batch", stored).await.unwrap(), [seq]);
        }
    }
    assert!(
        launches.next().is_none(),
        "every launch was taken meanwhile"
    );
    // What is shown when it reads again is the newest, and little was kept for it.
    let mut lines = BufReader::new(stalled.remove(0)).lines();
    let newest = format!("late-{}-", CHANGES - 1);
    let mut shown = 0;
    while let Some(line) = soon("the rest", lines.next_line()).await.unwrap() {
        shown += usize::from(line == "event: whole");
        if line.contains(&newest) {
            break;
        }
    }
    assert!(shown < CHANGES, "{shown} pages were kept");
}
