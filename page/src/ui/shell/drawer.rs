//! The drawer at the right, which shows one tab at a time; on a small screen it is a sheet at the bottom.

use crate::i18n::messages::t;
use crate::state::Action;
use crate::state::view::Tab;
use crate::ui::parts::icon::icon;
use crate::ui::parts::scroller::use_tab_stop_where_it_scrolls;
use gloo::utils::document;
use wasm_bindgen::JsCast;
use web_sys::HtmlElement;
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct DrawerProps {
    pub tab: Tab,
    /// On a small screen, whether the sheet is open.
    pub open: bool,
    /// The contents of the tabs, in the order of [`Tab::ALL`].
    pub panes: Vec<Html>,
    pub dispatch: Callback<Action>,
}

/// The drawer. All tabs are in the document; one is visible.
#[component]
pub fn Drawer(props: &DrawerProps) -> Html {
    let scroller = use_node_ref();
    use_tab_stop_where_it_scrolls(&scroller);
    let tabs = Tab::ALL.map(|tab| {
        let on = tab == props.tab;
        let choose = props.dispatch.reform(move |_: MouseEvent| Action::Tab(tab));
        html! {
            <button key={tab.name()} type="button" role="tab" id={format!("tab-{}", tab.name())}
                data-testid="drawer-tab"
                data-tab={tab.name()} aria-selected={on.to_string()} aria-controls={format!("pane-{}", tab.name())}
                tabindex={if on { "0" } else { "-1" }} onclick={choose}>{ t!(&format!("tab.{}", tab.name())) }</button>
        }
    });
    let panes = Tab::ALL.into_iter().zip(&props.panes).map(|(tab, pane)| {
        html! {
            <div key={tab.name()} role="tabpanel" class="pane" id={format!("pane-{}", tab.name())}
                aria-labelledby={format!("tab-{}", tab.name())} hidden={tab != props.tab}>{ pane.clone() }</div>
        }
    });
    let close = props.dispatch.reform(|_: MouseEvent| Action::Drawer(false));
    html! {
        <aside class={classes!("drawer", "card", props.open.then_some("open"))} data-testid="drawer" data-place="drawer"
            aria-label={t!("drawer.label")}>
            <div class="tabs-row">
                <div class="tabs" role="tablist" aria-label={t!("drawer.label")} onkeydown={keys(props)}>{ for tabs }
                    </div>
                <button type="button" class="quiet icon-only drawer-close" onclick={close} aria-label={t!("close")}>
                    { icon("down") }</button>
            </div>
            // A translator that replaces text nodes would leave old figures there.
            <div class="panes" translate="no" ref={scroller} role="group" aria-label={t!("drawer.label")}>
                { for panes }</div>
        </aside>
    }
}

/// Left and right move from tab to tab.
fn keys(props: &DrawerProps) -> Callback<KeyboardEvent> {
    let (tab, dispatch) = (props.tab, props.dispatch.clone());
    Callback::from(move |event: KeyboardEvent| {
        let at = Tab::ALL.iter().position(|other| *other == tab).unwrap_or_default();
        let last = Tab::ALL.len() - 1;
        let next = match event.key().as_str() {
            "ArrowRight" if at < last => at + 1,
            "ArrowRight" | "Home" => 0,
            "ArrowLeft" if at > 0 => at - 1,
            "ArrowLeft" | "End" => last,
            _ => return,
        };
        event.prevent_default();
        dispatch.emit(Action::Tab(Tab::ALL[next]));
        let button = document().get_element_by_id(&format!("tab-{}", Tab::ALL[next].name()));
        if let Some(button) = button.and_then(|button| button.dyn_into::<HtmlElement>().ok()) {
            // Fails only for an element that is not in the document.
            let _ = button.focus();
        }
    })
}
