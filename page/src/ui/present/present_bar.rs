//! What is over the page on a projector: the code of the link, and the way out.

use crate::i18n::messages::t;
use crate::state::Action;
use crate::ui::parts::icon::icon;
use crate::ui::present::qr_code::QrCodeView;
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct PresentBarProps {
    /// The link of what is shown.
    pub link: String,
    pub dispatch: Callback<Action>,
}

/// The corner of the page.
#[component]
pub fn PresentBar(props: &PresentBarProps) -> Html {
    let leave = props.dispatch.reform(|_: MouseEvent| Action::Present(false));
    html! {
        <aside class="present-bar" aria-label={t!("present.label")}>
            <QrCodeView link={props.link.clone()} />
            <button type="button" class="quiet icon-only" onclick={leave} data-testid="present-leave"
                aria-label={t!("present.leave")}
                title={t!("present.leave")}>{ icon("close") }</button>
        </aside>
    }
}
