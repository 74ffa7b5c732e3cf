//! Runs one kernel on the GPU with given buffers, and compares its output.

use moescope::engine::gpu::device::{Gpu, StepUniform};
use moescope::engine::gpu::pack;
use moescope::engine::gpu::plan::choice_constants;
use moescope::engine::gpu::shader::{Access, kernel};
use moescope::engine::gpu::software::Form;
use moescope::engine::gpu::tile::Tile;
use moescope::model::{AttentionShape, Dtype, Matrix, MoeShape};
use std::borrow::Cow;

/// Largest difference between a kernel and its twin, over numbers of about unit size.
const TOLERANCE: f32 = 1e-4;

/// A GPU, and a count of the numbers compared on it.
pub struct Bench {
    gpu: Gpu,
    /// The form that is fastest on this adapter.
    own: Form,
    pub compared: usize,
}

impl Bench {
    pub fn open() -> Self {
        let gpu = pollster::block_on(Gpu::open()).unwrap();
        Self { own: gpu.form, gpu, compared: 0 }
    }

    /// The forms that this adapter can run.
    pub fn forms(&self) -> Vec<Form> {
        let mut forms = vec![Form::Gpu, Form::Software { quads: false }];
        if !forms.contains(&self.own) {
            forms.push(self.own);
        }
        forms
    }

    /// The tiles of products in the form in use.
    pub fn tiles(&self) -> Vec<Tile> {
        vec![Tile::One, self.gpu.form.prefill()]
    }

    /// The form in use.
    pub fn form(&self) -> Form {
        self.gpu.form
    }

    /// Sets the form of the kernels that run from now on.
    pub fn set_form(&mut self, form: Form) {
        self.gpu.form = form;
    }

    pub fn kernel(&mut self, name: &'static str, dtype: Dtype, tile: Tile) -> Run<'_> {
        let constants = Vec::new();
        Run { gpu: &mut self.gpu, name, dtype, tile, constants, step: StepUniform::default(), buffers: Vec::new() }
    }

    /// Checks that both have the same numbers, up to rounding.
    pub fn same(&mut self, what: &str, gpu: &[f32], twin: &[f32]) {
        assert_eq!(gpu.len(), twin.len(), "{what}");
        for (at, (a, b)) in gpu.iter().zip(twin).enumerate() {
            let scale = b.abs().max(1.0);
            assert!(
                (a - b).abs() <= TOLERANCE * scale,
                "{what}: number {at} of {} is {a} on the GPU, {b} in the twin",
                gpu.len()
            );
        }
        self.compared += gpu.len();
    }

    /// Checks that both have the same ids.
    pub fn equal(&mut self, what: &str, gpu: &[u32], twin: &[u32]) {
        assert_eq!(gpu, twin, "{what}");
        self.compared += gpu.len();
    }
}

/// One run of a kernel.
pub struct Run<'a> {
    gpu: &'a mut Gpu,
    name: &'static str,
    dtype: Dtype,
    tile: Tile,
    constants: Vec<(&'static str, f64)>,
    step: StepUniform,
    buffers: Vec<Vec<u8>>,
}

impl Run<'_> {
    pub fn constant(self, name: &'static str, value: usize) -> Self {
        self.real(name, value as f64)
    }

    pub fn real(mut self, name: &'static str, value: f64) -> Self {
        self.constants.push((name, value));
        self
    }

    pub fn heads(self, shape: &AttentionShape) -> Self {
        self.constant("HEADS", shape.heads).constant("KV_HEADS", shape.kv_heads)
    }

    /// The constants of a gate.
    pub fn choice(mut self, shape: &MoeShape, policy: bool) -> Self {
        self.constants.extend(choice_constants(shape, policy));
        self
    }

    pub fn tokens(mut self, start: usize, count: usize) -> Self {
        (self.step.start, self.step.count) = (start as u32, count as u32);
        self
    }

    pub fn logits_from(mut self, from: usize) -> Self {
        self.step.logits_from = from as u32;
        self
    }

    pub fn read<T: bytemuck::NoUninit>(mut self, content: &[T]) -> Self {
        self.buffers.push(bytemuck::cast_slice(content).to_vec());
        self
    }

    /// A vector, which may be empty.
    pub fn read_vector(self, numbers: &[f32]) -> Self {
        if numbers.is_empty() { self.read(&[0.0f32]) } else { self.read(numbers) }
    }

    /// Adds an input buffer: rows of `width` numbers, each padded with zeros to a multiple of four.
    pub fn read_rows(self, rows: &[f32], width: usize) -> Self {
        let mut padded = Vec::new();
        for row in rows.chunks_exact(width) {
            padded.extend_from_slice(row);
            padded.resize(padded.len().next_multiple_of(4), 0.0);
        }
        self.read(&padded)
    }

    pub fn weights(mut self, matrices: &[&Weights]) -> Self {
        self.buffers.push(matrices.iter().flat_map(|m| pack::stack(m.dtype, &[m.view()])).collect());
        self
    }

    pub fn write(self, numbers: usize) -> Self {
        self.read(&vec![0.0f32; numbers])
    }

    pub fn write_rows(self, rows: &[f32], width: usize) -> Self {
        self.read_rows(rows, width)
    }

    /// Runs a product with `panels` panels over `tiles` tiles.
    pub fn product(mut self, panels: usize, tiles: usize) -> Vec<Vec<u8>> {
        self.constants.extend(self.tile.constants(panels));
        let workgroups = self.tile.workgroups(panels) as usize;
        self.run([workgroups, tiles])
    }

