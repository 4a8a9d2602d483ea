//! The summary's sentences. Each carries its numbers; none is written when its numbers are missing.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::comparison::is_at_home;
use super::monotone;
use crate::number;
use crate::report::{
    Direction, Disagreement, Finding, FindingKind, History, Law, Measurement, MemorySlope, Ranking,
    Report, Score, Step, leaders_in_words,
};
use crate::stats::{Known, Ratio, Verdict};
use crate::titles;

pub fn findings(report: &Report) -> Vec<Finding> {
    let mut findings = vec![imported(report).unwrap_or_else(|| success(report))];
    for metric in &report.run.headline {
        findings.extend(extremes(report, metric));
    }
    findings.extend(comparisons(report));
    let here = |machine: &str| report.reference() == Some(machine);
    let rankings = report.rankings.iter().filter(|r| here(&r.machine));
    findings.extend(rankings.filter_map(first_of_all));
    let laws = report.laws.iter().filter(|law| here(&law.machine));
    findings.extend(laws.filter_map(cost_of_a_token));
    let advice = report.recommendations.iter();
    let advice = advice.filter(|r| here(&r.machine) && r.is_decided);
    findings.extend(advice.map(|advice| result(advice.text.clone())));
    findings.extend(cautions(report));
    findings
}

fn result(text: String) -> Finding {
    Finding {
        kind: FindingKind::Result,
        text,
    }
}

fn caution(text: String) -> Finding {
    Finding {
        kind: FindingKind::Caution,
        text,
    }
}

/// What an import holds, which no job of this fleet has measured.
fn imported(report: &Report) -> Option<Finding> {
    let source = report.run.source.as_ref()?;
    let numbers = &report.measurements;
    let impossible = numbers.iter().filter(|m| !m.valid).count();
    Some(caution(format!(
        "{} of {} imported from {source}: nobody of this fleet measured them. {impossible} of them cannot be, \
         by the gates that the section on validity names.",
        number::counted(numbers.len() as i64, "number", "numbers"),
        number::counted(report.machines.len() as i64, "machine", "machines"),
    )))
}

fn success(report: &Report) -> Finding {
    let run = &report.run;
    let launches: i64 = report.coverage.iter().map(|c| c.launches_counted).sum();
    let text = format!(
        "{} of {} succeeded on {}; {} behind the numbers.",
        run.jobs_succeeded,
        number::counted(run.jobs, "job", "jobs"),
        number::counted(report.machines.len() as i64, "machine", "machines"),
        number::counted(launches, "launch stands", "launches stand"),
    );
    if run.jobs_succeeded == run.jobs {
        result(text)
    } else {
        caution(text)
    }
}

/// The best and the worst case of a headline metric, where there are several. Within one machine: across
/// machines a rank would compare what may not be compared, and the scores say what may.
fn extremes(report: &Report, metric: &str) -> Vec<Finding> {
    let Some(facts) = report.metric(metric) else {
        return Vec::new();
    };
    if facts.direction == Direction::Neutral {
        return Vec::new();
    }
    let mut groups: BTreeMap<(&str, &str), Vec<&Measurement>> = BTreeMap::new();
    let baseline = report.comparison.baseline.as_deref();
    for m in &report.measurements {
        let counts = m.metric == metric && m.valid && is_at_home(&m.suite, metric);
        if counts && baseline.is_none_or(|baseline| m.machine == baseline) {
            groups.entry((&m.machine, &m.suite)).or_default().push(m);
        }
    }
    groups
        .into_values()
        .filter_map(|measured| extremes_of(report, measured, facts.direction))
        .collect()
}

fn extremes_of(
    report: &Report,
    mut ranked: Vec<&Measurement>,
    direction: Direction,
) -> Option<Finding> {
    let higher = direction == Direction::Higher;
    ranked.sort_by(|a, b| a.estimate.value.total_cmp(&b.estimate.value));
    let [best, .., worst] = ranked.as_slice() else {
        return None;
    };
    let (mut best, mut worst) = (*best, *worst);
    if higher {
        std::mem::swap(&mut best, &mut worst);
    }
    // The reasons stand in the caution below and beside the number in its section.
    let place = |m: &Measurement| {
        let mark = number::doubt_mark(m.tainted);
        format!("{}, {}{mark}", m.variant, m.case_key.words())
    };
    let machine = match report.machines.len() {
        0 | 1 => String::new(),
        _ => format!(" on {}", best.machine),
    };
    let (best_word, worst_word) = if higher {
        ("Highest", "lowest")
    } else {
        ("Lowest", "highest")
    };
    Some(result(format!(
        "{best_word} {}{machine}: {}, by {}; {worst_word}: {}, by {}.",
        titles::metric_title(&best.metric),
        number::with_interval(best),
        place(best),
        number::with_interval(worst),
        place(worst)
    )))
}

/// More machines than these are told of together.
const MOST_BY_NAME: usize = 8;

