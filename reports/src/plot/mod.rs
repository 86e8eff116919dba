//! Plots as SVG, and as PNG where SVG is not shown: light and dark, colour-blind safe, with the values behind every point.
//!
//! A [`Plot`] is data and words; [`Plot::draw`] makes a picture of it. Colours are those of
//! Okabe and Ito (2008), and every series has a marker of its own besides. Ink and grid follow
//! `prefers-color-scheme` by the rules of [`STYLE`].

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
pub use thin::thin;

/// Style rules that turn ink and grid of a drawing with the reader's colour scheme.
pub const STYLE: &str = include_str!("plot.css");

/// What is to be drawn.
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
    pub fn file(&self) -> String {
        let end = self.svg.find('>').map_or(0, |end| end + 1);
        let (head, body) = self.svg.split_at(end);
        format!("{head}<style>{STYLE}</style>{body}")
    }
}
