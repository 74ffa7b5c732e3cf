//! How much memory each engine takes with a model open, by the browser's own count: it gives it to isolated pages alone.

use super::Stage;
use crate::files::RACE;
use crate::report::Cost;
use anyhow::Result;
use axum::Router;
use axum::http::{HeaderName, HeaderValue};
use tower_http::set_header::SetResponseHeaderLayer;

/// Its pages are isolated from those of other origins.
pub(super) fn isolated(router: Router) -> Router {
    let header = |name, value| {
        SetResponseHeaderLayer::overriding(HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    router
        .layer(header("cross-origin-opener-policy", "same-origin"))
        .layer(header("cross-origin-embedder-policy", "require-corp"))
}

impl Stage {
    /// Megabytes of the whole page, its workers with it, after a prompt.
    pub(super) async fn memory(&self) -> Result<Vec<Cost>> {
        let mut costs = Vec::new();
        for entry in RACE {
            eprintln!("{}: memory", entry.name());
            self.open(&entry, "cpu").await?;
            let own = self.measure().await?;
            let peer = match self.has_peer {
                true if self.open_peer(&entry).await?.is_some() => vec![self.measure().await?],
                _ => Vec::new(),
            };
            costs.push(Cost::new(&entry.name(), "memory, MB", &[own], &peer));
        }
        Ok(costs)
    }

    /// Of the page in front.
    async fn measure(&self) -> Result<f64> {
        let measure = "return (await performance.measureUserAgentSpecificMemory()).bytes / 1e6;";
        self.page.promise(measure, Vec::new()).await
    }
}
