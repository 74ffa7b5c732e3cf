//! Makes an SVG of a part of the page: boxes, texts, drawings and canvases at their places, with a title above and a
//! legend, the model and the date below. It looks the same outside of the page.

use gloo::utils::{document, window};
use std::fmt::Write;
use wasm_bindgen::JsCast;
use web_sys::{CssStyleDeclaration, Element, HtmlCanvasElement, Node, XmlSerializer};

/// The texts around a picture.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Caption {
    /// The title above it.
    pub title: String,
    /// The meaning of its colours and sizes, below it.
    pub legend: String,
    /// The model, the page and the date, below the legend.
    pub source: String,
}

/// Selectors of controls and their labels, which are not part of a picture.
const LEFT_OUT: &str = ".save, .as-table, .acts, .segments, .zoom, .playback, .switch, .hidden, .head, .hint, \
    .map-column, .map-row, select, input, textarea, details:not([open]) > :not(summary), summary, .recorded";

/// Space around a picture, and the sizes of its texts, in CSS pixels.
const EDGE: f64 = 16.0;
const TITLE: f64 = 20.0;
const WORDS: f64 = 13.0;

/// `element` as an SVG, with its width and height in CSS pixels.
pub fn as_svg(element: &Element, caption: &Caption) -> Option<(String, f64, f64)> {
    let frame = element.get_bounding_client_rect();
    let head = EDGE + TITLE + 10.0;
    let mut drawing = Drawing { content: String::new(), left: frame.left() - EDGE, top: frame.top() - head };
    drawing.draw(element)?;
    let width = frame.width() + 2.0 * EDGE;
    let mut lines = wrapped(&caption.legend, (frame.width() / (WORDS * 0.55)) as usize);
    lines.push(caption.source.clone());
    let foot = head + frame.height() + 6.0;
    let height = foot + lines.len() as f64 * WORDS * 1.5 + EDGE;
    let body: Element = document().body()?.into();
    let style = window().get_computed_style(&body).ok()??;
    let (ink, family) = (value(&style, "color"), value(&style, "font-family"));
    let panel = plain(&value(&window().get_computed_style(&panel()?).ok()??, "background-color"));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" xmlns:xlink=\"http://www.w3.org/1999/xlink\" width=\"{width:.0}\" \
         height=\"{height:.0}\" viewBox=\"0 0 {width:.1} {height:.1}\"><title>{}</title>\
         <rect width=\"100%\" height=\"100%\" fill=\"{panel}\"/>",
        escaped(&caption.title)
    );
    let family = escaped(&family);
    // Writing to a string cannot fail.
    let _ = write!(
        svg,
        "<text x=\"{EDGE}\" y=\"{:.1}\" font-family=\"{family}\" font-size=\"{TITLE}\" font-weight=\"650\" \
         fill=\"{ink}\">{}</text>{}",
        EDGE + TITLE * 0.8,
        escaped(&caption.title),
        drawing.content
    );
    for (n, line) in lines.iter().enumerate() {
        let y = foot + WORDS * (1.2 + 1.5 * n as f64);
        let _ = write!(
            svg,
            "<text x=\"{EDGE}\" y=\"{y:.1}\" font-family=\"{family}\" font-size=\"{WORDS}\" fill=\"{ink}\" \
             opacity=\"0.75\">{}</text>",
            escaped(line)
        );
    }
    svg.push_str("</svg>");
    Some((svg, width, height))
}

/// An element with the colour of a card.
fn panel() -> Option<Element> {
    document().query_selector(".card").ok()?
}

struct Drawing {
    content: String,
    /// The position on the page of the picture's upper left corner.
    left: f64,
    top: f64,
}

