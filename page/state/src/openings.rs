//! Opening a model: what is known of it before its weights are fetched, and how the model in use was opened.

use crate::shared::Shared;
use moescope_worker::address::is_within;
use moescope_worker::protocol::{Extent, Opening, Preview, Source};

/// What the page knows about opening models.
#[derive(Clone, Default, PartialEq)]
pub struct Openings {
    /// The model that is being opened, once its header was read.
    pub preview: Option<Shared<Preview>>,
    /// Whether a model is being kept.
    pub keeping: bool,
    /// How many models were kept since the page opened.
    pub kept: usize,
    /// Never ask before a large model: where nobody could answer.
    never_asks: bool,
    /// An access token of the visitor, and the address that it is for. It is never stored.
    token: Option<(String, String)>,
    /// What of the chosen model is opened.
    extent: Extent,
}

impl Openings {
    /// Keeps a token for the site of `address`; an empty one forgets it.
    pub fn set_token(&mut self, address: &str, token: &str) {
        self.token = (!token.is_empty()).then(|| (address.to_owned(), token.to_owned()));
    }

    /// Those of a second side, which never asks. Its model is opened as this one if it `is_same`.
    pub fn beside(&self, is_same: bool) -> Self {
        let extent = if is_same { self.extent } else { Extent::default() };
        Self { never_asks: true, token: self.token.clone(), extent, ..Self::default() }
    }

    /// A newly chosen model: asked about where it is large.
    pub fn first(&mut self, source: &Source) -> Opening {
        if self.never_asks {
            return self.again(source);
        }
        self.begin(Extent::default());
        Opening { asks: true, ..self.again(source) }
    }

    /// The chosen model once more, on another engine: as it was opened before.
    pub fn again(&mut self, source: &Source) -> Opening {
        self.preview = None;
        Opening { asks: false, token: self.token_for(source), extent: self.extent }
    }

    /// A model of which `extent` is opened.
    pub fn begin(&mut self, extent: Extent) {
        self.preview = None;
        self.extent = extent;
    }

    /// The visitor decided to open `extent` of the model in the preview.
    pub fn decide(&mut self, extent: Extent) {
        self.extent = extent;
        if let Some(preview) = &mut self.preview {
            preview.change(|preview| preview.asks = false);
        }
    }

    /// The visitor's token for the site of a model.
    pub fn token_for(&self, source: &Source) -> Option<String> {
        let (address, token) = self.token.as_ref()?;
        match source {
            Source::Url(url) if is_within(url, address) => Some(token.clone()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_to_its_own_site_only() {
        let mut openings = Openings::default();
        let url = |host: &str| Source::Url(format!("https://{host}/o/n/resolve/main/"));
        openings.set_token("https://huggingface.co/o/n", "secret");
        assert_eq!(openings.first(&url("huggingface.co")).token.as_deref(), Some("secret"));
        assert_eq!(openings.first(&url("a.org")).token, None);
        let files = Source::Files { name: "m".into(), files: Vec::new(), weights: None };
        assert_eq!(openings.first(&files).token, None);
        openings.set_token("https://huggingface.co/o/n", "");
        assert_eq!(openings.first(&url("huggingface.co")).token, None);
    }

    #[test]
    fn the_same_model_opens_again_as_it_was_decided() {
        let mut openings = Openings::default();
        let source = Source::Url("https://a.org/m/".into());
        assert!(openings.first(&source).asks);
        let extent = Extent { layers: Some(4), resident: None };
        openings.decide(extent);
        let again = openings.again(&source);
        assert_eq!((again.asks, again.extent), (false, extent));
        assert_eq!(openings.first(&source).extent, Extent::default(), "another choice begins anew");
        openings.decide(extent);
        let (same, other) = (openings.beside(true).first(&source), openings.beside(false).first(&source));
        assert_eq!((same.asks, same.extent), (false, extent));
        assert_eq!((other.asks, other.extent), (false, Extent::default()));
    }
}
