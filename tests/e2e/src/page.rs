//! The page as visitors and scripts use it, through its documented hooks (`data-testid` and others).

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use thirtyfour::prelude::*;

/// Time limit of every wait; the machine may be slow and busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// An open page.
#[derive(Clone)]
pub struct Page {
    browser: WebDriver,
}

/// What the page shows at one moment.
#[derive(Clone, Debug, Deserialize)]
pub struct View {
    /// `loading`, `ready`, `running` or `error`.
    pub state: String,
    /// The layer whose experts are shown; `None` where all layers or none are shown.
    pub layer: Option<usize>,
    /// The contents of the text box.
    pub text: String,
    /// The tokens, in order.
    pub tokens: Vec<Token>,
    /// The shown layer's load bars.
    pub bars: Vec<Bar>,
    /// The device that runs the model, as the page names it.
    pub backend: String,
    /// The error or notice that is shown; empty if none.
    pub error: String,
}

/// A token in the strip.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Token {
    /// Its position, from 0.
    pub position: usize,
    /// Its id in the vocabulary.
    pub id: u32,
    /// The experts that the shown layer picked, by falling weight.
    pub experts: Vec<usize>,
}

/// An expert's load bar.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Bar {
    /// The expert's number, from 0.
    pub expert: usize,
    /// Its share of the layer's assignments.
    pub load: f64,
}

const VIEW: &str = r#"
const one = id => document.querySelector(`[data-testid=${id}]`);
const all = id => [...document.querySelectorAll(`[data-testid=${id}]`)];
const visible = element => element && element.getClientRects().length ? element.innerText.trim() : "";
return {
  state: document.body.dataset.state ?? "",
  layer: (number => number === "" || isNaN(number) ? null : +number)(
    document.querySelector("[data-testid=layer-select] :checked")?.value ?? ""),
  text: one("text-input")?.value ?? "",
  tokens: all("token").map(t => ({
    position: +t.dataset.position,
    id: +t.dataset.tokenId,
    experts: (t.dataset.experts ?? "").split(/[,;]/).filter(e => e !== "").map(Number),
  })),
  bars: all("load-bar").map(b => ({ expert: +b.dataset.expert, load: +b.dataset.load })),
  backend: visible(one("backend")),
  error: all("error").map(visible).join(" "),
};
"#;

impl View {
    /// The ids of the tokens.
    pub fn ids(&self) -> Vec<u32> {
        self.tokens.iter().map(|token| token.id).collect()
    }

    /// Every token's experts in the shown layer.
    pub fn experts(&self) -> Vec<Vec<usize>> {
        self.tokens.iter().map(|token| token.experts.clone()).collect()
    }

    /// Whether the whole text has been routed.
    pub fn is_settled(&self) -> bool {
        self.state == "ready" && self.tokens.iter().all(|token| !token.experts.is_empty())
    }
}

impl Page {
    /// A page in that browser.
    pub fn new(browser: WebDriver) -> Self {
        Self { browser }
    }

    /// The browser, for what this type does not offer.
    pub fn browser(&self) -> &WebDriver {
        &self.browser
    }

    /// Goes to an address.
    ///
    /// # Errors
    /// The browser does not answer.
    pub async fn goto(&self, url: &str) -> Result<()> {
        Ok(self.browser.goto(url).await?)
    }

    /// Runs a function body in the page; `arguments` are its arguments.
    ///
    /// # Errors
    /// It throws, or returns something else than `T`.
    pub async fn script<T: DeserializeOwned>(&self, body: &str, arguments: Vec<Value>) -> Result<T> {
        let result = self.browser.execute(body, arguments).await?;
        Ok(serde_json::from_value(result.json().clone())?)
    }

    /// Runs the body of an async function in the page and waits for its promise.
    ///
    /// # Errors
    /// The promise is rejected (the error holds its reason), or gives something else than `T`.
    pub async fn promise<T: DeserializeOwned>(&self, body: &str, arguments: Vec<Value>) -> Result<T> {
        self.promise_within(PATIENCE, body, arguments).await
    }

