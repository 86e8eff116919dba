//! Plots as SVG, and as PNG where SVG is not shown: light and dark, colour-blind safe, with the values behind every point.
//!
//! A [`Plot`] is data and words; [`Plot::draw`] makes a picture of it. Colours are those of
//! Okabe and Ito (2008), and every series has a marker of its own besides. Ink and grid follow
//! `prefers-color-scheme`.

mod axis;
mod draw;
mod font;
mod poster;
mod spark;
mod thin;

pub(crate) use axis::quantity;
pub use axis::{Axis, Scale};
pub(crate) use poster::{Panel, poster};
pub(crate) use spark::spark;
pub(crate) use thin::thin;

/// Style rules that turn ink and grid of a drawing with the reader's colour scheme.
pub(crate) const STYLE: &str = include_str!("plot.css");

/// What is to be drawn.
///
/// ```
/// use harness_reports::plot::{Axis, Level, Mark, Plot, Point, Scale, Series, Style};
///
/// let itl_ns = |night| if night < 12 { 8.1e6 } else { 9.4e6 };
/// let points = (0..20).map(|night| Point::new(f64::from(night), itl_ns(night)));
/// let plot = Plot {
///     title: "Time between tokens".into(),
///     x: Axis::new("night", ""),
///     y: Axis::new("itl_p50", "ns").scaled(Scale::FromZero),
///     series: vec![Series {
///         name: "reference".into(),
///         style: Style::Line,
///         points: points.collect(),
///     }],
///     marks: vec![Mark { at: 12.0, bracket: (11.0, 12.0), label: "+16 %".into() }],
///     levels: vec![Level { from: 0.0, to: 11.0, value: 8.1e6 }],
/// };
/// let svg = plot.draw().svg;
/// assert!(svg.contains(r#"aria-label="Time between tokens""#));
/// // Nanoseconds by the million are shown as milliseconds.
/// assert!(svg.contains("ms") && svg.contains("+16 %"));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Plot {
    /// What it shows, in a line.
    pub title: String,
    /// The abscissa.
    pub x: Axis,
    /// The ordinate.
    pub y: Axis,
    /// What is drawn, in the order of the legend.
    pub series: Vec<Series>,
    /// Stretches of the abscissa that stand out.
    pub marks: Vec<Mark>,
    /// Stretches of one height.
    pub levels: Vec<Level>,
}

/// Points that belong together.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// How its points are joined.
    pub style: Style,
    /// The points, by rising `x` unless the style is [`Style::Dots`].
    pub points: Vec<Point>,
}

/// How points are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A line, with markers if there are few points.
    Line,
    /// A line of dashes.
    Dashes,
    /// Markers alone, and intervals as bars.
    Dots,
}

/// A point, in the units of the axes before they are scaled for display.
///
/// ```
/// use harness_reports::plot::Point;
///
/// let median = Point { interval: Some((7.9, 8.4)), note: "run 12".into(), ..Point::new(12.0, 8.1) };
/// assert_eq!((median.x, median.y), (12.0, 8.1));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Abscissa.
    pub x: f64,
    /// Ordinate.
    pub y: f64,
    /// Confidence interval of the ordinate.
    pub interval: Option<(f64, f64)>,
    /// What else a reader may want to know of it.
    pub note: String,
}

impl Point {
    /// A point of which there is no more to say.
    #[must_use]
    pub fn new(x: f64, y: f64) -> Self {
        Self {
            x,
            y,
            interval: None,
            note: String::new(),
        }
    }
}

/// A change: where it is thought to be, and where it may be.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// The first abscissa after it.
    pub at: f64,
    /// The last before and the first after it, surely.
    pub bracket: (f64, f64),
    /// What to write beside it.
    pub label: String,
}

/// A line from left to right.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// Where it begins.
    pub from: f64,
    /// Where it ends.
    pub to: f64,
    /// Its ordinate.
    pub value: f64,
}

/// A picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawing {
    /// An `<svg>` element that scales to the width it is given.
    pub svg: String,
    /// What to show where a pointer hovers, as JSON: a list of series, each `name` and `points`,
    /// these `[x, y, text]` in the coordinates of the view box.
    pub hover: String,
}

impl Drawing {
    /// The picture as a file of its own.
    #[must_use]
    pub(crate) fn file(&self) -> String {
        let end = self.svg.find('>').map_or(0, |end| end + 1);
        let (head, body) = self.svg.split_at(end);
        format!("{head}<style>{STYLE}</style>{body}")
    }
}
