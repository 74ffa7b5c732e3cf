//! A canvas with the screen's resolution and the width of its container, drawn at most once a frame.

use gloo::events::EventListener;
use gloo::timers::callback::Timeout;
use gloo::utils::{document, window};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::*;
use web_sys::{CanvasRenderingContext2d, Element, HtmlCanvasElement, ResizeObserver};
use yew::prelude::*;

/// The width of `node` in CSS pixels, kept up to date; 0 until it is measured.
#[hook]
pub fn use_width(node: &NodeRef) -> f64 {
    let width = use_state_eq(|| 0.0);
    {
        let (node, width) = (node.clone(), width.clone());
        use_effect_with((), move |()| {
            let element = node.cast::<Element>();
            // The observer also reports the first width, after layout. Reading client_width() here would force a
            // synchronous layout of the page.
            let watched = element.clone();
            let resized = Closure::<dyn FnMut()>::new(move || {
                if let Some(element) = &watched {
                    width.set(f64::from(element.client_width()));
                }
            });
            let observer = ResizeObserver::new(resized.as_ref().unchecked_ref()).ok();
            if let (Some(observer), Some(element)) = (&observer, &element) {
                observer.observe(element);
            }
            move || {
                if let Some(observer) = observer {
                    observer.disconnect();
                }
                drop(resized);
            }
        });
    }
    *width
}

/// The screen's pixels per CSS pixel, kept up to date; it changes with the page's zoom.
#[hook]
pub fn use_pixel_ratio() -> f64 {
    let ratio = use_state_eq(|| window().device_pixel_ratio());
    {
        let ratio = ratio.clone();
        use_effect_with((), move |()| {
            let listener = EventListener::new(&window(), "resize", move |_| ratio.set(window().device_pixel_ratio()));
            move || drop(listener)
        });
    }
    *ratio
}

/// A drawing that takes longer than this is not repeated while the size changes. The browser scales the old drawing
/// until the size has been constant for `RESTS_MS`.
const SLOW_MS: f64 = 25.0;
const RESTS_MS: u32 = 120;

/// Draws `canvas` with `draw` in the next frame after the size or `what` changes.
#[hook]
pub fn use_drawing<W, D>(canvas: &NodeRef, size: (f64, f64), what: W, draw: D)
where
    W: Clone + PartialEq + 'static,
    D: FnOnce(&W, &Pen) + 'static,
{
    let canvas = canvas.clone();
    let ratio = use_pixel_ratio();
    let drawn = use_mut_ref(|| None::<(W, f64)>);
    use_effect_with((size, ratio, what), move |((width, height), ratio, what)| {
        let (width, height, ratio, what) = (*width, *height, *ratio, what.clone());
        let is_slow = drawn.borrow().as_ref().is_some_and(|(was, ms)| *was == what && *ms > SLOW_MS);
        let draw = move || {
            if let Some(pen) = canvas.cast().and_then(|canvas| Pen::new(&canvas, width, height, ratio)) {
                let start = js_sys::Date::now();
                draw(&what, &pen);
                drawn.replace(Some((what, js_sys::Date::now() - start)));
            }
        };
        let (timer, frame) =
            if is_slow { (Some(Timeout::new(RESTS_MS, draw)), None) } else { (None, Some(next_frame(draw))) };
        move || drop((timer, frame))
    });
}

/// A callback that waits for the next frame; dropping this cancels it.
pub struct Frame {
    id: i32,
    done: Rc<Cell<bool>>,
    _callback: Closure<dyn FnMut()>,
}

thread_local! {
    static PAINTINGS: Cell<usize> = const { Cell::new(0) };
    static PAINTED_SOON: Cell<bool> = const { Cell::new(false) };
    static PAINTING_MS: Cell<f64> = const { Cell::new(0.0) };
}

/// Number of paints so far in which something waited for a frame. Drawings between two changes of this number are
/// painted together.
pub fn paintings() -> usize {
    PAINTINGS.get()
}

/// Milliseconds of the page's thread from the first callback of the last such frame to the end of its paint.
pub fn painting_ms() -> f64 {
    PAINTING_MS.get()
}

/// Calls `callback` after the next paint, in a task of its own, so that it does not lengthen the task that paints.
/// Dropping the result cancels the call.
pub fn after_painting(callback: impl FnOnce() + 'static) -> AfterPainting {
    let timer = Rc::new(Cell::new(None));
    let frame = {
        let timer = timer.clone();
        next_frame(move || timer.set(Some(Timeout::new(0, callback))))
    };
    AfterPainting { _frame: frame, _timer: timer }
}

/// A callback that waits for the next paint; dropping this cancels it.
pub struct AfterPainting {
    _frame: Frame,
    _timer: Rc<Cell<Option<Timeout>>>,
}

