// The sum of a number over the 64 invocations of a workgroup, by workgroup memory: for adapters without
// subgroups. All invocations must call it.
var<workgroup> reduced: array<f32, 64>;

fn workgroup_sum(value: f32, lane: u32) -> f32 {
    reduced[lane] = value;
    for (var half = 32u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (lane < half) {
            reduced[lane] += reduced[lane + half];
        }
    }
    workgroupBarrier();
    return reduced[0];
}