impl Drawing {
    fn draw(&mut self, element: &Element) -> Option<()> {
        let style = window().get_computed_style(element).ok()??;
        if value(&style, "display") == "none"
            || value(&style, "visibility") == "hidden"
            || element.matches(LEFT_OUT).ok()?
        {
            return Some(());
        }
        let frame = element.get_bounding_client_rect();
        match element.tag_name().to_ascii_lowercase().as_str() {
            "svg" => return self.drawing(element),
            "canvas" => {
                let canvas: &HtmlCanvasElement = element.dyn_ref()?;
                let (x, y) = (frame.left() - self.left, frame.top() - self.top);
                let _ = write!(
                    self.content,
                    "<image x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" xlink:href=\"{}\"/>",
                    frame.width(),
                    frame.height(),
                    canvas.to_data_url().ok()?
                );
                return Some(());
            }
            _ => {}
        }
        self.boxes(&style, (frame.left(), frame.top(), frame.width(), frame.height()));
        let children = element.child_nodes();
        for index in 0..children.length() {
            let child = children.get(index)?;
            match child.node_type() {
                Node::ELEMENT_NODE => self.draw(child.unchecked_ref())?,
                Node::TEXT_NODE => self.words(&child, &style)?,
                _ => {}
            }
        }
        Some(())
    }

    /// Draws the background of an element, and the line below it.
    fn boxes(&mut self, style: &CssStyleDeclaration, (x, y, width, height): (f64, f64, f64, f64)) {
        let (x, y) = (x - self.left, y - self.top);
        let ground = value(style, "background-color");
        let opacity = value(style, "opacity");
        if !is_clear(&ground) && width > 0.0 && height > 0.0 {
            let radius = pixels(&value(style, "border-top-left-radius"));
            let _ = write!(
                self.content,
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"{radius:.1}\" \
                 fill=\"{}\" opacity=\"{opacity}\"/>",
                plain(&ground)
            );
        }
        for (side, at) in [("bottom", y + height), ("top", y)] {
            let thickness = pixels(&value(style, &format!("border-{side}-width")));
            let colour = value(style, &format!("border-{side}-color"));
            let line = value(style, &format!("border-{side}-style"));
            if thickness > 0.0 && line != "none" && !is_clear(&colour) {
                let at = if side == "bottom" { at - thickness } else { at };
                let _ = write!(
                    self.content,
                    "<rect x=\"{x:.1}\" y=\"{at:.1}\" width=\"{width:.1}\" height=\"{thickness:.1}\" fill=\"{}\"/>",
                    plain(&colour)
                );
            }
        }
    }

    /// Draws a text, word by word where it has several lines.
    fn words(&mut self, node: &Node, style: &CssStyleDeclaration) -> Option<()> {
        let text = node.text_content().unwrap_or_default();
        if text.trim().is_empty() {
            return Some(());
        }
        let range = document().create_range().ok()?;
        range.select_node_contents(node).ok()?;
        if range.get_client_rects()?.length() == 1 {
            self.word(&text, &range.get_bounding_client_rect(), style);
            return Some(());
        }
        // Positions in a range count UTF-16 units.
        let mut start = 0;
        for word in text.split_inclusive(char::is_whitespace) {
            let end = start + word.encode_utf16().count() as u32;
            range.set_start(node, start).ok()?;
            range.set_end(node, end).ok()?;
            self.word(word.trim_end(), &range.get_bounding_client_rect(), style);
            start = end;
        }
        Some(())
    }

    fn word(&mut self, text: &str, frame: &web_sys::DomRect, style: &CssStyleDeclaration) {
        if text.is_empty() || frame.width() == 0.0 {
            return;
        }
        let size = pixels(&value(style, "font-size"));
        // The baseline of a line of this size.
        let y = frame.top() + (frame.height() - size) / 2.0 + size * 0.8 - self.top;
        let struck = if value(style, "text-decoration-line") == "line-through" {
            " text-decoration=\"line-through\""
        } else {
            ""
        };
        let _ = write!(
            self.content,
            "<text xml:space=\"preserve\" x=\"{:.1}\" y=\"{y:.1}\" font-family=\"{}\" font-size=\"{size:.1}\" \
             font-weight=\"{}\" fill=\"{}\" textLength=\"{:.1}\" lengthAdjust=\"spacingAndGlyphs\"{struck}>{}</text>",
            frame.left() - self.left,
            escaped(&value(style, "font-family")),
            value(style, "font-weight"),
            plain(&value(style, "color")),
            frame.width(),
            escaped(text)
        );
    }

