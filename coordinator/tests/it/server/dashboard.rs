//! The dashboard as a browser asks for it: who sees what, and what a form changes.

mod live;
mod pages;

use std::collections::BTreeMap;

use service::token::Token;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use domain::record::{Reading, Record};
use time::OffsetDateTime;

use super::fake_agent::{batch, join, launch, to_do};
use super::world::{PLAN, World, exchange, soon};

const DOCS: &str = include_str!("../../../../docs/security.md");

struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Answer {
    fn of(status: u16, head: &str, body: String) -> Self {
        let pairs = head.lines().filter_map(|line| line.split_once(": "));
        Self {
            status,
            headers: pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            body,
        }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The cookie as a browser sends it back.
    fn cookie(&self) -> &str {
        self.header("set-cookie").split(';').next().unwrap()
    }
}

/// A browser that is somewhere: every header that it sends is here.
struct Browser {
    address: String,
    host: String,
    origin: Option<String>,
    cookie: String,
}

impl Browser {
    fn of(world: &World) -> Self {
        let url = world.dashboard_url();
        let address = url.strip_prefix("http://").unwrap().to_owned();
        Self {
            host: address.clone(),
            address,
            origin: Some(url),
            cookie: String::new(),
        }
    }

    async fn ask(&self, method: &str, path: &str, form: &str) -> Answer {
        let origin = self.origin.iter().map(|origin| format!("Origin: {origin}"));
        let cookie = (!self.cookie.is_empty()).then(|| format!("Cookie: a=b; {}", self.cookie));
        let head = [
            format!("{method} {path} HTTP/1.1"),
            format!("Host: {}", self.host),
            format!("Content-Length: {}", form.len()),
            "Connection: close".to_owned(),
        ];
        let lines: Vec<String> = head.into_iter().chain(origin).chain(cookie).collect();
        let request = format!("{}\r\n\r\n{form}", lines.join("\r\n"));
        let (status, head, body) = exchange(&self.address, &request).await;
        Answer::of(status, &head, body)
    }

    /// The head of an answer that has no end.
    async fn glance(&self, path: &str) -> Answer {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        let (host, cookie) = (&self.host, &self.cookie);
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\nAccept-Encoding: gzip\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut lines = BufReader::new(stream).lines();
        let mut head = Vec::new();
        while let Some(line) = soon("a head", lines.next_line()).await.unwrap()
            && !line.is_empty()
        {
            head.push(line);
        }
        Answer::of(
            head[0][9..12].parse().unwrap(),
            &head.join("\n"),
            String::new(),
        )
    }

    async fn see(&self, path: &str) -> Answer {
        self.ask("GET", path, "").await
    }

    async fn sign_in(&mut self, token: &Token) -> Answer {
        let form = format!("token={}", token.expose().as_str());
        let answer = self.ask("POST", "/sign-in", &form).await;
        if answer.status == 303 {
            answer.cookie().clone_into(&mut self.cookie);
        }
        answer
    }
}

/// (method, path, cells) of the pages in docs/security.md; a test of the crate holds that none is missing.
fn table() -> Vec<(String, String, Vec<String>)> {
    let rows = DOCS.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows = rows.filter_map(|row| {
        let (name, cells) = row.split_once("` | ")?;
        let (method, path) = name.split_once(' ')?;
        let cells = cells.trim_end_matches(" |").split(" | ");
        let cells = cells.map(str::to_owned).collect();
        Some((method.to_owned(), path.to_owned(), cells))
    });
    rows.collect()
}

#[tokio::test]
async fn every_page_lets_in_whom_the_table_of_the_docs_lets_in() {
    let world = World::start().await;
    let mut admin = world.operator().await;
    let mut cookies = vec![String::new()];
    for kind in ["viewer", "operator", "admin", "join", "admin"] {
        let token = admin.token(kind, 0).await;
        let mut browser = Browser::of(&world);
        let come = browser.sign_in(&token).await;
        if kind == "join" {
            assert_eq!(come.status, 401, "{}", come.body);
            let name = cookies[1].split('=').next().unwrap();
            browser.cookie = format!("{name}={}", token.expose().as_str());
        }
        cookies.push(browser.cookie);
        if cookies.len() == 6 {
            let id = token.id().to_string();
            assert!(admin.revoke_token(&id).await.unwrap(), "it was good");
        }
    }
    let rows = table();
    assert!(rows.len() > 5, "the docs have a table of pages");
    for (method, path, cells) in rows {
        assert_eq!(cells.len(), cookies.len(), "{method} {path}");
        for (cookie, cell) in cookies.iter().zip(cells) {
            let browser = Browser {
                cookie: cookie.clone(),
                ..Browser::of(&world)
            };
            let path = path
                .replace("{machine}", "nobody")
                .replace("{run}", "nobody");
            let path = path.replace("{format}", "md");
            let answer = if path.starts_with("/live/fleet") || path == "/live/runs" {
                browser.glance(&path).await
            } else {
                browser.ask(&method, &path, "").await
            };
            let sent_to = answer.header("location");
            let found = match (answer.status, sent_to) {
                (303, to) if to.starts_with("/sign-in") && path != "/sign-out" => "who?",
                (403, _) => "no",
                // Let in, and told that there is no such machine or run, or that the form is empty.
                (200 | 303 | 400 | 401 | 404 | 422, _) => "yes",
                (status, _) => panic!("{method} {path}: {status} {}", answer.body),
            };
            assert_eq!(found, cell, "{method} {path} with {cookie:?}");
        }
    }
}

#[tokio::test]
async fn a_session_is_a_token_in_a_cookie_and_ends_with_it() {
    let world = World::start().await;
    let mut admin = world.operator().await;
    let token = admin.token("viewer", 0).await;
    let mut browser = Browser::of(&world);
    assert_eq!(browser.see("/").await.header("location"), "/sign-in");
    let come = browser.sign_in(&token).await;
    let cookie = come.header("set-cookie");
    for part in ["; HttpOnly", "; SameSite=Lax", "; Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let page = browser.see("/").await;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("No machine yet"), "{}", page.body);
    assert!(page.body.contains("mlx-fleet machine add"));
    assert_eq!(page.header("cache-control"), "no-store");
    let secret = token.expose();
    assert!(!page.body.contains(secret.as_str()), "the page hides it");

    admin.revoke_token(&token.id().to_string()).await.unwrap();
    let after = browser.see("/").await;
    assert_eq!(after.header("location"), "/sign-in");
    assert!(after.header("set-cookie").contains("Max-Age=0"));
}

#[tokio::test]
async fn a_link_leads_through_the_sign_in_to_its_page_and_nowhere_else() {
    let world = World::start().await;
    let mut admin = world.operator().await;
    let token = admin.token("viewer", 0).await;
    let browser = Browser::of(&world);
    let asked = browser.see("/explore?suite=decode&metric=a%26b").await;
    let form = browser.see(asked.header("location")).await;
    let to = "<input type=\"hidden\" name=\"to\" value=\"/explore?suite=decode&#38;metric=a%26b\">";
    assert!(form.body.contains(to), "{}", form.body);
    let sign_in = async |token: &str, to: &str| {
        let form = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("token", token), ("to", to)])
            .finish();
        browser.ask("POST", "/sign-in", &form).await
    };
    let wrong = sign_in("mistyped", "/runs?state=active").await;
    assert!(wrong.body.contains("value=\"/runs?state=active\""));
    let secret = token.expose();
    for (to, comes_to) in [
        (
            "/explore?suite=decode&metric=a%26b",
            "/explore?suite=decode&metric=a%26b",
        ),
        ("//evil.test/", "/"),
        ("https://evil.test/", "/"),
        ("", "/"),
    ] {
        let come = sign_in(&secret, to).await;
        assert_eq!(
            (come.status, come.header("location")),
            (303, comes_to),
            "{to}"
        );
    }
}