    /// As [`Self::promise`], for what may take so long.
    ///
    /// # Errors
    /// The script's own error, or it takes too long.
    pub async fn promise_within<T: DeserializeOwned>(
        &self,
        patience: Duration,
        body: &str,
        arguments: Vec<Value>,
    ) -> Result<T> {
        let script = format!(
            "const done = arguments[arguments.length - 1];
             (async function () {{ {body} }}).apply(null, arguments).then(
               value => done({{ value: value === undefined ? null : value }}),
               error => done({{ error: String(error?.message ?? error) }}));"
        );
        self.browser.set_script_timeout(patience).await?;
        let result = self.browser.execute_async(script, arguments).await?;
        let answer = result.json();
        match answer.get("error").and_then(Value::as_str) {
            Some(reason) => bail!("{reason}"),
            None => Ok(serde_json::from_value(answer["value"].clone())?),
        }
    }

    /// What the page shows now.
    ///
    /// # Errors
    /// The browser does not answer.
    pub async fn view(&self) -> Result<View> {
        self.script(VIEW, Vec::new()).await
    }

    /// Waits until the page shows what is wanted; gives that view.
    ///
    /// # Errors
    /// It does not within [`PATIENCE`]: says what was waited for and what was shown instead.
    pub async fn wait(&self, what: &str, wanted: impl Fn(&View) -> bool) -> Result<View> {
        let start = Instant::now();
        loop {
            let view = self.view().await?;
            if wanted(&view) {
                return Ok(view);
            }
            if start.elapsed() > PATIENCE {
                bail!(
                    "waited {} s for {what}; the page has state {:?}, {} tokens, {} bars, backend {:?}, error {:?}",
                    PATIENCE.as_secs(),
                    view.state,
                    view.tokens.len(),
                    view.bars.len(),
                    view.backend,
                    view.error
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the text is routed to its end and there is some.
    ///
    /// # Errors
    /// As [`Page::wait`].
    pub async fn routed(&self) -> Result<View> {
        self.wait("a routed text", |view| view.is_settled() && !view.tokens.is_empty()).await
    }

    /// Types into the text box, key by key, after its contents.
    ///
    /// # Errors
    /// There is no text box, or the text has a character that no key gives.
    pub async fn type_keys(&self, text: &str) -> Result<()> {
        Ok(self.find("text-input").await?.send_keys(text).await?)
    }

    /// Replaces the contents of the text box, as pasting over everything does.
    ///
    /// # Errors
    /// There is no text box.
    pub async fn paste(&self, text: &str) -> Result<()> {
        self.script(
            r#"
            const box = document.querySelector("[data-testid=text-input]");
            box.focus();
            box.value = arguments[0];
            box.dispatchEvent(new InputEvent("input", { bubbles: true, inputType: "insertFromPaste" }));
            "#,
            vec![json!(text)],
        )
        .await
    }

    /// The trace of the page's text, in the JSON of the command line.
    ///
    /// # Errors
    /// The text cannot be routed.
    pub async fn trace(&self, logits: &str) -> Result<crate::cli::Trace> {
        let call = "return await window.moescope.trace(
            document.querySelector('[data-testid=text-input]').value, { logits: arguments[0] });";
        self.promise(call, vec![json!(logits)]).await
    }

    /// Opens the menu or the drawer page that contains a control, where the control is not visible.
    ///
    /// # Errors
    /// There is no such menu.
    pub async fn reach(&self, testid: &str) -> Result<()> {
        let shown = "const e = document.querySelector(`[data-testid=${arguments[0]}]`);
            return !e || e.getClientRects().length > 0;";
        if self.script::<bool>(shown, vec![json!(testid)]).await? {
            return Ok(());
        }
        let opener = match testid {
            "find" | "play" | "colour-by" => "[data-testid=strip-more]",
            "help" | "undo-view" | "present" | "theme" | "compare-toggle" | "language-select" => "[data-testid=more]",
            "backend-choice" | "time-kernels" => "[data-testid=backend]",
            "model-row" | "model-compare" | "open-model" => "[data-testid=model-select]",
            "example" | "kept-text" => "[data-testid=examples-menu]",
            _ if testid.starts_with("policy-") || testid.starts_with("sweep-") => "[data-tab=change]",
            "load-bar" => "[data-tab=balance]",
            "watch" | "snapshot" | "beside" | "recorded-text" | "leave-past" | "play-training" => "[data-tab=training]",
            _ => return Ok(()),
        };
        Ok(self.browser.find(By::Css(opener)).await?.click().await?)
    }

    /// Chooses the entry with this value in a list.
    ///
    /// # Errors
    /// There is no such list or entry.
    pub async fn choose(&self, testid: &str, value: &str) -> Result<()> {
        self.reach(testid).await?;
        let list = self.find(testid).await?;
        let entry = list.find(By::Css(format!("option[value='{value}']"))).await;
        Ok(entry.with_context(|| format!("{testid} has no {value}"))?.click().await?)
    }

    /// Chooses the button with this value in a row of choices.
    ///
    /// # Errors
    /// There is no such row or choice.
    pub async fn turn(&self, testid: &str, value: &str) -> Result<()> {
        let choice = By::Css(format!("[data-testid={testid}] label:has(input[value='{value}'])"));
        Ok(self.browser.find(choice).await.with_context(|| format!("{testid} has no {value}"))?.click().await?)
    }

    /// Clicks the first token, after scrolling it to where no fixed bar covers it.
    ///
    /// # Errors
    /// There is none, or it cannot be clicked.
    pub async fn click_token(&self) -> Result<()> {
        let centre = "document.querySelector('[data-testid=token]').scrollIntoView({ block: 'center' });";
        self.script::<()>(centre, Vec::new()).await?;
        Ok(self.find("token").await?.click().await?)
    }

    /// Clicks the element with that `data-testid`.
    ///
    /// # Errors
    /// There is none, or something covers it.
    pub async fn click(&self, testid: &str) -> Result<()> {
        self.reach(testid).await?;
        Ok(self.find(testid).await?.click().await?)
    }

    /// Runs a function body repeatedly until it returns something else than `null` or `false`; returns that.
    ///
    /// # Errors
    /// That does not happen within [`PATIENCE`].
    pub async fn until<T: DeserializeOwned>(&self, what: &str, body: &str, arguments: Vec<Value>) -> Result<T> {
        let start = Instant::now();
        loop {
            let value: Value = self.script(body, arguments.clone()).await?;
            if !matches!(value, Value::Null | Value::Bool(false)) {
                return Ok(serde_json::from_value(value)?);
            }
            if start.elapsed() > PATIENCE {
                bail!("waited {} s for {what}", PATIENCE.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Presses a key with Ctrl where the focus is.
    ///
    /// # Errors
    /// The browser does not answer.
    pub async fn press_with_control(&self, key: &str) -> Result<()> {
        let keys = self.browser.action_chain().key_down(Key::Control).send_keys(key).key_up(Key::Control);
        Ok(keys.perform().await?)
    }

    /// Presses keys where the focus is.
    ///
    /// # Errors
    /// The browser does not answer.
    pub async fn press(&self, keys: impl AsRef<str>) -> Result<()> {
        Ok(self.browser.action_chain().send_keys(keys.as_ref()).perform().await?)
    }

    /// Shows a layer.
    ///
    /// # Errors
    /// The page does not offer it.
    pub async fn choose_layer(&self, layer: usize) -> Result<()> {
        let choice = self
            .browser
            .find(By::XPath(format!("//*[@data-testid='layer-select']//label[.//input[@value='{layer}']]")))
            .await
            .with_context(|| format!("the page offers no layer {layer}"))?;
        choice.click().await?;
        // The page handles it after the event, and has drawn it one frame later.
        let drawn = "await new Promise(done => setTimeout(() => requestAnimationFrame(() => setTimeout(done))));";
        self.promise(drawn, Vec::new()).await
    }

    /// Waits until the address satisfies `wanted`; returns the address.
    ///
    /// # Errors
    /// It is not within [`PATIENCE`].
    pub async fn wait_for_address(&self, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let start = Instant::now();
        loop {
            let address = self.browser.current_url().await?.to_string();
            if wanted(&address) {
                return Ok(address);
            }
            if start.elapsed() > PATIENCE {
                bail!("waited {} s for another address than {address}", PATIENCE.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The element with that `data-testid`.
    ///
    /// # Errors
    /// There is none.
    pub async fn find(&self, testid: &str) -> Result<WebElement> {
        self.browser
            .find(By::Css(format!("[data-testid={testid}]")))
            .await
            .with_context(|| format!("the page has no [data-testid={testid}]"))
    }
}
