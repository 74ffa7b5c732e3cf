// The choice of one token's experts from its scores. Kinds, maths, sources: docs/gates.md, docs/model-format.md.
// Twin: kernels/choose.rs. Who includes it binds bias, policy, ids, selected and route_weights, and says which
// experts are full.
override EXPERTS: u32;                // E
override EXPERT_GROUPS: u32;          // G; 0 where the model's gate is not hierarchical
override GROUPS_PER_TOKEN: u32;
override TOP_K: u32;                  // room for choices; k where there is no policy
override SHARED: u32;
override ROUTER_ROWS: u32;            // of the experts, of the groups, of learned noise
override SCALE: f32;
// The model's own way, where there is no policy.
override POLICY: u32;
override KIND: u32;
override RENORMALISE: u32;

const SOFTMAX = 0u;
const SIGMOID = 1u;
const BY_GROUP = 2u;
const HASH = 3u;
const RANDOM = 4u;
const ROUND_ROBIN = 5u;
const EXPERTS_CHOOSE = 6u;

const LOWEST = -3.4e38;
const NONE = 0xffffffffu;

// A policy: how many settings, the layer; then each setting: HEADER words, then for each expert (name after the
// choice, is it off, bias, n-th forced). `shape/setting.rs` says what they mean, `engine/gpu/policy.rs` writes them.
const HEADER = 12u;
const PER_EXPERT = 4u;

// Rows of the router for the token that is being routed.
var<workgroup> scores: array<f32, ROUTER_ROWS>;

var<private> setting: u32;        // where the token's setting begins
var<private> position: u32;
var<private> token_id: u32;

fn find_setting(t: u32) {
    position = step.start + t;
    token_id = ids[t];
    if (POLICY == 1u) {
        let size = HEADER + PER_EXPERT * EXPERTS;
        setting = 2u;
        for (var n = 1u; n < policy[0] && policy[2u + n * size] <= position; n++) {
            setting = 2u + n * size;
        }
    }
}

fn kind() -> u32 {
    if (POLICY == 1u) {
        return policy[setting + 1u];
    }
    return KIND;
}

fn top_k() -> u32 {
    if (POLICY == 1u) {
        return policy[setting + 2u];
    }
    return TOP_K;
}

fn renormalises() -> bool {
    if (POLICY == 1u) {
        return policy[setting + 3u] == 1u;
    }
    return RENORMALISE == 1u;
}

fn scale() -> f32 {
    if (POLICY == 1u) {
        return bitcast<f32>(policy[setting + 10u]);
    }
    return SCALE;
}

fn of_expert(expert: u32, word: u32) -> u32 {
    return policy[setting + HEADER + PER_EXPERT * expert + word];
}

fn renamed(expert: u32) -> u32 {
    if (POLICY == 1u && expert != NONE) {
        return of_expert(expert, 0u);
    }
    return expert;
}

fn is_candidate(expert: u32) -> bool {
    if (POLICY == 1u && of_expert(expert, 1u) == 1u) {
        return false;
    }
    return !is_full(renamed(expert));
}

// l / temperature + std * z
fn noisy(expert: u32) -> f32 {
    if (POLICY == 0u) {
        return scores[expert];
    }
    let logit = scores[expert] / bitcast<f32>(policy[setting + 4u]);
    var spread = bitcast<f32>(policy[setting + 5u]);
    if (spread < 0.0) {
        spread = softplus(scores[ROUTER_ROWS - EXPERTS + expert]);
    }
    if (spread == 0.0) {
        return logit;
    }
    return logit + spread * normal(policy[setting + 6u], policy[1], position, expert);
}

fn policy_bias(expert: u32) -> f32 {
    if (POLICY == 1u) {
        return bitcast<f32>(of_expert(expert, 2u));
    }
    return 0.0;
}

fn logit_of(expert: u32) -> f32 {
    return noisy(expert) + policy_bias(expert);
}

fn sigmoid(expert: u32) -> f32 {
    return 1.0 / (1.0 + exp(-noisy(expert)));
}

fn softplus(value: f32) -> f32 {
    return max(value, 0.0) + log(1.0 + exp(-abs(value)));
}