#[tokio::test]
async fn no_page_lets_a_script_run_that_is_written_in_it() {
    let world = World::start().await;
    let mut browser = Browser::of(&world);
    browser.sign_in(&world.operator().await.token).await;
    for path in [
        "/", "/sign-in", "/runs", "/plan", "/sql", "/compare", "/nowhere",
    ] {
        let page = browser.see(path).await;
        let policy = page.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; "),
            "{path}: {policy}"
        );
        assert!(policy.contains("script-src 'self';") && !policy.contains("unsafe"));
        for inline in ["<script>", "<style", " style=", " onclick="] {
            assert!(!page.body.contains(inline), "{path} has {inline}");
        }
    }
}

#[tokio::test]
async fn a_form_of_another_page_changes_nothing() {
    let world = World::start().await;
    let mut admin = world.operator().await;
    join(&world, &mut admin, "mini").await;
    let mut browser = Browser::of(&world);
    browser.sign_in(&admin.token).await;
    let home = browser.origin.clone();
    for origin in [
        None,
        Some("null"),
        Some("http://evil.test"),
        Some("http://127.0.0.1:1"),
    ] {
        browser.origin = origin.map(str::to_owned);
        let answer = browser.ask("POST", "/machines/mini/drain", "").await;
        assert_eq!(answer.status, 403, "{origin:?}");
    }
    // A name of somebody else's that leads to this address.
    browser.host = "evil.test".to_owned();
    browser.origin = Some("http://evil.test".to_owned());
    assert_eq!(browser.see("/sign-in").await.status, 421);
    let answer = browser.ask("POST", "/machines/mini/drain", "").await;
    assert_eq!(answer.status, 421);
    let drained = "select count(*) from fleet.machine where drained_at is not null";
    assert_eq!(world.number(drained).await, 0);

    browser.host.clone_from(&browser.address);
    browser.origin = home;
    let answer = browser.ask("POST", "/machines/mini/drain", "").await;
    assert_eq!((answer.status, answer.header("location")), (303, "/"));
    assert_eq!(world.number(drained).await, 1);
}

