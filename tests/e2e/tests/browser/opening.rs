//! Models and texts of visitors: opened, dropped, or at an address.

use crate::harness::{Stage, tests};
use crate::links::encoded;
use anyhow::{Context, Result, ensure};
use moescope_e2e::browser::Visitor;
use moescope_e2e::cli;
use moescope_e2e::page::{PATIENCE, Page};
use moescope_e2e::server::{self, Server};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

tests![
    a_directory_with_another_model_below_it_opens_unmixed,
    a_gguf_file_opens_from_a_directory_and_from_an_address,
    directories_of_several_models_and_of_none_are_refused_in_words,
    a_model_dropped_anywhere_opens,
    the_same_directory_can_be_chosen_again,
    text_files_dropped_anywhere_are_read_or_refused_with_the_reason,
    a_file_that_changed_on_disk_is_to_be_chosen_again,
    an_address_keeps_its_parameters,
    what_a_host_refuses_or_answers_with_a_page_is_missing,
    an_address_that_browsers_do_not_fetch_is_explained,
    compared_tokens_are_of_the_same_text,
];

/// A temporary directory with these files: a path, and the contents or the file that is copied.
fn directory(stage: &Stage, name: &str, files: &[(&str, Content)]) -> Result<PathBuf> {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("opening").join(name);
    let _ = std::fs::remove_dir_all(&directory);
    for (path, content) in files {
        let path = directory.join(path);
        std::fs::create_dir_all(path.parent().context("a file is in a directory")?)?;
        match content {
            Content::Of(model, file) => drop(std::fs::copy(stage.tools().model(model).join(file), path)?),
            Content::Bytes(bytes) => std::fs::write(path, bytes)?,
            Content::Gguf(file) => drop(std::fs::copy(gguf(file), path)?),
        }
    }
    Ok(directory)
}

