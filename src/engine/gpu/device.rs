//! A GPU adapter and its device: makes buffers, pipelines and bind groups, and reads buffers back.

use super::shader::{Access, Kernel};
use super::software::{self, Form};
use super::tile::Tile;
use crate::error::{Error, Result};
use crate::shape::Dtype;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// The values that change from step to step; the same struct as in `shared/step.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub struct StepUniform {
    /// Position of the first token.
    pub start: u32,
    /// Tokens of this step.
    pub count: u32,
    /// First token whose logits are computed.
    pub logits_from: u32,
    /// Padding.
    pub unused: u32,
}

/// A GPU that is ready for use.
pub struct Gpu {
    /// The adapter's name.
    pub adapter: String,
    /// Whether the adapter is emulated on the CPU, where the CPU engine is faster.
    pub software: bool,
    /// How kernels divide their work: [`Form::of`] the adapter, unless a caller sets another before it uploads a model.
    pub form: Form,
    /// The most loop iterations that the adapter allows an invocation ([`software::most_rounds`]).
    pub most_rounds: Option<u64>,
    /// The device.
    pub device: wgpu::Device,
    /// Its queue.
    pub queue: wgpu::Queue,
    /// The uniform buffer of binding 0, a [`StepUniform`].
    pub step: wgpu::Buffer,
    /// Why the device was lost or failed; `None` while it works.
    failure: Arc<Mutex<Option<String>>>,
    cache: Mutex<PipelineCache>,
}

/// Shader modules, layouts and pipelines, each compiled once.
#[derive(Default)]
struct PipelineCache {
    modules: HashMap<(&'static str, Dtype, Tile), wgpu::ShaderModule>,
    layouts: HashMap<&'static str, wgpu::BindGroupLayout>,
    pipelines: HashMap<String, wgpu::ComputePipeline>,
}

impl Gpu {
    /// Opens the fastest adapter, with all the limits that it supports.
    pub async fn open() -> Result<Self> {
        let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
        descriptor.backends =
            wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12 | wgpu::Backends::BROWSER_WEBGPU;
        let instance = wgpu::Instance::new(descriptor);
        let options = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..Default::default()
        };
        let adapter = instance.request_adapter(&options).await;
        let adapter = adapter.map_err(|_| Error::Device(no_adapter()))?;
        let info = adapter.get_info();
        let name = adapter_name(&info).await;
        let software = info.device_type == wgpu::DeviceType::Cpu;
        let form = Form::of(&adapter);
        let required_limits = adapter.limits();
        // Optional features: timestamps for profile.rs, subgroups for the quads of software.rs.
        let required_features = adapter.features() & (wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::SUBGROUP);
        let label = Some("moescope");
        let wanted = wgpu::DeviceDescriptor { label, required_features, required_limits, ..Default::default() };
        let device = adapter.request_device(&wanted).await;
        let (device, queue) =
            device.map_err(|e| Error::Device(format!("the GPU driver rejected the request for a device ({e})")))?;
        let failure = watch(&device);
        let step = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("step"),
            size: size_of::<StepUniform>() as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let most_rounds = software::most_rounds(&name);
        Ok(Self { adapter: name, software, form, most_rounds, device, queue, step, failure, cache: Mutex::default() })
    }

    /// As [`Self::open`], but returns an error where the only adapter is a software adapter.
    pub async fn open_real() -> Result<Self> {
        let gpu = Self::open().await?;
        if gpu.software {
            let why = format!("the only adapter, {}, is emulated on the CPU", gpu.adapter);
            return Err(Error::Device(why));
        }
        Ok(gpu)
    }

    /// Returns an error if the device was lost or reported an error.
    pub fn check(&self) -> Result<()> {
        match self.failure.lock().expect("no panic while it is held").as_ref() {
            None => Ok(()),
            Some(why) => Err(Error::Device(why.clone())),
        }
    }

    /// A storage buffer of `bytes` zero bytes, at least 16 and rounded up to a multiple of 16.
    pub fn zeros(&self, label: &str, bytes: usize) -> Result<wgpu::Buffer> {
        self.buffer(
            label,
            bytes,
            wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC,
        )
    }

    /// Bytes of the largest buffer that kernels can read.
    pub fn largest_buffer(&self) -> u64 {
        let limits = self.device.limits();
        limits.max_buffer_size.min(limits.max_storage_buffer_binding_size)
    }

