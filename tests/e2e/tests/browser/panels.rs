//! Cost, comparison, and the training curves.

use crate::harness::{Stage, tests};
use anyhow::{Context, Result};
use moescope_e2e::browser::Visitor;
use moescope_e2e::page::Page;
use serde_json::{Value, json};

tests![the_cost_is_the_models_and_mixtrals_is_right, two_models_side_by_side, the_curves_have_a_cursor,];

/// Sets the value of an input and fires its event.
pub const SET: &str = "
    const input = document.querySelector(arguments[0]);
    Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(input, arguments[1]);
    input.dispatchEvent(new InputEvent('input', { bubbles: true }));";

async fn sum(page: &Page) -> Result<String> {
    page.find("calculator-sum").await?.prop("textContent").await?.context("a sum")
}

async fn the_cost_is_the_models_and_mixtrals_is_right(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/?tab=cost#text=hello").await?;
    page.routed().await?;
    let info: Value = page.promise("return await window.moescope.ready;", Vec::new()).await?;
    let share = info["active_parameters"].as_f64().context("active")? / info["parameters"].as_f64().context("all")?;
    let active = page.find("cost-active").await?.text().await?;
    assert!(active.contains(&format!("{:.0}%", (share * 100.0).round())), "{active}");

    page.script::<()>("document.querySelector('.calculator').open = true;", Vec::new()).await?;
    let mixtral = sum(&page).await?;
    // Jiang et al. 2024: 47 B parameters, of which a token uses 13 B.
    assert!(mixtral.contains("46.7B") && mixtral.contains("12.9B") && mixtral.contains("93.4 GB"), "{mixtral}");
    let parts: Vec<[f64; 2]> = page
        .script(
            "const read = text => parseFloat(text) * ({ K: 1e3, M: 1e6, B: 1e9 }[text.slice(-1)] ?? 1);
             return [...document.querySelectorAll('.calculator tbody tr')].map(row =>
               [...row.querySelectorAll('td')].map(cell => read(cell.textContent)));",
            Vec::new(),
        )
        .await?;
    for (column, whole) in [(0, 46.70e9), (1, 12.88e9)] {
        let total: f64 = parts.iter().map(|part| part[column]).sum();
        assert!((total - whole).abs() / whole < 0.005, "the parts sum to {total}");
    }
    // With one expert it is a dense model, and all of it is active.
    page.script::<()>(SET, vec![json!("[data-testid=number-experts]"), json!("1")]).await?;
    page.script::<()>(SET, vec![json!("[data-testid=number-top_k]"), json!("1")]).await?;
    page.until::<bool>(
        "the dense model",
        "return document.querySelector('[data-testid=calculator-sum]').textContent.split('7.24B').length === 3",
        Vec::new(),
    )
    .await?;
    Ok(())
}

/// The same model twice, the second time from an address: every token and figure must be equal.
async fn two_models_side_by_side(stage: &Stage) -> Result<()> {
    let address = stage.url("/models/main");
    let path = format!("/?text=Der%20Hund%20and%20the%20cat&compare={}", crate::links::encoded(&address));
    let page = stage.open(Visitor::NO_WEBGPU, &path).await?;
    let view = page.routed().await?;
    let layer = view.layer.context("one layer is shown")?;
    let trace = page.trace("none").await?;
    let rows: Vec<Vec<String>> = page
        .until(
            "the second model",
            "const rows = [...document.querySelectorAll('.compared .stretch')].map(s =>
               [...s.querySelectorAll('.row')].map(row =>
                 [...row.querySelectorAll('.token i')].map(i => i.textContent).join(' ')));
             return rows.length === arguments[0] && rows.every(r => r[1]) && rows;",
            vec![json!(view.tokens.len())],
        )
        .await?;
    for (row, experts) in rows.iter().zip(&trace.layer(layer).selected) {
        let numbers = format!("{}{}", experts[0], experts[1]);
        assert_eq!(*row, vec![numbers.clone(), numbers]);
    }
    let figures: Vec<Vec<String>> = page
        .script(
            "return [...document.querySelectorAll('[data-place=compare] .figures-table tbody tr')].map(row =>
               [...row.querySelectorAll('td')].map(c => c.textContent));",
            Vec::new(),
        )
        .await?;
    assert!(
        figures.len() >= 5 && figures.iter().all(|pair| pair[0] == pair[1] && pair[0] != "\u{2013}"),
        "{figures:?}"
    );
    let balance = format!("{:.2}", trace.layer(layer).balance.max_over_mean);
    assert!(figures.iter().any(|pair| pair[0] == balance), "{balance} is not among {figures:?}");
    let differences: f64 = page
        .script(
            "return [...document.querySelectorAll('.difference s')]
               .reduce((sum, s) => sum + parseFloat(s.style.height), 0);",
            Vec::new(),
        )
        .await?;
    assert_eq!(differences, 0.0);
    Ok(())
}

async fn the_curves_have_a_cursor(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/?text=hello").await?;
    page.routed().await?;
    let curves: Value =
        serde_json::from_str(&std::fs::read_to_string(stage.tools().model("main").join("curves.json"))?)?;
    let points = curves["training"].as_array().context("points")?;
    page.until::<bool>("the curves", "return !!document.querySelector('.training-slider input')", Vec::new()).await?;
    for index in [0, points.len() / 3, points.len() - 1] {
        page.script::<()>(SET, vec![json!(".training-slider input"), json!(index.to_string())]).await?;
        let number = |name: &str| points[index][name].as_f64().unwrap_or(f64::NAN);
        let wanted = [number("loss") / std::f64::consts::LN_2, number("max_over_mean"), number("balance")];
        let wanted: Vec<String> = wanted.iter().map(|value| format!("{value:.2}")).collect();
        page.until::<bool>(
            &format!("the figures {wanted:?} of point {index}"),
            "const captions = [...document.querySelectorAll('[data-testid=training] figcaption b')];
             const shown = captions.map(b => b.textContent);
             return JSON.stringify(shown) === JSON.stringify(arguments[0]);",
            vec![json!(wanted)],
        )
        .await?;
    }
    Ok(())
}
