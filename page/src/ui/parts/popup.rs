//! A button with a panel that opens below it. The panel closes on Escape, on a click outside and when the focus leaves
//! it, so that at most one panel is open.

use gloo::events::EventListener;
use gloo::utils::document;
use wasm_bindgen::JsCast;
use web_sys::{Element, HtmlElement, KeyboardEvent, Node};
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct PopupProps {
    /// The contents of the button.
    pub label: Html,
    /// The button's accessible name, where `label` is not enough.
    #[prop_or_default]
    pub name: Option<String>,
    /// The button's class.
    #[prop_or_default]
    pub class: Classes,
    /// The class of the whole component.
    #[prop_or_default]
    pub place: Classes,
    /// The button's `data-testid`.
    pub testid: &'static str,
    /// The panel's class.
    #[prop_or_default]
    pub panel_testid: Option<&'static str>,
    /// The panel's contents; a click on an element with `data-closes` closes the panel.
    pub children: Html,
}

/// The button and its panel.
#[component]
pub fn Popup(props: &PopupProps) -> Html {
    let open = use_state_eq(|| false);
    let node = use_node_ref();
    let button = use_node_ref();
    {
        let (open, node, button) = (open.clone(), node.clone(), button.clone());
        use_effect_with(*open, move |is_open| {
            let listeners = is_open.then(|| listen(open, node, button));
            move || drop(listeners)
        });
    }
    let toggle = {
        let open = open.clone();
        Callback::from(move |_: MouseEvent| open.set(!*open))
    };
    let inside = {
        let open = open.clone();
        Callback::from(move |event: MouseEvent| {
            let element = event.target().and_then(|target| target.dyn_into::<Element>().ok());
            if element.and_then(|element| element.closest("[data-closes]").ok().flatten()).is_some() {
                open.set(false);
            }
        })
    };
    html! {
        <div class={classes!("popup", props.place.clone())} ref={node}>
            <button ref={button} type="button" class={props.class.clone()} data-testid={props.testid}
                aria-label={props.name.clone()}
                title={props.name.clone()} aria-expanded={open.to_string()} onclick={toggle}>{ props.label.clone() }
                </button>
            <div class="popup-panel" hidden={!*open} data-testid={props.panel_testid} onclick={inside}>
                { props.children.clone() }</div>
        </div>
    }
}

fn listen(open: UseStateHandle<bool>, node: NodeRef, button: NodeRef) -> [EventListener; 3] {
    let outside = move |event: &Event| {
        let target = event.target().and_then(|target| target.dyn_into::<Node>().ok());
        target.is_some() && !node.cast::<Node>().is_some_and(|node| node.contains(target.as_ref()))
    };
    let close_outside = |kind: &'static str| {
        let (open, outside) = (open.clone(), outside.clone());
        EventListener::new(&document(), kind, move |event| {
            if outside(event) {
                open.set(false);
            }
        })
    };
    let others = [close_outside("pointerdown"), close_outside("focusin")];
    let escape = EventListener::new(&document(), "keydown", move |event| {
        if event.dyn_ref::<KeyboardEvent>().is_some_and(|event| event.key() == "Escape") {
            // Escape closes the panel and has no other effect.
            event.stop_propagation();
            open.set(false);
            if let Some(button) = button.cast::<HtmlElement>() {
                // Fails only for an element that is not in the document.
                let _ = button.focus();
            }
        }
    });
    let [pressed, focused] = others;
    [pressed, focused, escape]
}