    /// Runs the kernel and returns every buffer that it may write, in order.
    pub fn run(self, [x, y]: [usize; 2]) -> Vec<Vec<u8>> {
        let kernel = kernel(self.name);
        let gpu = self.gpu;
        let pipeline = gpu.pipeline(kernel, self.dtype, self.tile, &self.constants);
        let buffers: Vec<_> = self.buffers.iter().map(|content| gpu.filled("test", content).unwrap()).collect();
        let resources: Vec<_> = buffers.iter().map(|buffer| buffer.as_entire_binding()).collect();
        let bind_group = gpu.bind(kernel, &resources);
        gpu.queue.write_buffer(&gpu.step, 0, bytemuck::bytes_of(&self.step));
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &bind_group, &[]);
        pass.dispatch_workgroups(x as u32, y as u32, 1);
        drop(pass);
        let written: Vec<_> = buffers
            .iter()
            .zip(kernel.bindings)
            .filter(|(_, access)| **access == Access::Write)
            .map(|(b, _)| b)
            .collect();
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let staging: Vec<_> =
            written.iter().map(|buffer| gpu.buffer("staging", buffer.size() as usize, usage).unwrap()).collect();
        for (from, to) in written.iter().zip(&staging) {
            encoder.copy_buffer_to_buffer(from, 0, to, 0, from.size());
        }
        gpu.queue.submit([encoder.finish()]);
        staging
            .iter()
            .map(|buffer| pollster::block_on(gpu.read(buffer, buffer.size(), <[u8]>::to_vec)).unwrap())
            .collect()
    }
}

/// A kernel's output, as numbers.
pub trait Floats {
    fn floats(&self) -> Vec<f32>;
    fn ids(&self) -> Vec<u32>;
    /// The first `width` of every `stride` numbers.
    fn rows(&self, stride: usize, width: usize) -> Vec<f32> {
        self.floats().chunks_exact(stride).flat_map(|row| row[..width].to_vec()).collect()
    }
}

impl Floats for Vec<u8> {
    fn floats(&self) -> Vec<f32> {
        bytemuck::pod_collect_to_vec(self)
    }

    fn ids(&self) -> Vec<u32> {
        bytemuck::pod_collect_to_vec(self)
    }
}

/// A matrix in the form of a file.
pub struct Weights {
    pub dtype: Dtype,
    pub rows: usize,
    pub cols: usize,
    pub bytes: Vec<u8>,
}

impl Weights {
    pub fn view(&self) -> Matrix<'_> {
        Matrix { rows: self.rows, cols: self.cols, dtype: self.dtype, bytes: Cow::Borrowed(&self.bytes) }
    }
}

/// Seeded random numbers (xorshift64*: Vigna 2014).
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number from -1 to 1.
    fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub fn floats(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.float()).collect()
    }

    pub fn below(&mut self, end: usize) -> u32 {
        (self.next() >> 33) as u32 % end as u32
    }

    /// `count` different numbers below `end`.
    pub fn distinct(&mut self, count: usize, end: usize) -> Vec<u32> {
        let mut all: Vec<u32> = (0..end as u32).collect();
        (0..count).map(|_| all.swap_remove(self.below(all.len()) as usize)).collect()
    }

    /// Numbers small enough that sums over the columns stay of unit size.
    pub fn matrix(&mut self, dtype: Dtype, rows: usize, cols: usize) -> Weights {
        let scale = 1.0 / (cols as f32).sqrt();
        let mut value = || self.float() * scale;
        let values = (0..rows * cols).map(|_| value());
        let bytes = match dtype {
            Dtype::F32 => values.flat_map(|x| x.to_le_bytes()).collect(),
            Dtype::F16 => values.flat_map(|x| half::f16::from_f32(x).to_le_bytes()).collect(),
            Dtype::Bf16 => values.flat_map(|x| half::bf16::from_f32(x).to_le_bytes()).collect(),
            _ => self.blocks(dtype, rows * cols, scale),
        };
        Weights { dtype, rows, cols, bytes }
    }

    /// Blocks of random codes for `count` numbers below about `size`.
    fn blocks(&mut self, dtype: Dtype, count: usize, size: f32) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..dtype.bytes_of(count)).map(|_| self.below(256) as u8).collect();
        for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
            let mut half = |part: f32| half::f16::from_f32(self.float() * size * part).to_le_bytes();
            // Where the halves are, and how large a number of scale 1 can be.
            let (places, most): (&[usize], f32) = match dtype {
                Dtype::Q8_0 => (&[0], 128.0),
                Dtype::Q4_0 => (&[0], 8.0),
                Dtype::Q5_0 => (&[0], 16.0),
                Dtype::Q4_1 => (&[0, 2], 16.0),
                Dtype::Q5_1 => (&[0, 2], 32.0),
                Dtype::Q4K => (&[0, 2], 1000.0),
                Dtype::Q5K => (&[0, 2], 2000.0),
                Dtype::Q6K => (&[208], 4000.0),
                _ => (&[], 1.0),
            };
            let halves = places.iter().map(|_| half(1.0 / most)).collect::<Vec<_>>();
            places.iter().zip(halves).for_each(|(&at, half)| block[at..at + 2].copy_from_slice(&half));
            if dtype == Dtype::Mxfp4 {
                block[0] = (125.0 + size.log2()) as u8 - self.below(3) as u8;
            }
        }
        bytes
    }
}
