//! Handles files that are dropped on the page: a model, or a text.

use crate::i18n::format;
use crate::i18n::messages::t;
use crate::site::open_files;
use crate::state::Action;
use crate::worker::opened::{NoText, text};
use gloo::events::{EventListener, EventListenerOptions};
use gloo::utils::window;
use js_sys::{Array, Promise, Uint8Array};
use std::collections::VecDeque;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{
    DataTransfer, DragEvent, File, FileSystemDirectoryEntry, FileSystemDirectoryReader, FileSystemEntry,
    FileSystemFileEntry,
};
use yew::Callback;

/// Largest text file in bytes that is opened; that is far more than any model's context.
const LARGEST_TEXT: f64 = 4e6;

/// The most files of a directory that are read; a model has a few dozen.
const MOST_FILES: usize = 10_000;

/// Opens dropped files as long as the listeners exist.
pub fn listen(dispatch: &Callback<Action>) -> [EventListener; 2] {
    let options = EventListenerOptions::enable_prevent_default();
    // A browser opens the file instead of the page unless the page says that it accepts files.
    let over = EventListener::new_with_options(&window(), "dragover", options, |event| {
        if files_in(event).is_some() {
            event.prevent_default();
        }
    });
    let dispatch = dispatch.clone();
    let drop = EventListener::new_with_options(&window(), "drop", options, move |event| {
        if let Some(data) = files_in(event) {
            event.prevent_default();
            // The list is empty after this event.
            let dropped = dropped(&data);
            let dispatch = dispatch.clone();
            spawn_local(async move { open(files_of(dropped).await, &dispatch).await });
        }
    });
    [over, drop]
}

/// The dragged data, if it has files.
fn files_in(event: &web_sys::Event) -> Option<DataTransfer> {
    let data = event.dyn_ref::<DragEvent>()?.data_transfer()?;
    data.types().includes(&"Files".into(), 0).then_some(data)
}

/// A dropped file or directory.
enum Dropped {
    Entry(FileSystemEntry),
    File(File),
}

fn dropped(data: &DataTransfer) -> VecDeque<Dropped> {
    let items = data.items();
    let items = (0..items.length()).filter_map(|index| items.get(index)).filter(|item| item.kind() == "file");
    let dropped = items.filter_map(|item| {
        let entry = item.webkit_get_as_entry().ok().flatten().map(Dropped::Entry);
        entry.or_else(|| item.get_as_file().ok().flatten().map(Dropped::File))
    });
    dropped.collect()
}

/// All dropped files with their paths, from all directories.
async fn files_of(mut dropped: VecDeque<Dropped>) -> Vec<(String, File)> {
    let mut files = Vec::new();
    while let Some(next) = dropped.pop_front() {
        match next {
            Dropped::File(file) => files.push((file.name(), file)),
            Dropped::Entry(entry) if entry.is_directory() => {
                let reader = entry.unchecked_into::<FileSystemDirectoryEntry>().create_reader();
                while let Some(entries) = next_entries(&reader).await {
                    dropped.extend(entries.iter().map(|entry| Dropped::Entry(entry.unchecked_into())));
                }
            }
            Dropped::Entry(entry) => {
                let path = entry.full_path().trim_start_matches('/').to_owned();
                files.extend(file_of(entry).await.map(|file| (path, file)));
            }
        }
        if files.len() > MOST_FILES {
            break;
        }
    }
    files
}

/// The next entries of a directory; `None` at its end, or where it cannot be read.
async fn next_entries(reader: &FileSystemDirectoryReader) -> Option<Array> {
    let entries = Promise::new(&mut |found, failed| {
        if reader.read_entries_with_callback_and_callback(&found, &failed).is_err() {
            let _ = failed.call0(&JsValue::NULL);
        }
    });
    let entries: Array = JsFuture::from(entries).await.ok()?.dyn_into().ok()?;
    (entries.length() > 0).then_some(entries)
}

async fn file_of(entry: FileSystemEntry) -> Option<File> {
    let entry: FileSystemFileEntry = entry.unchecked_into();
    let file = Promise::new(&mut |found, failed| entry.file_with_callback_and_callback(&found, &failed));
    JsFuture::from(file).await.ok()?.dyn_into().ok()
}

/// Opens the model among the files; without a model, the text.
async fn open(files: Vec<(String, File)>, dispatch: &Callback<Action>) {
    let is_of_a_model =
        |(path, _): &(String, File)| [".safetensors", ".gguf", ".json"].iter().any(|end| path.ends_with(end));
    match files.as_slice() {
        [(path, file)] if !path.contains('/') && !is_of_a_model(&files[0]) => open_text(file, dispatch).await,
        files => open_files(files, dispatch),
    }
}

/// Replaces the text by that of the file.
async fn open_text(file: &File, dispatch: &Callback<Action>) {
    let name = file.name();
    if file.size() > LARGEST_TEXT {
        let size = format::bytes(file.size());
        dispatch.emit(Action::Note(t!("text.file-too-large", name = name, size = size).into()));
        return;
    }
    let Ok(bytes) = JsFuture::from(file.array_buffer()).await else {
        dispatch.emit(Action::Note(t!("text.file-unreadable", name = name).into()));
        return;
    };
    dispatch.emit(match text(&Uint8Array::new(&bytes).to_vec()) {
        Ok(text) => Action::Replace(text),
        Err(NoText::Empty) => Action::Note(t!("text.file-empty", name = name).into()),
        Err(NoText::Binary) => Action::Note(t!("text.file-not-text", name = name).into()),
        Err(NoText::OtherEncoding) => Action::Note(t!("text.file-encoding", name = name).into()),
    });
}
