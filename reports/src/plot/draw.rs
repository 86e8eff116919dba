//! From a plot to a picture, by plotters.

use std::fmt::Write as _;

use plotters::coord::Shift;
use plotters::element::{Circle, Cross, PathElement, Polygon, TriangleMarker};
use plotters::prelude::{
    Cartesian2d, ChartBuilder, ChartContext, Color, DashedLineSeries, DrawingArea, DrawingBackend,
    IntoDrawingArea, LineSeries, RGBColor, SVGBackend, ShapeStyle, Text,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{IntoFont, IntoTextStyle, TextStyle};

use super::axis::{Range, display_unit};
use super::{Drawing, Level, Mark, Plot, Point, Series, Style, font};
use crate::render::number;

/// Units of the view box in a CSS pixel at full width: plotters places on whole numbers.
pub(super) const FINE: u32 = 4;
pub(super) const WIDTH: u32 = 560 * FINE;
const HEIGHT: u32 = 300 * FINE;
const LINE: u32 = 19 * FINE;
const TEXT: u32 = 15 * FINE;
/// Longest name that leaves room for another beside it.
const HALF: usize = 30;
/// More points than this have no markers.
const MARKED: usize = 60;

pub(super) const INK: RGBColor = RGBColor(0x1B, 0x1E, 0x23);
pub(super) const MUTED: RGBColor = RGBColor(0x5B, 0x62, 0x6C);
const GRID: RGBColor = RGBColor(0xDC, 0xDF, 0xE4);
/// M. Okabe, K. Ito, Color Universal Design (2008), without the yellow that white swallows.
const PALETTE: [RGBColor; 7] = [
    RGBColor(0x00, 0x72, 0xB2),
    RGBColor(0xD5, 0x5E, 0x00),
    RGBColor(0x00, 0x9E, 0x73),
    RGBColor(0xCC, 0x79, 0xA7),
    RGBColor(0xE6, 0x9F, 0x00),
    RGBColor(0x56, 0xB4, 0xE9),
    INK,
];

pub(super) type Area<B> = DrawingArea<B, Shift>;
type Chart<'a, B> = ChartContext<'a, B, Cartesian2d<Range, Range>>;
pub(super) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Something that plotters can draw on.
pub(super) trait Canvas: DrawingBackend<ErrorType: 'static> {}
impl<B: DrawingBackend<ErrorType: 'static>> Canvas for B {}

impl Plot {
    /// Draws it. A plot that cannot be drawn is an empty picture: nothing else depends on it.
    ///
    /// ```
    /// use harness_reports::plot::{Axis, Plot, Point, Scale, Series, Style};
    ///
    /// let dots = Series {
    ///     name: "reference".into(),
    ///     style: Style::Dots,
    ///     points: vec![Point::new(1.0, 0.5), Point::new(2.0, 0.0), Point::new(3.0, 2.0)],
    /// };
    /// let plot = Plot {
    ///     title: "Error".into(),
    ///     x: Axis::new("layer", ""),
    ///     y: Axis::new("nmse", "1").scaled(Scale::Log),
    ///     series: vec![dots],
    ///     marks: Vec::new(),
    ///     levels: Vec::new(),
    /// };
    /// let hover: serde_json::Value = serde_json::from_str(&plot.draw().hover)?;
    /// // A logarithm has no place for zero.
    /// assert_eq!(hover[0]["points"].as_array().map(Vec::len), Some(2));
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn draw(&self) -> Drawing {
        let shown = self.shown();
        let mut svg = String::new();
        let size = (WIDTH, shown.height());
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        let hover = shown.paint(&area).unwrap_or_default();
        drop(area);
        // Plotters gives a size, and the page shall.
        let body = svg.find('>').map_or("", |end| &svg[end + 1..]);
        let height = shown.height();
        let mut head = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\""
        );
        escape(&mut head, &self.title);
        head.push_str("\">");
        Drawing {
            svg: head + body,
            hover,
        }
    }

    /// Draws it at the top of `area`, which is [`WIDTH`] wide; returns the height that it took.
    pub(super) fn paint<B: Canvas>(&self, area: &Area<B>) -> Result<u32, Failure> {
        let shown = self.shown();
        shown.paint(area)?;
        Ok(shown.height())
    }

    /// What the axes have a place for, in display units.
    fn shown(&self) -> Shown<'_> {
        let admitted = |point: &&Point| self.x.admits(point.x) && self.y.admits(point.y);
        let all = || {
            self.series
                .iter()
                .flat_map(|series| &series.points)
                .filter(admitted)
        };
        let largest =
            |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, |a: f64, b| a.max(b.abs()));
        let (x_factor, x_unit) = display_unit(&self.x.unit, largest(&mut all().map(|p| p.x)));
        let (y_factor, y_unit) = display_unit(&self.y.unit, largest(&mut all().map(|p| p.y)));
        let end = |end: f64| {
            if self.y.admits(end) {
                end / y_factor
            } else {
                f64::NAN
            }
        };
        let series = self.series.iter().map(|series| Series {
            name: series.name.clone(),
            style: series.style,
            points: (series.points.iter().filter(admitted))
                .map(|point| Point {
                    x: point.x / x_factor,
                    y: point.y / y_factor,
                    interval: (point.interval.map(|(low, high)| (end(low), end(high))))
                        .filter(|(low, high)| low.is_finite() && high.is_finite()),
                    note: point.note.clone(),
                })
                .collect(),
        });
        let marks = self.marks.iter().map(|mark| Mark {
            at: mark.at / x_factor,
            bracket: (mark.bracket.0 / x_factor, mark.bracket.1 / x_factor),
            label: mark.label.clone(),
        });
        let levels = self.levels.iter().map(|level| Level {
            from: level.from / x_factor,
            to: level.to / x_factor,
            value: level.value / y_factor,
        });
        Shown {
            plot: self,
            x_unit,
            y_unit,
            series: series.collect(),
            marks: marks.collect(),
            levels: levels.collect(),
        }
    }
}

