//! `attention`: one call of MLX's attention and the same written out, in turn (A B B A), on inputs with
//! the shape of a model's heads. Graphs are built before the clock runs: what is timed is the device.

use std::time::Duration;

use domain::metric::Metric;
use domain::suite::attention::{Case, Regime};
use domain::worker::{Finished, Sample};
use mlx_rs::Array;
use mlx_rs::error::Exception;

use super::{Bench, Demand, random_array, turns};
use crate::device::{
    self,
    ops::{self, Fused, Mask},
};
use crate::harness::clock::{Mark, Region, Watch};
use crate::harness::{Observation, Shape, Trial, TrialError};

/// The last queries, whose results are held against f32: all of them would take more memory than the
/// kernel that is measured.
const CHECKED_QUERIES: i32 = 16;

pub fn demand(case: &Case) -> Demand {
    Demand {
        bytes: 4 * case.bytes(),
        ..Demand::default()
    }
}

pub fn measure(bench: &Bench<'_>, case: &Case) -> Result<Finished, TrialError> {
    let inputs = Inputs::new(case)?;
    let fused = match inputs.library(&inputs.queries, Fused::Required) {
        Ok(_) => Fused::Required,
        Err(error) => {
            eprintln!("no fused attention for {}: {error}", case.key());
            Fused::WhereAvailable
        }
    };
    let limit = bench.request.memory_limit_bytes;
    let has_room = limit == 0 || standard_bytes(case) < limit;
    let once = once(&inputs, fused, has_room)?;
    let order = if has_room {
        turns::in_turn(Way::Library, Way::Standard, bench.request.launch_seed).to_vec()
    } else {
        vec![Way::Library]
    };
    let chain = chain(case);
    bench.measure(&mut [Attention {
        case,
        inputs,
        fused,
        order,
        usual_chain: chain,
        chain,
        once,
    }])
}

/// Calls behind each other in one turn: short ones are many, so that the wait for the device is no part
/// of them.
fn chain(case: &Case) -> u32 {
    match case.flops() {
        0..100_000_000 => 16,
        100_000_000..4_000_000_000 => 4,
        _ => 1,
    }
}

/// Scores before and after the softmax, and the mask.
fn standard_bytes(case: &Case) -> u64 {
    let scores = case.heads * case.queries() * case.length;
    4 * case.bytes() + scores * (2 * case.dtype.bytes() + 4) + case.queries() * case.length
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// MLX's own call, with whatever kernel it has.
    Library,
    Standard,
}

struct Inputs {
    /// `[1, heads, queries, dim]`.
    queries: Array,
    keys: Array,
    values: Array,
    scale: f32,
    heads: i32,
    kv_heads: i32,
    dim: i32,
    length: i32,
    is_causal: bool,
    /// True where a query sees a key; None: everywhere.
    seen: Option<Array>,
}

impl Inputs {
    fn new(case: &Case) -> Result<Self, TrialError> {
        let [heads, kv_heads, dim, length, queries] = [
            case.heads,
            case.kv_heads,
            case.head_dim,
            case.length,
            case.queries(),
        ]
        .map(|size| size as i32);
        let is_causal = case.regime == Regime::Prefill;
        let array = |heads, length| random_array(&[1, heads, length, dim], case.dtype, 1.0);
        let seen = is_causal.then(|| seen(queries, length)).transpose()?;
        Ok(Self {
            queries: array(heads, queries)?,
            keys: array(kv_heads, length)?,
            values: array(kv_heads, length)?,
            scale: (dim as f32).sqrt().recip(),
            heads,
            kv_heads,
            dim,
            length,
            is_causal,
            seen,
        })
    }

    fn library(&self, queries: &Array, fused: Fused) -> Result<Array, Exception> {
        let mask = if self.is_causal {
            Mask::Causal
        } else {
            Mask::None
        };
        ops::attention(queries, &self.keys, &self.values, self.scale, mask, fused)
    }

    fn standard(&self, queries: &Array) -> Result<Array, Exception> {
        let arrays = [queries, &self.keys, &self.values];
        self.written_out(arrays, self.seen.as_ref())
    }

