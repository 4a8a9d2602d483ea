//! Which tables there are, and their columns. Names and columns that exist are a contract with people's
//! programs: add, do not rename.

use super::{Flat, OF_ROW, Of, RATIO};
use crate::report::{Contest, Rank, Ranking, Report};

/// Of a report, all of them, with or without rows.
pub fn all(report: &Report) -> Vec<Flat> {
    vec![
        results(report),
        comparisons(report),
        models(report),
        latencies(report),
        energies(report),
        utilisations(report),
        laws(report),
        rankings(report),
        choices(report),
        gains(report),
        recommendations(report),
    ]
}

fn results(report: &Report) -> Flat {
    Of::rows("results", &report.measurements)
        .text("run_id", |_| report.run.run_id.to_string())
        .text("label", |_| report.run.label.clone())
        .text("machine", |m| m.machine.clone())
        .variant(|m| &m.variant)
        .text("suite", |m| m.suite.clone())
        .text("case_key", |m| m.case_key.as_str().to_owned())
        .text("metric", |m| m.metric.clone())
        .text("unit", |m| m.unit.clone())
        .text("direction", |m| m.direction.to_string())
        .number("estimate", OF_ROW, |m| m.estimate.value)
        .interval(OF_ROW, |m| m.estimate.interval)
        .whole("launches", "", |m| m.estimate.launches as i64)
        .whole("iterations", "", |m| m.iterations)
        .number("min", OF_ROW, |m| m.min)
        .number("max", OF_ROW, |m| m.max)
        .number("cv", RATIO, |m| m.cv)
        .flag("valid", |m| m.valid)
        .flag("tainted", |m| m.tainted)
        .texts("reasons", |m| &m.reasons)
        .done()
}

fn comparisons(report: &Report) -> Flat {
    let baseline = &report.comparison.baseline;
    Of::rows("comparisons", &report.comparison.pairs)
        .text("machine", |pair| pair.machine.clone())
        .text("baseline", |_| baseline.clone())
        .variant(|pair| &pair.variant)
        .text("baseline_quantisation", |pair| {
            pair.baseline_variant.quantisation.clone()
        })
        .text("baseline_model_digest", |pair| {
            pair.baseline_variant.digest.clone()
        })
        .text("suite", |pair| pair.suite.clone())
        .text("case_key", |pair| pair.case_key.as_str().to_owned())
        .text("metric", |pair| pair.metric.clone())
        .number("ratio", RATIO, |pair| pair.ratio.map(|ratio| ratio.value))
        .interval(RATIO, |pair| pair.ratio?.interval)
        .text("verdict", |pair| {
            pair.verdict.map(|verdict| verdict.to_string())
        })
        .number("p_holm", "", |pair| pair.p_holm)
        .number("p_rank", "", |pair| pair.p_rank)
        .texts("differences", |pair| &pair.differences)
        .flag("tainted", |pair| pair.tainted)
        .texts("reasons", |pair| &pair.reasons)
        .done()
}

fn models(report: &Report) -> Flat {
    let whole = |value: Option<u64>| value.map(|value| value as i64);
    Of::rows("models", &report.models)
        .variant(|model| &model.variant)
        .text("model_type", |model| model.model_type.clone())
        .whole("parameters", "", |model| model.parameters)
        .whole("weight_bytes", "bytes", |model| model.weight_bytes)
        .whole("decode_bytes", "bytes per token", |model| {
            model.decode_bytes
        })
        .whole("kv_bytes_per_token", "bytes per token", |model| {
            model.kv_bytes_per_token
        })
        .whole("layers", "", move |model| whole(model.shape.layers))
        .whole("hidden_size", "", move |model| {
            whole(model.shape.hidden_size)
        })
        .whole("intermediate_size", "", move |model| {
            whole(model.shape.intermediate_size)
        })
        .whole("heads", "", move |model| whole(model.shape.heads))
        .whole("kv_heads", "", move |model| whole(model.shape.kv_heads))
        .whole("head_dim", "", move |model| whole(model.shape.head_dim))
        .whole("experts", "", move |model| whole(model.shape.experts))
        .whole("vocabulary", "", move |model| whole(model.shape.vocabulary))
        .whole("positions", "tokens", move |model| {
            whole(model.shape.positions)
        })
        .flag("synthetic", |model| model.synthetic)
        .done()
}

