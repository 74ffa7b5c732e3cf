//! Small line icons in the colour of the text. They are always next to a text or a label.

use yew::prelude::*;

/// The icon `name`, hidden from assistive tools.
pub fn icon(name: &'static str) -> Html {
    let path = match name {
        "close" => "M4 4l8 8M12 4l-8 8",
        "share" => {
            "M6.5 9.5l3-3M7 4.8l1.3-1.3a2.9 2.9 0 0 1 4.2 4.2L11.2 9M9 11.2l-1.3 1.3a2.9 2.9 0 0 1-4.2-4.2L4.8 7"
        }
        "sun" => {
            "M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6zM8 1v1.6M8 13.4V15M1 8h1.6M13.4 8H15\
             M3 3l1.2 1.2M11.8 11.8L13 13M13 3l-1.2 1.2M4.2 11.8L3 13"
        }
        "moon" => "M13.5 9.7A6 6 0 0 1 6.3 2.5a6 6 0 1 0 7.2 7.2z",
        "play" => "M5 3l8 5-8 5z",
        "pause" => "M5.5 3v10M10.5 3v10",
        "stop" => "M4 4h8v8H4z",
        "check" => "M3 8.5l3.5 3.5L13 4.5",
        "folder" => "M2 4.5h4l1.5 1.5H14v7H2z",
        "undo" => "M3 6h6.5a3.5 3.5 0 0 1 0 7H7M3 6l3-3M3 6l3 3",
        "left" => "M10 4l-4 4 4 4",
        "gear" => "M2 4.5h7M12 4.5h2M10.5 3v3M2 11.5h2M7 11.5h7M5.5 10v3",
        "more" => "M3.5 8h.01M8 8h.01M12.5 8h.01",
        "down" => "M4 6l4 4 4-4",
        "step" => "M4 3l5 5-5 5zM12 3v10",
        "save" => "M8 2v8M4.8 7L8 10.2 11.2 7M3 13.5h10",
        _ => "",
    };
    html! {
        <svg class="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false"><path d={path} /></svg>
    }
}

/// The product's mark: one router and three experts, two of them selected.
pub fn mark() -> Html {
    html! {
        <svg class="mark" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
            <path class="mark-line" d="M12 5v14" />
            <path class="mark-picked" d="M12 5L4.5 19M12 5l7.5 14" />
            <circle class="mark-ink" cx="12" cy="4.2" r="3.2" />
            <circle class="mark-first" cx="4.2" cy="19.8" r="3.2" />
            <circle class="mark-line-fill" cx="12" cy="19.8" r="3.2" />
            <circle class="mark-second" cx="19.8" cy="19.8" r="3.2" />
        </svg>
    }
}
