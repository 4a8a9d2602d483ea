//! What can be measured: each metric's name, unit and direction, written to the table `fleet.metric`.
//!
//! The definitions follow the metric dictionary in `docs/measurement.md`.

use std::fmt;
use std::str::FromStr;

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    HigherIsBetter,
    LowerIsBetter,
    /// A fact or a diagnosis; neither way is better.
    Neutral,
}

impl Direction {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HigherIsBetter => "higher",
            Self::LowerIsBetter => "lower",
            Self::Neutral => "neutral",
        }
    }
}

/// A name in a plan or on the wire that is no metric.
#[derive(Debug, thiserror::Error)]
#[error("unknown metric `{0}`")]
pub struct UnknownMetric(pub String);

macro_rules! metrics {
    ($($variant:ident $name:literal $unit:literal $direction:ident $doc:literal;)*) => {
        /// One measurable quantity.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Metric {
            $(#[doc = $doc] $variant,)*
        }

        impl Metric {
            pub const ALL: &'static [Metric] = &[$(Metric::$variant,)*];

            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            pub fn unit(self) -> &'static str {
                match self { $(Self::$variant => $unit,)* }
            }

            pub fn direction(self) -> Direction {
                match self { $(Self::$variant => Direction::$direction,)* }
            }

            /// One line for people: what the number is.
            pub fn description(self) -> &'static str {
                match self { $(Self::$variant => $doc,)* }
            }
        }

        impl FromStr for Metric {
            type Err = UnknownMetric;

            fn from_str(name: &str) -> Result<Self, UnknownMetric> {
                match name {
                    $($name => Ok(Self::$variant),)*
                    other => Err(UnknownMetric(other.to_owned())),
                }
            }
        }
    };
}

