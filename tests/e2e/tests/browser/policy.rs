//! Policies: the page and the command line give the same results, the page shows what changed, and a policy can be
//! reset.

use crate::harness::{Stage, tests};
use crate::links::encoded;
use anyhow::{Context, Result, bail};
use moescope_e2e::browser::Visitor;
use moescope_e2e::cli;
use moescope_e2e::page::Page;
use moescope_e2e::tools::Tools;
use serde_json::{Value, json};
use std::process::Command;
use thirtyfour::By;

tests![
    an_expert_goes_off_and_on_again,
    both_write_on_from_the_same_text,
    a_link_brings_the_policy_and_webgpu_obeys_it,
    an_impossible_policy_leaves_the_last_good_one,
    tokens_are_sent_to_an_expert,
    a_sent_token_is_marked_and_released_alone,
    an_expert_off_in_one_layer_is_seen_where_all_are_meant,
    the_sweeps_say_what_the_command_line_says,
    expert_choice_does_not_generate,
    a_capacity_is_seen_as_it_fills,
    two_policies_stand_side_by_side,
    a_policy_follows_a_generation_beside_the_text,
];

const TEXT: &str = "The boat went down the river. fn main() { let x = 1; }";

/// The output of a command of the native program.
fn command(tools: &Tools, name: &str, extra: &[&str]) -> Result<Value> {
    let output = Command::new(&tools.cli).arg(name).arg("--model").arg(tools.model("main")).args(extra).output()?;
    if !output.status.success() {
        bail!("moescope {name}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn traced(tools: &Tools, policy: &str) -> Result<cli::Trace> {
    let trace = command(tools, "trace", &["--engine", "cpu", "--text", TEXT, "--policy", policy])?;
    Ok(serde_json::from_value(trace)?)
}

/// Waits until the text has run under a policy and under the model's own routing.
async fn changed(page: &Page) -> Result<()> {
    let done = "return document.body.dataset.state === 'ready' && !!document.querySelector('[data-testid=effect]')";
    page.until::<bool>("the effect", done, Vec::new()).await?;
    Ok(())
}

async fn open(stage: &Stage, visitor: Visitor, more: &str) -> Result<Page> {
    let page = stage.open(visitor, &format!("/?text={}&layer=1{more}", encoded(TEXT))).await?;
    page.routed().await?;
    Ok(page)
}

async fn shows(page: &Page, trace: &cli::Trace) -> Result<()> {
    let view = page.routed().await?;
    let layer = trace.layer(view.layer.context("one layer")?);
    assert_eq!(view.experts(), layer.selected);
    for bar in &view.bars {
        assert!((bar.load - layer.balance.load[bar.expert]).abs() < 1e-4, "load of expert {}", bar.expert);
    }
    Ok(())
}

async fn an_expert_goes_off_and_on_again(stage: &Stage) -> Result<()> {
    let page = open(stage, Visitor::NO_WEBGPU, "&backend=cpu").await?;
    let before = page.view().await?;
    page.script::<()>("document.querySelector('[data-testid=policy-expert][data-expert=\"2\"]').click()", Vec::new())
        .await?;
    changed(&page).await?;
    shows(&page, &traced(stage.tools(), r#"{"layers":[1],"off":[2]}"#)?).await?;
    let said = page.find("change-bar").await?.text().await?;
    assert!(said.contains("Expert 2 of layer 1 is off."), "{said}");
    says_what_the_command_line_says(stage, &page, r#"{"layers":[1],"off":[2]}"#).await?;
    // The model's own routing is shown next to it and equals what the page showed before.
    let figures: Vec<String> = page
        .script(
            "return [...document.querySelectorAll('[data-testid=effect-max] td')].map(cell => cell.textContent)",
            Vec::new(),
        )
        .await?;
    let own = traced(stage.tools(), "{}")?.layer(1).balance.max_over_mean;
    let now = traced(stage.tools(), r#"{"layers":[1],"off":[2]}"#)?.layer(1).balance.max_over_mean;
    assert_eq!(figures, [format!("{own:.2}"), format!("{now:.2}")]);
    let address = page.wait_for_address(|address| address.contains("policy=")).await?;
    assert!(address.contains("off"), "{address}");

    // Typing continues under the policy.
    page.paste(&format!("{TEXT} more")).await?;
    changed(&page).await?;
    assert!(page.view().await?.experts().iter().all(|experts| !experts.contains(&2)));
    page.paste(TEXT).await?;
    changed(&page).await?;

    page.script::<()>("document.activeElement.blur()", Vec::new()).await?;
    page.press_with_control("z").await?;
    page.until::<bool>("no policy", "return !document.querySelector('[data-testid=change-bar]')", Vec::new()).await?;
    let after =
        page.wait("the model's own routing", |view| view.is_settled() && view.experts() == before.experts()).await?;
    assert_eq!(after.bars, before.bars);
    page.wait_for_address(|address| !address.contains("policy=")).await?;
    Ok(())
}

/// The figures of the effect bar equal those of the two runs.
async fn says_what_the_command_line_says(stage: &Stage, page: &Page, policy: &str) -> Result<()> {
    let ids = |trace: &cli::Trace| trace.ids();
    let (own, changed) = (traced(stage.tools(), "{}")?, traced(stage.tools(), policy)?);
    assert_eq!(ids(&own), ids(&changed));
    let moved = (0..own.ids().len()).filter(|&position| {
        own.layers.iter().zip(&changed.layers).any(|(own, changed)| {
            let sorted = |layer: &cli::Layer| {
                let mut experts = layer.selected[position].clone();
                experts.sort_unstable();
                experts
            };
            sorted(own) != sorted(changed)
        })
    });
    let (moved, tokens) = (moved.count(), own.ids().len());
    let said = page.find("change-bar").await?.text().await?;
    let figures = match moved {
        0 => "no token goes".to_owned(),
        moved if moved == tokens => format!("all {moved} tokens go"),
        1 => format!("1 of {tokens} tokens goes"),
        moved => format!("{moved} of {tokens} tokens go"),
    };
    assert!(said.contains(&figures), "{figures}: {said}");
    assert!(said.contains("bits per byte"), "{said}");
    Ok(())
}

/// Both columns continue the text with the same seed; the model's own column equals a generation without the policy.
async fn both_write_on_from_the_same_text(stage: &Stage) -> Result<()> {
    let page = open(stage, Visitor::NO_WEBGPU, "&backend=cpu").await?;
    let write = "return (await window.moescope.generate(arguments[0], { tokens: 30 })).text;";
    let own: String = page.promise(write, vec![json!(TEXT)]).await?;
    page.promise::<()>("return await window.moescope.policy(arguments[0]);", vec![json!({"gate": "random"})]).await?;
    changed(&page).await?;
    let done = "return document.querySelectorAll('[data-testid=writes][data-done=true]').length === 2";
    page.until::<bool>("both sides", done, Vec::new()).await?;
    let side = "return document.querySelector(`[data-testid=writes][data-side=${arguments[0]}] u`).textContent;";
    let model: String = page.script(side, vec![json!("model")]).await?;
    let with_change: String = page.script(side, vec![json!("changed")]).await?;
    assert_eq!(model, own);
    assert_ne!(model, with_change, "a random gate writes something else");
    let changed_too: String = page.promise(write, vec![json!(TEXT)]).await?;
    assert_eq!(with_change, changed_too);
    Ok(())
}

async fn a_link_brings_the_policy_and_webgpu_obeys_it(stage: &Stage) -> Result<()> {
    let policy = concat!(
        r#"[{"gate":"top-k-of-softmax","top_k":3,"off":[0]},"#,
        r#"{"layers":[1],"tokens":[2,9],"capacity_factor":0.5,"overflow":"next-best"}]"#
    );
    let page = open(stage, Visitor::WEBGPU, &format!("&backend=webgpu&policy={}", encoded(policy))).await?;
    changed(&page).await?;
    shows(&page, &traced(stage.tools(), policy)?).await?;
    assert!(page.view().await?.backend.contains("WebGPU"));
    // A text and an invalid policy: the page shows a message and ignores the policy.
    let page = open(stage, Visitor::NO_WEBGPU, "&policy=%7B%22of%22%3A1%7D").await?;
    page.until::<bool>(
        "the note",
        "return document.querySelector('[data-testid=notes]')?.innerText.includes('policy={')",
        Vec::new(),
    )
    .await?;
    shows(&page, &traced(stage.tools(), "{}")?).await
}

async fn an_impossible_policy_leaves_the_last_good_one(stage: &Stage) -> Result<()> {
    let page = open(stage, Visitor::NO_WEBGPU, "").await?;
    let set = "return await window.moescope.policy(arguments[0]);";
    page.promise::<()>(set, vec![json!({"top_k": 1})]).await?;
    changed(&page).await?;
    let one = traced(stage.tools(), r#"{"top_k":1}"#)?;
    shows(&page, &one).await?;
    for (policy, sentence) in [
        (json!({"off": [0, 1, 2, 3, 4, 5, 6, 7]}), "all experts of layer 0 are off"),
        (json!({"top_k": 9}), "take at most 8"),
        (json!({"force": [3], "off": [3]}), "forced and off"),
        (json!({"temperature": -1}), "temperature is -1"),
        (json!({"capacity_factor": 0}), "capacity_factor is 0"),
        (json!({"layers": [7], "off": [1]}), "layer 7 does not exist"),
        (json!({"offf": [1]}), "unknown field"),
    ] {
        let refused = page.promise::<()>(set, vec![policy.clone()]).await;
        let error = refused.err().with_context(|| format!("{policy} was taken"))?.to_string();
        assert!(error.contains(sentence), "{policy}: {error}");
    }
    shows(&page, &one).await?;
    // The message is also shown next to the controls.
    page.script::<()>(
        "const area = document.querySelector('[data-testid=policy-json]');
         area.closest('details').open = true;
         area.value = '{\"top_k\": 0}';
         area.dispatchEvent(new Event('change', { bubbles: true }));",
        Vec::new(),
    )
    .await?;
    let said =
        "return document.querySelector('[data-testid=policy-refused]')?.innerText.includes('at least one expert')";
    page.until::<bool>("the refusal", said, Vec::new()).await?;
    shows(&page, &one).await?;
    page.promise::<()>(set, vec![Value::Null]).await?;
    page.until::<bool>("no policy", "return !document.querySelector('[data-testid=change-bar]')", Vec::new()).await?;
    shows(&page, &traced(stage.tools(), "{}")?).await
}

async fn tokens_are_sent_to_an_expert(stage: &Stage) -> Result<()> {
    let page = open(stage, Visitor::NO_WEBGPU, "&token=4&to=6").await?;
    page.choose("policy-force", "7").await?;
    changed(&page).await?;
    shows(&page, &traced(stage.tools(), r#"{"layers":[1],"tokens":[4,7],"force":[7]}"#)?).await?;
    let view = page.view().await?;
    assert!(view.tokens[4..7].iter().all(|token| token.experts.contains(&7)));
    page.click("policy-back").await?;
    // The same by dragging.
    page.script::<()>(
        "const data = new DataTransfer();
         const token = document.querySelector('[data-testid=token][data-position=\"1\"]');
         token.dispatchEvent(new DragEvent('dragstart', { bubbles: true, dataTransfer: data }));
         const expert = document.querySelector('[data-testid=policy-expert][data-expert=\"6\"]');
         expert.dispatchEvent(new DragEvent('drop', { bubbles: true, cancelable: true, dataTransfer: data }));",
        Vec::new(),
    )
    .await?;
    let sent = "const token = document.querySelector('[data-testid=token][data-position=\"1\"]');
        return token.dataset.experts.split(',').includes('6')";
    page.until::<bool>("the dragged token", sent, Vec::new()).await?;
    Ok(())
}

async fn a_sent_token_is_marked_and_released_alone(stage: &Stage) -> Result<()> {
    let page = open(stage, Visitor::NO_WEBGPU, "&backend=cpu&tab=change").await?;
    let policy = json!([{ "layers": [1], "tokens": [2, 5], "force": [6] }, { "layers": [1], "off": [0] }]);
    page.promise::<()>("return await window.moescope.policy(arguments[0]);", vec![policy]).await?;
    changed(&page).await?;
    let marked = "return [...document.querySelectorAll('.token.sent')].map(token => +token.dataset.position)";
    assert_eq!(page.script::<Vec<usize>>(marked, Vec::new()).await?, [2, 3, 4]);
    page.browser().find(By::Css("[data-testid=token][data-position='3']")).await?.click().await?;
    page.until::<bool>("the button", "return !!document.querySelector('[data-testid=policy-release]')", Vec::new())
        .await?;
    page.click("policy-release").await?;
    let rest = "const marked = [...document.querySelectorAll('.token.sent')].map(token => +token.dataset.position);
        return document.body.dataset.state === 'ready' && marked.length === 2 && marked;";
    assert_eq!(page.until::<Vec<usize>>("the others", rest, Vec::new()).await?, [2, 4]);
    let expected = r#"[{"layers":[1],"tokens":[2,3],"force":[6]},{"layers":[1],"tokens":[4,5],"force":[6]},
        {"layers":[1],"off":[0]}]"#;
    shows(&page, &traced(stage.tools(), expected)?).await
}

async fn an_expert_off_in_one_layer_is_seen_where_all_are_meant(stage: &Stage) -> Result<()> {
    let page = open(stage, Visitor::NO_WEBGPU, "&backend=cpu&tab=change").await?;
    page.promise::<()>("return await window.moescope.policy({ layers: [2], off: [1] });", Vec::new()).await?;
    changed(&page).await?;
    page.turn("policy-scope", "all").await?;
    let switch =
        "return document.querySelector(`[data-testid=policy-expert][data-expert='${arguments[0]}']`).ariaPressed";
    let mixed = "const on = e => document.querySelector(`[data-testid=policy-expert][data-expert='${e}']`).ariaPressed;
        return on(1) === 'mixed';";
    page.until::<bool>("the mark", mixed, Vec::new()).await?;
    assert_eq!(page.script::<String>(switch, vec![json!(0)]).await?, "true");
    Ok(())
}

async fn the_sweeps_say_what_the_command_line_says(stage: &Stage) -> Result<()> {
    let page = open(stage, Visitor::NO_WEBGPU, "").await?;
    page.script::<()>("document.querySelector('[data-testid=sweep-ablation]').click()", Vec::new()).await?;
    let cells: Vec<[f64; 3]> = page
        .until(
            "48 experts off in turn",
            "const cells = [...document.querySelectorAll('[data-testid=ablated]')];
             return cells.length === 48 && cells.map(c => [+c.dataset.layer, +c.dataset.expert, +c.dataset.bits]);",
            Vec::new(),
        )
        .await?;
    let expected = command(stage.tools(), "ablate", &["--text", TEXT])?;
    let expected = expected["experts"].as_array().context("experts")?;
    assert_eq!(cells.len(), expected.len());
    for ([layer, expert, bits], case) in cells.iter().zip(expected) {
        assert_eq!((case["layer"].as_f64(), case["expert"].as_f64()), (Some(*layer), Some(*expert)));
        let difference = bits - case["bits_per_byte"].as_f64().context("bits")?;
        assert!(difference.abs() < 1e-3, "layer {layer}, expert {expert}: {difference} bits per byte apart");
    }
    page.script::<()>("document.querySelector('[data-testid=sweep-choices]').click()", Vec::new()).await?;
    let rows: Vec<Vec<String>> = page
        .until(
            "every k",
            "const rows = [...document.querySelectorAll('[data-testid=k-point]')];
             const cells = row => [...row.querySelectorAll('td')].map(c => c.textContent);
             return rows.length === 8 && rows.map(row => [row.dataset.k, ...cells(row)]);",
            Vec::new(),
        )
        .await?;
    let points = command(stage.tools(), "choices", &["--text", TEXT])?;
    for (row, point) in rows.iter().zip(points["choices"].as_array().context("points")?) {
        assert_eq!(row[0], point["k"].to_string());
        let loss = point["bits_per_byte"].as_f64().context("loss")?;
        assert!((row[1].parse::<f64>()? - loss).abs() < 2e-3, "{row:?} and {loss}");
    }
    Ok(())
}

async fn expert_choice_does_not_generate(stage: &Stage) -> Result<()> {
    let page = open(stage, Visitor::NO_WEBGPU, "").await?;
    page.promise::<()>("await window.moescope.policy({ gate: 'expert-choice' });", Vec::new()).await?;
    changed(&page).await?;
    let trace = page.trace("none").await?;
    let expected = traced(stage.tools(), r#"{"gate":"expert-choice"}"#)?;
    assert_eq!(trace.layer(0).selected, expected.layer(0).selected);
    // Every expert has the same number of tokens.
    let load = &trace.layer(0).balance.load;
    assert!(load.iter().all(|share| (share - load[0]).abs() < 1e-6), "{load:?}");
    let refused =
        page.promise::<Value>("return await window.moescope.generate('The boat', { tokens: 2 });", Vec::new()).await;
    let error = refused.err().context("it generated")?.to_string();
    assert!(error.contains("no generation"), "{error}");
    Ok(())
}

async fn a_capacity_is_seen_as_it_fills(stage: &Stage) -> Result<()> {
    // A text of more than one window of 64 tokens.
    let text = TEXT.repeat(6);
    let policy = r#"{"capacity_factor":0.75}"#;
    let trace = command(stage.tools(), "trace", &["--engine", "cpu", "--text", &text, "--policy", policy])?;
    let layer = &trace["layers"][1];
    let mut dropped = vec![0; 8];
    for (selected, full) in rows(&layer["selected"]).zip(rows(&layer["dropped"])) {
        for (expert, full) in selected.iter().zip(full) {
            dropped[expert.as_u64().context("an expert")? as usize] += usize::from(full == &json!(true));
        }
    }
    assert!(dropped.iter().sum::<usize>() > 0, "nothing was dropped");
    let query = format!("/?text={}&layer=1&tab=balance&backend=cpu&policy={}", encoded(&text), encoded(policy));
    let page = stage.open(Visitor::NO_WEBGPU, &query).await?;
    changed(&page).await?;
    let rows = "return [...document.querySelectorAll('.filling-row')].map(row => +row.dataset.dropped)";
    let shown: Vec<usize> = page.script(rows, Vec::new()).await?;
    assert_eq!(shown, dropped);
    let said = page.find("dropped").await?.text().await?;
    assert!(said.contains("takes 12 of 64 tokens"), "0.75 * 2 * 64 / 8 is 12: {said}");
    // The experts fill up while the text is played: the first tokens are not dropped.
    page.script::<()>(
        "const slider = document.querySelector('.playback input[type=range]');
         slider.value = '8';
         slider.dispatchEvent(new Event('input', { bubbles: true }));",
        Vec::new(),
    )
    .await?;
    let none = "return [...document.querySelectorAll('.filling-row')].every(row => row.dataset.dropped === '0')";
    page.until::<bool>("the beginning", none, Vec::new()).await?;
    Ok(())
}

fn rows(value: &Value) -> impl Iterator<Item = &Vec<Value>> {
    value.as_array().into_iter().flatten().filter_map(Value::as_array)
}

async fn two_policies_stand_side_by_side(stage: &Stage) -> Result<()> {
    let page = open(stage, Visitor::NO_WEBGPU, "&backend=cpu").await?;
    let set = "return await window.moescope.policy(arguments[0]);";
    page.promise::<()>(set, vec![json!({"top_k": 1})]).await?;
    changed(&page).await?;
    // The second side shows the model without the policy, until the policy is copied to it.
    page.click("change-compare").await?;
    beside(&page, &traced(stage.tools(), r#"{"top_k":1}"#)?, &traced(stage.tools(), "{}")?).await?;
    page.find("compare-keep").await?.click().await?;
    page.promise::<()>(set, vec![json!({"temperature": 3})]).await?;
    changed(&page).await?;
    let (first, second) = (r#"{"temperature":3}"#, r#"{"top_k":1}"#);
    beside(&page, &traced(stage.tools(), first)?, &traced(stage.tools(), second)?).await?;
    let address = page.wait_for_address(|address| address.contains("compare-policy=")).await?;
    assert!(address.contains("compare=self"), "{address}");

    // The link restores both sides.
    let page = stage.open(Visitor::NO_WEBGPU, &address[address.find("/?").context("a query")?..]).await?;
    beside(&page, &traced(stage.tools(), first)?, &traced(stage.tools(), second)?).await?;

    page.find("compare-plain").await?.click().await?;
    beside(&page, &traced(stage.tools(), first)?, &traced(stage.tools(), "{}")?).await?;
    page.find("compare-keep").await?.click().await?;
    beside(&page, &traced(stage.tools(), first)?, &traced(stage.tools(), first)?).await
}

/// Such a generation leaves another text in the engine's cache, so the page's own text runs again.
async fn a_policy_follows_a_generation_beside_the_text(stage: &Stage) -> Result<()> {
    let page = open(stage, Visitor::NO_WEBGPU, "&backend=cpu").await?;
    let before = page.view().await?;
    let script = "for (const policy of [null, { top_k: 1 }, { temperature: 1 }]) {
            await window.moescope.generate(arguments[0], { tokens: 1 });
            await window.moescope.policy(policy);
        }";
    page.promise::<()>(script, vec![json!(TEXT)]).await?;
    page.wait("the model's own routing", |view| view.is_settled() && view.experts() == before.experts()).await?;
    Ok(())
}

/// Waits until the upper row of the comparison shows the first experts of `first` in layer 1, and the lower row those
/// of `second`.
async fn beside(page: &Page, first: &cli::Trace, second: &cli::Trace) -> Result<()> {
    let experts = |trace: &cli::Trace| -> Vec<String> {
        trace.layer(1).selected.iter().map(|selected| selected[0].to_string()).collect()
    };
    let same = "const row = n => [...document.querySelectorAll(`.compared .stretch .row:nth-child(${n}) .token`)]
            .map(chip => chip.dataset.e);
        return JSON.stringify([row(1), row(3)]) === JSON.stringify(arguments[0]);";
    page.until::<bool>("the two sides", same, vec![json!([experts(first), experts(second)])]).await?;
    Ok(())
}
