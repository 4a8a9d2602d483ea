//! Performs what [`Session`] decides. The `select!` only names what happened.

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use domain::ids::LeaseId;
use domain::job::JobOutcome;
use domain::lease::Grant;
use domain::model::ModelRef;
use domain::record::{JobFinished, Record};
use proto::wire::session_down::Message as Down;
use proto::wire::session_up::Message as Up;
use proto::{PROTOCOL_VERSION, wire};
use service::lifecycle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinError;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};
use tonic::transport::{Channel, Endpoint};
use tracing::Instrument;

use crate::VERSION;
use crate::job::{Left, Workshop};
use crate::link::{self, News};
use crate::pauses::Pauses;
use crate::session::{Effect, Input, Progress, Session, Stop};
use crate::spool::Spool;
use crate::task::Task;
use crate::upload::{self, Outcome};

/// News of the link, progress and what comes of uploads: handled in microseconds, a few are many.
const QUEUE: usize = 64;

const RETRY_MIN: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_millis(7500);
/// A link that lived so long was sound: the next failure is a new one.
const STABLE: Duration = Duration::from_mins(1);

/// A wish for an upgrade is looked after so often, and given up when nobody fulfils it.
const WISH_LOOK: Duration = Duration::from_secs(1);
const WISH_PATIENCE: Duration = Duration::from_mins(10);

/// A coordinator that asks for other intervals is mistaken.
const HEARTBEAT_MIN: Duration = Duration::from_millis(50);
const HEARTBEAT_MAX: Duration = Duration::from_mins(1);

/// The running agent.
#[derive(Debug)]
pub struct Driver<W> {
    session: Session,
    /// Coordinators of one fleet; the first is the one to dial.
    endpoints: VecDeque<Endpoint>,
    spool: Arc<Spool>,
    workshop: Arc<W>,
    stop: lifecycle::Stop,

    news: (mpsc::Sender<News>, mpsc::Receiver<News>),
    uploads: (mpsc::Sender<Outcome>, mpsc::Receiver<Outcome>),
    progress: (mpsc::Sender<Progress>, mpsc::Receiver<Progress>),

    link: Option<Link>,
    redial: Option<Instant>,
    pauses: Pauses,
    beat: Option<Interval>,
    upload: Option<Task<()>>,
    work: Option<Work>,
    /// Where a welcome is told, by this process's id; None: nobody asks.
    welcomed: Option<PathBuf>,
    /// Where somebody looks out for this agent's wish to be upgraded; None: nobody may.
    wish: Option<PathBuf>,
    wished: Option<Wished>,
}

#[derive(Clone, Copy, Debug)]
struct Wished {
    since: Instant,
    look: Instant,
}

#[derive(Debug)]
struct Link {
    /// Ends with the link.
    _task: Task<()>,
    control: Option<mpsc::Sender<wire::SessionUp>>,
    channel: Option<Channel>,
    since: Instant,
}

#[derive(Debug)]
struct Work {
    lease: LeaseId,
    stop: watch::Sender<Option<Stop>>,
    task: Task<Left>,
}

/// What happened.
#[derive(Debug)]
enum Event {
    News(News),
    Redial,
    HeartbeatDue,
    Progress(Progress),
    Uploaded(Outcome),
    WorkEnded(Result<Left, JoinError>),
    LookAfterWish,
    SoftStop,
    HardStop,
}

impl<W: Workshop> Driver<W> {
    pub fn new(
        endpoints: Vec<Endpoint>,
        spool: Arc<Spool>,
        workshop: Arc<W>,
        stop: lifecycle::Stop,
    ) -> Self {
        Self {
            session: Session::new(),
            endpoints: endpoints.into(),
            spool,
            workshop,
            stop,
            news: mpsc::channel(QUEUE),
            uploads: mpsc::channel(QUEUE),
            progress: mpsc::channel(QUEUE),
            link: None,
            redial: Some(Instant::now()),
            pauses: Pauses::new(RETRY_MIN, RETRY_MAX),
            beat: None,
            upload: None,
            work: None,
            welcomed: None,
            wish: None,
            wished: None,
        }
    }

    /// With a file that says which process a coordinator welcomed last: who started it learns by it that it
    /// does its work.
    #[must_use]
    pub fn telling_welcomes(mut self, file: PathBuf) -> Self {
        self.welcomed = Some(file);
        self
    }

