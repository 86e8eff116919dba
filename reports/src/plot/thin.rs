//! Fewer points where more would fall on the same pixel.

use super::Point;

/// Of rising `points` those that show in a picture of `columns` pixels: of every column the first, the
/// lowest, the highest and the last, so that no spike is lost.
#[must_use]
pub(crate) fn thin(points: Vec<Point>, columns: usize) -> Vec<Point> {
    if points.len() <= 2 * columns {
        return points;
    }
    let (low, high) = (points[0].x, points[points.len() - 1].x);
    let column = |x: f64| ((x - low) / (high - low) * columns as f64) as usize;
    let mut kept = Vec::new();
    let mut start = 0;
    while start < points.len() {
        let here = column(points[start].x);
        let length = points[start..].partition_point(|point| column(point.x) <= here);
        let end = start + length.max(1);
        let by_y = |a: &usize, b: &usize| points[*a].y.total_cmp(&points[*b].y);
        let lowest = (start..end).min_by(by_y).unwrap_or(start);
        let highest = (start..end).max_by(by_y).unwrap_or(start);
        let mut show = [start, lowest, highest, end - 1];
        show.sort_unstable();
        kept.extend(show);
        start = end;
    }
    kept.dedup();
    kept.into_iter()
        .map(|index| points[index].clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_and_ends_stay() {
        let wave = |i: i32| f64::from((i * 7919) % 1000);
        let mut points: Vec<Point> = (0..100_000)
            .map(|i| Point::new(f64::from(i), wave(i)))
            .collect();
        points[777].y = 1e6;
        let few = thin(points.clone(), 100);
        assert!(few.len() <= 4 * 101, "{}", few.len());
        assert!(few.iter().any(|point| point.y == 1e6));
        assert_eq!((few[0].x, few[few.len() - 1].x), (0.0, 99_999.0));
        assert!(few.is_sorted_by(|a, b| a.x < b.x));
        assert_eq!(thin(points[..50].to_vec(), 100).len(), 50);
    }
}
