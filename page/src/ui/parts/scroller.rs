//! Elements that scroll where there is too little room for them.

use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::Closure;
use web_sys::{Element, ResizeObserver};
use yew::prelude::*;

/// Lets Tab reach the element while it can be scrolled, and only then.
#[hook]
pub fn use_tab_stop_where_it_scrolls(node: &NodeRef) {
    let node = node.clone();
    use_effect_with((), move |()| {
        let watched = node.cast::<Element>().map(|element| {
            let look = {
                let element = element.clone();
                Closure::<dyn FnMut()>::new(move || in_tab_order(&element))
            };
            let observer = ResizeObserver::new(look.as_ref().unchecked_ref());
            if let Ok(observer) = &observer {
                observer.observe(&element);
                // What is in it grows later than the element itself.
                let children = std::iter::successors(element.first_element_child(), Element::next_element_sibling);
                children.for_each(|child| observer.observe(&child));
            }
            (observer, look)
        });
        move || {
            if let Some((Ok(observer), _)) = &watched {
                observer.disconnect();
            }
        }
    });
}

fn in_tab_order(element: &Element) {
    let scrolls =
        element.scroll_width() > element.client_width() || element.scroll_height() > element.client_height() + 1;
    // Neither fails for a legal name.
    let _ = match scrolls {
        true => element.set_attribute("tabindex", "0"),
        false => element.remove_attribute("tabindex"),
    };
}
