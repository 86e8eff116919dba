//! Several plots on one picture, for places that show no SVG.

use plotters::prelude::{BitMapBackend, Color, IntoDrawingArea, Text, WHITE};

use super::draw::{Area, Canvas, FINE, Failure, INK, MUTED, WIDTH, font};
use super::{Plot, font as sans};

/// Pixels drawn for one that is kept, each way: edges are smooth so.
const SUPERSAMPLING: usize = 2;
const MARGIN: u32 = 24 * FINE;
const HEAD: u32 = 76 * FINE;
/// Two lines above a plot, and the plot.
const CAPTION: u32 = 48 * FINE;
const PANEL: u32 = CAPTION + 330 * FINE;

/// A plot, and what to write above it.
pub(crate) struct Panel {
    pub(crate) title: String,
    pub(crate) note: String,
    pub(crate) plot: Plot,
}

/// A PNG of `panels` in two columns under a headline.
pub(crate) fn poster(headline: &str, note: &str, panels: &[Panel]) -> Result<Vec<u8>, Failure> {
    sans::register();
    let columns = panels.len().clamp(1, 2) as u32;
    let rows = panels.len().div_ceil(2) as u32;
    let size = (
        columns * WIDTH + (columns + 1) * MARGIN,
        HEAD + rows * PANEL + MARGIN,
    );
    let mut pixels = vec![0; (size.0 * size.1 * 3) as usize];
    {
        let area = BitMapBackend::with_buffer(&mut pixels, size).into_drawing_area();
        area.fill(&WHITE.to_rgba())?;
        let place = |x: u32, y: u32| (x as i32, y as i32);
        write(&area, headline, place(MARGIN, 18 * FINE), 24, true)?;
        write(&area, note, place(MARGIN, 50 * FINE), 14, false)?;
        for (index, panel) in (0..).zip(panels) {
            let left = MARGIN + index % 2 * (WIDTH + MARGIN);
            let top = HEAD + index / 2 * PANEL;
            let panel_area = area.clone().shrink(place(left, top), (WIDTH, PANEL));
            write(&panel_area, &panel.title, (0, 0), 17, true)?;
            write(&panel_area, &panel.note, place(0, 23 * FINE), 13, false)?;
            let below = panel_area.shrink(place(0, CAPTION), (WIDTH, PANEL - CAPTION));
            panel.plot.paint(&below)?;
        }
        area.present()?;
    }
    encode(&halved(&pixels, size), (size.0 / 2, size.1 / 2))
}

fn write<B: Canvas>(
    area: &Area<B>,
    text: &str,
    place: (i32, i32),
    size: u32,
    strong: bool,
) -> Result<(), Failure> {
    let colour = if strong { INK } else { MUTED };
    area.draw(&Text::new(text, place, font(size * FINE, colour)))?;
    Ok(())
}

/// The mean of every square of four pixels.
fn halved(pixels: &[u8], (width, height): (u32, u32)) -> Vec<u8> {
    let (width, height) = (width as usize, height as usize);
    let at = |x: usize, y: usize, channel: usize| u32::from(pixels[(y * width + x) * 3 + channel]);
    let mut small = Vec::with_capacity(pixels.len() / 4);
    for y in (0..height / SUPERSAMPLING).map(|y| y * SUPERSAMPLING) {
        for x in (0..width / SUPERSAMPLING).map(|x| x * SUPERSAMPLING) {
            for channel in 0..3 {
                let sum = at(x, y, channel)
                    + at(x + 1, y, channel)
                    + at(x, y + 1, channel)
                    + at(x + 1, y + 1, channel);
                small.push(((sum + 2) / 4) as u8);
            }
        }
    }
    small
}

fn encode(pixels: &[u8], (width, height): (u32, u32)) -> Result<Vec<u8>, Failure> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::High);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::{Axis, Point, Series, Style};

    #[test]
    fn a_poster_reads_back_with_something_on_it() {
        let panel = |title: &str| Panel {
            title: title.into(),
            note: "µ − → …".into(),
            plot: Plot {
                title: title.into(),
                x: Axis::new("night", ""),
                y: Axis::new("time", "ns"),
                series: vec![Series {
                    name: "a".into(),
                    style: Style::Line,
                    points: (0..9).map(|i| Point::new(f64::from(i), 1e6)).collect(),
                }],
                marks: Vec::new(),
                levels: Vec::new(),
            },
        };
        let file = poster("1 regression", "", &[panel("a"), panel("b"), panel("c")]).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(&file))
            .read_info()
            .unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!(info.width, WIDTH + 3 * MARGIN / 2);
        // Blue of the line in all three panels, none in the fourth.
        let blue = |right: bool, low: bool| {
            let rows = pixels.chunks(info.width as usize * 3).enumerate();
            let (middle, level) = (info.width as usize / 2, (HEAD + PANEL) as usize / 2);
            rows.filter(|(y, _)| (*y >= level) == low).any(|(_, row)| {
                let half = if right {
                    &row[middle * 3..]
                } else {
                    &row[..middle * 3]
                };
                half.chunks(3).any(|pixel| pixel == [0x00, 0x72, 0xB2])
            })
        };
        assert_eq!(
            [
                blue(false, false),
                blue(true, false),
                blue(false, true),
                blue(true, true)
            ],
            [true, true, true, false]
        );
    }
}
