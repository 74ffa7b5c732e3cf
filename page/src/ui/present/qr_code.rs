//! A link as a QR code, for the phones in the room.

use crate::i18n::messages::t;
use qrcode::{Color, EcLevel, QrCode};
use std::fmt::Write;
use yew::prelude::*;

/// Modules of white around the code, which readers need.
const QUIET: usize = 3;

#[derive(Properties, PartialEq)]
pub struct QrCodeProps {
    pub link: String,
}

/// The code; a word where the link is too long for one.
#[component]
pub fn QrCodeView(props: &QrCodeProps) -> Html {
    let Ok(code) = QrCode::with_error_correction_level(&props.link, EcLevel::L) else {
        return html! { <p class="soft" data-testid="qr-too-long">{ t!("present.qr.too-long") }</p> };
    };
    let size = code.width() + 2 * QUIET;
    let mut path = String::new();
    let modules = code.to_colors();
    for (n, _) in modules.iter().enumerate().filter(|(_, module)| **module == Color::Dark) {
        // Writing to a string cannot fail.
        let _ = write!(path, "M{} {}h1v1h-1z", n % code.width() + QUIET, n / code.width() + QUIET);
    }
    html! {
        <svg class="qr" viewBox={format!("0 0 {size} {size}")} role="img" aria-label={t!("present.qr")} data-testid="qr"
            data-link={props.link.clone()} shape-rendering="crispEdges">
            <rect class="qr-light" width={size.to_string()} height={size.to_string()} />
            <path class="qr-dark" d={path} />
        </svg>
    }
}
