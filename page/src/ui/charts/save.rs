//! Saves the trace as JSON (the command line's) or CSV, and the picture as PNG or SVG.

use crate::i18n::messages::t;
use crate::routing::Trace;
use crate::routing::csv::csv;
use crate::state::shared::Shared;
use crate::state::{Action, Picture};
use crate::ui::charts::drawn::{Caption, as_svg};
use crate::ui::parts::icon::icon;
use gloo::utils::document;
use js_sys::Array;
use std::cell::RefCell;
use wasm_bindgen::prelude::*;
use web_sys::{Blob, BlobPropertyBag, HtmlAnchorElement, HtmlCanvasElement, HtmlImageElement, Url};
use yew::prelude::*;

thread_local! {
    /// The model that the pictures on the page are of.
    static MODEL: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Pictures are of the model of this name from now on.
pub fn of_model(name: String) {
    MODEL.set(name);
}

#[derive(Properties, PartialEq)]
pub struct SavePictureProps {
    /// What is drawn: the first element on the page that it selects.
    pub element: &'static str,
    /// The file's name, without what says its kind.
    pub file: &'static str,
    /// Over the picture.
    pub title: String,
    /// Under it: what its colours and sizes mean.
    #[prop_or_default]
    pub legend: String,
    /// Words before the buttons.
    pub label: String,
    pub dispatch: Callback<Action>,
}

/// A picture as PNG, with twice the screen's pixels, and as SVG, each with title, legend, model and date.
#[component]
pub fn SavePicture(props: &SavePictureProps) -> Html {
    let button = |kind: &'static str, name: &'static str| {
        let (element, file, dispatch) = (props.element, props.file, props.dispatch.clone());
        let caption = (props.title.clone(), props.legend.clone());
        let save = Callback::from(move |_: MouseEvent| {
            if save_picture(element, file, caption.clone(), kind).is_none() {
                dispatch.emit(Action::Note(t!("save.failed").into()));
            }
        });
        html! {
            <button type="button" class="quiet small" data-testid={format!("save-{kind}")} data-picture={file}
                aria-label={format!("{}, {name}", props.label)} onclick={save}>{ name }</button>
        }
    };
    html! { <><span>{ &props.label }</span>{ button("png", "PNG") }{ button("svg", "SVG") }</> }
}

/// Draws an element and saves it.
fn save_picture(element: &str, file: &str, (title, legend): (String, String), kind: &str) -> Option<()> {
    let element = document().query_selector(element).ok()??;
    let date = js_sys::Date::new_0().to_iso_string().as_string()?;
    let source = t!("save.source", model = MODEL.with_borrow(String::clone), date = &date[..10]);
    let (svg, width, height) = as_svg(&element, &Caption { title, legend, source })?;
    let name = format!("{file}.{kind}");
    if kind == "svg" {
        text(&name, "image/svg+xml", &svg);
        return Some(());
    }
    png(&svg, (width, height), name)
}

#[derive(Properties, PartialEq)]
pub struct SaveRowProps {
    pub picture: Picture,
    pub trace: Shared<Trace>,
    pub text: Shared<String>,
    /// Whether the trace comes from a recording, which has no JSON and no probabilities.
    pub recorded: bool,
    /// Saves the trace of a text as JSON.
    pub ask: Callback<String>,
    pub dispatch: Callback<Action>,
}

/// The buttons under the pictures of the text.
#[component]
pub fn SaveRow(props: &SaveRowProps) -> Html {
    let (file, title, legend) = match props.picture {
        Picture::Map => ("routing-map", t!("map.title"), t!("map.about")),
        Picture::Load => ("load", t!("loadmap.title"), t!("loadmap.about")),
        Picture::Flow => ("flow", t!("flow.title"), t!("flow.about")),
    };
    let json = {
        let text = props.text.clone();
        props.ask.reform(move |_: MouseEvent| (*text).clone())
    };
    let as_csv = {
        let trace = props.trace.clone();
        Callback::from(move |_: MouseEvent| text("trace.csv", "text/csv", &csv(&trace)))
    };
    html! {
        <div class="row wrap save" role="group" aria-label={t!("save.label")}>
            <span>{ icon("save") }</span>
            <SavePicture element="[data-place=picture] .map" {file} {title} {legend} label={t!("save.picture")}
                dispatch={props.dispatch.clone()} />
            if !props.recorded {
                <span>{ t!("save.trace") }</span>
                <button type="button" class="quiet small" data-testid="save-json" onclick={json}>{ "JSON" }</button>
                <button type="button" class="quiet small" data-testid="save-csv" onclick={as_csv}>{ "CSV" }</button>
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
    // After this time the browser has read the file's address.
    gloo::timers::callback::Timeout::new(10_000, move || {
        let _ = Url::revoke_object_url(&url);
    })
    .forget();
}

/// An SVG of this size as a PNG with two pixels a CSS pixel.
fn png(svg: &str, (width, height): (f64, f64), name: String) -> Option<()> {
    let image = HtmlImageElement::new().ok()?;
    let drawn = image.clone();
    let draw = move || -> Option<()> {
        let canvas: HtmlCanvasElement = document().create_element("canvas").ok()?.dyn_into().ok()?;
        canvas.set_width((width * SCALE) as u32);
        canvas.set_height((height * SCALE) as u32);
        let context: web_sys::CanvasRenderingContext2d = canvas.get_context("2d").ok()??.dyn_into().ok()?;
        context.scale(SCALE, SCALE).ok()?;
        context.draw_image_with_html_image_element(&drawn, 0.0, 0.0).ok()?;
        let made = Closure::once_into_js(move |blob: Option<Blob>| {
            if let Some(blob) = blob {
                save(&name, &blob);
            }
        });
        canvas.to_blob(made.unchecked_ref()).ok()
    };
    let loaded = Closure::once_into_js(move || {
        // A browser that draws no such image saves none.
        let _ = draw();
    });
    image.set_onload(Some(loaded.unchecked_ref()));
    let encoded = js_sys::encode_uri_component(svg);
    image.set_src(&format!("data:image/svg+xml;charset=utf-8,{encoded}"));
    Some(())
}

/// Pixels of a saved picture for each CSS pixel.
const SCALE: f64 = 2.0;
