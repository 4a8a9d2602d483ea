//! Pages that stay as the fleet is, over server-sent events.
//!
//! ```text
//!   something changed ─▶ board: one look and one rendering for all who watch a page ─▶ a watcher each:
//!                                                             only what differs from what it sent last
//! ```
//!
//! A watcher holds the newest rendering and none before: a slow browser misses states and costs nothing. An
//! event's id is the state that a page is in after it; a browser that comes again says the last.

use std::collections::HashMap;
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use domain::ids::RunId;
use futures_util::stream;
use service::lifecycle::Stop;
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::Desk;
use super::pages::{self, runs};
use crate::dispatch::hub::{self, Changed};
use crate::dispatch::tokens::Role;
use crate::dispatch::{Error, Result};
use crate::store::run::Wanted;

/// Between two looks, however much happens.
const PACE: Duration = Duration::from_secs(1);
/// The next look, where nothing is told: machines come, go and beat silently.
const LOOK_ANYWAY: Duration = Duration::from_secs(1);
/// Of runs little is silent: that a machine at work is away, and time to go.
const LOOK_AT_RUNS: Duration = Duration::from_secs(5);
/// A look that takes longer fails: the database hangs.
const PATIENCE: Duration = Duration::from_secs(10);
/// Then a browser comes again, and who looks is asked anew.
const MAX_WATCH: Duration = Duration::from_mins(5);
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// In a page, before and after each element that changes by itself. It has an id.
pub const CUT: &str = "<!--|-->";

/// A page that can be watched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum View {
    Fleet,
    Runs(Wanted),
    Run(RunId),
}

/// The boards that somebody watches.
#[derive(Default)]
pub struct Boards {
    all: Mutex<All>,
}

type All = HashMap<(View, Role), Weak<Board>>;
type Board = watch::Sender<Arc<Shown>>;

/// A page as it was at one time.
#[derive(Clone)]
pub struct Shown {
    pub state: String,
    /// The fleet could not be looked at since.
    stale: bool,
    parts: Vec<Part>,
    /// What is new in it, for all who saw the one before.
    news: Option<News>,
}

#[derive(Clone)]
struct News {
    /// The state before.
    since: String,
    event: Event,
}

/// What is between two cuts.
#[derive(Clone, PartialEq, Eq)]
struct Part {
    id: Option<String>,
    html: String,
}

impl View {
    /// Where its events come from.
    pub fn path(&self) -> String {
        match self {
            Self::Fleet => "/live/fleet".to_owned(),
            Self::Runs(wanted) => format!("/live/runs{}", runs::query(wanted)),
            Self::Run(run_id) => format!("/live/runs/{run_id}"),
        }
    }

    fn look_anyway(&self) -> Duration {
        match self {
            Self::Fleet => LOOK_ANYWAY,
            Self::Runs(_) | Self::Run(_) => LOOK_AT_RUNS,
        }
    }

    fn is_of(&self, changed: Changed) -> bool {
        match (self, changed) {
            (Self::Run(run_id), Changed::Run(of)) => *run_id == of,
            (_, Changed::Everything) | (Self::Fleet | Self::Runs(_), Changed::Run(_)) => true,
        }
    }
}

impl Shown {
    pub fn of(html: &str) -> Self {
        let mut hash = DefaultHasher::new();
        html.hash(&mut hash);
        let part = |html: &str| Part {
            id: id_of(html).map(str::to_owned),
            html: html.to_owned(),
        };
        Self {
            state: format!("{:016x}", hash.finish()),
            stale: false,
            parts: html.split(CUT).map(part).collect(),
            news: None,
        }
    }

    fn following(self, former: &Self) -> Self {
        let news = News {
            since: former.state.clone(),
            event: self.event_since(former),
        };
        Self {
            news: Some(news),
            ..self
        }
    }

    /// What brings a browser from that state to this one.
    fn event_since(&self, former: &Self) -> Event {
        if let Some(event) = self.news_of(&former.state) {
            return event;
        }
        let news = self.news_since(former);
        match news.and_then(|news| serde_json::to_string(&news).ok()) {
            Some(parts) => self.event("parts").data(parts),
            None => self.whole(),
        }
    }

    /// The same for one of which only the state's name is known.
    fn event_after(&self, state: &str) -> Event {
        if self.state == state {
            return self.event("parts").data("[]");
        }
        self.news_of(state).unwrap_or_else(|| self.whole())
    }

    /// What is new for a browser in that state, where it is at hand.
    fn news_of(&self, state: &str) -> Option<Event> {
        let News { since, event } = self.news.as_ref()?;
        (since == state).then(|| event.clone())
    }

