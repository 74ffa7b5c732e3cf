//! The page's thread stays responsive. The limit is far above what `cargo xtask measure` prints, because other work
//! may slow the machine down; it catches a page that freezes.

use crate::harness::{Stage, tests};
use anyhow::Result;
use moescope_e2e::browser::Visitor;
use moescope_e2e::typing::{self, Where};

tests![typing_in_a_long_text_never_holds_the_page_up];

async fn typing_in_a_long_text_never_holds_the_page_up(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/?backend=cpu").await?;
    page.routed().await?;
    typing::fill(&page).await?;
    for place in [Where::End, Where::Start] {
        let longest = typing::longest_task(&page, place).await?;
        println!("longest task on the page's thread while typing at {place:?} of 400 tokens: {longest:.0} ms");
        assert!(longest < 5000.0, "{longest:.0} ms at {place:?}");
    }
    Ok(())
}