    /// A zeroed buffer for `usage`; an error where the adapter's limits are smaller.
    pub fn buffer(&self, label: &str, bytes: usize, usage: wgpu::BufferUsages) -> Result<wgpu::Buffer> {
        let size = (bytes.max(16) as u64).next_multiple_of(16);
        let most = self.largest_buffer();
        if size > most {
            let why = format!(
                "the model's {label} need {} MB in one piece, and this GPU gives at most {} MB",
                size >> 20,
                most >> 20
            );
            return Err(Error::Device(why));
        }
        Ok(self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size,
            usage,
            mapped_at_creation: false,
        }))
    }

    /// A storage buffer that holds `content`.
    pub fn filled(&self, label: &str, content: &[u8]) -> Result<wgpu::Buffer> {
        let buffer = self.zeros(label, content.len())?;
        let whole = content.len() / 4 * 4;
        self.queue.write_buffer(&buffer, 0, &content[..whole]);
        if whole < content.len() {
            let mut last = [0; 4];
            last[..content.len() - whole].copy_from_slice(&content[whole..]);
            self.queue.write_buffer(&buffer, whole as u64, &last);
        }
        Ok(buffer)
    }

    /// The pipeline of a kernel for weights of type `dtype`, product tiles of `tile`, and these WGSL constants.
    pub fn pipeline(
        &self,
        kernel: &'static Kernel,
        dtype: Dtype,
        tile: Tile,
        constants: &[(&str, f64)],
    ) -> wgpu::ComputePipeline {
        let mut constants = constants.to_vec();
        constants.extend(self.form.constants(kernel, tile));
        let key = format!("{} {dtype:?} {tile:?} {constants:?}", kernel.name);
        let mut cache = self.cache();
        if let Some(pipeline) = cache.pipelines.get(&key) {
            return pipeline.clone();
        }
        let layout = cache.layout(&self.device, kernel);
        let layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(kernel.name),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let device = &self.device;
        let module = cache.modules.entry((kernel.name, dtype, tile)).or_insert_with(|| {
            device.create_shader_module(wgpu::ShaderModuleDescriptor {
                label: Some(kernel.name),
                source: wgpu::ShaderSource::Wgsl(kernel.wgsl(dtype, tile).into()),
            })
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&key),
            layout: Some(&layout),
            module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions { constants: &constants, ..Default::default() },
            cache: None,
        });
        cache.pipelines.insert(key, pipeline.clone());
        pipeline
    }

    /// A bind group of the step uniform and `buffers`, in the order of the kernel's bindings.
    pub fn bind(&self, kernel: &'static Kernel, buffers: &[wgpu::BindingResource<'_>]) -> wgpu::BindGroup {
        assert_eq!(buffers.len(), kernel.bindings.len(), "{}", kernel.name);
        let layout = self.cache().layout(&self.device, kernel);
        let resources = std::iter::once(self.step.as_entire_binding()).chain(buffers.iter().cloned());
        let entries = resources.zip(0..).map(|(resource, binding)| wgpu::BindGroupEntry { binding, resource });
        self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(kernel.name),
            layout: &layout,
            entries: &entries.collect::<Vec<_>>(),
        })
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, PipelineCache> {
        self.cache.lock().expect("no panic while it is held")
    }

    /// Maps the first `bytes` of a staging buffer, passes them to `read`, and unmaps it.
    pub async fn read<T>(&self, staging: &wgpu::Buffer, bytes: u64, read: impl FnOnce(&[u8]) -> T) -> Result<T> {
        let mapping = self.map(staging, bytes);
        self.read_mapped(mapping, read).await
    }

    /// Starts to map the first `bytes` of a staging buffer. The mapping completes after all submitted work.
    pub fn map(&self, staging: &wgpu::Buffer, bytes: u64) -> Mapping {
        let (sender, done) = futures::channel::oneshot::channel();
        staging.map_async(wgpu::MapMode::Read, 0..bytes, move |mapped| {
            let _ = sender.send(mapped);
        });
        Mapping { staging: staging.clone(), bytes, done }
    }

    /// Waits for a mapping, passes its bytes to `read`, and unmaps the buffer.
    pub async fn read_mapped<T>(&self, mapping: Mapping, read: impl FnOnce(&[u8]) -> T) -> Result<T> {
        let Mapping { staging, bytes, done } = mapping;
        // In the browser the event loop drives the mapping; natively the device must be polled.
        #[cfg(not(target_arch = "wasm32"))]
        self.device
            .poll(wgpu::PollType::wait_indefinitely())
            .map_err(|e| Error::Device(format!("the GPU stopped answering ({e})")))?;
        let lost = |why: String| self.check().err().unwrap_or(Error::Device(why));
        match done.await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => return Err(lost(format!("the GPU's answer could not be read ({e})"))),
            Err(_) => return Err(lost("the GPU went away".into())),
        }
        let view = staging.get_mapped_range(0..bytes).map_err(|e| lost(e.to_string()))?;
        let result = read(&view);
        drop(view);
        staging.unmap();
        self.check()?;
        Ok(result)
    }
}

