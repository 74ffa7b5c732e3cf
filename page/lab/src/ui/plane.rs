//! The plane of a mixture: who answers where, or what is predicted there; and the points, which the reader can draw.

use crate::protocol::CELL;
use moescope_common::canvas::{css, use_pixel_ratio, use_width};
use moescope_common::palette::Palette;
use serde_json::Value;
use std::rc::Rc;
use wasm_bindgen::{Clamped, JsCast};
use web_sys::{CanvasRenderingContext2d, HtmlCanvasElement, ImageData, PointerEvent};
use yew::prelude::*;

/// What the colours of the plane are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// The expert with the largest share, stronger where it is larger.
    Shares,
    /// What the mixture predicts.
    Prediction,
    /// How unsure the prediction is.
    Deviation,
}

/// What the pointer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// Draws points of a class; of sets with values, low (0) or high ones.
    Class(u8),
    /// Erases points.
    Erase,
    /// Nothing.
    None,
}

/// The pointer erases points so near.
const NEAR: f32 = 0.07;

/// The most points that are drawn.
const MOST: usize = 1500;

/// The values that are drawn.
const VALUES: [f32; 2] = [-0.8, 0.8];

/// The points after the pointer was at a place; `None` where nothing changes.
pub fn drawn_points(drawn: &Value, own: Option<&[[f32; 3]]>, tool: Tool, x: f32, y: f32) -> Option<Vec<[f32; 3]>> {
    let mut points = own.map_or_else(|| points_of(drawn), <[_]>::to_vec);
    let before = points.len();
    let near = |point: &[f32; 3], by: f32| (point[0] - x).hypot(point[1] - y) < by;
    match tool {
        Tool::Erase => points.retain(|point| !near(point, NEAR)),
        // One on another would add nothing to see.
        Tool::Class(class) if before < MOST && !points.iter().any(|point| near(point, NEAR / 3.0)) => {
            let value = if drawn["classes"].is_u64() { f32::from(class) } else { VALUES[usize::from(class.min(1))] };
            points.push([x, y, value]);
        }
        _ => {}
    }
    // The last point stays: there would be nothing to train on.
    (points.len() != before && !points.is_empty()).then_some(points)
}

fn points_of(drawn: &Value) -> Vec<[f32; 3]> {
    serde_json::from_value(drawn["points"].clone()).unwrap_or_default()
}

#[derive(Properties, PartialEq)]
pub struct PlaneProps {
    pub cells: Rc<Vec<u8>>,
    pub size: (usize, usize),
    pub drawn: Value,
    pub experts: usize,
    pub show: Show,
    pub tool: Tool,
    pub dark: bool,
    /// What the run is called.
    pub label: String,
    pub draw: Callback<(f32, f32)>,
}

/// The plane.
#[component]
pub fn Plane(props: &PlaneProps) -> Html {
    let (place, under, over) = (use_node_ref(), use_node_ref(), use_node_ref());
    let width = use_width(&place);
    let ratio = use_pixel_ratio();
    {
        let (under, cells, size) = (under.clone(), props.cells.clone(), props.size);
        let (experts, show, dark) = (props.experts, props.show, props.dark);
        let classes = props.drawn["classes"].as_u64();
        use_effect_with((cells, size, show, dark, experts), move |(cells, size, ..)| {
            if let Some(canvas) = under.cast::<HtmlCanvasElement>() {
                paint(&canvas, cells, *size, &Colours::new(experts, classes, show, dark));
            }
        });
    }
    {
        let over = over.clone();
        let points = Rc::new(points_of(&props.drawn));
        let classes = props.drawn["classes"].as_u64();
        use_effect_with((points, width, ratio, props.dark), move |(points, width, ratio, _)| {
            if let Some(canvas) = over.cast::<HtmlCanvasElement>() {
                dots(&canvas, points, classes.is_some(), *width, *ratio);
            }
        });
    }
    let pointer = {
        let (draw, over) = (props.draw.clone(), over.clone());
        move |event: PointerEvent| {
            let Some(canvas) = over.cast::<HtmlCanvasElement>() else { return };
            let area = canvas.get_bounding_client_rect();
            let part = |at: f64, from: f64, size: f64| (at - from) / size.max(1.0) * 2.0 - 1.0;
            let x = part(f64::from(event.client_x()), area.left(), area.width());
            let y = -part(f64::from(event.client_y()), area.top(), area.height());
            if x.abs() <= 1.0 && y.abs() <= 1.0 {
                draw.emit((x as f32, y as f32));
            }
        }
    };
    let is_idle = props.tool == Tool::None;
    let down = {
        let pointer = pointer.clone();
        Callback::from(move |event: PointerEvent| {
            if !is_idle {
                event.prevent_default();
                pointer(event);
            }
        })
    };
    let moved = Callback::from(move |event: PointerEvent| {
        if !is_idle && event.buttons() & 1 == 1 {
            pointer(event);
        }
    });
    html! {
        <div class="plane" ref={place} data-tool={if is_idle { "none" } else { "draw" }}>
            <canvas class="plane-cells" ref={under} role="img" aria-label={props.label.clone()}></canvas>
            <canvas class="plane-points" ref={over} onpointerdown={down} onpointermove={moved}></canvas>
        </div>
    }
}

type Rgb = [f32; 3];