    fn event(&self, kind: &str) -> Event {
        Event::default().event(kind).id(&self.state)
    }

    fn as_stale(&self) -> Self {
        Self {
            stale: true,
            ..self.clone()
        }
    }

    fn whole(&self) -> Event {
        // A carriage return would end a line of the stream, and in HTML it is only white space.
        let html = self.html().replace('\r', " ");
        self.event("whole").data(html)
    }

    pub fn html(&self) -> String {
        self.parts.iter().map(|part| part.html.as_str()).collect()
    }

    /// The elements that differ; None where more than those does.
    fn news_since(&self, former: &Self) -> Option<Vec<(&str, &str)>> {
        if self.parts.len() != former.parts.len() {
            return None;
        }
        let pairs = self.parts.iter().zip(&former.parts);
        let changed = pairs.filter(|(new, old)| new != old);
        changed
            .map(|(new, old)| match (&new.id, &old.id) {
                (Some(id), Some(former)) if id == former => Some((id.as_str(), new.html.as_str())),
                _ => None,
            })
            .collect()
    }
}

/// Of `<tr id="machine-1" …`.
fn id_of(html: &str) -> Option<&str> {
    let (tag, _) = html.split_once('>')?;
    let (_, id) = tag.split_once(" id=\"")?;
    tag.starts_with('<').then(|| id.split('"').next())?
}