fn latencies(report: &Report) -> Flat {
    Of::rows("latencies", &report.latencies)
        .text("machine", |l| l.machine.clone())
        .variant(|l| &l.variant)
        .text("case_key", |l| l.case_key.as_str().to_owned())
        .whole("gaps", "", |l| i64::from(l.gaps))
        .number("p50_ms", "ms", |l| Some(l.p50_ms?.value))
        .ends(["p50_low_ms", "p50_high_ms"], "ms", |l| {
            Some(l.p50_ms?.interval)
        })
        .number("p90_ms", "ms", |l| Some(l.p90_ms?.value))
        .ends(["p90_low_ms", "p90_high_ms"], "ms", |l| {
            Some(l.p90_ms?.interval)
        })
        .number("p95_ms", "ms", |l| Some(l.p95_ms?.value))
        .ends(["p95_low_ms", "p95_high_ms"], "ms", |l| {
            Some(l.p95_ms?.interval)
        })
        .number("p99_ms", "ms", |l| Some(l.p99_ms?.value))
        .ends(["p99_low_ms", "p99_high_ms"], "ms", |l| {
            Some(l.p99_ms?.interval)
        })
        .number("max_ms", "ms", |l| l.max_ms)
        .flag("valid", |l| l.valid)
        .flag("tainted", |l| l.tainted)
        .texts("reasons", |l| &l.reasons)
        .done()
}

fn energies(report: &Report) -> Flat {
    Of::rows("energies", &report.energies)
        .text("machine", |e| e.machine.clone())
        .text("suite", |e| e.suite.clone())
        .variant(|e| &e.variant)
        .text("case_key", |e| e.case_key.as_str().to_owned())
        .text("mode", |e| e.mode.clone())
        .text("sensor", |e| e.sensor.clone())
        .number("mean_w", "W", |e| Some(e.mean_w?.value))
        .ends(["mean_low_w", "mean_high_w"], "W", |e| e.mean_w?.interval)
        .number("energy_j_per_token", "J per token", |e| {
            Some(e.energy_j_per_token?.value)
        })
        .ends(
            ["energy_low_j_per_token", "energy_high_j_per_token"],
            "J per token",
            |e| e.energy_j_per_token?.interval,
        )
        .text("reason", |e| e.reason.clone())
        .flag("valid", |e| e.valid)
        .flag("tainted", |e| e.tainted)
        .texts("reasons", |e| &e.reasons)
        .done()
}

fn utilisations(report: &Report) -> Flat {
    Of::rows("utilisations", &report.utilisations)
        .text("machine", |u| u.machine.clone())
        .text("suite", |u| u.suite.clone())
        .variant(|u| &u.variant)
        .text("case_key", |u| u.case_key.as_str().to_owned())
        .text("metric", |u| u.metric.clone())
        .number("gbps", "10^9 bytes per s", |u| u.gbps)
        .number("tflops", "10^12 operations per s", |u| u.tflops)
        .number("mbu_meas", RATIO, |u| u.mbu_meas)
        .number("mbu_spec", RATIO, |u| u.mbu_spec)
        .number("mfu_meas", RATIO, |u| u.mfu_meas)
        .number("mfu_spec", RATIO, |u| u.mfu_spec)
        .number("arith_intensity", "operations per byte", |u| {
            u.arith_intensity
        })
        .flag("valid", |u| u.valid)
        .flag("tainted", |u| u.tainted)
        .texts("reasons", |u| &u.reasons)
        .done()
}