metrics! {
    LoadColdMs "load_cold_ms" "ms" LowerIsBetter "from opening the files, none of their pages in memory, to every parameter evaluated";
    LoadWarmMs "load_warm_ms" "ms" LowerIsBetter "from opening the files, all of their pages in memory, to every parameter evaluated";
    LoadConfigMs "load_config_ms" "ms" LowerIsBetter "reading and checking config.json";
    LoadTokenizerMs "load_tokenizer_ms" "ms" LowerIsBetter "reading tokenizer.json";
    LoadHeaderMs "load_header_ms" "ms" LowerIsBetter "reading and checking the safetensors headers";
    LoadWeightsMs "load_weights_ms" "ms" LowerIsBetter "reading and evaluating the weights";
    LoadBuildMs "load_build_ms" "ms" LowerIsBetter "building the model from its weights";
    LoadGbps "load_gbps" "GB/s" HigherIsBetter "bytes of the weight files over the time of load_weights_ms";
    SsdReadGbps "ssd_read_gbps" "GB/s" HigherIsBetter "reading the same evicted files by four threads in blocks of 32 MiB, before a cold load";
    CacheResidencyBefore "cache_residency_before" "ratio" Neutral "share of the weight files' pages in memory before the load";
    CacheResidencyAfter "cache_residency_after" "ratio" Neutral "share of the weight files' pages in memory after the load";
    FirstEvalMs "first_eval_ms" "ms" LowerIsBetter "the first forward pass of one token after the load";
    MemWeightsBytes "mem_weights_bytes" "bytes" LowerIsBetter "MLX's active memory after the load, its cache cleared";
    MemPeakBytes "mem_peak_bytes" "bytes" LowerIsBetter "MLX's peak memory in the timed region";
    MemPeakProcessBytes "mem_peak_process_bytes" "bytes" LowerIsBetter "MLX's peak memory since the process began";
    MemActiveBytes "mem_active_bytes" "bytes" Neutral "MLX's active memory at the end of the region";
    MemCacheBytes "mem_cache_bytes" "bytes" Neutral "MLX's freed but kept memory at the end of the region";
    MemFootprintBytes "mem_footprint_bytes" "bytes" LowerIsBetter "the system's view of the process's memory (macOS: physical footprint)";
    MemFootprintMaxBytes "mem_footprint_max_bytes" "bytes" LowerIsBetter "the largest value that the system saw of it";
    MemRssBytes "mem_rss_bytes" "bytes" Neutral "resident size of the process";
    KvBytes "kv_bytes" "bytes" LowerIsBetter "allocated key and value cache at the end of the region";
    TtftMs "ttft_ms" "ms" LowerIsBetter "from the prompt's submission to the first token's id on the host";
    TtftColdMs "ttft_cold_ms" "ms" LowerIsBetter "the same for the first prompt of the process";
    PrefillMs "prefill_ms" "ms" LowerIsBetter "all prompt tokens but the last into the cache, evaluated";
    PrefillTps "prefill_tps" "tok/s" HigherIsBetter "prompt tokens but the last over prefill_ms";
    PrefillTpsMlxlm "prefill_tps_mlxlm" "tok/s" HigherIsBetter "prompt tokens over ttft, as mlx-lm counts";
    PrefillTpsFused "prefill_tps_fused" "tok/s" HigherIsBetter "prefill_tps with fused attention, where it is told apart from attention written out; of imports only";
    PrefillTpsStandard "prefill_tps_standard" "tok/s" HigherIsBetter "the same with attention written out";
    PrefillTpsAtDepth "prefill_tps_at_depth" "tok/s" HigherIsBetter "prefill_tps on top of a cache that is already filled";
    DecodeTps "decode_tps" "tok/s" HigherIsBetter "tokens but the first over the time from first to last, pipelined";
    DecodeTpsMlxlm "decode_tps_mlxlm" "tok/s" HigherIsBetter "all tokens over the same time, as mlx-lm counts";
    DecodeTpsSync "decode_tps_sync" "tok/s" HigherIsBetter "decode_tps with a wait after each token, as llama-bench does";
    DecodeTpsAtDepth "decode_tps_at_depth" "tok/s" HigherIsBetter "decode_tps on top of a cache that is already filled";
    ItlMs "itl_ms" "ms" LowerIsBetter "median time between tokens with a wait after each";
    HostBuildUs "host_build_us" "µs" LowerIsBetter "host time per token to build the graph, before MLX gets it";
    HostOverheadUs "host_overhead_us" "µs" LowerIsBetter "host time per token to build and submit the graph";
    ResponseMs "response_ms" "ms" LowerIsBetter "from a question's submission to its whole answer as text, mean of the suite's questions";
    GenerateTps "generate_tps" "tok/s" HigherIsBetter "tokens of all answers over the time of all responses, prompts included";
    KvUsedBytes "kv_used_bytes" "bytes" LowerIsBetter "what the positions in the cache take, without what is allocated ahead";
    KvTheoryBytes "kv_theory_bytes" "bytes" Neutral "2 · layers · key heads · head width · bytes for each position in the cache";
    MemActivationBytes "mem_activation_bytes" "bytes" LowerIsBetter "MLX's peak memory less weights and cache";
    MaxContextFit "max_context_fit" "tokens" HigherIsBetter "longest prompt that ran within the machine's limit for models, to a sixteenth";
    MemWiredLimitBytes "mem_wired_limit_bytes" "bytes" Neutral "how much of the process's memory the system was asked to keep resident";
    SwapDeltaBytes "swap_delta_bytes" "bytes" Neutral "swap in use on the machine after the region less before it";
    AttnUsFused "attn_us_fused" "µs" LowerIsBetter "one call of MLX's fused attention kernel";
    AttnUsFallback "attn_us_fallback" "µs" LowerIsBetter "one call of MLX's attention where it has no fused kernel";
    AttnUsStandard "attn_us_standard" "µs" LowerIsBetter "softmax(QKᵀ)V written out, one call";
    AttnSpeedup "attn_speedup" "ratio" HigherIsBetter "time written out over time fused, measured in turn";
    AttnFlops "attn_flops" "FLOP/s" HigherIsBetter "floating-point operations of MLX's attention per second";
    AttnGbps "attn_gbps" "GB/s" HigherIsBetter "bytes of queries, keys, values and result over the time of MLX's attention";
    AttnPeakBytesFused "attn_peak_bytes_fused" "bytes" LowerIsBetter "MLX's peak memory during one call of its attention, less the inputs";
    AttnPeakBytesStandard "attn_peak_bytes_standard" "bytes" LowerIsBetter "the same written out";
    AttnMaxAbsErr "attn_max_abs_err" "" LowerIsBetter "largest difference of MLX's attention from one in f32, over the last queries";
    AttnRelErr "attn_rel_err" "ratio" LowerIsBetter "that over the largest value";
    AttnFusedAvailable "attn_fused_available" "" Neutral "1 where MLX has a fused kernel for the case on this device, else 0";
    BatchDecodeTps "batch_decode_tps" "tok/s" HigherIsBetter "tokens of all sequences but their first, over the time from first to last";
    BatchStreamTps "batch_stream_tps" "tok/s" HigherIsBetter "the same for one of the sequences";
    BatchSpeedup "batch_speedup" "ratio" HigherIsBetter "batch_decode_tps over the rate of one sequence alone, measured in turn";
    BatchEfficiency "batch_efficiency" "ratio" HigherIsBetter "batch_speedup over the number of sequences";
    BatchPrefillTps "batch_prefill_tps" "tok/s" HigherIsBetter "prompt tokens of all sequences, but the last of each, over the time to cache them";
    BatchTtftMs "batch_ttft_ms" "ms" LowerIsBetter "from submission to the first token of every sequence";
    SustainedTps "sustained_tps" "tok/s" HigherIsBetter "tokens over the whole time, short pauses between stretches left out";
    SustainedRatio "sustained_ratio" "ratio" HigherIsBetter "rate of the last quarter over the rate of the first";
    TrendPct "trend_pct" "%" HigherIsBetter "slope of the rate over the whole time, in per cent of its mean";
    StreamGbps "stream_gbps" "GB/s" HigherIsBetter "bytes read and written by one operation on each value of a large array, as STREAM's Scale, per second";
    StreamAddGbps "stream_add_gbps" "GB/s" HigherIsBetter "bytes read and written by adding two large arrays, as STREAM's Add, per second";
    GemmTflopsBf16 "gemm_tflops_bf16" "TFLOP/s" HigherIsBetter "2 n³ over the time to multiply two square matrices, in bf16";
    GemmTflopsF16 "gemm_tflops_fp16" "TFLOP/s" HigherIsBetter "the same in f16";
    GemmTflopsF32 "gemm_tflops_fp32" "TFLOP/s" HigherIsBetter "the same in f32";
    DispatchUs "dispatch_us" "µs" LowerIsBetter "one operation on a few values, submitted and waited for";
    DoubledRatio "doubled_ratio" "ratio" Neutral "time of twice the work over time of the work: 2 where nothing is left out or overlapped";
    QuantSpeedupDecode "quant_speedup_decode" "ratio" HigherIsBetter "decode rate of the quantised model over the unquantised one's, measured in turn";
    QuantSpeedupPrefill "quant_speedup_prefill" "ratio" HigherIsBetter "prefill rate of the quantised model over the unquantised one's, measured in turn";
    QuantMemRatio "quant_mem_ratio" "ratio" LowerIsBetter "bytes of the quantised weights over those of the weights as loaded";
    QuantDecodeTps "quant_decode_tps" "tok/s" HigherIsBetter "decode_tps of the quantised model";
    QuantBaselineDecodeTps "quant_baseline_decode_tps" "tok/s" HigherIsBetter "decode_tps of the unquantised model beside it";
    QuantPrefillTps "quant_prefill_tps" "tok/s" HigherIsBetter "prefill_tps of the quantised model";
    QuantBaselinePrefillTps "quant_baseline_prefill_tps" "tok/s" HigherIsBetter "prefill_tps of the unquantised model beside it";
    QuantWeightsBytes "quant_weights_bytes" "bytes" LowerIsBetter "bytes of the quantised model's weights";
    QuantBpw "quant_bpw" "bit" LowerIsBetter "bits per value of the matrices that were quantised, scales and biases included";
    QuantTimeMs "quant_time_ms" "ms" LowerIsBetter "quantising the loaded weights in memory, evaluated";
    QuantPpl "quant_ppl" "" LowerIsBetter "perplexity of the quantised model on the suite's text";
    QuantBaselinePpl "quant_baseline_ppl" "" LowerIsBetter "perplexity of the unquantised model on the same text";
    QuantPplDelta "quant_ppl_delta" "%" LowerIsBetter "by how much that is above the unquantised model's";
    QuantKlMean "quant_kl_mean" "nats" LowerIsBetter "mean KL divergence of the quantised next-token distributions from the unquantised ones on that text";
    QuantTop1Agree "quant_top1_agree" "ratio" HigherIsBetter "share of that text's positions where both models prefer the same token";
    SpecSpeedup "spec_speedup" "ratio" HigherIsBetter "time of plain decoding over that of speculative decoding, for the same tokens and in turn";
    SpecDecodeTps "spec_decode_tps" "tok/s" HigherIsBetter "decode_tps with a draft model; the tokens of a round are known at once";
    SpecBaselineDecodeTps "spec_baseline_decode_tps" "tok/s" HigherIsBetter "decode_tps of the model alone beside it, pipelined";
    SpecAcceptRate "spec_accept_rate" "ratio" HigherIsBetter "drafted tokens that were accepted over all that were drafted";
    SpecFromDraftShare "spec_from_draft_share" "ratio" HigherIsBetter "drafted tokens over all tokens that came out, at most k/(k+1)";
    SpecTokensPerRound "spec_tokens_per_round" "tokens" HigherIsBetter "tokens that came out over verification steps, 1 to k+1";
    SpecAcceptPos1 "spec_accept_pos_1" "ratio" HigherIsBetter "share of first drafted tokens that were accepted";
    SpecAcceptPos2 "spec_accept_pos_2" "ratio" HigherIsBetter "share of second drafted tokens that were accepted, of those after an accepted one";
    SpecAcceptPos3 "spec_accept_pos_3" "ratio" HigherIsBetter "the same for third ones";
    SpecAcceptPos4 "spec_accept_pos_4" "ratio" HigherIsBetter "the same for fourth ones";
    SpecAcceptPos5 "spec_accept_pos_5" "ratio" HigherIsBetter "the same for fifth ones";
    SpecAcceptPos6 "spec_accept_pos_6" "ratio" HigherIsBetter "the same for sixth ones";
    SpecAcceptPos7 "spec_accept_pos_7" "ratio" HigherIsBetter "the same for seventh ones";
    SpecAcceptPos8 "spec_accept_pos_8" "ratio" HigherIsBetter "the same for eighth ones";
    SpecDraftMs "spec_draft_ms" "ms" LowerIsBetter "drafting k tokens, with a wait after it: median over the rounds of a pass that is not timed otherwise";
    SpecVerifyMs "spec_verify_ms" "ms" LowerIsBetter "verifying them in one step of k+1 positions, in the same pass";
    SpecSpeedupPred "spec_speedup_pred" "ratio" Neutral "speed-up that acceptance and the step times of both models would give by themselves";
    SpecOutputIdentical "spec_output_identical" "" HigherIsBetter "1 where speculative decoding gave the tokens of plain decoding, else 0";
    SpecDivergenceIndex "spec_divergence_index" "tokens" Neutral "tokens before the first that differs, where one does";
    SpecMemExtraBytes "spec_mem_extra_bytes" "bytes" LowerIsBetter "the draft model's weights and its key and value cache";
    TrainStepMs "train_step_ms" "ms" LowerIsBetter "one optimizer step: forward, backward and update, evaluated";
    TrainTps "train_tps" "tok/s" HigherIsBetter "tokens that a step predicts over train_step_ms";
    TrainExamplesPerS "train_examples_per_s" "1/s" HigherIsBetter "examples of a step over train_step_ms";
    TrainForwardMs "train_forward_ms" "ms" LowerIsBetter "the loss alone, without its gradients, timed by itself";
    TrainFwdBwdMs "train_fwd_bwd_ms" "ms" LowerIsBetter "the loss and its gradients without an update, timed by themselves";
    TrainForwardEps "train_forward_eps" "1/s" HigherIsBetter "examples over train_forward_ms: forward only, no training";
    TrainPeakBytes "train_peak_bytes" "bytes" LowerIsBetter "MLX's peak memory over the steps of the timed region";
    TrainLossFirst "train_loss_first" "nats" Neutral "mean loss of the launch's first step, before any update";
    TrainLossLast "train_loss_last" "nats" Neutral "mean loss of the same batch at the launch's twentieth step";
    TrainFlops "train_flops" "FLOP/s" HigherIsBetter "6 operations per trained parameter and token, 4 per frozen one, over train_step_ms";
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_found_by_its_name() {
        for &metric in Metric::ALL {
            assert_eq!(metric.name().parse::<Metric>().unwrap(), metric);
        }
    }
}
