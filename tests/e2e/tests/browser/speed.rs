//! The page's thread stays responsive. The limit is a ratio to work of a known size that the same browser does in the
//! same run, so that it holds on a slow and on a busy machine.

use crate::harness::{Stage, tests};
use anyhow::Result;
use moescope_e2e::browser::Visitor;
use moescope_e2e::typing::{self, Where};

/// The longest task may take so many times the layout of 1,000 words.
const LIMIT: f64 = 20.0;

tests![typing_in_a_long_text_never_holds_the_page_up];

async fn typing_in_a_long_text_never_holds_the_page_up(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/?backend=cpu").await?;
    page.routed().await?;
    typing::fill(&page).await?;
    for place in [Where::End, Where::Start] {
        let longest = typing::longest_task(&page, place).await?;
        let unit = typing::layout_of_a_thousand_words(&page).await?;
        println!("in {place:?}: {longest:.0} ms, {:.1} times the layout of 1,000 words ({unit:.1} ms)", longest / unit);
        assert!(longest < LIMIT * unit.max(5.0), "{longest:.0} ms at {place:?}, where the unit takes {unit:.1} ms");
    }
    Ok(())
}