/// A plot in display units.
struct Shown<'a> {
    plot: &'a Plot,
    x_unit: &'a str,
    y_unit: &'a str,
    series: Vec<Series>,
    marks: Vec<Mark>,
    levels: Vec<Level>,
}

impl Shown<'_> {
    fn columns(&self) -> usize {
        let short = |series: &Series| series.name.chars().count() <= HALF;
        if self.series.iter().all(short) { 2 } else { 1 }
    }

    fn height(&self) -> u32 {
        let named = if self.series.len() > 1 {
            self.series.len()
        } else {
            0
        };
        HEIGHT + LINE * named.div_ceil(self.columns()) as u32 + LINE / 2
    }

    /// Returns what to show where a pointer hovers.
    fn paint<B: Canvas>(&self, root: &Area<B>) -> Result<String, Failure> {
        font::register();
        let (top, legend) = root.split_vertically(HEIGHT as i32);
        self.paint_title(&top)?;
        let y_values = self
            .series
            .iter()
            .flat_map(|series| &series.points)
            .flat_map(|point| {
                let (low, high) = point.interval.unwrap_or((point.y, point.y));
                [point.y, low, high]
            });
        let x_values = self
            .series
            .iter()
            .flat_map(|series| &series.points)
            .map(|point| point.x);
        let mut chart = ChartBuilder::on(&top)
            .margin_top(LINE * 2)
            .margin_right(LINE)
            .x_label_area_size(LINE * 5 / 2)
            .y_label_area_size(LINE * 7 / 2)
            .build_cartesian_2d(
                Range::around(self.plot.x.scale, x_values),
                Range::around(self.plot.y.scale, y_values),
            )?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .bold_line_style(GRID.stroke_width(FINE))
            .axis_style(MUTED.stroke_width(FINE))
            .label_style(font(13 * FINE, MUTED))
            .axis_desc_style(font(13 * FINE, MUTED))
            .x_desc(described(&self.plot.x.label, self.x_unit))
            .set_all_tick_mark_size(4 * FINE)
            .draw()?;
        self.paint_marks(&mut chart)?;
        for (index, series) in self.series.iter().enumerate() {
            paint_series(&mut chart, series, index)?;
        }
        self.paint_levels(&mut chart)?;
        let hover = self.hover(&chart);
        if self.series.len() > 1 {
            self.paint_legend(&legend)?;
        }
        root.present()?;
        drop(chart);
        Ok(hover)
    }

    /// The ordinate stands above the axis, where it need not be turned to be read.
    fn paint_title<B: Canvas>(&self, area: &Area<B>) -> Result<(), Failure> {
        let text = described(&self.plot.y.label, self.y_unit);
        let place = (FINE as i32 * 4, FINE as i32 * 8);
        area.draw(&Text::new(text, place, font(13 * FINE, MUTED)))?;
        Ok(())
    }

    fn paint_marks<B: Canvas>(&self, chart: &mut Chart<'_, B>) -> Result<(), Failure> {
        let (across, range) = (chart.x_range(), chart.y_range());
        for mark in &self.marks {
            let (from, to) = mark.bracket;
            let corners = [
                (from, range.start),
                (to, range.start),
                (to, range.end),
                (from, range.end),
            ];
            chart.draw_series([Polygon::new(corners, PALETTE[1].mix(0.15))])?;
            let line = [(mark.at, range.start), (mark.at, range.end)];
            chart.draw_series([PathElement::new(line, PALETTE[1].stroke_width(2 * FINE))])?;
            // Above the frame, on the side where there is more room.
            let left = mark.at - across.start > (across.end - across.start) / 2.0;
            let side = if left { HPos::Right } else { HPos::Left };
            let style = font(13 * FINE, INK).pos(Pos::new(side, VPos::Bottom));
            let place = (mark.at, range.end);
            chart
                .plotting_area()
                .draw(&Text::new(mark.label.as_str(), place, style))?;
        }
        Ok(())
    }

    fn paint_levels<B: Canvas>(&self, chart: &mut Chart<'_, B>) -> Result<(), Failure> {
        for level in &self.levels {
            let line = [(level.from, level.value), (level.to, level.value)];
            chart.draw_series([PathElement::new(line, stroke(INK))])?;
        }
        Ok(())
    }

    fn paint_legend<B: Canvas>(&self, area: &Area<B>) -> Result<(), Failure> {
        let columns = self.columns();
        let fine = FINE as i32;
        for (index, series) in self.series.iter().enumerate() {
            let left = (WIDTH as usize / columns * (index % columns)) as i32 + 8 * fine;
            let middle = (LINE as i32) * (index / columns) as i32 + LINE as i32 / 2;
            let colour = colour(index);
            if series.style != Style::Dots {
                let line = [(left, middle), (left + 22 * fine, middle)];
                area.draw(&PathElement::new(line, stroke(colour)))?;
            }
            if series.style != Style::Dashes {
                marker(
                    index,
                    (left + 11 * fine, middle),
                    &mut |shape| match shape {
                        Shape::Disc(it) => area.draw(&it),
                        Shape::Triangle(it) => area.draw(&it),
                        Shape::Cross(it) => area.draw(&it),
                    },
                )?;
            }
            let place = (left + 30 * fine, middle);
            let style = font(TEXT, INK).pos(Pos::new(HPos::Left, VPos::Center));
            area.draw(&Text::new(series.name.as_str(), place, style))?;
        }
        Ok(())
    }

    fn hover<B: Canvas>(&self, chart: &Chart<'_, B>) -> String {
        let mut json = String::from("[");
        for (index, series) in self.series.iter().enumerate() {
            if index > 0 {
                json.push(',');
            }
            json.push_str("{\"name\":");
            quote(&mut json, &series.name);
            json.push_str(",\"points\":[");
            for (index, point) in series.points.iter().enumerate() {
                if index > 0 {
                    json.push(',');
                }
                let (x, y) = chart.backend_coord(&(point.x, point.y));
                let _ = write!(json, "[{x},{y},");
                quote(&mut json, &self.text(point));
                json.push(']');
            }
            json.push_str("]}");
        }
        json + "]"
    }

    fn text(&self, point: &Point) -> String {
        let mut text = number(point.y);
        if !self.y_unit.is_empty() {
            let _ = write!(text, " {}", self.y_unit);
        }
        if let Some((low, high)) = point.interval {
            let _ = write!(text, " [{}, {}]", number(low), number(high));
        }
        if !point.note.is_empty() {
            let _ = write!(text, " · {}", point.note);
        } else if self.plot.x.scale != super::Scale::Time {
            let _ = write!(text, " at {} {}", number(point.x), self.x_unit);
        }
        text
    }
}