    /// With a file that stands for the wish to be upgraded; whoever fulfils it takes it away.
    #[must_use]
    pub fn upgraded_through(mut self, wish: Option<PathBuf>) -> Self {
        self.wish = wish;
        self
    }

    /// Serves the coordinator until told to stop. A worker dies with its job's task, and every task
    /// with the driver.
    pub async fn run(mut self) {
        let mut stopping = false;
        loop {
            let event = self.event(stopping).await;
            tracing::trace!(?event);
            let input = match event {
                Event::News(News::Up { control, channel }) => self.link_up(control, channel),
                Event::News(News::Said(said)) => self.heard(*said),
                Event::News(News::Down(why)) => self.link_down(&why),
                Event::Redial => {
                    self.dial();
                    continue;
                }
                Event::HeartbeatDue => Some(Input::HeartbeatDue),
                Event::Progress(progress) => Some(Input::Progress(progress)),
                Event::Uploaded(Outcome::Settled(lease)) => Some(Input::Settled(lease)),
                Event::Uploaded(Outcome::Refused { lease, reason }) => {
                    Some(Input::Refused { lease, reason })
                }
                Event::WorkEnded(left) => self.work_ended(left),
                Event::LookAfterWish => self.look_after_wish(),
                Event::SoftStop => {
                    stopping = true;
                    Some(Input::Stop)
                }
                Event::HardStop => break,
            };
            let effects = input.map_or_else(Vec::new, |input| self.session.step(input));
            if self.perform(effects) {
                break;
            }
        }
    }

    async fn event(&mut self, stopping: bool) -> Event {
        let beat = async {
            match &mut self.beat {
                Some(beat) => drop(beat.tick().await),
                None => std::future::pending().await,
            }
        };
        let work = async {
            match &mut self.work {
                Some(work) => (&mut work.task).await,
                None => std::future::pending().await,
            }
        };
        let look = self.wished.map(|wished| wished.look);
        let redial = self.redial;
        tokio::select! {
            () = self.stop.hard() => Event::HardStop,
            () = self.stop.soft(), if !stopping => Event::SoftStop,
            Some(news) = self.news.1.recv() => Event::News(news),
            Some(outcome) = self.uploads.1.recv() => Event::Uploaded(outcome),
            Some(progress) = self.progress.1.recv() => Event::Progress(progress),
            left = work => Event::WorkEnded(left),
            () = async { sleep_until(look.unwrap_or_else(Instant::now)).await }, if look.is_some() => Event::LookAfterWish,
            () = beat => Event::HeartbeatDue,
            () = async { sleep_until(redial.unwrap_or_else(Instant::now)).await }, if redial.is_some() => Event::Redial,
        }
    }

    fn dial(&mut self) {
        self.redial = None;
        let Some(endpoint) = self.endpoints.front() else {
            return;
        };
        let link = link::run(endpoint.clone(), self.news.0.clone());
        let task = Task::start(link.in_current_span());
        self.link = Some(Link {
            _task: task,
            control: None,
            channel: None,
            since: Instant::now(),
        });
    }

    fn link_up(
        &mut self,
        control: mpsc::Sender<wire::SessionUp>,
        channel: Channel,
    ) -> Option<Input> {
        let link = self.link.as_mut()?;
        link.control = Some(control);
        link.channel = Some(channel);
        let spooled = upload::spooled(&self.spool);
        Some(Input::LinkUp { spooled })
    }

    fn link_down(&mut self, why: &str) -> Option<Input> {
        let link = self.link.take()?;
        self.beat = None;
        self.upload = None;
        if link.since.elapsed() >= STABLE {
            self.pauses.restart();
        }
        let pause = self.pauses.next();
        self.endpoints.rotate_left(1);
        let next = self.endpoints.front().map(Endpoint::uri);
        tracing::warn!(why, again_in = ?pause, next = ?next, "no link to the coordinator");
        self.redial = Some(Instant::now() + pause);
        Some(Input::LinkDown)
    }