/// A pending read of a staging buffer.
pub struct Mapping {
    staging: wgpu::Buffer,
    bytes: u64,
    done: futures::channel::oneshot::Receiver<std::result::Result<(), wgpu::BufferAsyncError>>,
}

impl Mapping {
    /// Cancels the read, so that the buffer can be used again.
    pub fn cancel(self) {
        self.staging.unmap();
    }
}

impl PipelineCache {
    fn layout(&mut self, device: &wgpu::Device, kernel: &'static Kernel) -> wgpu::BindGroupLayout {
        let make = || {
            let storage = kernel
                .bindings
                .iter()
                .map(|access| wgpu::BufferBindingType::Storage { read_only: *access == Access::Read });
            let kinds = std::iter::once(wgpu::BufferBindingType::Uniform).chain(storage);
            let entries = kinds.zip(0..).map(|(ty, binding)| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
                count: None,
            });
            device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label: Some(kernel.name),
                entries: &entries.collect::<Vec<_>>(),
            })
        };
        self.layouts.entry(kernel.name).or_insert_with(make).clone()
    }
}

/// Records when the device is lost or reports an error.
fn watch(device: &wgpu::Device) -> Arc<Mutex<Option<String>>> {
    let failure = Arc::new(Mutex::new(None));
    let note = |failure: &Arc<Mutex<Option<String>>>, why: String| {
        failure.lock().expect("no panic while it is held").get_or_insert(why);
    };
    let lost = failure.clone();
    device.set_device_lost_callback(move |_, message| {
        let message = message.trim();
        let why = if message.is_empty() { "the GPU was lost".into() } else { format!("the GPU was lost ({message})") };
        note(&lost, why);
    });
    let failed = failure.clone();
    device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
        let why = match error {
            wgpu::Error::OutOfMemory { .. } => "the GPU is out of memory".to_owned(),
            error => format!("the GPU reports an error ({error})"),
        };
        note(&failed, why);
    }));
    failure
}

fn no_adapter() -> String {
    if cfg!(target_arch = "wasm32") {
        "this browser offers no WebGPU adapter".into()
    } else {
        "no GPU adapter was found (Vulkan, Metal or Direct3D 12)".into()
    }
}

/// The adapter's name. Browsers often hide the full name and give only vendor and architecture.
async fn adapter_name(info: &wgpu::AdapterInfo) -> String {
    let told = [info.name.trim(), info.driver.trim()].into_iter().find(|name| !name.is_empty()).map(str::to_owned);
    #[cfg(target_arch = "wasm32")]
    let told = match told {
        None => browser_adapter_name().await,
        told => told,
    };
    told.unwrap_or_else(|| "unnamed adapter".into())
}

/// Vendor and architecture from `GPUAdapterInfo`, which `wgpu` does not pass on.
#[cfg(target_arch = "wasm32")]
async fn browser_adapter_name() -> Option<String> {
    use js_sys::{Function, Promise, Reflect};
    use wasm_bindgen::{JsCast, JsValue};
    let get = |object: &JsValue, key: &str| Reflect::get(object, &JsValue::from_str(key)).ok();
    let gpu = get(&get(&js_sys::global(), "navigator")?, "gpu")?;
    let request: Function = get(&gpu, "requestAdapter")?.dyn_into().ok()?;
    let promise: Promise = request.call0(&gpu).ok()?.dyn_into().ok()?;
    let adapter = wasm_bindgen_futures::JsFuture::from(promise).await.ok()?;
    let info = get(&adapter, "info")?;
    let words =
        ["vendor", "architecture"].map(|key| get(&info, key).and_then(|word| word.as_string()).unwrap_or_default());
    let name = words.join(" ").trim().to_owned();
    (!name.is_empty()).then_some(name)
}
