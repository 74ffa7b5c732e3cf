//! Asks the browser for a GPU, for no longer than a limit: some browsers never answer.

use futures::future::{Either, select};
use gloo_timers::future::TimeoutFuture;
use moescope::engine::gpu::device::Gpu;
use moescope::error::{Error, Result};
use std::pin::pin;

/// Time limit for the browser's answer. Starting a GPU process takes about a second.
const LIMIT_MS: u32 = 10_000;

/// The fastest GPU that the browser offers.
///
/// # Errors
/// `Device`: there is none, the browser refuses it, or does not answer within [`LIMIT_MS`].
pub async fn open() -> Result<Gpu> {
    match select(pin!(Gpu::open()), TimeoutFuture::new(LIMIT_MS)).await {
        Either::Left((gpu, _)) => gpu,
        Either::Right(_) => {
            let why = format!("the browser did not answer within {} s when it was asked for a GPU", LIMIT_MS / 1000);
            Err(Error::Device(why))
        }
    }
}