impl Boards {
    /// The newest state of a page, and those that follow.
    async fn watch(
        &self,
        desk: &Desk,
        view: &View,
        role: Role,
    ) -> Result<watch::Receiver<Arc<Shown>>> {
        if let Some(board) = self
            .all()
            .get(&(view.clone(), role))
            .and_then(Weak::upgrade)
        {
            return Ok(board.subscribe());
        }
        // Before the first look, so that nothing falls between.
        let changes = desk.dispatch.hub().runs();
        let html = pages::main_of(desk, view, role).await?;
        let (board, seen) = watch::channel(Arc::new(Shown::of(&html)));
        let board = Arc::new(board);
        let mut all = self.all();
        all.retain(|_, board| board.strong_count() > 0);
        // Another may have come first: then there are two for a while, and both tell the truth.
        all.insert((view.clone(), role), Arc::downgrade(&board));
        drop(all);
        let (desk, view) = (desk.clone(), view.clone());
        desk.tasks.clone().spawn(async move {
            let stop = desk.stop.clone();
            tokio::select! {
                () = follow(desk, view, role, board, changes) => {}
                () = stop.soft() => {}
            }
        });
        Ok(seen)
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Until nobody watches.
async fn follow(
    desk: Desk,
    view: View,
    role: Role,
    board: Arc<Board>,
    mut changes: broadcast::Receiver<Changed>,
) {
    while board.receiver_count() > 0 {
        sleep(PACE).await;
        // An elapsed timeout is a reason to look, too.
        let _ = timeout(
            view.look_anyway(),
            hub::heard(&mut changes, |changed| view.is_of(changed)),
        )
        .await;
        changes = changes.resubscribe();
        let looked = timeout(PATIENCE, pages::main_of(&desk, &view, role)).await;
        let late = |_| Err(Error::Unavailable("the database does not answer"));
        match looked.unwrap_or_else(late) {
            Ok(html) => {
                let shown = Shown::of(&html);
                board.send_if_modified(|last| {
                    let is_new = last.stale || last.state != shown.state;
                    if is_new {
                        *last = Arc::new(shown.following(last));
                    }
                    is_new
                });
            }
            // What is shown stays, and the next look may succeed.
            Err(error) => {
                tracing::debug!(%error, ?view, "a page was not rendered anew");
                board.send_if_modified(|last| {
                    let is_new = !last.stale;
                    if is_new {
                        *last = Arc::new(last.as_stale());
                    }
                    is_new
                });
            }
        }
    }
}

/// What changes of a page from now on, for a browser that shows it in this state.
pub async fn events(desk: &Desk, view: &View, role: Role, state: &str) -> Response {
    let mut seen = match desk.boards.watch(desk, view, role).await {
        Ok(seen) => seen,
        Err(error) => return pages::failure(&error),
    };
    // What there is by now comes first.
    seen.mark_changed();
    let watcher = Watcher {
        state: state.to_owned(),
        shown: None,
        seen,
        until: Instant::now() + MAX_WATCH,
        ends: false,
        stop: desk.stop.clone(),
    };
    let events = stream::unfold(watcher, async |mut watcher| {
        let event = watcher.next().await?;
        Some((Ok::<_, Infallible>(event), watcher))
    });
    let alive = KeepAlive::new().interval(KEEP_ALIVE);
    Sse::new(events).keep_alive(alive).into_response()
}

struct Watcher {
    /// The state that the browser came with.
    state: String,
    /// What it shows, once something was sent.
    shown: Option<Arc<Shown>>,
    seen: watch::Receiver<Arc<Shown>>,
    until: Instant,
    /// It has been told to come again.
    ends: bool,
    stop: Stop,
}

impl Watcher {
    async fn next(&mut self) -> Option<Event> {
        if self.ends {
            return None;
        }
        tokio::select! {
            changed = self.seen.changed() => changed.ok()?,
            () = sleep_until(self.until) => {
                self.ends = true;
                return Some(Event::default().event("again").data("the watch is over"));
            }
            () = self.stop.soft() => return None,
        }
        let newest = Arc::clone(&self.seen.borrow_and_update());
        if newest.stale {
            // No state comes with it: the browser stays at its own.
            return Some(Event::default().event("stale").data("no look at the fleet"));
        }
        let event = match &self.shown {
            Some(shown) => newest.event_since(shown),
            None => newest.event_after(&self.state),
        };
        self.shown = Some(newest);
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use service::lifecycle::Lifecycle;

    use super::*;

    fn page(rows: &[(&str, &str)]) -> Shown {
        let rows = rows
            .iter()
            .map(|(id, text)| format!("{CUT}<tr id=\"{id}\"><td>{text}</td></tr>{CUT}"));
        Shown::of(&format!("<table>{}</table>", rows.collect::<String>()))
    }

    #[test]
    fn only_the_elements_that_differ_are_sent() {
        let old = page(&[("a", "idle"), ("b", "idle")]);
        let new = page(&[("a", "idle"), ("b", "busy")]);
        let row = "<tr id=\"b\"><td>busy</td></tr>";
        assert_eq!(new.news_since(&old), Some(vec![("b", row)]));
        assert_ne!(new.state, old.state);
        assert_eq!(old.news_since(&old), Some(Vec::new()));
    }

    /// As it is on the wire, without its end.
    async fn seen(watcher: &mut Watcher) -> String {
        format!("{:?}", watcher.next().await.unwrap())
    }

    #[tokio::test]
    async fn a_browser_that_comes_again_goes_on_where_it_was() {
        let pages = ["idle", "busy", "drained"].map(|state| page(&[("a", state), ("b", "idle")]));
        let [idle, busy, drained] = pages;
        let of_idle = idle.state.clone();
        let busy = busy.following(&idle);
        let (board, seen_of) = watch::channel(Arc::new(busy.clone()));
        let watcher = |state: &str| {
            let mut seen = seen_of.clone();
            seen.mark_changed();
            Watcher {
                state: state.to_owned(),
                shown: None,
                seen,
                until: Instant::now() + MAX_WATCH,
                ends: false,
                stop: Lifecycle::new().stop_handle(),
            }
        };
        let (mut same, mut late, mut lost) =
            (watcher(&busy.state), watcher(&of_idle), watcher("?"));
        assert!(seen(&mut same).await.contains("data: []"));
        let news = seen(&mut late).await;
        assert!(
            news.contains("event: parts") && news.contains("busy"),
            "{news}"
        );
        assert!(seen(&mut lost).await.contains("event: whole"));

        // Who misses a state because the database is away is told all that differs later.
        board.send_modify(|last| *last = Arc::new(last.as_stale()));
        assert!(seen(&mut same).await.contains("event: stale"));
        let mut came = watcher(&of_idle);
        assert!(seen(&mut came).await.contains("event: stale"));
        board.send_modify(|last| *last = Arc::new(drained.clone().following(last)));
        assert!(seen(&mut same).await.contains("event: parts"));
        let whole = seen(&mut came).await;
        assert!(
            whole.contains("event: whole") && whole.contains(&drained.state),
            "{whole}"
        );

        same.until = Instant::now();
        assert!(seen(&mut same).await.contains("event: again"));
        assert!(same.next().await.is_none(), "that is the end of it");
    }

    #[test]
    fn another_order_or_number_of_elements_is_a_whole_page() {
        let old = page(&[("a", "idle"), ("b", "idle")]);
        assert_eq!(page(&[("a", "idle")]).news_since(&old), None);
        assert_eq!(page(&[("b", "idle"), ("a", "idle")]).news_since(&old), None);
        let text = Shown::of(&old.html().replace("<table>", "<p>2</p><table>"));
        assert_eq!(text.news_since(&old), None);
    }
}
