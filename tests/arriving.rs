//! Models whose files are being downloaded: engines are made from the bytes that have arrived, and errors are reported
//! as early as possible.

use futures::FutureExt;
use futures::future::{LocalBoxFuture, poll_fn, ready};
use moescope::engine::{Engine, LogitsOf};
use moescope::error::{Error, Result};
use moescope::model::Model;
use moescope::model::files::{Content, ModelFiles, all_of, read_dir};
use moescope::routing::Trace;
use moescope::session::Session;
use safetensors::SafeTensors;
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A file whose first bytes have arrived.
struct Delivery {
    bytes: Vec<u8>,
    here: Cell<usize>,
    /// Whether the file ends here.
    ended: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
    /// The ranges that were read, in order.
    read: RefCell<Vec<Range<usize>>>,
    /// Number of reads that were the last ones of their range (`take`).
    taken: Cell<usize>,
}

impl Delivery {
    fn of(bytes: Vec<u8>) -> Rc<Self> {
        Rc::new(Self {
            bytes,
            here: Cell::new(0),
            ended: Cell::new(false),
            waiting: RefCell::default(),
            read: RefCell::default(),
            taken: Cell::new(0),
        })
    }

    fn deliver(&self, upto: usize) {
        self.here.set(upto.min(self.bytes.len()));
        self.ended.set(upto >= self.bytes.len());
        self.waiting.take().into_iter().for_each(Waker::wake);
    }
}

impl Content for Delivery {
    fn arrived(&self, end: u64) -> LocalBoxFuture<'_, u64> {
        let wait = poll_fn(move |context| {
            if self.here.get() as u64 >= end || self.ended.get() {
                return Poll::Ready(self.here.get() as u64);
            }
            self.waiting.borrow_mut().push(context.waker().clone());
            Poll::Pending
        });
        wait.boxed_local()
    }

    fn read(&self, range: Range<u64>) -> LocalBoxFuture<'_, Result<Cow<'_, [u8]>>> {
        let range = range.start as usize..range.end as usize;
        assert!(range.end <= self.here.get(), "{range:?} is not here yet");
        self.read.borrow_mut().push(range.clone());
        ready(Ok(Cow::Owned(self.bytes[range].to_vec()))).boxed_local()
    }

    fn take(&self, range: Range<u64>) -> LocalBoxFuture<'_, Result<Cow<'_, [u8]>>> {
        self.taken.set(self.taken.get() + 1);
        self.read(range)
    }
}

