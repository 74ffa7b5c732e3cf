// Groups the assignments by expert: counts, a prefix sum, a stable scatter, all in one workgroup; then the list of
// tiles (at most TILE assignments of one expert each) and the indirect arguments that run it. Where there is a
// CAPACITY, assignments over it are dropped: in no group, and of weight 0. Twin: kernels/dispatch.rs
@group(0) @binding(1) var<storage, read> selected: array<u32>;                  // [T * CHOICES]
@group(0) @binding(2) var<storage, read_write> history: array<u32>;             // [context, TOP_K], with a capacity
@group(0) @binding(3) var<storage, read_write> dropped: array<u32>;             // [T * CHOICES], with a capacity
@group(0) @binding(4) var<storage, read_write> route_weights: array<f32>;       // [T * CHOICES]
@group(0) @binding(5) var<storage, read_write> assignments: array<u32>;         // [T * CHOICES]
@group(0) @binding(6) var<storage, read_write> tiles: array<vec4<u32>>;         // (expert, first slot, count, 0)
@group(0) @binding(7) var<storage, read_write> arguments: array<u32>;           // (x, y, z) of up, then of down

override EXPERTS: u32;            // routed ones
override ALL_EXPERTS: u32;        // and shared ones
override TOP_K: u32;
override CHOICES: u32;            // TOP_K and shared ones
override CAPACITY: u32;           // the most tokens of a text that an expert takes; 0 for no limit
override TILE: u32;
override UP_WORKGROUPS: u32;      // workgroups that cover the outputs of `up`
override DOWN_WORKGROUPS: u32;    // and of `down`

var<workgroup> counts: array<u32, ALL_EXPERTS>;
var<workgroup> slots: array<u32, ALL_EXPERTS>;          // where an expert's assignments start
var<workgroup> tile_slots: array<u32, ALL_EXPERTS>;     // where its tiles start

// Each invocation works for every 64th expert.
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
    let total = step.count * CHOICES;
    for (var expert = lane; expert < ALL_EXPERTS; expert += 64u) {
        counts[expert] = count_kept(expert, total);
    }
    workgroupBarrier();
    if (lane == 0u) {
        prefix_sums();
    }
    if (CAPACITY > 0u) {
        for (var i = lane; i < step.count * TOP_K; i += 64u) {
            history[step.start * TOP_K + i] = selected[i / TOP_K * CHOICES + i % TOP_K];
        }
    }
    workgroupBarrier();
    for (var expert = lane; expert < ALL_EXPERTS; expert += 64u) {
        // An expert keeps its first assignments of the step, as many as were counted.
        let end = slots[expert] + counts[expert];
        var slot = slots[expert];
        for (var a = 0u; a < total && slot < end; a++) {
            if (selected[a] == expert) {
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

// Counts the assignments that an expert keeps, and marks those that it drops.
fn count_kept(expert: u32, total: u32) -> u32 {
    var most = total;
    if (CAPACITY > 0u && expert < EXPERTS) {
        var before = 0u;
        for (var i = 0u; i < step.start * TOP_K; i++) {
            before += u32(history[i] == expert);
        }
        most = CAPACITY - min(before, CAPACITY);
    }
    var kept = 0u;
    for (var a = 0u; a < total; a++) {
        if (selected[a] == expert) {
            let full = kept >= most;
            if (CAPACITY > 0u) {
                dropped[a] = u32(full);
            }
            if (full) {
                route_weights[a] = 0.0;
            } else {
                kept++;
            }
        }
    }
    return kept;
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
