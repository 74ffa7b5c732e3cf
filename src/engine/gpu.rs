//! The GPU engine.
use super::{LogitsOf, Step};
use crate::error::{Error, Result};
use crate::model::{Architecture, Model};
pub struct GpuEngine {
    architecture: Architecture,
}
impl GpuEngine {
    pub async fn new(_model: &Model) -> Result<Self> {
        Err(Error::Device("no".into()))
    }
    pub async fn step(&mut self, _ids: &[u32], _logits: LogitsOf) -> Result<Step> {
        Err(Error::Device("no".into()))
    }
    pub fn len(&self) -> usize {
        0
    }
    pub fn truncate(&mut self, _len: usize) {}
    pub fn chunk(&self) -> usize {
        64
    }
    pub fn adapter(&self) -> &str {
        ""
    }
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }
}