    /// Softmax(Q Kᵀ) V. Heads of queries that share keys are a dimension of their own, which the keys
    /// are broadcast over; nothing is repeated in memory.
    fn written_out(
        &self,
        [queries, keys, values]: [&Array; 3],
        seen: Option<&Array>,
    ) -> Result<Array, Exception> {
        let rows = queries.dim(2);
        let groups = self.heads / self.kv_heads;
        let scaled = queries.multiply(Array::from_f32(self.scale).as_dtype(queries.dtype())?)?;
        let grouped = ops::reshape(&scaled, &[1, self.kv_heads, groups, rows, self.dim])?;
        let shared = [1, self.kv_heads, 1, self.length, self.dim];
        let keys = ops::transpose(&ops::reshape(keys, &shared)?, &[0, 1, 2, 4, 3])?;
        let mut scores = ops::matmul(&grouped, &keys)?;
        if let Some(seen) = seen {
            let least = Array::from_f32(f32::NEG_INFINITY).as_dtype(scores.dtype())?;
            scores = mlx_rs::ops::select(seen, &scores, &least)?;
        }
        let shares = mlx_rs::ops::softmax_axis(&scores, -1, true)?;
        let out = ops::matmul(&shares, &ops::reshape(values, &shared)?)?;
        ops::reshape(&out, &[1, self.heads, rows, self.dim])
    }

    /// The largest difference of MLX's attention from one in f32, and the largest value, over the
    /// last queries.
    fn error(&self, fused: Fused) -> Result<(f64, f64), TrialError> {
        let rows = self.queries.dim(2);
        let checked = rows.min(CHECKED_QUERIES);
        let last = |x: &Array| {
            let (start, stop) = ([0, 0, rows - checked, 0], [1, self.heads, rows, self.dim]);
            ops::as_dtype(&ops::slice(x, &start, &stop)?, mlx_rs::Dtype::Float32)
        };
        let wide = |x: &Array| ops::as_dtype(x, mlx_rs::Dtype::Float32);
        let ours = last(&self.library(&self.queries, fused)?)?;
        let seen = match &self.seen {
            Some(seen) => Some(ops::slice(
                seen,
                &[rows - checked, 0],
                &[rows, self.length],
            )?),
            None => None,
        };
        let arrays = [
            &last(&self.queries)?,
            &wide(&self.keys)?,
            &wide(&self.values)?,
        ];
        let exact = self.written_out(arrays, seen.as_ref())?;
        let largest = |x: &Array| -> Result<f64, Exception> {
            let most = x.abs()?.max(None)?;
            most.eval()?;
            Ok(f64::from(most.item_exact::<f32>()))
        };
        Ok((largest(&ours.subtract(&exact)?)?, largest(&exact)?))
    }
}

/// `[queries, keys]`: the queries are the last positions.
fn seen(queries: i32, length: i32) -> Result<Array, Exception> {
    let rows = Array::arange::<i32, i32>(length - queries, length, None)?.expand_dims(1)?;
    let columns = Array::arange::<i32, i32>(None, length, None)?.expand_dims(0)?;
    let seen = rows.ge(&columns)?;
    seen.eval()?;
    Ok(seen)
}

/// What one call needs and how far it is off: asked once, before anything is timed.
fn once(inputs: &Inputs, fused: Fused, has_room: bool) -> Result<Vec<Sample>, TrialError> {
    let peak = |call: &dyn Fn() -> Result<Array, Exception>| -> Result<f64, TrialError> {
        device::clear_cache()?;
        let before = device::memory()?.active_bytes;
        device::reset_peak_memory()?;
        call()?.eval()?;
        device::synchronize()?;
        Ok(device::memory()?.peak_bytes.saturating_sub(before) as f64)
    };
    let library = || inputs.library(&inputs.queries, fused);
    let is_fused = fused == Fused::Required;
    let (error, largest) = inputs.error(fused)?;
    let mut samples = vec![
        (Metric::AttnFusedAvailable, f64::from(u8::from(is_fused))),
        (Metric::AttnMaxAbsErr, error),
        (Metric::AttnRelErr, error / largest),
    ];
    if is_fused {
        samples.push((Metric::AttnPeakBytesFused, peak(&library)?));
    }
    if has_room {
        let standard = || inputs.standard(&inputs.queries);
        samples.push((Metric::AttnPeakBytesStandard, peak(&standard)?));
    }
    Ok(samples
        .into_iter()
        .map(|(metric, value)| Sample { metric, value })
        .collect())
}