fn comparisons(report: &Report) -> Vec<Finding> {
    let Some(baseline) = &report.comparison.baseline else {
        return Vec::new();
    };
    let mut by_metric: Vec<Vec<Judged<'_>>> = Vec::new();
    for score in &report.comparison.scores {
        let (Some(ratio), Some(verdict)) = (score.ratio, score.verdict) else {
            continue;
        };
        let judged = Judged {
            score,
            ratio,
            verdict,
        };
        match by_metric.iter_mut().find(|of| of[0].is_like(&judged)) {
            Some(of) => of.push(judged),
            None => by_metric.push(vec![judged]),
        }
    }
    by_metric
        .into_iter()
        .flat_map(|of| match of.len() {
            0..=MOST_BY_NAME => of.iter().map(|j| j.alone(report, baseline)).collect(),
            _ => vec![Judged::together(&of, report, baseline)],
        })
        .collect()
}

/// A machine's score with its ratio to the baseline's.
struct Judged<'a> {
    score: &'a Score,
    ratio: Ratio,
    verdict: Verdict,
}

impl Judged<'_> {
    fn is_like(&self, other: &Self) -> bool {
        (&self.score.suite, &self.score.metric) == (&other.score.suite, &other.score.metric)
    }

    fn alone(&self, report: &Report, baseline: &str) -> Finding {
        let Self {
            score,
            ratio,
            verdict,
        } = self;
        let left_out = match score.single_launch_cases {
            0 => String::new(),
            n => format!(
                " ({} of one launch left out)",
                number::counted(n as i64, "more case", "more cases")
            ),
        };
        result(format!(
            "The {} of {} is {} times that of {baseline}, over {}{left_out}: {verdict}{}.",
            report.comparison.title(score),
            score.machine,
            number::ratio_with_interval(ratio),
            number::counted(score.cases as i64, "case", "cases"),
            number::doubts(score.tainted, &score.reasons)
        ))
    }

    /// Of a fleet: how many there are of each verdict, and the ends.
    fn together(of: &[Self], report: &Report, baseline: &str) -> Finding {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for judged in of {
            *counts.entry(judged.verdict.to_string()).or_default() += 1;
        }
        let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
        counts.sort_by_key(|(_, count)| Reverse(*count));
        let counts: Vec<String> = counts
            .into_iter()
            .map(|(verdict, count)| format!("{count} {verdict}"))
            .collect();
        let by_value = |a: &&Self, b: &&Self| a.ratio.value.total_cmp(&b.ratio.value);
        let ends = [of.iter().max_by(by_value), of.iter().min_by(by_value)];
        let ends = ends.map(|end| {
            end.map_or_else(String::new, |end| {
                format!(
                    "{} with {} times{}",
                    end.score.machine,
                    number::ratio_with_interval(&end.ratio),
                    number::doubt_mark(end.score.tainted)
                )
            })
        });
        result(format!(
            "The {} of {} beside that of {baseline}: {}; highest {}, lowest {}.",
            report.comparison.title(of[0].score),
            number::counted(of.len() as i64, "machine", "machines"),
            counts.join(", "),
            ends[0],
            ends[1],
        ))
    }
}

/// Which model leads over all metrics.
fn first_of_all(ranking: &Ranking) -> Option<Finding> {
    let overall = ranking.overall.as_ref()?;
    let models = number::counted(overall.ranks.len() as i64, "model", "models");
    let next = overall.ranks.get(1)?;
    let claim = next.over_best.as_ref()?;
    Some(result(format!(
        "Of the {models} {} on {}, first over {} in {}: {}. The geometric mean of {} is {} of the \
         first's{}.",
        ranking.dtype_words(),
        ranking.machine,
        number::counted(overall.metrics.len() as i64, "metric", "metrics"),
        number::counted(overall.cases as i64, "case", "cases"),
        leaders_in_words(&overall.ranks),
        next.variant,
        number::ratio_with_interval(&claim.ratio),
        number::doubt_mark(claim.tainted),
    )))
}

/// What reading costs when decoding, where the line is established.
fn cost_of_a_token(law: &Law) -> Option<Finding> {
    let line = law
        .line
        .filter(|line| line.slope_known == Known::Established)?;
    let (first, last) = (law.points.first()?, law.points.last()?);
    if law.quantity.metric != "decode_tps" || line.slope <= 0.0 {
        return None;
    }
    let scale = number::Scale::fitting("", []);
    let (slope, interval) = scale.interval(line.slope, Some(line.slope_interval));
    Some(result(format!(
        "Decoding in {} on {} takes {slope} ms ({}) for each GB that a token reads, by a line \
         through {} from {} to {} GB (R² {:.3}); that is {} GB/s.",
        law.of,
        law.machine,
        interval.unwrap_or_default(),
        number::counted(law.points.len() as i64, "model", "models"),
        scale.value(first.x),
        scale.value(last.x),
        line.r_squared,
        scale.value(1e3 / line.slope),
    )))
}

