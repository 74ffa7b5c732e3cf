//! Asks the browser for a GPU, for no longer than a limit: some browsers never answer.

use super::protocol::GpuRoom;
use futures::future::{Either, select};
use gloo_timers::future::TimeoutFuture;
use moescope::engine::gpu::device::Gpu;
use moescope::error::{Error, Result};
use std::pin::pin;

/// Time limit for the browser's answer. Starting a GPU process takes about a second.
const LIMIT_MS: u32 = 10_000;

/// The fastest adapter that the browser offers, a software adapter too: for those who ask for WebGPU.
///
/// # Errors
/// `Device`: there is none, the browser refuses it, or does not answer within [`LIMIT_MS`].
pub async fn open() -> Result<Gpu> {
    within_limit(Gpu::open()).await
}

/// The fastest real GPU. A software adapter is none: the CPU engine is faster.
///
/// # Errors
/// As [`open`]; and there is only a software adapter.
pub async fn open_real() -> Result<Gpu> {
    within_limit(Gpu::open_real()).await
}

/// What the fastest adapter allows.
pub async fn room() -> GpuRoom {
    match open().await {
        Ok(gpu) => {
            GpuRoom::Adapter { name: gpu.adapter.clone(), buffer: gpu.largest_buffer(), is_software: gpu.software }
        }
        Err(error) => GpuRoom::None(error.to_string()),
    }
}

async fn within_limit(opening: impl Future<Output = Result<Gpu>>) -> Result<Gpu> {
    match select(pin!(opening), TimeoutFuture::new(LIMIT_MS)).await {
        Either::Left((gpu, _)) => gpu,
        Either::Right(_) => {
            let why = format!("the browser did not answer within {} s when it was asked for a GPU", LIMIT_MS / 1000);
            Err(Error::Device(why))
        }
    }
}