struct Attention<'a> {
    case: &'a Case,
    inputs: Inputs,
    /// Asked for in every call that is timed, so that none falls back unseen.
    fused: Fused,
    /// The turns of one pass.
    order: Vec<Way>,
    usual_chain: u32,
    chain: u32,
    /// Told with the first iteration.
    once: Vec<Sample>,
}

impl Attention<'_> {
    fn is_fused(&self) -> bool {
        self.fused == Fused::Required
    }

    /// A call whose queries are the result of the one before, so that all of them are computed, one
    /// after another.
    fn calls(&self, way: Way) -> Result<Array, Exception> {
        let mut last = self.inputs.queries.clone();
        for _ in 0..self.chain {
            last = match way {
                Way::Library => self.inputs.library(&last, self.fused)?,
                Way::Standard => self.inputs.standard(&last)?,
            };
        }
        Ok(last)
    }

    /// Time of one call, over all turns of all passes.
    fn per_call(&self, way: Way, region: &Region) -> Option<Duration> {
        let turns = region.steps(Mark::Done).zip(self.order.iter().cycle());
        let times: Vec<Duration> = turns
            .filter(|(_, turn)| **turn == way)
            .map(|(time, _)| time)
            .collect();
        let calls = times.len() as u32 * self.chain;
        (calls > 0).then(|| times.iter().sum::<Duration>() / calls)
    }
}

impl Trial for Attention<'_> {
    fn mode(&self) -> &'static str {
        "in_turn"
    }

    fn shape(&self) -> Shape {
        Shape::Repeatable
    }

    fn marks_per_pass(&self) -> usize {
        2 * self.order.len()
    }

    fn prepare(&mut self, _passes: u32) -> Result<(), TrialError> {
        Ok(())
    }

    fn run(&mut self, watch: &mut Watch) -> Result<(), TrialError> {
        for way in &self.order {
            let last = self.calls(*way)?;
            watch.mark(Mark::Built);
            last.eval()?;
            device::synchronize()?;
            watch.mark(Mark::Done);
        }
        Ok(())
    }

    fn double(&mut self, is_double: bool) -> Result<bool, TrialError> {
        self.chain = self.usual_chain * if is_double { 2 } else { 1 };
        Ok(true)
    }

    fn observe(&mut self, region: &Region) -> Result<Observation, TrialError> {
        let calls = u64::from(region.passes) * self.order.len() as u64 * u64::from(self.chain);
        let mut seen = Observation {
            work: calls,
            of_launch: std::mem::take(&mut self.once),
            ..Observation::default()
        };
        let us = |time: Duration| time.as_secs_f64() * 1e6;
        let library = self.per_call(Way::Library, region);
        let standard = self.per_call(Way::Standard, region);
        if let Some(library) = library {
            let seconds = library.as_secs_f64().max(1e-9);
            let metric = if self.is_fused() {
                Metric::AttnUsFused
            } else {
                Metric::AttnUsFallback
            };
            seen.sample(metric, us(library));
            seen.sample(Metric::AttnFlops, self.case.flops() as f64 / seconds);
            seen.sample(Metric::AttnGbps, self.case.bytes() as f64 / 1e9 / seconds);
        }
        if let Some(standard) = standard {
            seen.sample(Metric::AttnUsStandard, us(standard));
        }
        if let (Some(library), Some(standard), true) = (library, standard, self.is_fused()) {
            let speedup = standard.as_secs_f64() / library.as_secs_f64().max(1e-9);
            seen.sample(Metric::AttnSpeedup, speedup);
        }
        Ok(seen)
    }
}
