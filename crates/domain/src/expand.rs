//! From a plan and the machines there are to jobs, in a deterministic order; whoever is left out is
//! told why.

use crate::catalogue::Architecture;
use crate::ids::MachineId;
use crate::machine::Inventory;
use crate::model::{Dtype, ModelRef, ModelSource};
use crate::plan::Plan;
use crate::suite::speculative::vocabularies_differ;
use crate::suite::{Case, Suite};

/// A machine as the coordinator knows it.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub machine_id: MachineId,
    pub name: String,
    /// Otherwise it waits until an operator lets it in.
    pub approved: bool,
    pub inventory: Inventory,
}

/// One suite with one model on one machine, or on the machine alone.
#[derive(Clone, Debug)]
pub struct PlannedJob {
    pub machine_id: MachineId,
    pub machine_name: String,
    pub suite: Suite,
    /// None for a suite whose subject is the machine.
    pub model: Option<ModelRef>,
    pub cases: Vec<Case>,
    pub launches_total: u32,
    /// Why the job will not run, when that is known beforehand.
    pub skipped: Option<String>,
}

/// A machine that the plan does not mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    pub machine_id: MachineId,
    pub machine_name: String,
    pub reason: String,
}

#[derive(Clone, Debug, Default)]
pub struct Expansion {
    pub jobs: Vec<PlannedJob>,
    pub left_out: Vec<LeftOut>,
}

/// Expands by machine name, then as [`Plan::pairs`] goes.
pub fn expand(plan: &Plan, candidates: &[Candidate]) -> Expansion {
    let mut candidates: Vec<&Candidate> = candidates.iter().collect();
    candidates.sort_by(|a, b| (&a.name, a.machine_id).cmp(&(&b.name, b.machine_id)));
    let mut expansion = Expansion::default();
    for candidate in candidates {
        let Candidate {
            machine_id,
            name,
            approved,
            inventory,
        } = candidate;
        let unapproved = || (!approved).then(|| unapproved(name));
        if let Some(reason) = plan.machines.refusal(name, inventory).or_else(unapproved) {
            expansion.left_out.push(LeftOut {
                machine_id: *machine_id,
                machine_name: name.clone(),
                reason,
            });
            continue;
        }
        for (model, suite, cases) in plan.pairs() {
            let misfit = |case: &Case| cannot_run(model?, case, inventory);
            let (fitting, others): (Vec<Case>, Vec<Case>) = cases
                .iter()
                .cloned()
                .partition(|case| misfit(case).is_none());
            let job = |cases: Vec<Case>, skipped| PlannedJob {
                machine_id: *machine_id,
                machine_name: name.clone(),
                suite,
                model: model.cloned(),
                launches_total: plan.protocol.launches * cases.len() as u32,
                cases,
                skipped,
            };
            // Those that do not fit are a job of their own, so that the row with the reason says
            // which they are.
            let reason = others.iter().filter_map(misfit).next_back();
            expansion.jobs.extend(
                [(fitting, None), (others, reason)]
                    .into_iter()
                    .filter(|(cases, _)| !cases.is_empty())
                    .map(|(cases, skipped)| job(cases, skipped)),
            );
        }
    }
    expansion
}

/// The words for a machine that waits to be let in, wherever it is told.
pub fn unapproved(name: &str) -> String {
    format!("waits for approval: `mlx-fleet machine approve {name}`")
}

/// Predicts what is known of models of the catalogue: weights and caches, the draft's too, and whether
/// the two share a vocabulary. What lies in files is predicted by the worker, which can see them.
fn cannot_run(model: &ModelRef, case: &Case, machine: &Inventory) -> Option<String> {
    let ModelSource::Synthetic(architecture) = &model.source else {
        return None;
    };
    let bytes = |model: &ModelRef, architecture: &Architecture| {
        let bytes = model.dtype.map_or(2, Dtype::bytes);
        architecture.weight_bytes(bytes)
            + architecture.kv_bytes_per_token(bytes) * case.context_tokens()
    };
    let mut needs = bytes(model, architecture);
    let draft = case.draft_beside(model.dtype.unwrap_or(Dtype::Bf16));
    if let Some((draft, ModelSource::Synthetic(small))) =
        draft.as_ref().map(|draft| (draft, &draft.source))
    {
        let (drafts, models) = (small.vocab_size, architecture.vocab_size);
        if drafts != models {
            return Some(vocabularies_differ(&draft.source, drafts, models));
        }
        needs += bytes(draft, small);
    }
    let limit = machine.model_limit_bytes();
    (needs > limit).then(|| would_not_fit(needs, limit))
}