    /// A message of the coordinator as an input; one that makes no sense is told and passed over.
    fn heard(&self, said: Down) -> Option<Input> {
        match said {
            Down::Welcome(wire::Welcome {
                machine_id: _,
                machine_name,
                heartbeat_ms,
                live_leases,
                coordinator_version,
            }) => {
                tracing::info!(
                    name = machine_name,
                    coordinator_version,
                    "welcomed by the coordinator"
                );
                self.tell_welcome();
                if coordinator_version != VERSION {
                    tracing::warn!(
                        "the coordinator is version {coordinator_version}, this agent {VERSION}: they \
                         understand each other; install the same release when you can"
                    );
                }
                let heartbeat = Duration::from_millis(heartbeat_ms);
                Some(Input::Welcome {
                    heartbeat: heartbeat.clamp(HEARTBEAT_MIN, HEARTBEAT_MAX),
                    live: live_leases
                        .iter()
                        .filter_map(|id| sound("lease", id))
                        .collect(),
                    spooled: upload::spooled(&self.spool),
                })
            }
            Down::Grant(grant) => {
                let lease = grant.lease_id.clone();
                match Grant::try_from(grant) {
                    Ok(grant) => Some(Input::Granted(Box::new(grant))),
                    Err(error) => {
                        // It expires, and the job is parked when every agent says the same.
                        tracing::error!(lease, %error, "a grant that makes no sense");
                        self.give_back_unread(&lease, &error.to_string());
                        None
                    }
                }
            }
            Down::Renewed(wire::Renewed { lease_id: _ }) => None,
            Down::LeaseLost(wire::LeaseLost { lease_id, reason }) => {
                tracing::info!(lease = lease_id, reason, "lease lost");
                let lease = sound("lease", &lease_id)?;
                Some(Input::LeaseLost { lease, reason })
            }
            Down::Cancel(wire::Cancel { lease_id }) => {
                Some(Input::Cancelled(sound("lease", &lease_id)?))
            }
            Down::Drain(wire::Drain { reason }) => {
                tracing::info!(reason, "no new job will come");
                Some(Input::Drained)
            }
            Down::Resume(wire::Resume {}) => {
                tracing::info!("jobs may come again");
                Some(Input::Resumed)
            }
            Down::Upgrade(wire::Upgrade {}) => {
                tracing::info!("an upgrade is asked for; it waits for the job at hand");
                Some(Input::UpgradeAsked)
            }
        }
    }

    fn work_ended(&mut self, left: Result<Left, JoinError>) -> Option<Input> {
        let Work { lease, .. } = self.work.take()?;
        let recorded = match left {
            Ok(Left::Recorded) => true,
            Ok(Left::Unrecorded) => false,
            Err(panic) => {
                tracing::error!(%lease, %panic, "the job failed inside the agent");
                false
            }
        };
        if !recorded && let Err(error) = self.spool.abandon(lease) {
            tracing::error!(%lease, %error, "the spool keeps a dead lease");
        }
        Some(Input::WorkEnded {
            lease,
            unsettled: recorded && self.spool.holds(lease),
        })
    }

    /// True when the agent is to end.
    fn perform(&mut self, effects: Vec<Effect>) -> bool {
        for effect in effects {
            match effect {
                Effect::SendHello { unfinished } => self.send(self.hello(&unfinished)),
                Effect::SendReady => self.send(Up::Ready(wire::Ready {})),
                Effect::SendHeartbeat(lease) => self.send(Up::Heartbeat(wire::Heartbeat {
                    lease_id: lease.map(|lease| lease.to_string()).unwrap_or_default(),
                })),
                Effect::SendProgress(Progress {
                    lease,
                    launches_done,
                    launches_total,
                    note,
                }) => self.send(Up::Progress(wire::LaunchProgress {
                    lease_id: lease.to_string(),
                    launches_done,
                    launches_total,
                    note,
                })),
                Effect::BeatEvery(every) => {
                    // The first at once: a lease may be near its end.
                    let mut beat = interval(every);
                    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
                    self.beat = Some(beat);
                }
                Effect::StartUpload => self.start_upload(),
                Effect::StartWork(grant) => self.start_work(*grant),
                Effect::StopWork { lease, why } => {
                    if let Some(work) = self.work.as_ref().filter(|work| work.lease == lease) {
                        work.stop.send_replace(Some(why));
                    }
                }
                Effect::GiveBack { lease, reason } => self.give_back(lease, reason),
                Effect::WishUpgrade => self.wish_upgrade(),
                Effect::Exit => return true,
            }
        }
        false
    }

    fn tell_welcome(&self) {
        let Some(file) = &self.welcomed else { return };
        if let Err(error) = std::fs::write(file, format!("{}\n", std::process::id())) {
            tracing::error!(%error, "that this agent was welcomed cannot be written");
        }
    }

