//! Elements that scroll where there is too little room for them.

use gloo::events::EventListener;
use gloo::timers::callback::Timeout;
use gloo::utils::window;
use web_sys::Element;
use yew::prelude::*;

/// Time without changes after which an element is looked at.
const REST_MS: u32 = 300;

/// Lets Tab reach the element while it can be scrolled, and only then.
#[hook]
pub fn use_tab_stop_where_it_scrolls(node: &NodeRef) {
    {
        let node = node.clone();
        // After each rendering, once nothing changes any more: reading sizes while the page changes takes long.
        use_effect(move || {
            let rest = Timeout::new(REST_MS, move || node.cast::<Element>().iter().for_each(in_tab_order));
            move || drop(rest)
        });
    }
    let node = node.clone();
    use_effect_with((), move |()| {
        let resized = EventListener::new(&window(), "resize", move |_| {
            node.cast::<Element>().iter().for_each(in_tab_order);
        });
        move || drop(resized)
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