/// A fixture's files, the bytes of its weights, and the end of their header.
fn fixture(name: &str) -> (ModelFiles, Vec<u8>, usize) {
    let files = read_dir(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/fixtures").join(name)).unwrap();
    let bytes = pollster::block_on(all_of(&*files.weights[0].1)).unwrap().into_owned();
    let header = SafeTensors::read_metadata(&bytes).unwrap().0 + 8;
    (files, bytes, header)
}

/// The range of each tensor in the file.
fn places(bytes: &[u8], header: usize) -> Vec<(String, Range<usize>)> {
    let (_, metadata) = SafeTensors::read_metadata(bytes).unwrap();
    let place = |(name, info): (String, &safetensors::tensor::TensorInfo)| {
        (name, header + info.data_offsets.0..header + info.data_offsets.1)
    };
    metadata.tensors().into_iter().map(place).collect()
}

fn arriving(files: &ModelFiles, delivery: &Rc<Delivery>) -> ModelFiles {
    ModelFiles {
        name: files.name.clone(),
        config: files.config.clone(),
        tokenizer: None,
        generation: None,
        chat: None,
        weights: vec![("model.safetensors".into(), delivery.clone())],
    }
}

/// Makes an engine as the page does; with a GPU, the weights may be read again later.
async fn make(files: &ModelFiles, on_gpu: bool) -> Result<Engine> {
    let model = Model::arriving(files, !on_gpu).await?;
    let engine = if on_gpu { Engine::gpu(&model).await? } else { Engine::cpu_arriving(&model, false).await? };
    model.whole().await?;
    Ok(engine)
}

fn poll<T>(making: std::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    making.poll(&mut Context::from_waker(Waker::noop()))
}

fn trace(engine: Engine) -> Trace {
    pollster::block_on(Session::new(engine).run(&[5, 3, 8], None, |_| {})).unwrap()
}

#[test]
fn tensors_are_packed_as_they_arrive_and_read_once() {
    for name in ["basic", "bf16", "tied-top1"] {
        let (files, bytes, header) = fixture(name);
        let places = places(&bytes, header);
        let delivery = Delivery::of(bytes);
        let files_on_their_way = arriving(&files, &delivery);
        let mut making = pin!(make(&files_on_their_way, false));
        let mut engine = None;
        for upto in (0..=delivery.bytes.len()).step_by(777).chain([delivery.bytes.len()]) {
            delivery.deliver(upto);
            if let Poll::Ready(made) = poll(making.as_mut()) {
                assert_eq!(upto, delivery.bytes.len(), "{name}: whole before its file");
                engine = Some(made.unwrap());
                break;
            }
            // Three matrices are packed as one; those that arrive first wait for the one that is packed first.
            let read = delivery.read.borrow();
            let waits = |(_, place): &&(String, Range<usize>)| place.end <= upto && !read.contains(place);
            let waiting: Vec<_> = places.iter().filter(waits).map(|(tensor, _)| tensor).collect();
            assert!(waiting.len() <= 2, "{name}: after {upto} bytes {waiting:?} are there, and were not read");
        }
        let mut read = delivery.read.borrow().clone();
        read.sort_by_key(|range| range.start);
        assert!(read.windows(2).all(|two| two[0].end <= two[1].start), "{name}: something was read twice");
        assert_eq!(delivery.taken.get(), places.len(), "{name}: tensors that were read for the last time");
        let whole = Engine::cpu(&Model::new(&files).unwrap()).unwrap();
        assert!(trace(engine.expect("it is whole")) == trace(whole), "{name}");
    }
}

#[test]
fn a_gpu_gets_what_has_arrived() {
    let (files, bytes, header) = fixture("basic");
    let delivery = Delivery::of(bytes);
    let files_on_their_way = arriving(&files, &delivery);
    let mut making = pin!(make(&files_on_their_way, true));
    let half = delivery.bytes.len() / 2;
    delivery.deliver(half);
    assert!(poll(making.as_mut()).is_pending(), "made of half a file");
    let read: usize = delivery.read.borrow().iter().map(|range| range.len()).sum();
    assert!(read > header + (half - header) / 2, "{read} of {half} bytes were read");
    delivery.deliver(usize::MAX);
    let engine = pollster::block_on(making).unwrap();
    let whole = pollster::block_on(Engine::gpu(&Model::new(&files).unwrap())).unwrap();
    assert!(trace(engine) == trace(whole));
    assert_eq!(delivery.taken.get(), 0);
}

/// The error of making an engine from `bytes`, and the number of bytes after which it was found.
fn refusal(files: &ModelFiles, bytes: Vec<u8>) -> (String, usize) {
    let delivery = Delivery::of(bytes);
    let files = arriving(files, &delivery);
    let mut making = pin!(make(&files, false));
    for upto in 0..=delivery.bytes.len() {
        delivery.deliver(upto);
        if let Poll::Ready(made) = poll(making.as_mut()) {
            let error: Error = made.err().expect("it must not load");
            return (error.to_string(), upto);
        }
    }
    panic!("neither made nor refused");
}

#[test]
fn what_is_wrong_is_said_as_soon_as_it_can_be_seen() {
    let (files, bytes, header) = fixture("basic");

    let (message, seen) = refusal(&files, b"<!doctype html><html></html>".to_vec());
    assert!(message.contains("not a whole safetensors file") && seen == 8, "{message} {seen}");

    let mut config: serde_json::Value = serde_json::from_slice(&files.config).unwrap();
    config["intermediate_size"] = 12.into();
    let other = ModelFiles { config: serde_json::to_vec(&config).unwrap(), ..arriving(&files, &Delivery::of(vec![])) };
    let (message, seen) = refusal(&other, bytes.clone());
    assert!(message.contains("has shape") && seen == header, "{message} {seen} {header}");

    let (name, place) = places(&bytes, header).into_iter().min_by_key(|(_, place)| place.start).unwrap();
    let mut damaged = bytes.clone();
    damaged[place.start..place.start + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    let (message, seen) = refusal(&files, damaged);
    assert!(message.contains(&name) && message.contains("not finite") && seen == place.end, "{message} {seen}");

    for cut in [header - 1, header, place.end - 1, bytes.len() - 1] {
        let (message, seen) = refusal(&files, bytes[..cut].to_vec());
        assert!(message.contains("fetch it again") && seen == cut, "{message} {seen} {cut}");
    }
    let (message, seen) = refusal(&files, [bytes.as_slice(), b"more"].concat());
    assert!(message.contains("bytes too many") && seen == bytes.len() + 4, "{message} {seen}");
}

/// Offsets of more than 32 bits, in a file with a hole before its weights.
#[cfg(target_os = "linux")]
#[test]
fn a_file_of_more_than_4_gb() {
    use std::io::{Seek, SeekFrom, Write};

    const HOLE: u64 = 4_500_000_000;
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("large-file");
    std::fs::create_dir_all(&directory).unwrap();
    let basic = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/fixtures/basic");
    std::fs::copy(basic.join("config.json"), directory.join("config.json")).unwrap();
    let whole = std::fs::read(basic.join("model.safetensors")).unwrap();
    let start = 8 + u64::from_le_bytes(*whole.first_chunk().unwrap()) as usize;
    let mut header: serde_json::Value = serde_json::from_slice(&whole[8..start]).unwrap();
    for (name, tensor) in header.as_object_mut().unwrap() {
        if name != "__metadata__" {
            let offsets = tensor["data_offsets"].as_array_mut().unwrap();
            offsets.iter_mut().for_each(|offset| *offset = (offset.as_u64().unwrap() + HOLE).into());
        }
    }
    header["hole"] = serde_json::json!({"dtype": "U8", "shape": [HOLE], "data_offsets": [0, HOLE]});
    let header = serde_json::to_vec(&header).unwrap();
    let path = directory.join("model.safetensors");
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(&header).unwrap();
    file.seek(SeekFrom::Current(HOLE as i64)).unwrap();
    file.write_all(&whole[start..]).unwrap();
    drop(file);
    let logits = |directory: &Path| {
        let model = Model::new(&read_dir(directory).unwrap()).unwrap();
        let mut engine = Engine::cpu(&model).unwrap();
        pollster::block_on(engine.step(&[3, 1, 4], LogitsOf::All)).unwrap().logits
    };
    let found = logits(&directory);
    std::fs::remove_dir_all(&directory).unwrap();
    assert_eq!(found, logits(&basic));
}