// What experts (and, from EXPERTS on, groups) are ranked by.
fn key(candidate: u32) -> f32 {
    if (candidate >= EXPERTS) {
        return scores[candidate];
    }
    switch (kind()) {
        case SIGMOID: {
            return sigmoid(candidate) + bias[candidate] + policy_bias(candidate);
        }
        case HASH: {
            return fraction(policy[setting + 6u], policy[1], token_id, candidate);
        }
        case RANDOM: {
            return fraction(policy[setting + 6u], policy[1], position, candidate);
        }
        case ROUND_ROBIN: {
            let first = position * top_k() % EXPERTS;
            return -f32((candidate + EXPERTS - first) % EXPERTS);
        }
        default: {
            return logit_of(candidate);
        }
    }
}

// Writes the choice of the token at index t to its rows of `selected` and `route_weights`.
fn choose(t: u32) {
    find_setting(t);
    let at = t * (TOP_K + SHARED);
    var k = top_k();
    let chooses = kind() == EXPERTS_CHOOSE;
    if (chooses) {
        k = EXPERTS;
    }
    if (kind() == BY_GROUP) {
        choose_by_group(at, k);
    } else {
        let forced = choose_forced(at);
        choose_largest(0u, EXPERTS, at + forced, k - forced);
        weigh(at, k);
    }
    if (POLICY == 1u && !chooses) {
        for (var choice = 0u; choice < k; choice++) {
            selected[at + choice] = renamed(selected[at + choice]);
        }
    }
    // Softmax weights fall as their keys do, unless a policy forces or renames.
    if (POLICY == 1u || KIND != SOFTMAX) {
        sort_by_weight(at, k);
    }
    for (var choice = k; choice < TOP_K; choice++) {
        selected[at + choice] = NONE;
        route_weights[at + choice] = 0.0;
    }
}

// The forced experts that are candidates, first; gives how many.
fn choose_forced(at: u32) -> u32 {
    var count = 0u;
    if (POLICY == 1u) {
        for (var nth = 1u; nth <= policy[setting + 9u]; nth++) {
            for (var expert = 0u; expert < EXPERTS; expert++) {
                if (of_expert(expert, 3u) == nth && is_candidate(expert)) {
                    selected[at + count] = expert;
                    count++;
                }
            }
        }
    }
    return count;
}

fn is_forced(candidate: u32) -> bool {
    if (POLICY == 1u && candidate < EXPERTS) {
        return of_expert(candidate, 3u) > 0u;
    }
    return false;
}

// Whether an expert, or a group with an expert, may be chosen.
fn may_be_chosen(candidate: u32) -> bool {
    if (candidate < EXPERTS) {
        return is_candidate(candidate);
    }
    let size = EXPERTS / max(EXPERT_GROUPS, 1u);
    let first = (candidate - EXPERTS) * size;
    for (var expert = first; expert < first + size; expert++) {
        if (is_candidate(expert)) {
            return true;
        }
    }
    return false;
}

// Writes the `count` candidates of first .. end with the largest keys to `selected` from `at` on, in the order of
// (falling key, rising id), then NONE where there are no more.
fn choose_largest(first: u32, end: u32, at: u32, count: u32) {
    var last = 3.4e38;
    var last_id = 0u;
    for (var choice = 0u; choice < count; choice++) {
        var best = LOWEST;
        var best_id = NONE;
        for (var candidate = first; candidate < end; candidate++) {
            if (is_forced(candidate) || !may_be_chosen(candidate)) {
                continue;
            }
            let its = max(key(candidate), LOWEST);
            let after = choice == 0u || its < last || (its == last && candidate > last_id);
            if (after && (its > best || best_id == NONE)) {
                best = its;
                best_id = candidate;
            }
        }
        last = best;
        last_id = best_id;
        selected[at + choice] = best_id;
    }
}

// Weights of the `count` choices from `at` on.
fn weigh(at: u32, count: u32) {
    switch (kind()) {
        case SIGMOID: {
            share_of_sigmoids(at, count);
        }
        case HASH, RANDOM, ROUND_ROBIN: {
            let chosen = chosen_of(at, count);
            for (var choice = 0u; choice < count; choice++) {
                route_weights[at + choice] = select(0.0, 1.0 / f32(chosen), choice < chosen);
            }
        }
        default: {
            softmax(at, count, kind() == EXPERTS_CHOOSE || !renormalises());
        }
    }
}