    /// Copies an SVG drawing, with the current styles of its elements.
    fn drawing(&mut self, drawing: &Element) -> Option<()> {
        let copy: Element = drawing.clone_node_with_deep(true).ok()?.dyn_into().ok()?;
        let frame = drawing.get_bounding_client_rect();
        let place = [
            ("xmlns", "http://www.w3.org/2000/svg".to_owned()),
            ("x", format!("{:.1}", frame.left() - self.left)),
            ("y", format!("{:.1}", frame.top() - self.top)),
            ("width", format!("{:.1}", frame.width())),
            ("height", format!("{:.1}", frame.height())),
        ];
        for (name, value) in place {
            copy.set_attribute(name, &value).ok()?;
        }
        let (marks, copies) = (drawing.query_selector_all("*").ok()?, copy.query_selector_all("*").ok()?);
        for index in 0..marks.length() {
            let mark: Element = marks.get(index)?.dyn_into().ok()?;
            let copied: Element = copies.get(index)?.dyn_into().ok()?;
            let style = window().get_computed_style(&mark).ok()??;
            for property in STYLES {
                copied.set_attribute(property, &plain(&value(&style, property))).ok()?;
            }
            for property in ["style", "class", "tabindex", "role"] {
                copied.remove_attribute(property).ok()?;
            }
            // Animated bars have their position as a style.
            if mark.tag_name() == "rect" {
                for property in ["x", "y", "width", "height", "rx"] {
                    let value = value(&style, property);
                    if value.ends_with("px") {
                        copied.set_attribute(property, value.trim_end_matches("px")).ok()?;
                    }
                }
            }
        }
        self.content.push_str(&XmlSerializer::new().ok()?.serialize_to_string(&copy).ok()?);
        Some(())
    }
}

/// The style properties that an SVG element needs to look the same outside of the page.
const STYLES: [&str; 13] = [
    "fill",
    "fill-opacity",
    "stroke",
    "stroke-width",
    "stroke-dasharray",
    "stroke-linecap",
    "stroke-opacity",
    "opacity",
    "font-family",
    "font-size",
    "font-weight",
    "text-anchor",
    "dominant-baseline",
];

fn value(style: &CssStyleDeclaration, property: &str) -> String {
    style.get_property_value(property).unwrap_or_default()
}

fn pixels(length: &str) -> f64 {
    length.trim_end_matches("px").parse().unwrap_or(0.0)
}

fn is_clear(colour: &str) -> bool {
    // rgb(140, 140, 0) is olive.
    colour == "transparent" || colour.starts_with("rgba(") && colour.ends_with(", 0)") || colour.ends_with("/ 0)")
}

/// Rewrites `color(srgb 0.5 0.5 0.5)`, which few programs support, as `rgb(128, 128, 128)`; other colours stay.
fn plain(colour: &str) -> String {
    let Some(numbers) = colour.strip_prefix("color(srgb ").and_then(|rest| rest.strip_suffix(')')) else {
        return colour.to_owned();
    };
    let mut parts = numbers.split('/');
    let channels: Vec<f64> =
        parts.next().unwrap_or_default().split_whitespace().filter_map(|x| x.parse().ok()).collect();
    let alpha = parts.next().and_then(|alpha| alpha.trim().parse::<f64>().ok()).unwrap_or(1.0);
    let [red, green, blue] =
        [0, 1, 2].map(|n| (channels.get(n).copied().unwrap_or(0.0).clamp(0.0, 1.0) * 255.0).round());
    if alpha < 1.0 { format!("rgba({red}, {green}, {blue}, {alpha})") } else { format!("rgb({red}, {green}, {blue})") }
}

/// Escapes a text for XML.
fn escaped(text: &str) -> String {
    let signs = text.chars().filter(|sign| !sign.is_control() || *sign == '\n');
    signs.collect::<String>().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Divides a text into lines of at most `most` characters.
fn wrapped(text: &str, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut().filter(|line| line.chars().count() + 1 + word.chars().count() <= most) {
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines
}