fn paint_series<B: Canvas>(
    chart: &mut Chart<'_, B>,
    series: &Series,
    index: usize,
) -> Result<(), Failure> {
    let colour = colour(index);
    let places = || series.points.iter().map(|point| (point.x, point.y));
    if series.style == Style::Dots {
        for point in &series.points {
            if let Some((low, high)) = point.interval {
                let bar = [(point.x, low), (point.x, high)];
                chart.draw_series([PathElement::new(bar, stroke(colour))])?;
            }
        }
    } else if series.points.len() > 1 {
        let banded = || {
            series
                .points
                .iter()
                .filter_map(|p| Some((p.x, p.interval?)))
        };
        let mut band: Vec<(f64, f64)> = banded().map(|(x, (low, _))| (x, low)).collect();
        band.extend(
            banded()
                .map(|(x, (_, high))| (x, high))
                .collect::<Vec<_>>()
                .into_iter()
                .rev(),
        );
        if band.len() > 3 {
            chart.draw_series([Polygon::new(band, colour.mix(0.18))])?;
        }
        match series.style {
            Style::Dashes => {
                let line = DashedLineSeries::new(places(), 6 * FINE, 4 * FINE, stroke(colour));
                chart.draw_series(line)?;
            }
            _ => {
                chart.draw_series(LineSeries::new(places(), stroke(colour)))?;
            }
        }
    }
    let few = series.points.len() <= MARKED && series.style != Style::Dashes;
    if few || series.style == Style::Dots {
        for place in places() {
            marker(index, place, &mut |shape| {
                match shape {
                    Shape::Disc(it) => chart.draw_series([it])?,
                    Shape::Triangle(it) => chart.draw_series([it])?,
                    Shape::Cross(it) => chart.draw_series([it])?,
                };
                Ok::<(), Failure>(())
            })?;
        }
    }
    Ok(())
}