enum Content {
    /// A copy of a file of a model that the site ships.
    Of(&'static str, &'static str),
    Bytes(&'static [u8]),
    /// A copy of a file of `tests/gguf`.
    Gguf(&'static str),
}

/// The path of a file of `tests/gguf`.
fn gguf(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../gguf").join(file)
}

use Content::{Bytes, Gguf, Of};

/// Opens a directory through the page's dialog.
async fn open_directory(page: &Page, directory: &Path) -> Result<()> {
    open_dialog(page).await?;
    page.find("open-directory").await?.send_keys(directory.to_string_lossy()).await?;
    Ok(())
}

/// Opens the dialog for a model of one's own.
async fn open_dialog(page: &Page) -> Result<()> {
    page.click("model-select").await?;
    page.click("open-model").await
}

/// The name of the model in use; empty until the page's program runs.
const NAME: &str = "return window.moescope ? (await moescope.trace('x')).model.name : ''";

/// Waits until the model with this name is in use.
pub async fn in_use(page: &Page, name: &str) -> Result<()> {
    let start = Instant::now();
    loop {
        let model: String = page.promise(NAME, Vec::new()).await?;
        if model == name {
            return page.routed().await.map(drop);
        }
        ensure!(start.elapsed() < PATIENCE, "{model} is in use, not {name}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn a_directory_with_another_model_below_it_opens_unmixed(stage: &Stage) -> Result<()> {
    let files = [
        ("config.json", Of("main", "config.json")),
        ("model.safetensors", Of("main", "model.safetensors")),
        ("tokenizer.json", Of("main", "tokenizer.json")),
        ("adapter_model.safetensors", Bytes(b"no weights")),
        ("._model.safetensors", Bytes(b"no weights")),
        ("old/model.safetensors", Of("dense", "model.safetensors")),
        ("README.md", Bytes(b"# A model")),
    ];
    let directory = directory(stage, "my-model", &files)?;
    let page = stage.open(Visitor::NO_WEBGPU, "/?text=hello&model=switch").await?;
    page.routed().await?;
    open_directory(&page, &directory).await?;
    let expected = cli::trace(stage.tools(), "main", "hello", "cpu")?;
    in_use(&page, "my-model").await?;
    let trace = page.trace("none").await?;
    assert_eq!(trace.layers[0].selected, expected.layers[0].selected);
    Ok(())
}

async fn a_gguf_file_opens_from_a_directory_and_from_an_address(stage: &Stage) -> Result<()> {
    let files = [("mixtral.gguf", Gguf("mixtral.gguf")), ("README.md", Bytes(b"# A model"))];
    let directory = directory(stage, "gguf", &files)?;
    let path = gguf("mixtral.gguf").canonicalize()?;
    let expected = cli::trace(stage.tools(), &path.to_string_lossy(), "the man", "cpu")?;
    let same = async |page: &Page| -> Result<()> {
        in_use(page, "mixtral").await?;
        let trace = page.trace("none").await?;
        assert_eq!(trace.layers[0].selected, expected.layers[0].selected);
        assert_eq!(trace.tokens.len(), expected.tokens.len());
        Ok(())
    };
    let page = stage.open(Visitor::NO_WEBGPU, "/?text=the%20man").await?;
    page.routed().await?;
    open_directory(&page, &directory).await?;
    same(&page).await?;
    let server = Server::start(server::hosts(stage.tools())?).await?;
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    let address = |file: &str| encoded(&server.url(&format!("/gguf/{file}")));
    page.goto(&server.url(&format!("/?text=the%20man&model={}", address("mixtral.gguf")))).await?;
    same(&page).await?;
    page.goto(&server.url(&format!("/?text=the%20man&model={}", address("half.gguf")))).await?;
    let view = page.wait("the reason", |view| !view.error.is_empty()).await?;
    assert!(view.error.contains("half.gguf") && view.error.contains("cut off"), "{}", view.error);
    Ok(())
}

async fn directories_of_several_models_and_of_none_are_refused_in_words(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/?text=hello").await?;
    let before = page.routed().await?;
    let several = [
        ("one/config.json", Of("main", "config.json")),
        ("one/model.safetensors", Of("main", "model.safetensors")),
        ("two/config.json", Of("dense", "config.json")),
        ("two/model.safetensors", Of("dense", "model.safetensors")),
    ];
    let shards = [
        ("config.json", Of("main", "config.json")),
        ("model-00001-of-00002.safetensors", Bytes(b"half")),
        ("model-00002-of-00002.safetensors", Bytes(b"half")),
    ];
    let readme = [("README.md", Bytes(b"# A model"))];
    for (name, files, part) in [
        ("several", several.as_slice(), "several/one, several/two"),
        ("shards", &shards, "model.safetensors.index.json"),
        ("readme", &readme, "no config.json among readme/README.md"),
    ] {
        let directory = directory(stage, name, files)?;
        open_directory(&page, &directory).await?;
        let view = page.wait("the reason", |view| view.error.contains(part)).await?;
        assert_eq!(view.tokens, before.tokens, "what was in use stays");
    }
    // A script gets the same message.
    let load = "const file = (path, text) => {
            const file = new File([text], path.split('/').pop());
            Object.defineProperty(file, 'webkitRelativePath', { value: path });
            return file;
        };
        return await moescope.load(arguments[0].map(path => file(path, '{}')));";
    let paths = json!(["m/a/config.json", "m/a/model.safetensors", "m/b/config.json", "m/b/model.safetensors"]);
    let refused = page.promise::<Value>(load, vec![paths]).await.expect_err("two models").to_string();
    assert!(refused.contains("m/a, m/b"), "{refused}");
    Ok(())
}

/// Drops files on a part of the page that is not a text box.
async fn drop_files(page: &Page, paths: &[PathBuf]) -> Result<()> {
    let paths: Vec<_> = paths.iter().map(|path| path.to_string_lossy()).collect();
    for event in ["dragEnter", "dragOver", "drop"] {
        let data = json!({ "items": [], "files": paths, "dragOperationsMask": 1 });
        let event = json!({ "type": event, "x": 1300, "y": 20, "data": data });
        page.browser().cdp().send_raw("Input.dispatchDragEvent", event).await?;
    }
    Ok(())
}

/// Browsers fire no change event where the same files are chosen again in one element:
/// <https://github.com/funkensturm/ember-cli-file-picker/issues/130>.
async fn the_same_directory_can_be_chosen_again(stage: &Stage) -> Result<()> {
    let files =
        [("model.safetensors", Of("main", "model.safetensors")), ("tokenizer.json", Of("main", "tokenizer.json"))];
    let directory = directory(stage, "completed", &files)?;
    let page = stage.open(Visitor::NO_WEBGPU, "/?text=hello").await?;
    page.routed().await?;
    open_directory(&page, &directory).await?;
    page.wait("the reason", |view| view.error.contains("no config.json")).await?;
    std::fs::copy(stage.tools().model("main").join("config.json"), directory.join("config.json"))?;
    open_directory(&page, &directory).await?;
    in_use(&page, "completed").await?;
    assert!(page.view().await?.error.is_empty(), "the reason is gone");
    Ok(())
}

async fn a_model_dropped_anywhere_opens(stage: &Stage) -> Result<()> {
    let names = ["config.json", "model.safetensors", "tokenizer.json"];
    let files = names.map(|name| (name, Of("main", name)));
    let directory = directory(stage, "dropped-model", &files)?;
    // A browser returns 100 entries of a directory at a time: https://github.com/WICG/directory-upload/issues/37.
    for number in 0..250 {
        std::fs::write(directory.join(format!("checkpoint-notes-{number:03}.txt")), "notes")?;
    }
    let loose: Vec<_> = names.iter().map(|name| directory.join(name)).collect();
    for (paths, name) in [(vec![directory.clone()], "dropped-model"), (loose, "model")] {
        let page = stage.open(Visitor::NO_WEBGPU, "/?text=hello&model=switch").await?;
        page.routed().await?;
        drop_files(&page, &paths).await?;
        in_use(&page, name).await?;
        assert_eq!(page.view().await?.text, "hello");
    }
    Ok(())
}

async fn text_files_dropped_anywhere_are_read_or_refused_with_the_reason(stage: &Stage) -> Result<()> {
    let files = [
        ("crlf.txt", Bytes(b"two\r\nlines\r\n")),
        ("bom.txt", Bytes(b"\xef\xbb\xbfa mark")),
        ("utf16.txt", Bytes(b"\xff\xfeg\0r\0\xfc\0n\0")),
        ("latin1.txt", Bytes(b"gr\xfcn und gelb")),
        ("empty.txt", Bytes(b"")),
        ("picture.png", Bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")),
    ];
    let directory = directory(stage, "texts", &files)?;
    let page = stage.open(Visitor::NO_WEBGPU, "/?text=hello").await?;
    page.routed().await?;
    for (name, text) in [("crlf.txt", "two\nlines\n"), ("bom.txt", "a mark"), ("utf16.txt", "grün")] {
        drop_files(&page, &[directory.join(name)]).await?;
        let expected = cli::trace(stage.tools(), "main", text, "cpu")?.ids();
        page.wait(name, |view| view.is_settled() && view.text == text && view.ids() == expected).await?;
    }
    for (name, reason) in [("latin1.txt", "UTF-8"), ("empty.txt", "empty"), ("picture.png", "no text file")] {
        drop_files(&page, &[directory.join(name)]).await?;
        let told = "const notes = document.querySelector('[data-testid=notes]')?.innerText ?? '';
            return notes.split('\\n').some(note => note.includes(arguments[0]) && note.includes(arguments[1]));";
        page.until::<bool>(name, told, vec![json!(name), json!(reason)]).await?;
        assert_eq!(page.view().await?.text, "grün", "the text stays");
    }
    Ok(())
}

async fn a_file_that_changed_on_disk_is_to_be_chosen_again(stage: &Stage) -> Result<()> {
    stage.expect_in_console("ERR_UPLOAD_FILE_CHANGED");
    let names = ["config.json", "model.safetensors", "tokenizer.json"];
    let directory = directory(stage, "changing", &names.map(|name| (name, Of("main", name))))?;
    let page = stage.open(Visitor::NO_WEBGPU, "/?text=hello").await?;
    page.routed().await?;
    let input = "const input = document.createElement('input');
        Object.assign(input, { type: 'file', multiple: true, id: 'chosen' });
        document.body.append(input);";
    page.script::<()>(input, Vec::new()).await?;
    let paths = names.map(|name| directory.join(name).to_string_lossy().into_owned()).join("\n");
    page.browser().find(thirtyfour::By::Id("chosen")).await?.send_keys(paths).await?;
    let config = std::fs::read_to_string(directory.join("config.json"))?;
    std::fs::write(directory.join("config.json"), format!("{config}\n"))?;
    let load = "return await moescope.load(document.getElementById('chosen').files)";
    let refused = page.promise::<Value>(load, Vec::new()).await.expect_err("it changed").to_string();
    assert!(refused.contains("config.json") && refused.contains("changed on disk"), "{refused}");
    Ok(())
}

async fn an_address_keeps_its_parameters(stage: &Stage) -> Result<()> {
    stage.expect_in_console("403");
    let server = Server::start(server::hosts(stage.tools())?).await?;
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    let expected = cli::trace(stage.tools(), "main", "hello", "cpu")?.ids();
    for address in ["/keyed/?k=1", "/keyed/config.json?k=1", "/keyed/model.safetensors?k=1"] {
        page.goto(&server.url(&format!("/?text=hello&model={}", encoded(&server.url(address))))).await?;
        assert_eq!(page.routed().await?.ids(), expected, "{address}");
    }
    let load = "return await moescope.load(arguments[0])";
    let wrong = server.url("/keyed/?k=2");
    let refused = page.promise::<Value>(load, vec![json!(wrong)]).await.expect_err("the key is wrong").to_string();
    assert!(refused.contains("/keyed/config.json?k=2") && refused.contains("403"), "{refused}");
    Ok(())
}

async fn what_a_host_refuses_or_answers_with_a_page_is_missing(stage: &Stage) -> Result<()> {
    stage.expect_in_console("403");
    let server = Server::start(server::hosts(stage.tools())?).await?;
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    let expected = cli::trace(stage.tools(), "main", "hello", "cpu")?;
    page.goto(&server.url(&format!("/?text=hello&model={}", encoded(&server.url("/forbidding"))))).await?;
    assert_eq!(page.routed().await?.ids(), expected.ids());
    // Without a tokenizer, text cannot be routed, but ids can.
    page.goto(&server.url(&format!("/?text=hello&model={}", encoded(&server.url("/pages"))))).await?;
    let view = page.wait("a word about the tokenizer", |view| !view.error.is_empty()).await?;
    assert!(view.error.contains("tokenizer.json"), "{}", view.error);
    let selected: Value = page
        .promise("return (await moescope.trace(arguments[0])).layers[0].selected", vec![json!(expected.ids())])
        .await?;
    assert_eq!(selected, json!(expected.layers[0].selected));
    Ok(())
}

async fn an_address_that_browsers_do_not_fetch_is_explained(stage: &Stage) -> Result<()> {
    stage.expect_in_console("ERR_");
    stage.expect_in_console("huggingface.co");
    let page = stage.open(Visitor::NO_WEBGPU, "/?text=hello").await?;
    page.routed().await?;
    let load = "return await moescope.load(arguments[0])";
    for (address, parts) in [
        ("https://user:secret@example.org/m", ["https://example.org/m", "password"]),
        ("org/name@v1", ["https://huggingface.co/org/name/resolve/v1/config.json", "cannot"]),
        ("ftp://example.org/m", ["load:", "URL"]),
    ] {
        let refused = page.promise::<Value>(load, vec![json!(address)]).await.expect_err(address).to_string();
        assert!(parts.iter().all(|part| refused.contains(part)) && !refused.contains("secret"), "{refused}");
    }
    Ok(())
}

/// The second model's tokenizer puts a token before the text.
async fn compared_tokens_are_of_the_same_text(stage: &Stage) -> Result<()> {
    let server = Server::start(server::hosts(stage.tools())?).await?;
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    let other = encoded(&server.url("/begun"));
    page.goto(&server.url(&format!("/?text=The%20river%20was%20wide&compare={other}"))).await?;
    page.routed().await?;
    let stretches = "const stretches = [...document.querySelectorAll('.compared .stretch')];
        if (stretches.length < 3) return null;
        const text = row => [...row.querySelectorAll('b')].map(token => token.textContent).join('');
        return stretches.map(stretch => [...stretch.querySelectorAll('.row')].map(text));";
    let stretches: Vec<[String; 2]> = page.until("the stretches", stretches, Vec::new()).await?;
    let first = &stretches[0];
    assert!(first[1].ends_with(&first[0]) && first[1].contains("endoftext"), "{first:?}");
    for [above, below] in &stretches[1..] {
        assert_eq!(above, below);
    }
    Ok(())
}
