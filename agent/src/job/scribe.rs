//! A worker's frames, judged by the gates and turned into records.

use std::time::Instant;

use domain::gate::{self, Ceilings};
use domain::ids::LaunchId;
use domain::machine::Inventory;
use domain::model::ModelIdentity;
use domain::record::{Environment, LaunchModel, Record};
use domain::suite::Case;
use domain::suite::sustained::STRETCH_TOKENS;
use domain::worker::{Frame, Phase, Started};

use crate::precision::Headline;
use crate::recorder::Recorder;
use crate::sensors::{PowerSource, Sampler};
use crate::supervisor::Listener;
use crate::throttle::Pace;

/// What macOS calls its GPU in a virtual machine.
const VIRTUAL_GPU: &str = "Paravirtual";

/// Listens to the worker of one launch.
pub struct Scribe<'a> {
    launch_id: LaunchId,
    case: &'a Case,
    inventory: &'a Inventory,
    kernel: &'a str,
    recorder: &'a Recorder,
    sampler: &'a Sampler,
    /// The worker's.
    pub pid: Option<u32>,
    /// What its worker computes on is made up by a virtual machine.
    pub virtual_gpu: bool,
    started: Option<Started>,
    model: Option<ModelIdentity>,
    /// Known when the worker has said which kernels it has.
    ceilings: Ceilings,
    pub headline: Headline,
    pub pace: Pace,
}

impl<'a> Scribe<'a> {
    pub fn new(
        launch_id: LaunchId,
        case: &'a Case,
        inventory: &'a Inventory,
        kernel: &'a str,
        recorder: &'a Recorder,
        sampler: &'a Sampler,
    ) -> Self {
        Self {
            launch_id,
            case,
            inventory,
            kernel,
            recorder,
            sampler,
            pid: None,
            virtual_gpu: false,
            started: None,
            model: None,
            ceilings: Ceilings::default(),
            headline: Headline::default(),
            pace: Pace::default(),
        }
    }
}

impl Listener for Scribe<'_> {
    fn spawned(&mut self, pid: u32) {
        self.pid = Some(pid);
        self.sampler.set_worker(pid);
    }

    async fn frame(&mut self, frame: Frame) {
        match frame {
            Frame::Started(started) => {
                let Inventory {
                    chip, gpu_cores, ..
                } = self.inventory;
                self.ceilings = Ceilings::of(chip, *gpu_cores, started.nax_built);
                self.virtual_gpu = started.mlx_device.contains(VIRTUAL_GPU);
                self.started = Some(started);
            }
            Frame::Model(model) => {
                self.model = Some(model.clone());
                self.tell_conditions(Some(model)).await;
            }
            Frame::Iteration(mut iteration) => {
                let stretch = match self.case {
                    Case::Sustained(_) => Some(STRETCH_TOKENS),
                    _ => None,
                };
                self.pace.add(&iteration, stretch, Instant::now());
                let model = self.model.as_ref();
                let failed = gate::judge(self.case, model, self.ceilings, &iteration.samples);
                for reason in failed {
                    if !iteration.reasons.contains(&reason) {
                        iteration.reasons.push(reason);
                    }
                }
                if iteration.phase == Phase::Measured {
                    for sample in &iteration.samples {
                        self.headline.add(sample.metric, sample.value);
                    }
                }
                // A suite about the machine itself loads no model.
                if self.started.is_some() {
                    self.tell_conditions(None).await;
                }
                let launch_id = self.launch_id;
                let record = Record::Iteration {
                    launch_id,
                    iteration,
                };
                self.recorder.record(record).await;
            }
            // The launch's end is written when the process has ended.
            Frame::Finished(_) | Frame::Failed(_) => {}
        }
    }
}

impl Scribe<'_> {
    async fn tell_conditions(&mut self, model: Option<ModelIdentity>) {
        let conditions = LaunchModel {
            launch_id: self.launch_id,
            model,
            environment: self.environment(),
        };
        self.recorder.record(Record::LaunchModel(conditions)).await;
    }

    fn environment(&mut self) -> Environment {
        let inventory = self.inventory;
        let readout = self.sampler.latest().unwrap_or_default();
        Environment {
            worker: self.started.take().unwrap_or_default(),
            os: inventory.os.clone(),
            os_version: inventory.os_version.clone(),
            os_build: inventory.os_build.clone(),
            kernel: self.kernel.to_owned(),
            boot_id: inventory.boot_id.clone(),
            agent_version: inventory.agent_version.clone(),
            agent_commit: crate::COMMIT.to_owned(),
            wired_limit_bytes: inventory.wired_limit_bytes,
            power_source: readout
                .power_source
                .map(PowerSource::as_str)
                .map(str::to_owned),
            low_power_mode: readout.low_power_mode,
        }
    }
}