    fn wish_upgrade(&mut self) {
        let since = Instant::now();
        let look = since + WISH_LOOK;
        self.wished = Some(Wished { since, look });
        let Some(wish) = &self.wish else {
            tracing::warn!(
                "this machine does not allow upgrades by the fleet: install with --allow-upgrades"
            );
            return;
        };
        // That it is not there is the answer then.
        if let Err(error) = std::fs::write(wish, "") {
            tracing::error!(%error, "the wish for an upgrade cannot be written");
        }
    }

    /// Gone, and this process still here: whoever took it could not fulfil it.
    fn look_after_wish(&mut self) -> Option<Input> {
        let Wished { since, look: _ } = self.wished?;
        if let Some(wish) = self.wish.as_ref().filter(|wish| wish.exists()) {
            if since.elapsed() < WISH_PATIENCE {
                let look = Instant::now() + WISH_LOOK;
                self.wished = Some(Wished { since, look });
                return None;
            }
            std::fs::remove_file(wish).ok();
        }
        self.wished = None;
        tracing::warn!("the upgrade was not made: its own log says why");
        Some(Input::UpgradeOver)
    }

    fn hello(&self, unfinished: &BTreeSet<LeaseId>) -> Up {
        Up::Hello(wire::Hello {
            protocol_version: PROTOCOL_VERSION,
            inventory: Some(self.workshop.inventory().into()),
            unfinished_leases: unfinished.iter().map(ToString::to_string).collect(),
        })
    }

    fn send(&mut self, message: Up) {
        let up = wire::SessionUp {
            message: Some(message),
        };
        let control = self.link.as_ref().and_then(|link| link.control.as_ref());
        let Some(control) = control else { return };
        if control.try_send(up).is_err() {
            // The queue holds many heartbeats: nobody has read for long.
            let why = News::Down("the coordinator takes no messages".to_owned());
            self.news.0.try_send(why).ok();
        }
    }

    fn start_upload(&mut self) {
        let Some(channel) = self.link.as_ref().and_then(|link| link.channel.clone()) else {
            return;
        };
        let spool = Arc::clone(&self.spool);
        let upload = upload::run(channel, spool, self.uploads.0.clone());
        self.upload = Some(Task::start(upload.in_current_span()));
    }

    fn start_work(&mut self, grant: Grant) {
        let Grant {
            lease_id: lease,
            job_id,
            run_id,
            ..
        } = grant;
        let of_job = tracing::info_span!("job", %run_id, %job_id, lease_id = %lease);
        of_job.in_scope(|| {
            let model = ModelRef::label_of(grant.model.as_ref());
            tracing::info!(model, cases = grant.cases.len(), "job granted");
        });
        let (stop, stopped) = watch::channel(None);
        let progress = self.progress.0.clone();
        let task = match self.spool.writer(lease) {
            Ok(writer) => {
                let workshop = Arc::clone(&self.workshop);
                let work = workshop.work(grant, writer, stopped, progress);
                Task::start(work.instrument(of_job))
            }
            Err(error) => {
                tracing::error!(%lease, %error, "no spool for the job; its lease will expire");
                Task::start(async { Left::Unrecorded })
            }
        };
        self.work = Some(Work { lease, stop, task });
    }

    fn give_back(&mut self, lease: LeaseId, reason: &str) {
        tracing::warn!(%lease, reason, "a job given back");
        let released = Record::JobFinished(JobFinished {
            outcome: JobOutcome::Released,
            reason: reason.to_owned(),
        });
        let written = self
            .spool
            .writer(lease)
            .and_then(|mut writer| writer.append(vec![released]));
        if let Err(error) = written {
            tracing::error!(%lease, %error, "its end is not written; its lease will expire");
            self.uploads.0.try_send(Outcome::Settled(lease)).ok();
        }
    }

    /// A grant that could not be read failed for good: another try would read the same.
    fn give_back_unread(&self, lease: &str, why: &str) {
        let Some(lease) = sound::<LeaseId>("lease", lease) else {
            return;
        };
        let failed = Record::JobFinished(JobFinished {
            outcome: JobOutcome::Failed,
            reason: format!("the agent cannot read the grant: {why}"),
        });
        let written = self
            .spool
            .writer(lease)
            .and_then(|mut writer| writer.append(vec![failed]));
        if let Err(error) = written {
            tracing::error!(%lease, %error, "its end is not written; its lease will expire");
        }
    }
}

fn sound<T: FromStr<Err: Display>>(noun: &str, text: &str) -> Option<T> {
    match text.parse() {
        Ok(value) => Some(value),
        Err(error) => {
            tracing::warn!(%error, "the coordinator names no {noun}");
            None
        }
    }
}