fn laws(report: &Report) -> Flat {
    Of::rows("laws", &report.laws)
        .text("machine", |law| law.machine.clone())
        .text("metric", |law| law.quantity.metric.to_owned())
        .text("case_key", |law| {
            let case = law.quantity.case_key.as_ref();
            case.map(|case| case.as_str().to_owned())
        })
        .text("of", |law| law.of.clone())
        .text("x", |law| law.quantity.x_title.to_owned())
        .text("x_unit", |law| law.quantity.x_unit.to_owned())
        .text("y_unit", |law| law.quantity.y_unit.to_owned())
        .whole("points", "", |law| law.points.len() as i64)
        .number("x_first", "as x_unit says", |law| {
            Some(law.points.first()?.x)
        })
        .number("x_last", "as x_unit says", |law| Some(law.points.last()?.x))
        .number("slope", "y_unit per x_unit", |law| Some(law.line?.slope))
        .ends(["slope_low", "slope_high"], "y_unit per x_unit", |law| {
            Some(law.line?.slope_interval)
        })
        .text("slope_known", |law| Some(law.line?.slope_known.to_string()))
        .number("intercept", "as y_unit says", |law| {
            Some(law.line?.intercept)
        })
        .ends(
            ["intercept_low", "intercept_high"],
            "as y_unit says",
            |law| Some(law.line?.intercept_interval),
        )
        .number("r_squared", "", |law| Some(law.line?.r_squared))
        .number("exponent", "", |law| Some(law.power?.exponent))
        .ends(["exponent_low", "exponent_high"], "", |law| {
            Some(law.power?.exponent_interval)
        })
        .text("exponent_known", |law| {
            Some(law.power?.exponent_known.to_string())
        })
        .number("centre", "as x_unit says", |law| Some(law.power?.centre))
        .number("at_centre", "as y_unit says", |law| {
            Some(law.power?.at_centre)
        })
        .ends(
            ["at_centre_low", "at_centre_high"],
            "as y_unit says",
            |law| Some(law.power?.at_centre_interval),
        )
        .number("r_squared_of_logs", "", |law| Some(law.power?.r_squared))
        .done()
}

/// A model's place in a contest, or in all of them together.
struct Place<'a> {
    ranking: &'a Ranking,
    contest: Option<&'a Contest>,
    place: usize,
    rank: &'a Rank,
}

fn rankings(report: &Report) -> Flat {
    let mut places = Vec::new();
    for ranking in &report.rankings {
        let contests = ranking.contests.iter().map(|c| (Some(c), &c.ranks));
        let overall = ranking.overall.iter().map(|all| (None, &all.ranks));
        for (contest, ranks) in contests.chain(overall) {
            places.extend(ranks.iter().enumerate().map(|(at, rank)| Place {
                ranking,
                contest,
                place: at + 1,
                rank,
            }));
        }
    }
    Of::rows("rankings", &places)
        .text("machine", |p| p.ranking.machine.clone())
        .text("of", |p| {
            p.contest.map_or("all metrics", |_| "one metric").to_owned()
        })
        .text("suite", |p| p.contest.map(|c| c.suite.clone()))
        .text("metric", |p| p.contest.map(|c| c.metric.clone()))
        .text("unit", |p| p.contest.map(|c| c.unit.clone()))
        .text("direction", |p| p.contest.map(|c| c.direction.to_string()))
        .text("case_key", |p| {
            p.contest.map(|c| c.case_key.as_str().to_owned())
        })
        .whole("place", "", |p| p.place as i64)
        .variant(|p| &p.rank.variant)
        .claim("over_best", |p| p.rank.over_best.as_ref())
        .done()
}

fn choices(report: &Report) -> Flat {
    Of::rows("choices", &report.choices)
        .text("machine", |c| c.machine.clone())
        .variant(|c| &c.variant)
        .text("case_key", |c| c.case_key.as_str().to_owned())
        .whole("needs_bytes", "bytes", |c| c.needs_bytes)
        .flag("is_dominated", |c| c.is_dominated)
        .text("rival", |c| Some(c.rival.as_ref()?.variant.model.clone()))
        .text("rival_quantisation", |c| {
            c.rival.as_ref()?.variant.quantisation.clone()
        })
        .text("rival_model_digest", |c| {
            c.rival.as_ref()?.variant.digest.clone()
        })
        .whole("rival_needs_bytes", "bytes", |c| {
            Some(c.rival.as_ref()?.needs_bytes)
        })
        .claim("over_rival", |c| Some(&c.rival.as_ref()?.claim))
        .done()
}

fn gains(report: &Report) -> Flat {
    Of::rows("gains", &report.gains)
        .text("machine", |g| g.machine.clone())
        .text("suite", |g| g.suite.clone())
        .variant(|g| &g.variant)
        .text("case_key", |g| g.case_key.as_str().to_owned())
        .text("metric", |g| g.metric.clone())
        .claim("gain", |g| Some(&g.claim))
        .done()
}

fn recommendations(report: &Report) -> Flat {
    Of::rows("recommendations", &report.recommendations)
        .text("machine", |r| r.machine.clone())
        .flag("is_decided", |r| r.is_decided)
        .text("text", |r| r.text.clone())
        .text("detail", |r| r.detail.clone())
        .done()
}
