//! Plots as SVG, and as PNG where SVG is not shown: light and dark, colour-blind safe, with the values behind every point.
//!
//! A [`Plot`] is data and words; [`Plot::draw`] makes a picture of it. Colours are those of
//! Okabe and Ito (2008), and every series has a marker of its own besides. Ink and grid follow
//! `prefers-color-scheme`.
//!
//! ```
//! use harness_reports::plot::{Axis, Plot, Point, Series, Style};
//!
//! let plot = Plot {
//!     title: "Decoding".into(),
//!     x: Axis::new("context", "tokens"),
//!     y: Axis::new("decode", "tok/s"),
//!     series: vec![Series {
//!         name: "llama.cpp".into(),
//!         style: Style::Line,
//!         points: vec![Point::new(512.0, 41.0), Point::new(4096.0, 33.0)],
//!     }],
//!     marks: Vec::new(),
//!     levels: Vec::new(),
//! };
//! let svg = plot.draw().svg;
//! assert!(svg.starts_with("<svg") && svg.contains("context"));
//! ```

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
///
/// ```
/// use harness_reports::plot::{Axis, Plot, Point, Series, Style};
///
/// let series = |name: &str, ms: [f64; 2]| Series {
///     name: name.into(),
///     style: Style::Line,
///     points: vec![Point::new(1.0, ms[0]), Point::new(2.0, ms[1])],
/// };
/// let plot = Plot {
///     title: "Time between tokens".into(),
///     x: Axis::new("night", ""),
///     y: Axis::new("itl_p50", "ms"),
///     series: vec![series("f16", [8.1, 8.2]), series("q4_0", [3.0, 3.1])],
///     marks: Vec::new(),
///     levels: Vec::new(),
/// };
/// let svg = plot.draw().svg;
/// // The legend.
/// assert!(svg.contains("f16") && svg.contains("q4_0"));
/// ```
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
///
/// ```
/// use harness_reports::plot::{Axis, Plot, Point, Series, Style};
///
/// let lines = |style| {
///     let points = vec![Point::new(1.0, 8.1), Point::new(2.0, 9.4)];
///     let plot = Plot {
///         title: "Time between tokens".into(),
///         x: Axis::new("night", ""),
///         y: Axis::new("itl_p50", "ms"),
///         series: vec![Series { name: "reference".into(), style, points }],
///         marks: Vec::new(),
///         levels: Vec::new(),
///     };
///     plot.draw().svg.matches("<polyline").count()
/// };
/// assert!(lines(Style::Dots) < lines(Style::Line));
/// assert!(lines(Style::Line) < lines(Style::Dashes));
/// ```
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
    ///
    /// ```
    /// use harness_reports::plot::Point;
    ///
    /// let point = Point::new(12.0, 8.1);
    /// assert!(point.interval.is_none() && point.note.is_empty());
    /// ```
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
///
/// ```
/// use harness_reports::plot::{Axis, Mark, Plot, Point, Series, Style};
///
/// let itl_ms = [(1.0, 8.1), (2.0, 8.1), (3.0, 9.4), (4.0, 9.4)];
/// let plot = Plot {
///     title: "Time between tokens".into(),
///     x: Axis::new("night", ""),
///     y: Axis::new("itl_p50", "ms"),
///     series: vec![Series {
///         name: "reference".into(),
///         style: Style::Line,
///         points: itl_ms.map(|(night, ms)| Point::new(night, ms)).into(),
///     }],
///     marks: vec![Mark { at: 3.0, bracket: (2.0, 3.0), label: "+16 %".into() }],
///     levels: Vec::new(),
/// };
/// assert!(plot.draw().svg.contains("+16 %"));
/// ```
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
///
/// ```
/// use harness_reports::plot::{Axis, Level, Plot, Point, Series, Style};
///
/// let lines = |levels| {
///     let plot = Plot {
///         title: "Time between tokens".into(),
///         x: Axis::new("night", ""),
///         y: Axis::new("itl_p50", "ms"),
///         series: vec![Series {
///             name: "reference".into(),
///             style: Style::Dots,
///             points: vec![Point::new(1.0, 8.0), Point::new(2.0, 8.2)],
///         }],
///         marks: Vec::new(),
///         levels,
///     };
///     plot.draw().svg.matches("<polyline").count()
/// };
/// let mean = Level { from: 1.0, to: 2.0, value: 8.1 };
/// assert_eq!(lines(vec![mean]), lines(Vec::new()) + 1);
/// ```
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
///
/// ```
/// use harness_reports::plot::{Axis, Plot, Point, Series, Style};
///
/// let plot = Plot {
///     title: "Time between tokens".into(),
///     x: Axis::new("night", ""),
///     y: Axis::new("itl_p50", "ns"),
///     series: vec![Series {
///         name: "reference".into(),
///         style: Style::Dots,
///         points: vec![Point { note: "run 12".into(), ..Point::new(12.0, 8.1e6) }],
///     }],
///     marks: Vec::new(),
///     levels: Vec::new(),
/// };
/// let drawing = plot.draw();
/// assert!(drawing.svg.starts_with("<svg") && drawing.svg.ends_with("</svg>\n"));
/// let hover: serde_json::Value = serde_json::from_str(&drawing.hover)?;
/// assert_eq!(hover[0]["points"][0][2], "8.100 ms · run 12");
/// # Ok::<(), serde_json::Error>(())
/// ```
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