/// The words of every fit refusal, wherever it is made.
pub fn would_not_fit(needs_bytes: u64, has_bytes: u64) -> String {
    format!(
        "would not fit, needs {:.1} GB, has {:.1} GB",
        needs_bytes as f64 / 1e9,
        has_bytes as f64 / 1e9
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(name: &str, memory_gb: u64) -> Candidate {
        let inventory = Inventory {
            os: "macos".into(),
            chip: "Apple M2".into(),
            memory_bytes: memory_gb * 1_000_000_000,
            ..Inventory::default()
        };
        Candidate {
            machine_id: MachineId::new(),
            name: name.into(),
            approved: true,
            inventory,
        }
    }

    fn plan(extra: &str) -> Plan {
        Plan::parse(&format!(
            "name = \"p\"\n[[model]]\nsource = \"synthetic:llama-3.1-8b\"\n[suite.load]\n[suite.decode]\n{extra}"
        ))
        .unwrap()
    }

    #[test]
    fn a_model_too_large_for_a_machine_is_a_skipped_job_with_figures() {
        let expansion = expand(&plan(""), &[candidate("small", 8), candidate("large", 64)]);
        let skipped: Vec<_> = expansion
            .jobs
            .iter()
            .filter_map(|j| j.skipped.as_deref())
            .collect();
        assert_eq!(skipped.len(), 2, "both suites on the small machine");
        assert!(
            skipped[0].starts_with("would not fit, needs 16.1 GB, has 4.8 GB"),
            "{}",
            skipped[0]
        );
        assert_eq!(expansion.jobs.len(), 4);
        assert_eq!(expansion.jobs[0].machine_name, "large", "by name");
    }

    #[test]
    fn only_the_cases_that_do_not_fit_are_skipped() {
        let mut plan = plan("depths = [0, 131072]");
        plan.models.truncate(1);
        let expansion = expand(&plan, &[candidate("medium", 32)]);
        let decode: Vec<_> = expansion
            .jobs
            .iter()
            .filter(|job| job.suite == Suite::Decode)
            .map(|job| (job.cases[0].key(), job.cases.len(), job.skipped.is_some()))
            .collect();
        assert_eq!(
            decode,
            [
                ("new=128,depth=0".to_owned(), 1, false),
                ("new=128,depth=131072".to_owned(), 1, true)
            ]
        );
    }

    #[test]
    fn a_draft_needs_room_and_the_vocabulary_of_the_model() {
        let reasons = |draft: &str, memory_gb| {
            let text = format!("[suite.speculative]\ndraft = \"synthetic:{draft}\"");
            let expansion = expand(&plan(&text), &[candidate("one", memory_gb)]);
            let of_suite = expansion.jobs.into_iter();
            of_suite
                .filter(|job| job.suite == Suite::Speculative)
                .map(|job| job.skipped.unwrap_or_default())
                .collect::<Vec<_>>()
        };
        // Each of the two is 16.1 GB large; a share of the memory is for models.
        assert_eq!(reasons("llama-3.1-8b", 64), [""]);
        let [reason] = &reasons("llama-3.1-8b", 32)[..] else {
            panic!("one job");
        };
        assert!(reason.starts_with("would not fit, needs 32."), "{reason}");
        assert_eq!(reasons("llama-3.2-1b", 32), [""]);
        let [reason] = &reasons("qwen3-0.6b", 64)[..] else {
            panic!("one job");
        };
        for word in ["synthetic:qwen3-0.6b", "151936", "128256", "`suites`"] {
            assert!(reason.contains(word), "{reason}");
        }
    }

    #[test]
    fn a_machine_that_does_not_match_is_left_out_with_its_reason() {
        let expansion = expand(
            &plan("[machines]\nnames = [\"lab-*\"]"),
            &[candidate("lab-1", 64), candidate("desk", 64)],
        );
        assert_eq!(expansion.left_out[0].reason, "name desk is not among lab-*");
        assert!(expansion.jobs.iter().all(|job| job.machine_name == "lab-1"));
    }

    #[test]
    fn a_machine_that_nobody_let_in_gets_no_job() {
        let mut stranger = candidate("stranger", 64);
        stranger.approved = false;
        let expansion = expand(&plan(""), &[candidate("known", 64), stranger]);
        assert!(expansion.jobs.iter().all(|job| job.machine_name == "known"));
        assert_eq!(expansion.left_out[0].reason, unapproved("stranger"));
    }
}