/// What the bytes of a cell look like.
struct Colours {
    show: Show,
    panel: Rgb,
    ink: Rgb,
    experts: Vec<Rgb>,
    classes: Option<u64>,
    /// The share of an expert where all are even.
    even: f32,
}

impl Colours {
    fn new(experts: usize, classes: Option<u64>, show: Show, dark: bool) -> Self {
        let palette = Palette::new(experts.max(8));
        let colours = (0..experts).map(|e| rgb(&palette.shade(e as u32, dark).fill)).collect();
        let (panel, ink) = if dark { ([28.0; 3], [236.0; 3]) } else { ([255.0; 3], [27.0; 3]) };
        Self { show, panel, ink, experts: colours, classes, even: 1.0 / experts.max(1) as f32 }
    }

    fn of(&self, cell: &[u8]) -> Rgb {
        let part = |byte: u8| f32::from(byte) / 255.0;
        match self.show {
            Show::Shares => {
                let over_even = ((part(cell[1]) - self.even) / (1.0 - self.even).max(1e-3)).clamp(0.0, 1.0);
                let colour = self.experts.get(usize::from(cell[0])).copied().unwrap_or(self.panel);
                mix(self.panel, colour, 0.08 + 0.72 * over_even)
            }
            Show::Prediction => match self.classes {
                Some(classes) => mix(self.panel, self.ink, 0.06 + 0.5 * f32::from(cell[2]) / classes.max(2) as f32),
                None => mix(self.panel, self.ink, 0.8 * part(cell[2])),
            },
            Show::Deviation => mix(self.panel, self.ink, 0.9 * part(cell[3])),
        }
    }
}

fn mix(one: Rgb, other: Rgb, part: f32) -> Rgb {
    [0, 1, 2].map(|channel| one[channel] + (other[channel] - one[channel]) * part)
}

/// The channels of `#rrggbb`.
fn rgb(css: &str) -> Rgb {
    let channel = |at: usize| css.get(at..at + 2).and_then(|hex| u8::from_str_radix(hex, 16).ok()).unwrap_or(0);
    [1, 3, 5].map(|at| f32::from(channel(at)))
}

fn context(canvas: &HtmlCanvasElement) -> Option<CanvasRenderingContext2d> {
    canvas.get_context("2d").ok()??.dyn_into().ok()
}

fn paint(canvas: &HtmlCanvasElement, cells: &[u8], (width, height): (usize, usize), colours: &Colours) {
    if width == 0 || cells.len() != width * height * CELL {
        return;
    }
    let mut pixels = Vec::with_capacity(cells.len());
    for cell in cells.chunks_exact(CELL) {
        let [r, g, b] = colours.of(cell).map(|channel| channel as u8);
        pixels.extend([r, g, b, 255]);
    }
    if canvas.width() as usize != width {
        canvas.set_width(width as u32);
        canvas.set_height(height as u32);
    }
    let image = ImageData::new_with_u8_clamped_array_and_sh(Clamped(&pixels), width as u32, height as u32);
    if let (Some(context), Ok(image)) = (context(canvas), image) {
        // Fails only for an image of no size.
        let _ = context.put_image_data(&image, 0.0, 0.0);
    }
}

/// Points: each class has a form of its own, values are lighter or darker.
fn dots(canvas: &HtmlCanvasElement, points: &[[f32; 3]], has_classes: bool, width: f64, ratio: f64) {
    let Some(context) = context(canvas) else { return };
    canvas.set_width((width * ratio).round() as u32);
    canvas.set_height((width * ratio).round() as u32);
    // Fails only for numbers that are not finite.
    let _ = context.scale(ratio, ratio);
    let (ink, panel) = (css("--ink"), css("--panel"));
    let size = (width / 110.0).clamp(2.2, 4.5);
    context.set_line_width(1.0);
    for [x, y, value] in points {
        let place = |at: f32| (f64::from(at) + 1.0) / 2.0 * width;
        let (x, y) = (place(*x), place(-*y));
        context.begin_path();
        let class = if has_classes { *value as usize } else { 0 };
        shape(&context, class, x, y, size);
        if has_classes {
            let is_full = class.is_multiple_of(2);
            context.set_fill_style_str(if is_full { &ink } else { &panel });
            context.set_stroke_style_str(if is_full { &panel } else { &ink });
        } else {
            let part = ((value / crate::protocol::RANGE + 1.0) / 2.0).clamp(0.0, 1.0) * 100.0;
            context.set_fill_style_str(&format!("color-mix(in srgb, {ink} {part:.0}%, {panel})"));
            context.set_stroke_style_str(&ink);
        }
        context.fill();
        context.stroke();
    }
}

fn shape(context: &CanvasRenderingContext2d, class: usize, x: f64, y: f64, size: f64) {
    let corners: &[(f64, f64)] = match class % 8 / 2 {
        1 => &[(0.0, -1.3), (1.2, 0.9), (-1.2, 0.9)],
        2 => &[(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)],
        3 => &[(0.0, -1.4), (1.1, 0.0), (0.0, 1.4), (-1.1, 0.0)],
        // Fails only for a radius below 0.
        _ => return drop(context.arc(x, y, size, 0.0, std::f64::consts::TAU)),
    };
    for (number, (dx, dy)) in corners.iter().enumerate() {
        let (x, y) = (x + dx * size, y + dy * size);
        if number == 0 { context.move_to(x, y) } else { context.line_to(x, y) }
    }
    context.close_path();
}
