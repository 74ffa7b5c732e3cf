//! Takes the pictures of docs/guide.md and the README from the built page: `cargo xtask pictures`.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use moescope_e2e::browser::{self, Driver, Visitor};
use moescope_e2e::page::Page;
use moescope_e2e::server::{self, Server};
use moescope_e2e::tools::Tools;
use moescope_e2e::webp::{self, Frame};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use thirtyfour::WebDriver;

/// A picture: its file, the address, a script to run first, and the card to show (without one, the top of the window).
struct Picture {
    name: &'static str,
    visitor: Visitor,
    query: &'static str,
    first: &'static str,
    /// What must be there before the picture is taken.
    until: &'static str,
    card: &'static str,
}

const DESK: Picture = Picture { name: "", visitor: Visitor::NO_WEBGPU, query: "", first: "", until: "", card: "" };

/// A window in which a page of the drawer is shown whole.
const TALL: Picture = Picture { visitor: Visitor { height: 1700, ..Visitor::NO_WEBGPU }, card: ".drawer", ..DESK };

const PICTURES: [Picture; 28] = [
    Picture {
        name: "story",
        query: "story=take-german-away",
        first: "document.querySelector('[data-testid=story-next]').click();",
        until: "[data-side=changed][data-done=true]",
        ..DESK
    },
    Picture {
        name: "present",
        visitor: Visitor { width: 1920, height: 1080, ..Visitor::NO_WEBGPU },
        query: "present",
        ..DESK
    },
    Picture { name: "stage", query: "token=4", until: "[data-testid=stage-looks-at]", card: ".stage", ..DESK },
    Picture { name: "page", ..DESK },
    Picture { name: "page-dark", visitor: Visitor { dark: true, ..Visitor::NO_WEBGPU }, ..DESK },
    Picture { name: "phone", visitor: Visitor::PHONE, ..DESK },
    Picture { name: "strip", query: "colour=domain", card: ".strip", ..DESK },
    Picture { name: "strip-all", query: "layer=all", card: ".strip", ..DESK },
    Picture { name: "map", query: "token=20", card: ".map", ..DESK },
    Picture { name: "load", query: "view=load&expert=2.5", card: ".map", ..DESK },
    Picture { name: "flow", query: "view=flow&expert=1.3", card: ".map", ..DESK },
    Picture { name: "balance", query: "tab=balance", ..TALL },
    Picture { name: "token", query: "token=20", until: "[data-testid=lens]", ..TALL },
    Picture { name: "expert", query: "expert=2.5", until: "[data-testid=dossier]", ..TALL },
    Picture { name: "gate-softmax-top-k", query: "policy=%7B%22top_k%22%3A3%7D", card: ".map", ..DESK },
    Picture {
        name: "gate-top-k-of-softmax",
        query: "policy=%7B%22gate%22%3A%22top-k-of-softmax%22%7D",
        card: ".map",
        ..DESK
    },
    Picture {
        name: "gate-noisy-top-k",
        query: "policy=%7B%22gate%22%3A%22noisy-top-k%22%2C%22noise%22%3A2%7D",
        card: ".map",
        ..DESK
    },
    Picture { name: "gate-sigmoid-bias", query: "policy=%7B%22gate%22%3A%22sigmoid-bias%22%7D", card: ".map", ..DESK },
    Picture { name: "gate-soft", query: "policy=%7B%22gate%22%3A%22soft%22%7D", card: ".map", ..DESK },
    Picture { name: "gate-hash", query: "policy=%7B%22gate%22%3A%22hash%22%7D", card: ".map", ..DESK },
    Picture { name: "gate-random", query: "policy=%7B%22gate%22%3A%22random%22%7D", card: ".map", ..DESK },
    Picture { name: "gate-round-robin", query: "policy=%7B%22gate%22%3A%22round-robin%22%7D", card: ".map", ..DESK },
    Picture {
        name: "gate-expert-choice",
        query: "policy=%7B%22gate%22%3A%22expert-choice%22%7D",
        card: ".map",
        ..DESK
    },
    Picture {
        name: "policy",
        query: "tab=change&policy=%7B%22layers%22%3A%5B3%5D%2C%22off%22%3A%5B2%5D%7D",
        until: "[data-testid=effect]",
        first: "document.querySelector('[data-testid=sweep-ablation]').click();",
        ..TALL
    },
    Picture {
        name: "capacity",
        query: "policy=%7B%22capacity_factor%22%3A0.75%7D",
        card: "[data-testid=token]",
        ..DESK
    },
    Picture {
        name: "filling",
        query: "tab=balance&policy=%7B%22capacity_factor%22%3A0.75%7D",
        until: "[data-testid=filling]",
        ..TALL
    },
    Picture { name: "training", query: "tab=training", ..TALL },
    Picture { name: "cost", query: "tab=cost", first: "document.querySelector('.calculator').open = true;", ..TALL },
];

