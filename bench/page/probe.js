// The limits of one thread of this browser: the best of several runs of bench/probe.
const RUNS = 12;
// A size larger than any cache.
const MEBIBYTES = 256;
const ROUNDS = 2e6;

function best(work) {
  let least = Infinity;
  for (let n = 0; n < RUNS; n++) {
    const start = performance.now();
    work();
    least = Math.min(least, performance.now() - start);
  }
  return least / 1e3;
}

// The limits of its GPU: the same two loops in plain WGSL, in workgroups of 64. `null` without WebGPU.
const GPU_BYTES = 64 * 2 ** 20;
const GPU_GROUPS = 4096;
const GPU_ROUNDS = 512;
const SUMS = 8;

const READ = `
  @group(0) @binding(0) var<storage, read> numbers: array<vec4<f32>>;
  @group(0) @binding(1) var<storage, read_write> sums: array<vec4<f32>>;
  @compute @workgroup_size(64)
  fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let each = arrayLength(&numbers) / ${GPU_GROUPS}u;
    var sum = vec4<f32>();
    for (var i = lane; i < each; i += 64u) { sum += numbers[group.x * each + i]; }
    sums[group.x * 64u + lane] = sum;
  }`;

const lines = line => Array.from({ length: SUMS }, (_, n) => line(n)).join("\n");
const MULTIPLY = `
  @group(0) @binding(0) var<storage, read> numbers: array<vec4<f32>>;
  @group(0) @binding(1) var<storage, read_write> sums: array<vec4<f32>>;
  @compute @workgroup_size(64)
  fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    var factor = numbers[lane];
    ${lines(n => `var sum${n} = numbers[lane + ${n}u];`)}
    for (var round = 0; round < ${GPU_ROUNDS}; round++) {
      ${lines(n => `sum${n} = fma(sum${n}, factor, factor);`)}
    }
    sums[group.x * 64u + lane] = ${lines(n => `sum${n}`).replaceAll("\n", " + ")};
  }`;

window.gpuLimits = async () => {
  const adapter = await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) return null;
  const device = await adapter.requestDevice();
  const buffer = (size, usage) => device.createBuffer({ size, usage: GPUBufferUsage.STORAGE | usage });
  const numbers = buffer(GPU_BYTES, GPUBufferUsage.COPY_DST);
  device.queue.writeBuffer(numbers, 0, new Float32Array(GPU_BYTES / 4).fill(0.5));
  const sums = buffer(GPU_GROUPS * 64 * 16, 0);
  const run = async code => {
    const module = device.createShaderModule({ code });
    const pipeline = await device.createComputePipelineAsync({ layout: "auto", compute: { module } });
    const entries = [numbers, sums].map((buffer, binding) => ({ binding, resource: { buffer } }));
    const group = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
    let least = Infinity;
    for (let n = 0; n < RUNS; n++) {
      const encoder = device.createCommandEncoder(), pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group);
      pass.dispatchWorkgroups(GPU_GROUPS);
      pass.end();
      await device.queue.onSubmittedWorkDone();
      const start = performance.now();
      device.queue.submit([encoder.finish()]);
      await device.queue.onSubmittedWorkDone();
      least = Math.min(least, performance.now() - start);
    }
    return least / 1e3;
  };
  const limits = {
    read: GPU_BYTES / await run(READ),
    multiply_add: GPU_GROUPS * 64 * GPU_ROUNDS * SUMS * 4 / await run(MULTIPLY),
  };
  const { vendor, architecture, description } = adapter.info;
  device.destroy();
  return { name: description || `${vendor} ${architecture}`, limits };
};

window.limits = async url => {
  const { instance: { exports } } = await WebAssembly.instantiateStreaming(fetch(url));
  const block = exports.make_block(MEBIBYTES);
  return {
    read: MEBIBYTES * 2 ** 20 / best(() => exports.read_block(block)),
    multiply_add: ROUNDS * exports.multiply_adds_of_a_round() / best(() => exports.multiply_add(ROUNDS)),
  };
};
