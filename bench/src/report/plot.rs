//! Plots as SVG: horizontal bars with their spread, and lines over time.

use super::text::{digits, spread};
use crate::summary::Spread;
use std::fmt::Write as _;

const WIDTH: f64 = 860.0;
/// Where bars begin: right of their labels.
const BAR_X: f64 = 230.0;
/// Where the longest bar ends, so that its number fits in.
const BAR_END: f64 = 640.0;
const BAR_HEIGHT: f64 = 18.0;
const ROW_HEIGHT: f64 = 28.0;
/// Where the first row begins: below the title.
const TOP: f64 = 44.0;
/// The part of a plot of lines that has the lines.
const LINES_X: f64 = 60.0;
const LINES_END: f64 = 640.0;
const LINES_BOTTOM: f64 = 300.0;
/// Told apart by people who do not see red and green, too (Okabe and Ito).
const COLOURS: [&str; 7] = [
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#000000",
];

/// A bar: the median, with a line from the least to the most.
pub(crate) struct Bar {
    pub(crate) label: String,
    pub(crate) size: Spread,
}

/// A line through points.
pub(crate) struct Line {
    pub(crate) label: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// One below the other, from zero.
pub(crate) fn bars(title: &str, unit: &str, bars: &[Bar]) -> String {
    let longest = bars
        .iter()
        .map(|bar| bar.size.max)
        .fold(f64::MIN_POSITIVE, f64::max);
    let x = |size: f64| BAR_X + size.max(0.0) / longest * (BAR_END - BAR_X);
    let mut svg = begin(
        &format!("{title}, {unit}"),
        TOP + ROW_HEIGHT * bars.len() as f64 + 8.0,
    );
    for (row, bar) in bars.iter().enumerate() {
        let (y, size) = (TOP + ROW_HEIGHT * row as f64, bar.size);
        let (middle, end) = (y + BAR_HEIGHT / 2.0, x(size.median));
        text(&mut svg, BAR_X - 8.0, middle + 4.0, "end", &bar.label);
        push(
            &mut svg,
            format_args!(
                r#"<rect x="{BAR_X}" y="{y}" width="{:.1}" height="{BAR_HEIGHT}" fill="{}"/>"#,
                end - BAR_X,
                COLOURS[row % COLOURS.len()]
            ),
        );
        let (least, most) = (x(size.min), x(size.max));
        push(
            &mut svg,
            format_args!(
                r##"<path d="M{least:.1} {middle}H{most:.1}M{least:.1} {y}v{BAR_HEIGHT}M{most:.1} {y}v{BAR_HEIGHT}" stroke="#555"/>"##
            ),
        );
        text(
            &mut svg,
            most.max(end) + 8.0,
            middle + 4.0,
            "start",
            &spread(size, digits(size.median)),
        );
    }
    end(svg)
}

/// All over the same time, from zero.
pub(crate) fn lines(title: &str, x_unit: &str, y_unit: &str, lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    let widest = points().map(|(x, _)| *x).fold(f64::MIN_POSITIVE, f64::max);
    let highest = points().map(|(_, y)| *y).fold(f64::MIN_POSITIVE, f64::max);
    let x = |at: f64| LINES_X + at / widest * (LINES_END - LINES_X);
    let y = |at: f64| LINES_BOTTOM - at / highest * (LINES_BOTTOM - TOP);
    let mut svg = begin(&format!("{title}, {y_unit}"), LINES_BOTTOM + 36.0);
    push(
        &mut svg,
        format_args!(
            r##"<path d="M{LINES_X} {TOP}V{LINES_BOTTOM}H{LINES_END}" fill="none" stroke="#555"/>"##
        ),
    );
    text(&mut svg, LINES_X - 6.0, LINES_BOTTOM, "end", "0");
    text(
        &mut svg,
        LINES_X - 6.0,
        TOP + 6.0,
        "end",
        &format!("{highest:.*}", digits(highest)),
    );
    text(
        &mut svg,
        LINES_END,
        LINES_BOTTOM + 20.0,
        "end",
        &format!("{widest:.*} {x_unit}", digits(widest)),
    );
    for (row, line) in lines.iter().enumerate() {
        let colour = COLOURS[row % COLOURS.len()];
        let path: Vec<_> = line
            .points
            .iter()
            .map(|(at, size)| format!("{:.1} {:.1}", x(*at), y(*size)))
            .collect();
        if !path.is_empty() {
            push(
                &mut svg,
                format_args!(
                    r#"<path d="M{}" fill="none" stroke="{colour}" stroke-width="1.5"/>"#,
                    path.join("L")
                ),
            );
        }
        let label = TOP + 20.0 * row as f64;
        push(
            &mut svg,
            format_args!(
                r#"<rect x="{:.0}" y="{:.0}" width="12" height="12" fill="{colour}"/>"#,
                LINES_END + 16.0,
                label - 10.0
            ),
        );
        text(&mut svg, LINES_END + 34.0, label, "start", &line.label);
    }
    end(svg)
}

fn begin(title: &str, height: f64) -> String {
    let mut svg = String::new();
    push(
        &mut svg,
        format_args!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0}" font-family="sans-serif" font-size="13">"#
        ),
    );
    svg.push_str("<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n");
    push(
        &mut svg,
        format_args!(
            r#"<text x="12" y="24" font-size="16">{}</text>"#,
            escaped(title)
        ),
    );
    svg
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    push(
        svg,
        format_args!(
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{}</text>"#,
            escaped(text)
        ),
    );
}

fn push(svg: &mut String, element: std::fmt::Arguments<'_>) {
    // A String takes every write.
    writeln!(svg, "{element}").ok();
}

fn end(mut svg: String) -> String {
    svg.push_str("</svg>\n");
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_reaches_the_end_and_others_their_share() {
        let bar = |label: &str, median| Bar {
            label: label.into(),
            size: Spread {
                median,
                min: median,
                max: median,
            },
        };
        let svg = bars(
            "a < b",
            "accepted/s",
            &[bar("one", 100.0), bar("half", 50.0), bar("none", 0.0)],
        );
        for expected in [
            "a &lt; b, accepted/s",
            r#"width="410.0""#,
            r#"width="205.0""#,
            r#"width="0.0""#,
            ">half<",
        ] {
            assert!(svg.contains(expected), "{expected} is not in {svg}");
        }
        assert_eq!(svg.matches('<').count(), svg.matches('>').count());
    }

    #[test]
    fn a_line_goes_from_corner_to_corner() {
        let line = Line {
            label: "lag".into(),
            points: vec![(0.0, 0.0), (60.0, 2.0)],
        };
        let svg = lines("lag", "s", "s", &[line]);
        assert!(svg.contains("M60.0 300.0L640.0 44.0"), "{svg}");
        lines("nothing", "s", "s", &[]);
    }
}
