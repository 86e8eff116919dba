//! A line the size of a word.

use std::fmt::Write as _;

const WIDTH: f64 = 120.0;
const HEIGHT: f64 = 28.0;
/// Room for the stroke and the dot.
const EDGE: f64 = 3.0;
/// Points, of which more would be lost on the screen.
const MOST: usize = 60;

/// An `<svg>` of `values` from left to right, each at the same distance, with a dot at the last;
/// from `change` on the line is heavier, and a hair stands there.
pub(crate) fn spark(values: impl ExactSizeIterator<Item = f64>, change: Option<usize>) -> String {
    let n = values.len();
    let group = n.div_ceil(MOST).max(1);
    let values: Vec<f64> = values.collect();
    // Groups begin anew at the change, so that no mean blurs it.
    let (before, after) = values.split_at(change.unwrap_or(0).min(n));
    let means = |values: &[f64], first: usize| -> Vec<(f64, f64)> {
        let groups = values.chunks(group).enumerate();
        let mean = |(place, group_of): (usize, &[f64])| {
            let middle = (group_of.len() - 1) as f64 / 2.0;
            let x = (first + place * group) as f64 + middle;
            (x, group_of.iter().sum::<f64>() / group_of.len() as f64)
        };
        groups.map(mean).collect()
    };
    let (before, after) = (means(before, 0), means(after, before.len()));
    let all = || before.iter().chain(&after);
    let low = all().fold(f64::INFINITY, |low, (_, y)| low.min(*y));
    let high = all().fold(f64::NEG_INFINITY, |high, (_, y)| high.max(*y));
    let x = |x: f64| EDGE + (WIDTH - 2.0 * EDGE) * x / (n.max(2) - 1) as f64;
    let y = |y: f64| match high > low {
        true => HEIGHT - EDGE - (HEIGHT - 2.0 * EDGE) * (y - low) / (high - low),
        false => HEIGHT / 2.0,
    };
    let mut svg =
        format!("<svg class=\"spark\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" aria-hidden=\"true\">");
    // A String takes all that is written to it.
    if let Some(change) = change {
        let at = x(change as f64 - 0.5);
        let _ = write!(svg, "<path class=\"at\" d=\"M{at:.1} 0V{HEIGHT}\"/>");
    }
    for (class, points) in [("was", &before), ("is", &after)] {
        let mut path = String::new();
        for (px, py) in points {
            let letter = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{letter}{:.1} {:.1}", x(*px), y(*py));
        }
        if !path.is_empty() {
            let _ = write!(svg, "<path class=\"{class}\" d=\"{path}\"/>");
        }
    }
    if let Some((px, py)) = after.last() {
        let _ = write!(
            svg,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.4\"/>",
            x(*px),
            y(*py)
        );
    }
    svg + "</svg>"
}

#[cfg(test)]
mod tests {
    use super::spark;

    #[test]
    fn a_line_has_its_ends_and_its_change() {
        let step = |i: usize| if i < 300 { 0.0 } else { 1.0 };
        let svg = spark((0..400).map(step), Some(300));
        assert!(svg.contains("class=\"was\" d=\"M3.9 25.0"), "{svg}");
        assert!(svg.contains("M88.6 0V28") && svg.len() < 1500, "{svg}");
        assert!(spark(std::iter::empty(), None).ends_with("true\"></svg>"));
        assert!(!spark([1.0, 1.0].into_iter(), None).contains("NaN"));
    }
}
