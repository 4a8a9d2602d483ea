//! A chart as JSON for the page's script, which adds what only it knows: theme, width, functions.

use serde_json::{Value, json};

use crate::render::document::{Chart, Cloud, Plot, Point, Series, Spot};
use crate::stats::Verdict;

const ROW_PX: usize = 26;
const STRIP_PX: usize = 52;
const FRAME_PX: usize = 96;

pub fn height_px(chart: &Chart) -> usize {
    match &chart.plot {
        Plot::Bars { categories, series } => {
            FRAME_PX + categories.len() * (14 + series.len().max(1) * (ROW_PX - 6))
        }
        Plot::Strips { rows, .. } => FRAME_PX + rows.len() * STRIP_PX,
        Plot::Lines { series, .. } => 320 + 10 * series.len(),
        Plot::Scatter { clouds, .. } => 320 + 10 * clouds.len(),
        Plot::Ratios { rows, .. } => FRAME_PX + rows.len() * (ROW_PX + 16),
    }
}

/// JSON that may stand inside a script element.
pub fn options(chart: &Chart) -> String {
    let options = match &chart.plot {
        Plot::Bars { categories, series } => bars(chart, categories, series),
        Plot::Strips {
            rows,
            series,
            margin,
        } => strips(chart, rows, series, *margin),
        Plot::Lines { x_title, series } => lines(chart, x_title, series),
        Plot::Scatter {
            x_title, clouds, ..
        } => scatter(chart, x_title, clouds),
        Plot::Ratios { rows, margin } => {
            let points: Vec<Value> = rows.iter().map(|(_, point, _)| value(point)).collect();
            let labels: Vec<&str> = rows.iter().map(|(label, _, _)| label.as_str()).collect();
            let verdicts: Vec<String> = rows
                .iter()
                .map(|(_, _, verdict)| verdict.map(|v| v.to_string()).unwrap_or_default())
                .collect();
            let tones: Vec<&str> = rows
                .iter()
                .map(|(_, _, verdict)| verdict.map_or("even", Verdict::tone))
                .collect();
            json!({
                "kind": "ratios", "unit": chart.unit, "categories": labels, "points": points,
                "verdicts": verdicts, "tones": tones, "margin": margin,
                "log": chart.plot.is_log(),
            })
        }
    };
    // Neither `</script` nor `<!--` can arise from a name.
    options.to_string().replace('<', "\\u003c")
}

fn bars(chart: &Chart, categories: &[String], series: &[Series<Option<Point>>]) -> Value {
    let series: Vec<Value> = series
        .iter()
        .map(|series| {
            let points: Vec<Value> = series
                .points
                .iter()
                .map(|point| point.as_ref().map_or(Value::Null, value))
                .collect();
            json!({ "name": series.name, "points": points })
        })
        .collect();
    json!({ "kind": "bars", "unit": chart.unit, "categories": categories, "series": series })
}

fn strips(chart: &Chart, rows: &[String], series: &[Series<Spot>], margin: Option<f64>) -> Value {
    let series: Vec<Value> = series
        .iter()
        .map(|series| {
            let points: Vec<Value> = series
                .points
                .iter()
                .map(|spot| {
                    let mut value = value(&spot.point);
                    value["row"] = json!(spot.row);
                    value["lane"] = json!(spot.lane);
                    value["label"] = json!(spot.label);
                    value
                })
                .collect();
            json!({ "name": series.name, "points": points })
        })
        .collect();
    json!({
        "kind": "strips", "unit": chart.unit, "categories": rows, "series": series, "margin": margin,
        "log": chart.plot.is_log(),
    })
}

fn lines(chart: &Chart, x_title: &str, series: &[Series<(f64, Point)>]) -> Value {
    let series: Vec<Value> = series
        .iter()
        .map(|series| {
            let points: Vec<Value> = series
                .points
                .iter()
                .map(|(x, point)| {
                    let mut value = value(point);
                    value["x"] = json!(x);
                    value
                })
                .collect();
            json!({ "name": series.name, "points": points })
        })
        .collect();
    json!({
        "kind": "lines", "unit": chart.unit, "xTitle": x_title, "log": chart.plot.is_log(), "series": series,
    })
}

fn scatter(chart: &Chart, x_title: &str, clouds: &[Cloud]) -> Value {
    let series: Vec<Value> = clouds
        .iter()
        .map(|cloud| {
            let points: Vec<Value> = cloud
                .dots
                .iter()
                .map(|dot| {
                    let mut value = value(&dot.point);
                    value["x"] = json!(dot.x);
                    value["label"] = json!(dot.label);
                    value
                })
                .collect();
            json!({ "name": cloud.name, "points": points, "curve": cloud.curve })
        })
        .collect();
    json!({
        "kind": "scatter", "unit": chart.unit, "xTitle": x_title, "log": chart.plot.is_log(), "series": series,
    })
}

fn value(point: &Point) -> Value {
    json!({
        "value": point.value,
        "low": point.interval.map(|interval| interval.low),
        "high": point.interval.map(|interval| interval.high),
        "n": point.n,
        "state": point.state.as_str(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_end_the_script() {
        let chart = Chart {
            title: String::new(),
            unit: "tok/s".into(),
            plot: Plot::Bars {
                categories: vec!["</script><script>alert(1)".into()],
                series: vec![],
            },
            of: None,
        };
        let options = options(&chart);
        assert!(!options.contains('<'), "{options}");
        let back: Value = serde_json::from_str(&options).unwrap();
        assert_eq!(back["categories"][0], "</script><script>alert(1)");
    }
}
