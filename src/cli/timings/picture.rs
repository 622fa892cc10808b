//! The steps as a picture in SVG: two tracks above one axis, a bar for each step with its name and duration.
//!
//! World: parent. Each bar takes the first row of its track in which it and its words have room, so that a row reads from
//! left to right. A step that takes too little of the time has no words; as every bar, it has a title, which viewers show
//! under the pointer.

use std::fmt::Write;
use std::time::Duration;

use tare::error::escaped;
use tare::timings::{Span, Timings, Track};

use super::{Command, milliseconds};

/// In pixels: the picture, and what is left of the bars.
const WIDTH: f64 = 1280.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 64.0;
const ROW: f64 = 20.0;
const BAR: f64 = 15.0;
/// Of a character in the size of the words. An estimate: fonts differ.
const CHARACTER: f64 = 6.1;
/// The longest name, in characters.
const LONGEST: usize = 60;
/// The part of the whole time that a step with words takes at least.
const WORTH_WORDS: f64 = 0.004;

/// A bar with its words.
struct Bar<'a> {
    span: &'a Span,
    left: f64,
    width: f64,
    words: String,
    /// Where the words are.
    side: Side,
    row: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Nowhere,
    Inside,
    Right,
    Left,
}

/// The picture of one command.
pub fn svg(command: &Command, timings: &Timings) -> String {
    let scale = Scale { start: timings.start, length: timings.length.as_secs_f64().max(1e-9) };
    let tracks = [(Track::Parent, "parent", "#0b7a75"), (Track::Child, "child", "#4f6bb5")];
    let mut body = String::new();
    let mut top = TOP;
    for (track, title, colour) in tracks {
        let bars = placed(timings.spans.iter().filter(|span| span.track == track), &scale);
        if bars.is_empty() {
            continue;
        }
        text(&mut body, (24.0, top + 12.0), ("start", "#6e7781"), title);
        bars.iter().for_each(|bar| draw(&mut body, bar, top, colour));
        top += ROW * rows(&bars) as f64 + 16.0;
    }
    let (bottom, height) = (top, top + 28.0);
    let axis = axis(&scale, bottom);
    let title = escape(&format!("tare {} {}", command.name, command.id));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"system-ui, DejaVu Sans, sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"24\" y=\"36\" font-size=\"17\" font-weight=\"600\" fill=\"#24292f\">{title}: {} ms</text>\n\
         {axis}{body}</svg>\n",
        milliseconds(timings.length)
    )
}

/// From times to pixels.
struct Scale {
    start: Duration,
    /// Seconds.
    length: f64,
}

impl Scale {
    const PIXELS: f64 = WIDTH - LEFT - RIGHT;

    fn width(&self, time: Duration) -> f64 {
        time.as_secs_f64() / self.length * Self::PIXELS
    }

    fn left(&self, time: Duration) -> f64 {
        LEFT + self.width(time.saturating_sub(self.start))
    }
}

/// Gives each bar its words and its row.
fn placed<'a>(spans: impl Iterator<Item = &'a Span>, scale: &Scale) -> Vec<Bar<'a>> {
    let mut bars: Vec<Bar<'a>> = Vec::new();
    // What is taken of each row.
    let mut taken: Vec<Vec<(f64, f64)>> = Vec::new();
    for span in spans {
        let (left, width) = (scale.left(span.start), scale.width(span.length));
        let words = format!("{} {} ms", shortened(&escaped(&span.name)), milliseconds(span.length));
        let room = words.chars().count() as f64 * CHARACTER + 8.0;
        let (side, from, to) = if span.length.as_secs_f64() < WORTH_WORDS * scale.length {
            (Side::Nowhere, left, left + width)
        } else if room <= width {
            (Side::Inside, left, left + width)
        } else if left + width + room <= WIDTH {
            (Side::Right, left, left + width + room)
        } else {
            (Side::Left, left - room, left + width)
        };
        let is_free = |row: &Vec<(f64, f64)>| row.iter().all(|(start, end)| to <= *start || from >= *end);
        let row = taken.iter().position(is_free).unwrap_or(taken.len());
        if row == taken.len() {
            taken.push(Vec::new());
        }
        taken[row].push((from, to));
        bars.push(Bar { span, left, width, words, side, row });
    }
    bars
}

fn rows(bars: &[Bar<'_>]) -> usize {
    bars.iter().map(|bar| bar.row + 1).max().unwrap_or(0)
}

fn shortened(name: &str) -> String {
    match name.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}...", &name[..at]),
        None => name.to_string(),
    }
}

fn draw(body: &mut String, bar: &Bar<'_>, top: f64, colour: &str) {
    let Bar { span, left, width, words, side, row } = bar;
    let y = top + ROW * *row as f64;
    // What is narrower than half a pixel would not be seen.
    let width = width.max(0.5);
    let at = span.at.as_deref().map(|at| format!(" ({at})")).unwrap_or_default();
    let title = escape(&format!("{}{at}: {} ms", span.name, milliseconds(span.length)));
    let opacity = if span.depth == 0 { "1" } else { "0.75" };
    let _written = writeln!(
        body,
        "<rect x=\"{left:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\" rx=\"1\" fill=\"{colour}\" \
         fill-opacity=\"{opacity}\"><title>{title}</title></rect>"
    );
    match side {
        Side::Nowhere => {}
        Side::Inside => text(body, (left + 4.0, y + 11.5), ("start", "white"), words),
        Side::Right => text(body, (left + width + 4.0, y + 11.5), ("start", "#24292f"), words),
        Side::Left => text(body, (left - 4.0, y + 11.5), ("end", "#24292f"), words),
    }
}

fn text(body: &mut String, (x, y): (f64, f64), (anchor, colour): (&str, &str), words: &str) {
    let words = escape(words);
    let _written =
        writeln!(body, "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{words}</text>");
}

/// Lines from top to bottom at round times, with these below.
fn axis(scale: &Scale, bottom: f64) -> String {
    let step = round_step(scale.length / 10.0);
    let mut body = String::new();
    let mut number = 0.0;
    while number * step <= scale.length {
        let x = LEFT + number * step / scale.length * Scale::PIXELS;
        let _written = writeln!(
            body,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{}\" y2=\"{bottom}\" stroke=\"#d0d7de\"/>",
            TOP - 8.0
        );
        let label = format!("{} ms", (number * step * 1e6).round() / 1e3);
        text(&mut body, (x, bottom + 14.0), ("middle", "#6e7781"), &label);
        number += 1.0;
    }
    body
}

/// 1, 2 or 5 times a power of ten that is not below `seconds`.
fn round_step(seconds: f64) -> f64 {
    let power = 10_f64.powf(seconds.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= seconds).unwrap_or(power)
}

/// For text and attributes of XML, which has no place for control characters.
fn escape(words: &str) -> String {
    let mut out = String::with_capacity(words.len());
    for c in escaped(words).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => out.push('?'),
            c => out.push(c),
        }
    }
    out
}
