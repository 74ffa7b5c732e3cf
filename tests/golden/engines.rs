//! The engines that the tests run, and the paths of fixtures and models.

use libtest_mimic::Trial;
use moescope::engine::Engine;
use moescope::engine::gpu::GpuEngine;
use moescope::engine::gpu::device::Gpu;
use moescope::engine::gpu::software::Form;
use moescope::model::Model;
use std::path::PathBuf;

/// An engine.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    /// The CPU engine.
    Cpu,
    /// The GPU engine, in the form that is fastest on this adapter.
    Gpu,
    /// The GPU engine in the form that real GPUs run, on a software adapter.
    RealGpu,
}

impl Kind {
    /// The GPU engine in every form to test on this machine. A real GPU already runs its own form.
    pub fn gpus() -> Vec<Self> {
        let software = gpu().form != Form::Gpu;
        [Self::Gpu].into_iter().chain(software.then_some(Self::RealGpu)).collect()
    }

    /// The name in the names of tests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Gpu => "gpu",
            Self::RealGpu => "gpu_as_on_a_real_one",
        }
    }

    /// The largest difference from the reference.
    pub fn tolerance(self) -> f32 {
        if self == Self::Cpu { 1e-4 } else { 1e-3 }
    }

    /// The engine, made for a model.
    pub fn open(self, model: &Model) -> Engine {
        match self {
            Self::Cpu => Engine::cpu(model).unwrap(),
            Self::Gpu | Self::RealGpu => Engine::Gpu(Box::new(self.gpu_engine(model))),
        }
    }

    /// The GPU engine, made for a model.
    pub fn gpu_engine(self, model: &Model) -> GpuEngine {
        assert!(self != Self::Cpu);
        let mut gpu = gpu();
        if self == Self::RealGpu {
            gpu.form = Form::Gpu;
        }
        pollster::block_on(GpuEngine::on(gpu, model)).unwrap()
    }

    /// The test `name` on this engine.
    pub fn test(self, name: &str, test: impl FnOnce(Self) + Send + 'static) -> Trial {
        Trial::test(format!("{name}::{}", self.name()), move || {
            test(self);
            Ok(())
        })
    }
}

fn gpu() -> Gpu {
    pollster::block_on(Gpu::open()).unwrap()
}

/// A file or folder of the repository, which is in MOESCOPE_ROOT, or where this test was compiled.
pub fn file(path: &str) -> PathBuf {
    let root = std::env::var_os("MOESCOPE_ROOT").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    root.join(path)
}
