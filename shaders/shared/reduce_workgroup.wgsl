// The sum of a number over the LANES invocations of a workgroup. Each invocation adds up all numbers in the same
// order, which needs one barrier; a tree of halves would need six. All invocations must call it, once.
override LANES: u32;          // 64, or 1 where no barrier is wanted
var<workgroup> reduced: array<f32, 64>;

fn workgroup_sum(value: f32, lane: u32) -> f32 {
    if (LANES == 1u) {
        return value;
    }
    reduced[lane] = value;
    workgroupBarrier();
    var sums = vec4<f32>();
    for (var i = 0u; i < 64u; i += 4u) {
        sums += vec4<f32>(reduced[i], reduced[i + 1u], reduced[i + 2u], reduced[i + 3u]);
    }
    return (sums.x + sums.y) + (sums.z + sums.w);
}
