// Groups the assignments by expert: counts, a prefix sum, a stable scatter, all in one workgroup. Then writes the list
// of tiles (at most TILE assignments of one expert each) and the arguments of the indirect dispatches that run them.
// Dropped assignments (weight 0) and empty ones are left out. Twin: kernels/dispatch.rs
@group(0) @binding(1) var<storage, read> selected: array<u32>;                  // [T * CHOICES]
@group(0) @binding(2) var<storage, read> route_weights: array<f32>;             // [T * CHOICES]
@group(0) @binding(3) var<storage, read_write> assignments: array<u32>;         // [T * CHOICES]
@group(0) @binding(4) var<storage, read_write> tiles: array<vec4<u32>>;         // (expert, first slot, count, 0)
@group(0) @binding(5) var<storage, read_write> arguments: array<u32>;           // (x, y, z) of up, then of down

override ALL_EXPERTS: u32;        // routed and shared ones
override CHOICES: u32;            // of a token, shared ones too
override TILE: u32;
override UP_WORKGROUPS: u32;      // workgroups that cover the outputs of `up`
override DOWN_WORKGROUPS: u32;    // and of `down`

var<workgroup> counts: array<u32, ALL_EXPERTS>;
var<workgroup> slots: array<u32, ALL_EXPERTS>;          // where an expert's assignments start
var<workgroup> tile_slots: array<u32, ALL_EXPERTS>;     // where its tiles start

// Each invocation handles every 64th expert.
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
    let total = step.count * CHOICES;
    for (var expert = lane; expert < ALL_EXPERTS; expert += 64u) {
        var count = 0u;
        for (var a = 0u; a < total; a++) {
            count += u32(is_of(a, expert));
        }
        counts[expert] = count;
    }
    workgroupBarrier();
    if (lane == 0u) {
        prefix_sums();
    }
    workgroupBarrier();
    for (var expert = lane; expert < ALL_EXPERTS; expert += 64u) {
        let end = slots[expert] + counts[expert];
        var slot = slots[expert];
        for (var a = 0u; a < total && slot < end; a++) {
            if (is_of(a, expert)) {
                assignments[slot] = a;
                slot++;
            }
        }
        let count = counts[expert];
        for (var first = 0u; first < count; first += TILE) {
            let tile = vec4<u32>(expert, slots[expert] + first, min(count - first, TILE), 0u);
            tiles[tile_slots[expert] + first / TILE] = tile;
        }
    }
}

fn is_of(assignment: u32, expert: u32) -> bool {
    return selected[assignment] == expert && route_weights[assignment] != 0.0;
}

fn prefix_sums() {
    var slot = 0u;
    var tile = 0u;
    for (var expert = 0u; expert < ALL_EXPERTS; expert++) {
        slots[expert] = slot;
        tile_slots[expert] = tile;
        slot += counts[expert];
        tile += (counts[expert] + TILE - 1u) / TILE;
    }
    arguments[0] = UP_WORKGROUPS;
    arguments[1] = tile;
    arguments[2] = 1u;
    arguments[3] = DOWN_WORKGROUPS;
    arguments[4] = tile;
    arguments[5] = 1u;
}
