//! The page in a frame of another site: it obeys the messages of that page and tells it what happens (docs/embed.md).
//! `window.moescope` is out of reach there.

use crate::api::{set_policy, trace};
use crate::state::told::Told;
use crate::state::{Action, LayerChoice, State};
use crate::worker_client::WorkerClient;
use gloo::events::EventListener;
use gloo::utils::window;
use js_sys::{JSON, Object, Reflect};
use std::cell::RefCell;
use std::rc::Rc;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::spawn_local;
use web_sys::{MessageEvent, Window};
use yew::Callback;

/// What messages of this protocol have, and its version.
const NAME: &str = "moescope";
const VERSION: f64 = 1.0;

/// The page that embeds this one, once it has spoken: events are for its origin alone.
#[derive(Clone)]
pub struct Embedder {
    window: Window,
    origin: Rc<RefCell<Option<String>>>,
    told: Rc<RefCell<Told>>,
}

impl Embedder {
    /// The page around this one, where there is one.
    pub fn find() -> Option<Self> {
        let own = window();
        let parent = own.parent().ok().flatten()?;
        (parent != own).then(|| Self { window: parent, origin: Rc::default(), told: Rc::default() })
    }

    /// Obeys its messages.
    pub fn obey(&self, link: Rc<WorkerClient>, dispatch: Callback<Action>) -> EventListener {
        let this = self.clone();
        EventListener::new(&window(), "message", move |event| {
            let Some(event) = event.dyn_ref::<MessageEvent>() else { return };
            let is_parent = event.source().is_some_and(|source| {
                let source: &JsValue = source.as_ref();
                source == this.window.as_ref() as &JsValue
            });
            let message = event.data();
            if !is_parent || get(&message, "to").as_string().as_deref() != Some(NAME) {
                return;
            }
            let origin = event.origin();
            // A page in a file or a sandbox has no origin to speak to.
            *this.origin.borrow_mut() = Some(if origin == "null" { "*".into() } else { origin });
            let (this, link, dispatch) = (this.clone(), link.clone(), dispatch.clone());
            spawn_local(async move {
                let answer = obey(&message, link, dispatch).await;
                this.answer(&get(&message, "id"), answer);
            });
        })
    }

    /// Tells it what has happened.
    pub fn tell(&self, state: &State) {
        if self.origin.borrow().is_none() {
            return;
        }
        for event in self.told.borrow_mut().news(state) {
            if let Ok(event) = JSON::parse(&event.to_string()) {
                self.post(&event);
            }
        }
    }

    fn answer(&self, id: &JsValue, answer: Result<JsValue, JsValue>) {
        let message = Object::new();
        set(&message, "id", id);
        match answer {
            Ok(value) => set(&message, "value", &value),
            Err(error) => {
                let sentence = error.dyn_ref::<js_sys::Error>().map(|error| error.message().into());
                set(&message, "error", &sentence.unwrap_or(error));
            }
        }
        self.post(&message);
    }

    fn post(&self, message: &JsValue) {
        set(message, "from", &NAME.into());
        set(message, "version", &VERSION.into());
        if let Some(origin) = &*self.origin.borrow() {
            // Fails only where the origin is none, and that page is gone.
            let _ = self.window.post_message(message, origin);
        }
    }
}

/// Does what a message asks for.
async fn obey(message: &JsValue, link: Rc<WorkerClient>, dispatch: Callback<Action>) -> Result<JsValue, JsValue> {
    let wrong = |what: &str| Err(js_sys::Error::new(what).into());
    match get(message, "do").as_string().unwrap_or_default().as_str() {
        // Whoever says this hears of what happens from then on.
        "hello" => Ok(JsValue::UNDEFINED),
        "text" => match get(message, "text").as_string() {
            Some(text) => {
                dispatch.emit(Action::Replace(crate::state::address::as_in_a_text_box(&text)));
                Ok(JsValue::UNDEFINED)
            }
            None => wrong("text: give a text"),
        },
        "policy" => set_policy(link, dispatch, get(message, "policy")).await,
        "trace" => trace(link, get(message, "prompt"), get(message, "options")).await,
        "layer" => {
            let layer = get(message, "layer");
            let choice = match layer.as_f64() {
                Some(layer) if layer >= 0.0 && layer.fract() == 0.0 => Some(LayerChoice::One(layer as usize)),
                _ => (layer.as_string().as_deref() == Some("all")).then_some(LayerChoice::All),
            };
            let Some(choice) = choice else { return wrong("layer: give a layer's number, or \"all\"") };
            let model = link.ready().await.map_err(|message| JsValue::from(js_sys::Error::new(&message)))?;
            if matches!(choice, LayerChoice::One(layer) if layer >= model.layers) {
                return wrong(&format!("layer: the model has layers 0 to {}", model.layers - 1));
            }
            dispatch.emit(Action::Layer(choice));
            Ok(JsValue::UNDEFINED)
        }
        "token" => match get(message, "position").as_f64() {
            Some(position) if position >= 0.0 && position.fract() == 0.0 => {
                dispatch.emit(Action::Pin(Some(position as usize)));
                Ok(JsValue::UNDEFINED)
            }
            _ => wrong("token: give a position, counted from 0"),
        },
        other => wrong(&format!("{other}: there are hello, text, policy, trace, layer and token (docs/embed.md)")),
    }
}

fn get(message: &JsValue, key: &str) -> JsValue {
    if !message.is_object() {
        return JsValue::UNDEFINED;
    }
    Reflect::get(message, &key.into()).unwrap_or(JsValue::UNDEFINED)
}

fn set(object: &JsValue, key: &str, value: &JsValue) {
    // Setting a new property of a plain object cannot fail.
    let _ = Reflect::set(object, &key.into(), value);
}
