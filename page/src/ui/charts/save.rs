//! Keeping what is on the page: the trace as JSON (the command line's) or CSV, the picture as PNG or SVG.

use crate::i18n::messages::t;
use crate::routing::Trace;
use crate::routing::csv::csv;
use crate::state::shared::Shared;
use crate::state::{Action, Picture};
use crate::ui::browser::canvas::css;
use crate::ui::parts::icon::icon;
use gloo::utils::{document, window};
use js_sys::Array;
use wasm_bindgen::prelude::*;
use web_sys::{Blob, BlobPropertyBag, Element, HtmlAnchorElement, HtmlCanvasElement, Url, XmlSerializer};
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct SaveRowProps {
    /// The card that holds the picture.
    pub node: NodeRef,
    pub picture: Picture,
    pub trace: Shared<Trace>,
    pub text: Shared<String>,
    /// The trace is one of the training: the engine has no JSON of it, and it has no probabilities.
    pub recorded: bool,
    /// Saves the trace of a text as JSON.
    pub ask: Callback<String>,
    pub dispatch: Callback<Action>,
}

/// The buttons.
#[component]
pub fn SaveRow(props: &SaveRowProps) -> Html {
    let picture = {
        let (node, picture, dispatch) = (props.node.clone(), props.picture, props.dispatch.clone());
        Callback::from(move |_: MouseEvent| {
            let card = node.cast::<Element>();
            let saved = card.and_then(|card| match picture {
                Picture::Map => png(&card, "routing-map.png"),
                Picture::Load => png(&card, "load.png"),
                Picture::Flow => svg(&card, "flow.svg"),
            });
            if saved.is_none() {
                dispatch.emit(Action::Note(t!("save.failed").into()));
            }
        })
    };
    let json = {
        let text = props.text.clone();
        props.ask.reform(move |_: MouseEvent| (*text).clone())
    };
    let as_csv = {
        let trace = props.trace.clone();
        Callback::from(move |_: MouseEvent| text("trace.csv", "text/csv", &csv(&trace)))
    };
    let format = if props.picture == Picture::Flow { "SVG" } else { "PNG" };
    html! {
        <div class="row wrap save" role="group" aria-label={t!("save.label")}>
            <span>{ icon("save") }{ " " }{ t!("save.label") }</span>
            <button type="button" class="quiet small" data-testid="save-picture" onclick={picture}>
                { t!("save.picture") }{ format!(" ({format})") }</button>
            if !props.recorded {
                <button type="button" class="quiet small" data-testid="save-json" onclick={json}>{ t!("save.json") }
                    </button>
                <button type="button" class="quiet small" data-testid="save-csv" onclick={as_csv}>{ t!("save.csv") }
                    </button>
            } else {
                <span data-testid="save-recorded">{ t!("save.recorded") }</span>
            }
        </div>
    }
}

/// Saves a text as a file.
pub fn text(name: &str, kind: &str, content: &str) {
    let options = BlobPropertyBag::new();
    options.set_type(kind);
    if let Ok(blob) = Blob::new_with_str_sequence_and_options(&Array::of1(&content.into()), &options) {
        save(name, &blob);
    }
}

fn save(name: &str, blob: &Blob) {
    let Ok(url) = Url::create_object_url_with_blob(blob) else { return };
    let Ok(link) = document().create_element("a") else { return };
    let link: HtmlAnchorElement = link.unchecked_into();
    link.set_href(&url);
    link.set_download(name);
    link.click();
    // The browser has taken the file's address by then.
    gloo::timers::callback::Timeout::new(10_000, move || {
        let _ = Url::revoke_object_url(&url);
    })
    .forget();
}

/// The card's canvas on the panel's colour.
fn png(card: &Element, name: &'static str) -> Option<()> {
    let canvas: HtmlCanvasElement = card.query_selector("canvas").ok()??.dyn_into().ok()?;
    let copy: HtmlCanvasElement = document().create_element("canvas").ok()?.dyn_into().ok()?;
    copy.set_width(canvas.width());
    copy.set_height(canvas.height());
    let context: web_sys::CanvasRenderingContext2d = copy.get_context("2d").ok()??.dyn_into().ok()?;
    context.set_fill_style_str(&css("--panel"));
    context.fill_rect(0.0, 0.0, f64::from(copy.width()), f64::from(copy.height()));
    context.draw_image_with_html_canvas_element(&canvas, 0.0, 0.0).ok()?;
    let made = Closure::once_into_js(move |blob: Option<Blob>| {
        if let Some(blob) = blob {
            save(name, &blob);
        }
    });
    copy.to_blob(made.unchecked_ref()).ok()
}

/// What a mark in an SVG needs to look outside the page as it does here.
const STYLES: [&str; 9] = [
    "fill",
    "stroke",
    "stroke-width",
    "stroke-dasharray",
    "opacity",
    "font-family",
    "font-size",
    "text-anchor",
    "dominant-baseline",
];

/// The card's drawing, its marks styled as they are now.
fn svg(card: &Element, name: &str) -> Option<()> {
    let drawing = card.query_selector("svg[viewBox][role]").ok()??;
    let copy: Element = drawing.clone_node_with_deep(true).ok()?.dyn_into().ok()?;
    copy.set_attribute("xmlns", "http://www.w3.org/2000/svg").ok()?;
    let (marks, copies) = (drawing.query_selector_all("*").ok()?, copy.query_selector_all("*").ok()?);
    for index in 0..marks.length() {
        let mark: Element = marks.get(index)?.dyn_into().ok()?;
        let copied: Element = copies.get(index)?.dyn_into().ok()?;
        let style = window().get_computed_style(&mark).ok()??;
        for property in STYLES {
            let value = style.get_property_value(property).ok()?;
            copied.set_attribute(property, &value).ok()?;
        }
    }
    let content = XmlSerializer::new().ok()?.serialize_to_string(&copy).ok()?;
    text(name, "image/svg+xml", &content);
    Some(())
}
