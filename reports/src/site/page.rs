//! Templates, and what every page has.

use std::io::Write as _;

use jiff::Timestamp;
use minijinja::value::{Serde, Value};
use minijinja::{Environment, context};
use serde::Serialize;

use super::SiteError;
use super::output::{Output, failed};
use crate::plot;

const TEMPLATES: [(&str, &str); 8] = [
    ("base.html", include_str!("templates/base.html")),
    ("parts.html", include_str!("templates/parts.html")),
    ("index.html", include_str!("templates/index.html")),
    ("metrics.html", include_str!("templates/metrics.html")),
    ("metric.html", include_str!("templates/metric.html")),
    ("run.html", include_str!("templates/run.html")),
    ("engines.html", include_str!("templates/engines.html")),
    ("speed.html", include_str!("templates/speed.html")),
];

/// Makes pages. Names end in `.html`, so minijinja escapes all that is not marked safe: plots and
/// our own style and script.
#[derive(Debug)]
pub(super) struct Pages {
    environment: Environment<'static>,
}

impl Pages {
    pub(super) fn new(now: Timestamp) -> Result<Self, SiteError> {
        let mut environment = Environment::new();
        for (name, text) in TEMPLATES {
            (environment.add_template(name, text)).map_err(broken(name))?;
        }
        let style = format!("{}{}", include_str!("templates/style.css"), plot::STYLE);
        environment.add_global("style", style);
        environment.add_global("script", include_str!("templates/site.js"));
        environment.add_global("version", env!("CARGO_PKG_VERSION"));
        environment.add_global("written", now.strftime("%Y-%m-%d %H:%M UTC").to_string());
        Ok(Self { environment })
    }

    /// Writes the page at `place` from the site's root.
    pub(super) fn write(
        &self,
        output: &Output,
        place: &str,
        template: &str,
        view: &impl Serialize,
    ) -> Result<(), SiteError> {
        let depth = place.matches('/').count();
        let here = place.trim_end_matches(".html");
        let root = "../".repeat(depth);
        let view = context! { ..Value::from(Serde(view)), ..context! { root, here } };
        let mut file = output.file(place)?;
        (self.environment.get_template(template))
            .and_then(|template| template.render_captured_to(view, &mut file))
            .map_err(broken(place))?;
        file.flush().map_err(failed(place.as_ref()))
    }
}

fn broken(page: &str) -> impl Fn(minijinja::Error) -> SiteError + use<> {
    let page = page.to_owned();
    move |source| SiteError::Template {
        page: page.clone(),
        source,
    }
}