#[tokio::test]
async fn the_fleet_shows_what_each_machine_does_and_why_it_does_not() {
    let world = World::start().await;
    let mut admin = world.operator().await;
    let mini = join(&world, &mut admin, "mini").await;
    join(&world, &mut admin, "studio").await;
    let mut agent = mini.connect().await;
    admin.submit(PLAN).await;
    agent.ready().await;
    let grant = agent.granted().await;
    let (case_key, ordinal) = to_do(&grant).remove(0);
    let now = OffsetDateTime::now_utc();
    let reading = |seconds: i64, value: f64| {
        Record::Reading(Reading {
            at: now + time::Duration::seconds(seconds),
            sensor: "sys_power_w".to_owned(),
            value,
        })
    };
    let mut records = vec![launch(&case_key, ordinal).started()];
    // Means of five: 10 W, then 31.5 W.
    records.extend((0..10).map(|s| reading(s, if s < 5 { 10.0 } else { 31.5 })));
    agent.upload(vec![batch(&grant, 0, records)]).await.unwrap();
    let mut browser = Browser::of(&world);
    browser.sign_in(&admin.token).await;
    let reason = "reason=a+new+disk+%3Cb%3E%26+more";
    browser.ask("POST", "/machines/studio/drain", reason).await;
    let page = browser.see("/").await.body;
    for part in [
        "1 busy",
        "1 drained",
        "decode, ",
        "launch of new 16, depth 0 since <time",
        "a new disk &#60;b&#62;&#38; more",
        ">Resume</button>",
        ">Revoke</button>",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    // No page waits for the sensors of many.
    let line = "<polyline points=\"60,1 55,11\"/></svg> <b>32 W</b> power";
    let seen = async { while !browser.see("/").await.body.contains(line) {} };
    soon("the sensors", seen).await;
    browser.ask("POST", "/machines/studio/resume", "").await;
    browser.ask("POST", "/machines/mini/revoke", "").await;
    let page = browser.see("/").await.body;
    assert!(
        page.contains("1 idle") && page.contains("1 revoked"),
        "{page}"
    );

    let mut viewer = Browser::of(&world);
    viewer.sign_in(&admin.token("viewer", 0).await).await;
    let page = viewer.see("/").await.body;
    assert!(
        page.contains("studio") && !page.contains("/machines/"),
        "{page}"
    );
    let events = admin.events("").await;
    let by = |kind: &str| events.iter().find(|event| event.kind == kind).unwrap();
    assert!(by("machine_drained").actor.contains("(token "));
}

#[tokio::test]
async fn pages_are_compressed_and_events_are_not_held_back() {
    let world = World::start().await;
    let mut browser = Browser::of(&world);
    browser.sign_in(&world.operator().await.token).await;
    assert_eq!(
        browser.glance("/sql").await.header("content-encoding"),
        "gzip"
    );
    let events = browser.glance("/live/fleet").await;
    assert_eq!(events.header("content-type"), "text/event-stream");
    assert_eq!(events.header("content-encoding"), "");
}

#[tokio::test]
async fn what_a_button_does_is_no_page() {
    let world = World::start().await;
    let mut browser = Browser::of(&world);
    browser.sign_in(&world.operator().await.token).await;
    let page = browser.see("/machines/add").await;
    assert_eq!(page.status, 405);
    assert!(page.body.contains("is no page of its own"), "{}", page.body);
}

#[tokio::test]
async fn labels_are_set_and_taken_away_as_in_a_terminal() {
    let world = World::start().await;
    let mut admin = world.operator().await;
    join(&world, &mut admin, "mini").await;
    let mut browser = Browser::of(&world);
    browser.sign_in(&admin.token).await;
    let label = async |labels: &str| {
        let form = format!("labels={labels}");
        browser.ask("POST", "/machines/mini/label", &form).await
    };
    assert_eq!(label("room%3Dlab+rack%3D7").await.status, 303);
    assert_eq!(label("rack-").await.status, 303);
    let page = browser.see("/").await.body;
    assert!(
        page.contains("room=lab") && !page.contains("rack=7"),
        "{page}"
    );
    let wrong = label("room").await;
    assert_eq!(wrong.status, 400);
    assert!(wrong.body.contains("write KEY=VALUE"), "{}", wrong.body);
    assert_eq!(label("desk-").await.status, 400, "it has no such label");
}

#[tokio::test]
async fn guesses_at_the_sign_in_are_slowed_and_lock_nobody_out_who_was_in() {
    let world = World::start().await;
    let admin = world.operator().await;
    let mut inside = Browser::of(&world);
    inside.sign_in(&admin.token).await;
    let mut guesser = Browser::of(&world);
    let mut heard = 0;
    let refused = loop {
        let ca = admin.token.ca();
        let guess = Token::generate(service::token::TokenKind::Operator, ca, &mut rand::rng());
        let answer = guesser.sign_in(&guess).await;
        if answer.status != 401 {
            break answer;
        }
        heard += 1;
        assert!(heard < 1000, "nothing holds it");
    };
    assert_eq!(refused.status, 429);
    assert!(refused.body.contains("try again in"), "{}", refused.body);
    assert_eq!(inside.see("/").await.status, 200);
}