// How many of the `count` choices from `at` on are experts.
fn chosen_of(at: u32, count: u32) -> u32 {
    var chosen = 0u;
    while (chosen < count && selected[at + chosen] != NONE) {
        chosen++;
    }
    return chosen;
}

// Softmax over the choices, or their share of the softmax over all candidates. Groups, too.
fn softmax(at: u32, count: u32, over_all: bool) {
    let chosen = chosen_of(at, count);
    var largest = LOWEST;
    for (var choice = 0u; choice < chosen; choice++) {
        largest = max(largest, weighed(selected[at + choice]));
    }
    var total = 0.0;
    if (over_all) {
        for (var expert = 0u; expert < EXPERTS; expert++) {
            if (is_candidate(expert)) {
                largest = max(largest, logit_of(expert));
            }
        }
        for (var expert = 0u; expert < EXPERTS; expert++) {
            if (is_candidate(expert)) {
                total += exp(logit_of(expert) - largest);
            }
        }
    }
    for (var choice = 0u; choice < count; choice++) {
        var weight = 0.0;
        if (choice < chosen) {
            weight = exp(weighed(selected[at + choice]) - largest);
        }
        route_weights[at + choice] = weight;
        if (!over_all) {
            total += weight;
        }
    }
    for (var choice = 0u; choice < chosen; choice++) {
        route_weights[at + choice] /= total;
    }
}

fn weighed(candidate: u32) -> f32 {
    if (candidate >= EXPERTS) {
        return scores[candidate];
    }
    return logit_of(candidate);
}

fn share_of_sigmoids(at: u32, count: u32) {
    let chosen = chosen_of(at, count);
    var total = 1.0;
    if (renormalises()) {
        total = 0.0;
        for (var choice = 0u; choice < chosen; choice++) {
            total += sigmoid(selected[at + choice]);
        }
    }
    for (var choice = 0u; choice < count; choice++) {
        var weight = 0.0;
        if (choice < chosen) {
            weight = sigmoid(selected[at + choice]) / total * scale();
        }
        route_weights[at + choice] = weight;
    }
}

// The largest groups, and in each its largest experts. The groups stand at the end of the room for the experts
// until their place is needed.
fn choose_by_group(at: u32, k: u32) {
    let size = EXPERTS / max(EXPERT_GROUPS, 1u);
    let each = k / GROUPS_PER_TOKEN;
    let first_group = at + k - GROUPS_PER_TOKEN;
    choose_largest(EXPERTS, EXPERTS + EXPERT_GROUPS, first_group, GROUPS_PER_TOKEN);
    softmax(first_group, GROUPS_PER_TOKEN, false);
    for (var n = 0u; n < GROUPS_PER_TOKEN; n++) {
        let group = selected[first_group + n];
        let group_weight = route_weights[first_group + n];
        let to = at + n * each;
        if (group == NONE) {
            for (var i = 0u; i < each; i++) {
                selected[to + i] = NONE;
                route_weights[to + i] = 0.0;
            }
            continue;
        }
        let first = (group - EXPERTS) * size;
        choose_largest(first, first + size, to, each);
        softmax(to, each, false);
        for (var i = 0u; i < each; i++) {
            route_weights[to + i] *= group_weight;
        }
    }
}

// By falling weight, ties by lower id (insertion sort: few choices).
fn sort_by_weight(at: u32, count: u32) {
    for (var end = 1u; end < count; end++) {
        let id = selected[at + end];
        let weight = route_weights[at + end];
        var place = end;
        while (place > 0u) {
            let other = route_weights[at + place - 1u];
            if (weight < other || (weight == other && id > selected[at + place - 1u])) {
                break;
            }
            selected[at + place] = selected[at + place - 1u];
            route_weights[at + place] = other;
            place--;
        }
        selected[at + place] = id;
        route_weights[at + place] = weight;
    }
}