fn cautions(report: &Report) -> Vec<Finding> {
    let mut findings = Vec::new();
    // An import says so first of all.
    if report.run.label != "measured" && report.run.source.is_none() {
        findings.push(caution(format!(
            "This run is {}: its numbers are not measurements of these machines.",
            report.run.label
        )));
    }
    findings.extend(monotone::contradictions(report).into_iter().map(caution));
    findings.extend(report.disagreements.iter().map(disagreement));
    findings.extend(worse_since(report));
    findings.extend(report.memory_slopes.iter().filter_map(slope));
    let moved = report
        .position_effects
        .iter()
        .filter(|e| e.moved == Some(true));
    findings.extend(moved.map(|effect| {
        caution(format!(
            "It mattered when it was measured: {}.",
            number::position(effect)
        ))
    }));
    let total = report.measurements.len() as i64;
    let invalid = report.measurements.iter().filter(|m| !m.valid).count() as i64;
    let tainted = report
        .measurements
        .iter()
        .filter(|m| m.valid && m.tainted)
        .count() as i64;
    if invalid > 0 {
        let codes = reasons(report, "invalid").join(", ");
        let why = if codes.is_empty() {
            codes
        } else {
            format!(" ({codes})")
        };
        findings.push(caution(format!(
            "{invalid} of {total} results are invalid{why}: they do not mean what their names say, \
             and no comparison uses them.",
        )));
    }
    if tainted > 0 {
        findings.push(caution(format!(
            "{tainted} of {total} results were measured under doubtful conditions ({}).",
            reasons(report, "tainted").join(", ")
        )));
    }
    let single = report
        .measurements
        .iter()
        .filter(|m| m.estimate.launches == 1)
        .count() as i64;
    if single > 0 {
        findings.push(caution(format!(
            "{single} of {total} results rest on one launch and have no interval."
        )));
    }
    let left_out = report
        .coverage
        .iter()
        .filter(|c| c.state == "excluded")
        .count() as i64;
    if left_out > 0 {
        findings.push(caution(format!(
            "The plan left out {}; the coverage section says why.",
            number::counted(left_out, "machine", "machines")
        )));
    }
    if report.run.jobs_unfinished > 0 {
        findings.push(caution(format!(
            "The run is not over: {} to come.",
            number::counted(report.run.jobs_unfinished, "job is", "jobs are")
        )));
    }
    findings
}

/// The series that lost most at its last step, and how many more did.
fn worse_since(report: &Report) -> Option<Finding> {
    let mut worse: Vec<(&History, &Step)> = report
        .histories
        .iter()
        .filter_map(|history| Some((history, history.steps.last()?)))
        .filter(|(_, step)| step.verdict.is_for_the_worse())
        .collect();
    worse.sort_by(|(_, a), (_, b)| {
        let size = |step: &Step| step.ratio.value.ln().abs();
        size(b).total_cmp(&size(a))
    });
    let (history, step) = worse.first()?;
    let others = match worse.len() - 1 {
        0 => String::new(),
        n => format!(
            "; {} worse since a run of their own",
            number::counted(n as i64, "more number is", "more numbers are")
        ),
    };
    let changes = match step.changes.join("; ") {
        none if none.is_empty() => String::new(),
        changes => format!(" ({changes})"),
    };
    Some(caution(format!(
        "Since the run of {}{changes} the {} of {}, {} on {} is {} times what it was before{others}.",
        step.submitted_at.date(),
        titles::metric_title(&history.metric),
        history.variant,
        history.case_key.words(),
        history.machine,
        number::ratio_with_interval(&step.ratio),
    )))
}

/// Gate G6 over launches, runs and machines.
fn disagreement(found: &Disagreement) -> Finding {
    let Disagreement {
        machine,
        other,
        chip_family,
        cases,
        example,
    } = found;
    let cases = number::counted(*cases, "case", "cases");
    caution(if machine == other {
        format!(
            "{machine} wrote different tokens in different launches of {cases}, such as {example}, \
             with the same weights, prompt and MLX: its output is not to be trusted (g6)."
        )
    } else {
        format!(
            "{machine} and {other} wrote different tokens in {cases}, such as {example}, with the same \
             weights, prompt, MLX and family of chips ({chip_family}): one of them is not to be trusted (g6)."
        )
    })
}

/// Gate G4 over the lengths of suite `memory`.
fn slope(slope: &MemorySlope) -> Option<Finding> {
    let (measured, theory) = slope
        .kv_bytes_per_token
        .zip(slope.kv_theory_bytes_per_token)?;
    slope.reasons.iter().any(|reason| reason == "g4").then(|| {
        caution(format!(
            "{} on {}: by the lengths measured the cache takes {} for each position, where its keys \
             and values are {} (g4).",
            slope.variant,
            slope.machine,
            number::bytes(measured),
            number::bytes(theory)
        ))
    })
}

fn reasons(report: &Report, severity: &str) -> Vec<String> {
    let mut reasons: Vec<String> = report
        .doubts
        .iter()
        .filter(|doubt| doubt.severity == severity)
        .map(|doubt| doubt.reason.clone())
        .collect();
    reasons.sort();
    reasons.dedup();
    reasons
}
