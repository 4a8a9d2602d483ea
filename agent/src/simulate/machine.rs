//! One simulated machine: what it says it is, and that it works on jobs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use domain::lease::Grant;
use domain::machine::Inventory;
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, watch};

use super::profile::{Kind, Profile};
use super::{Tally, job};
use crate::job::{Left, Workshop};
use crate::session::{Progress, Stop};
use crate::spool::{Spool, Writer};

#[derive(Debug)]
pub struct Machine {
    pub inventory: Inventory,
    pub profile: Profile,
    pub spool: Arc<Spool>,
    pub tally: Arc<Tally>,
}

/// Host name, and name of the folder.
pub fn name(number: u32) -> String {
    format!("simulated-{number:05}")
}

impl Machine {
    pub fn new(
        simulation: &str,
        number: u32,
        profile: &Profile,
        labels: BTreeMap<String, String>,
        spool: Arc<Spool>,
        tally: Arc<Tally>,
    ) -> Self {
        let Kind {
            chip,
            gpu_cores,
            memory_gb,
            share: _,
        } = profile.kind(number);
        let digest = Sha256::new()
            .chain_update("mlx-fleet simulated machine")
            .chain_update(simulation)
            .chain_update(number.to_le_bytes())
            .finalize();
        let inventory = Inventory {
            identity: hex::encode(&digest[..16]),
            hostname: name(number),
            os: "macos".to_owned(),
            os_version: "simulated".to_owned(),
            os_build: String::new(),
            arch: "aarch64".to_owned(),
            hardware_model: "simulated".to_owned(),
            chip: chip.clone(),
            gpu_cores: Some(*gpu_cores),
            gpu_max_mhz: None,
            cpu_cores: 1,
            cpu_tiers: Vec::new(),
            memory_bytes: u64::from(*memory_gb) * 1_000_000_000,
            wired_limit_bytes: None,
            boot_id: simulation.to_owned(),
            virtual_machine: false,
            simulated: true,
            agent_version: crate::VERSION.to_owned(),
            labels,
        };
        Self {
            inventory,
            profile: profile.clone(),
            spool,
            tally,
        }
    }
}

impl Workshop for Machine {
    fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    fn work(
        self: Arc<Self>,
        grant: Grant,
        writer: Writer,
        stop: watch::Receiver<Option<Stop>>,
        progress: mpsc::Sender<Progress>,
    ) -> impl Future<Output = Left> + Send + 'static {
        self.tally.jobs.fetch_add(1, Ordering::Relaxed);
        job::run(self, grant, writer, stop, progress)
    }
}