/// A marker of one of three forms, so that colour is not all that tells series apart.
enum Shape<C> {
    Disc(Circle<C, u32>),
    Triangle(TriangleMarker<C, u32>),
    Cross(Cross<C, u32>),
}

fn marker<C, E>(
    index: usize,
    place: C,
    draw: &mut dyn FnMut(Shape<C>) -> Result<(), E>,
) -> Result<(), E> {
    let colour = colour(index);
    draw(match index % 3 {
        0 => Shape::Disc(Circle::new(place, 3 * FINE, colour.filled())),
        1 => Shape::Triangle(TriangleMarker::new(place, 4 * FINE, colour.filled())),
        _ => Shape::Cross(Cross::new(place, 3 * FINE, stroke(colour))),
    })
}

fn colour(index: usize) -> RGBColor {
    PALETTE[index % PALETTE.len()]
}

fn stroke(colour: RGBColor) -> ShapeStyle {
    colour.stroke_width(2 * FINE)
}

pub(super) fn font(size: u32, colour: RGBColor) -> TextStyle<'static> {
    // Plotters divides by this to come from its size to that of SVG.
    let size = f64::from(size) * 1.24;
    ("sans-serif", size)
        .into_font()
        .color(&colour)
        .into_text_style(&(0, 0))
}

fn described(label: &str, unit: &str) -> String {
    match unit {
        "" => label.into(),
        unit => format!("{label} [{unit}]"),
    }
}

fn escape(out: &mut String, text: &str) {
    for letter in text.chars() {
        match letter {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            letter => out.push(letter),
        }
    }
}

/// A JSON string.
fn quote(out: &mut String, text: &str) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => {
                out.push('\\');
                out.push(letter);
            }
            // It may stand in a script element, which this could end.
            '<' => out.push_str("\\u003c"),
            letter if letter.is_control() => out.push(' '),
            letter => out.push(letter),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::{Axis, Scale};

    fn plot(name: &str, values: &[f64]) -> Plot {
        let points = values.iter().enumerate();
        Plot {
            title: "A <title>".into(),
            x: Axis::new("context", "tokens"),
            y: Axis::new("time", "ns").scaled(Scale::Log),
            series: vec![
                Series {
                    name: name.into(),
                    style: Style::Line,
                    points: points.map(|(x, y)| Point::new(x as f64, *y)).collect(),
                };
                2
            ],
            marks: vec![Mark {
                at: 1.0,
                bracket: (0.0, 1.0),
                label: "<b>".into(),
            }],
            levels: vec![Level {
                from: 0.0,
                to: 1.0,
                value: 2e6,
            }],
        }
    }

    #[test]
    fn a_picture_is_well_formed_whatever_its_words() {
        let drawing = plot("<script>\"&\\", &[2e6, 3e6]).draw();
        let mut reader = quick_xml::Reader::from_str(&drawing.svg);
        while !matches!(reader.read_event().unwrap(), quick_xml::events::Event::Eof) {}
        assert!(!drawing.svg.contains("<script") && drawing.svg.contains("time [ms]"));
        assert!(!drawing.hover.contains('<'));
        let hover: serde_json::Value = serde_json::from_str(&drawing.hover).unwrap();
        assert_eq!(hover[0]["name"], "<script>\"&\\");
        assert_eq!(hover[0]["points"][0][2], "2 ms at 0 tokens");
    }

    #[test]
    fn what_cannot_be_shown_is_left_out() {
        let drawing = plot("a", &[f64::NAN, 0.0, -1.0, f64::INFINITY, 5.0]).draw();
        let hover: serde_json::Value = serde_json::from_str(&drawing.hover).unwrap();
        assert_eq!(hover[0]["points"].as_array().unwrap().len(), 1);
        assert!(plot("a", &[]).draw().svg.ends_with("</svg>\n"));
    }
}