/// A timer that is set in an animation frame's callback fires after the frame's paint.
fn count_painting() {
    if !PAINTED_SOON.replace(true) {
        let start = js_sys::Date::now();
        let painted = move || {
            PAINTED_SOON.set(false);
            PAINTINGS.set(PAINTINGS.get() + 1);
            PAINTING_MS.set(js_sys::Date::now() - start);
        };
        Timeout::new(0, painted).forget();
    }
}

/// Calls `callback` before the next frame is painted.
pub fn next_frame(callback: impl FnOnce() + 'static) -> Frame {
    let done = Rc::new(Cell::new(false));
    let closure = {
        let done = done.clone();
        let mut callback = Some(callback);
        Closure::<dyn FnMut()>::new(move || {
            done.set(true);
            count_painting();
            if let Some(callback) = callback.take() {
                callback();
            }
        })
    };
    let id = window().request_animation_frame(closure.as_ref().unchecked_ref()).unwrap_or_default();
    Frame { id, done, _callback: closure }
}

impl Frame {
    /// Keeps the callback without keeping this value.
    pub fn leave(self) {
        std::mem::forget(self);
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        if !self.done.get() {
            // Fails only for an id that does not exist any more, so there is nothing to cancel.
            let _ = window().cancel_animation_frame(self.id);
        }
    }
}

/// Draws on a canvas in CSS pixels.
pub struct Pen {
    context: CanvasRenderingContext2d,
    font: RefCell<String>,
}

/// The position of a text relative to its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// The point is its left end.
    Left,
    /// The point is its middle.
    Centre,
}

impl Pen {
    fn new(canvas: &HtmlCanvasElement, width: f64, height: f64, ratio: f64) -> Option<Self> {
        let context: CanvasRenderingContext2d = canvas.get_context("2d").ok()??.dyn_into().ok()?;
        // Setting the size also clears the canvas and resets its state.
        canvas.set_width((width * ratio).round() as u32);
        canvas.set_height((height * ratio).round() as u32);
        context.scale(ratio, ratio).ok()?;
        Some(Self { context, font: RefCell::default() })
    }

    /// Sets the colour and the opacity of what is drawn next.
    pub fn colour(&self, colour: &str, opacity: f64) {
        self.context.set_fill_style_str(colour);
        self.context.set_global_alpha(opacity);
    }

    /// Fills a rectangle.
    pub fn rectangle(&self, x: f64, y: f64, width: f64, height: f64) {
        self.context.fill_rect(x, y, width, height);
    }

    /// Fills a rectangle with round corners.
    pub fn rounded(&self, x: f64, y: f64, width: f64, height: f64, radius: f64) {
        self.context.begin_path();
        if self.context.round_rect_with_f64(x, y, width, height.max(0.0), radius).is_ok() {
            self.context.fill();
        }
    }

    /// Sets the size in pixels of texts that are drawn next, in the font of numbers.
    pub fn font(&self, size: f64, bold: bool) {
        let weight = if bold { "600 " } else { "" };
        let font = format!("{weight}{size}px {}", css("--mono"));
        // Browsers are slow at setting a font, even the current one.
        if *self.font.borrow() != font {
            self.context.set_font(&font);
            self.font.replace(font);
        }
    }

    /// Writes `text` with its vertical middle at `y`.
    pub fn text(&self, text: &str, x: f64, y: f64, align: Align) {
        self.context.set_text_align(match align {
            Align::Left => "left",
            Align::Centre => "center",
        });
        self.context.set_text_baseline("middle");
        // Fails only on a canvas that was removed.
        let _ = self.context.fill_text(text, x, y);
    }
}

thread_local! {
    /// Values of style properties, read once, because reading one makes the browser compute all styles.
    static LOOK: RefCell<HashMap<&'static str, String>> = RefCell::default();
}

/// Forgets these values after a change of theme or width; they are read again when they are needed.
pub fn forget_look() {
    LOOK.with_borrow_mut(HashMap::clear);
}

/// The value of a style property of the document, usually a custom property.
pub fn css(name: &'static str) -> String {
    LOOK.with_borrow_mut(|look| look.entry(name).or_insert_with(|| computed(name)).clone())
}

fn computed(name: &str) -> String {
    let style = document().document_element().and_then(|root| window().get_computed_style(&root).ok().flatten());
    style.and_then(|style| style.get_property_value(name).ok()).unwrap_or_default().trim().to_owned()
}

/// One `rem` in CSS pixels; the pictures grow with the text.
pub fn rem() -> f64 {
    css("font-size").trim_end_matches("px").parse().unwrap_or(16.0)
}