/// The text of the README's animation, typed word by word: prose, then code, then German.
const TYPED: &str = "The people came back to the house.\nlet result = count + 1;\nIch habe keine Zeit für das Spiel.";

/// The window of the animation, and the factor by which it is scaled down.
const MOVING: Visitor = Visitor { width: 1200, height: 860, ..Visitor::NO_WEBGPU };
const MOVING_SCALE: f64 = 0.7;

/// How long each word is shown, and how long the whole text is shown at the end, in milliseconds.
const WORD: u32 = 350;
const WHOLE: u32 = 2500;

fn main() -> Result<()> {
    let tools = Tools::from_environment()?;
    let out: PathBuf = std::env::args_os().nth(1).context("usage: pictures DIRECTORY")?.into();
    std::fs::create_dir_all(&out)?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let site = Server::start(server::site(&tools)?).await?;
        let driver = Driver::start(&tools)?;
        for picture in &PICTURES {
            let path = out.join(format!("{}.webp", picture.name));
            take(&tools, &driver, picture, &site, &path).await.with_context(|| picture.name)?;
            println!("{}: {} bytes", path.display(), std::fs::metadata(&path)?.len());
        }
        let path = out.join("moescope.webp");
        std::fs::write(&path, moving(&tools, &driver, &site).await.context("the moving picture")?)?;
        println!("{}: {} bytes", path.display(), std::fs::metadata(&path)?.len());
        Ok(())
    })
}

async fn take(tools: &Tools, driver: &Driver, picture: &Picture, site: &Server, path: &Path) -> Result<()> {
    let browser = browser::open(tools, driver, picture.visitor).await?;
    let page = Page::new(browser.clone());
    page.goto(&site.url(&format!("/#/?{}", picture.query))).await?;
    page.wait("the page", |view| view.state == "ready" && !view.tokens.is_empty()).await?;
    page.script::<()>(picture.first, Vec::new()).await?;
    for part in [picture.until, picture.card].into_iter().filter(|part| !part.is_empty()) {
        let there = "return !!document.querySelector(arguments[0])";
        page.until::<bool>(part, there, vec![json!(part)]).await?;
    }
    // Wait until animations end and fetched files are there.
    tokio::time::sleep(std::time::Duration::from_millis(800)).await;
    let [x, y, width, height]: [f64; 4] = page
        .script(
            "const card = arguments[0] && document.querySelector(arguments[0]).closest('.card');
             if (!card) return [0, 0, innerWidth, innerHeight];
             const { left, top, width, height } = card.getBoundingClientRect();
             return [left + scrollX - 8, top + scrollY - 8, width + 16, height + 16];",
            vec![json!(picture.card)],
        )
        .await?;
    let clip = json!({ "x": x, "y": y, "width": width, "height": height, "scale": 1 });
    std::fs::write(path, still(&browser, clip, 82).await?)?;
    browser.quit().await?;
    Ok(())
}

/// The page while a text is typed, as an animated WebP with one frame for each word.
async fn moving(tools: &Tools, driver: &Driver, site: &Server) -> Result<Vec<u8>> {
    let browser = browser::open(tools, driver, MOVING).await?;
    let page = Page::new(browser.clone());
    page.goto(&site.url("/#/?layer=3&text=The")).await?;
    page.routed().await?;
    let clip = json!({ "x": 0, "y": 0, "width": MOVING.width, "height": MOVING.height, "scale": MOVING_SCALE });
    let mut frames = Vec::new();
    for (end, _) in TYPED.char_indices().filter(|&(_, c)| c.is_whitespace()).chain([(TYPED.len(), ' ')]) {
        let text = &TYPED[..end];
        page.paste(text).await?;
        page.wait(text, |view| view.text == text && view.is_settled()).await?;
        frames.push(Frame { still: still(&browser, clip.clone(), 60).await?, milliseconds: WORD });
    }
    frames.last_mut().context("the text has words")?.milliseconds = WHOLE;
    browser.quit().await?;
    webp::animation(&frames)
}

/// A picture of a part of the page, as WebP of this quality.
async fn still(browser: &WebDriver, clip: Value, quality: u32) -> Result<Vec<u8>> {
    let shot: Value = browser
        .cdp()
        .send_raw(
            "Page.captureScreenshot",
            json!({ "format": "webp", "quality": quality, "clip": clip, "captureBeyondViewport": true }),
        )
        .await?;
    Ok(STANDARD.decode(shot["data"].as_str().context("no picture came")?)?)
}
