// The choice of one token's experts from its scores. docs/gates.md and docs/model-format.md have the kinds, formulas
// and sources. Twin: kernels/choose.rs. A kernel that includes this file binds vectors, policy, ids, selected and
// route_weights, and defines which experts are full. `vectors`, [3 E]: numbers added to an expert's score, numbers
// added to its router logit, factors of its weight.
override EXPERTS: u32;                // E
override EXPERT_GROUPS: u32;          // G; 0 where the model's gate is not hierarchical
override GROUPS_PER_TOKEN: u32;
override TOP_K: u32;                  // room for choices; k where there is no policy
override SHARED: u32;
override ROUTER_ROWS: u32;            // of the experts, of the groups, of learned noise
override LIMIT_GROUPS: u32;           // groups, where only the experts of some may be chosen
override LIMIT_PER_TOKEN: u32;        // how many groups that are
override KEYS: u32;                   // E and the most groups
// The model's own gate, where there is no policy.
override POLICY: u32;
override KIND: u32;
override RENORMALISE: u32;
override EPSILON: f32;
override LEAST_SUM: f32;
override SCALE: f32;
override JITTER: f32;
override GROUP_SCORE: u32;            // what groups are ranked by; 0 where all experts may be chosen

const SOFTMAX = 0u;
const SIGMOID = 1u;
const BY_GROUP = 2u;
const HASH = 3u;
const RANDOM = 4u;
const ROUND_ROBIN = 5u;
const EXPERTS_CHOOSE = 6u;
const SOFTMAX_BIAS = 7u;
const SIGMOID_TOP_K = 8u;
const SPARSE_MIXER = 9u;

const TWO_BEST = 2u;                  // of GROUP_SCORE; else the largest key

const LOWEST = -3.4e38;
const CLOSED = -3.402823e38;          // the key of experts that may not be chosen or have been chosen
const NONE = 0xffffffffu;

// A policy: the number of settings, the layer; then for each setting HEADER words, and for each expert (name after the
// choice, whether it is off, bias, index among the forced experts or none). shape/setting.rs explains the fields, and
// engine/gpu/policy.rs writes them.
const HEADER = 16u;
const PER_EXPERT = 4u;

// The router's outputs for the current token.
var<workgroup> scores: array<f32, ROUTER_ROWS>;
// The keys by which its experts are ranked, then those of the groups.
var<workgroup> keys: array<f32, KEYS>;
// For gates with a softmax over all candidates: their largest logit, and the sum of exp(logit - largest).
var<private> normaliser: vec2<f32>;

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

fn parameter(word: u32, own: f32) -> f32 {
    if (POLICY == 1u) {
        return bitcast<f32>(policy[setting + word]);
    }
    return own;
}

fn scale() -> f32 {
    return parameter(10u, SCALE);
}

fn epsilon() -> f32 {
    return parameter(13u, EPSILON);
}

fn least_sum() -> f32 {
    return parameter(14u, LEAST_SUM);
}

fn jitter() -> f32 {
    return parameter(15u, JITTER);
}

fn group_score() -> u32 {
    if (POLICY == 1u) {
        return policy[setting + 12u];
    }
    return GROUP_SCORE;
}

fn own_scale(expert: u32) -> f32 {
    return vectors[2u * EXPERTS + expert];
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

// The logit with the policy's bias, except where the gate adds the bias to a score.
fn logit_of(expert: u32) -> f32 {
    if (kind() == SIGMOID || kind() == SOFTMAX_BIAS) {
        return noisy(expert);
    }
    return noisy(expert) + policy_bias(expert);
}

// The sigmoid of the logit. Logits below -87 count as -87, so that it is not 0.
fn sigmoid(expert: u32) -> f32 {
    return 1.0 / (1.0 + exp(min(-logit_of(expert), 87.0)));
}

fn softplus(value: f32) -> f32 {
    return max(value, 0.0) + log(1.0 + exp(-abs(value)));
}

// An expert's share of the softmax over all candidates.
fn share(expert: u32) -> f32 {
    return exp(logit_of(expert) - normaliser.x) / normaliser.y;
}

// The key by which an expert is ranked.
fn key(expert: u32) -> f32 {
    switch (kind()) {
        case SIGMOID: {
            return sigmoid(expert) + vectors[expert] + policy_bias(expert);
        }
        case SOFTMAX_BIAS: {
            return share(expert) + vectors[expert] + policy_bias(expert);
        }
        case HASH: {
            return fraction(policy[setting + 6u], policy[1], token_id, expert);
        }
        case RANDOM: {
            return fraction(policy[setting + 6u], policy[1], position, expert);
        }
        case ROUND_ROBIN: {
            let first = position * top_k() % EXPERTS;
            return -f32((expert + EXPERTS - first) % EXPERTS);
        }
        default: {
            return logit_of(expert);
        }
    }
}

// Whether the weights of a softmax are first computed as shares of all candidates.
fn shares_all() -> bool {
    if (kind() == SOFTMAX_BIAS || kind() == EXPERTS_CHOOSE) {
        return true;
    }
    return kind() == SOFTMAX && (!renormalises() || epsilon() > 0.0 || least_sum() > 1e-37);
}

fn find_normaliser() {
    var largest = LOWEST;
    for (var expert = 0u; expert < EXPERTS; expert++) {
        if (is_candidate(expert)) {
            largest = max(largest, logit_of(expert));
        }
    }
    var total = 0.0;
    for (var expert = 0u; expert < EXPERTS; expert++) {
        if (is_candidate(expert)) {
            total += exp(logit_of(expert) - largest);
        }
    }
    normaliser = vec2<f32>(largest, total);
}

fn rank() {
    for (var expert = 0u; expert < EXPERTS; expert++) {
        var its = CLOSED;
        if (is_candidate(expert)) {
            its = max(key(expert), LOWEST);
        }
        keys[expert] = its;
    }
}

// Writes the choice for the token at index t to its rows of `selected` and `route_weights`.
fn choose(t: u32) {
    find_setting(t);
    let at = t * (TOP_K + SHARED);
    var k = top_k();
    let chooses = kind() == EXPERTS_CHOOSE;
    if (chooses) {
        k = EXPERTS;
    }
    if (shares_all()) {
        find_normaliser();
    }
    rank();
    if (kind() == BY_GROUP) {
        choose_by_group(at, k);
    } else {
        if (group_score() > 0u) {
            close_groups();
        }
        let forced = choose_forced(at);
        choose_largest(0u, EXPERTS, at + forced, k - forced);
        weigh(at, k);
    }
    if (!chooses) {
        scale_and_rename(at, k);
    }
    sort_by_weight(at, k);
    for (var choice = k; choice < TOP_K; choice++) {
        selected[at + choice] = NONE;
        route_weights[at + choice] = 0.0;
    }
}

fn scale_and_rename(at: u32, k: u32) {
    for (var choice = at; choice < at + k; choice++) {
        let expert = selected[choice];
        if (expert != NONE) {
            route_weights[choice] *= own_scale(expert);
            selected[choice] = renamed(expert);
        }
    }
}

// Closes all experts outside of the best groups.
fn close_groups() {
    for (var group = 0u; group < LIMIT_GROUPS; group++) {
        score_group(group);
    }
    take_groups();
    for (var expert = 0u; expert < EXPERTS; expert++) {
        close_outside(expert);
    }
}

fn group_size() -> u32 {
    return EXPERTS / max(LIMIT_GROUPS, 1u);
}

// Writes the score of a group to its key.
fn score_group(group: u32) {
    var first = CLOSED;
    var second = CLOSED;
    for (var expert = group * group_size(); expert < (group + 1u) * group_size(); expert++) {
        if (keys[expert] > first) {
            second = first;
            first = keys[expert];
        } else {
            second = max(second, keys[expert]);
        }
    }
    if (group_score() == TWO_BEST && second > CLOSED) {
        first = max(first + second, LOWEST);
    }
    keys[EXPERTS + group] = first;
}

fn take_groups() {
    for (var n = 0u; n < LIMIT_PER_TOKEN; n++) {
        take_largest(EXPERTS, EXPERTS + LIMIT_GROUPS);
    }
}

// Closes an expert whose group was not chosen. A closed group was chosen, or has no candidates.
fn close_outside(expert: u32) {
    if (keys[EXPERTS + expert / group_size()] > CLOSED) {
        keys[expert] = CLOSED;
    }
}

// Chooses the forced experts that are candidates; returns how many there are.
fn choose_forced(at: u32) -> u32 {
    var count = 0u;
    if (POLICY == 1u) {
        for (var nth = 1u; nth <= policy[setting + 9u]; nth++) {
            for (var expert = 0u; expert < EXPERTS; expert++) {
                if (of_expert(expert, 3u) == nth && is_candidate(expert)) {
                    selected[at + count] = expert;
                    keys[expert] = CLOSED;
                    count++;
                }
            }
        }
    }
    return count;
}

// Writes the indices of the `count` largest keys of first .. end to `selected` from `at` on, by falling key, ties by
// lower index; then NONE where there are no more.
fn choose_largest(first: u32, end: u32, at: u32, count: u32) {
    for (var choice = 0u; choice < count; choice++) {
        selected[at + choice] = take_largest(first, end);
    }
}

// The index of the largest key of first .. end, which it closes; NONE where all are closed.
fn take_largest(first: u32, end: u32) -> u32 {
    var best = CLOSED;
    var place = NONE;
    for (var candidate = first; candidate < end; candidate++) {
        if (keys[candidate] > best) {
            best = keys[candidate];
            place = candidate;
        }
    }
    if (place != NONE) {
        keys[place] = CLOSED;
    }
    return place;
}

// Computes the weights of the `count` choices from `at` on, without the experts' own factors.
fn weigh(at: u32, count: u32) {
    let chosen = chosen_of(at, count);
    for (var choice = at + chosen; choice < at + count; choice++) {
        route_weights[choice] = 0.0;
    }
    switch (kind()) {
        case HASH, RANDOM, ROUND_ROBIN: {
            for (var choice = at; choice < at + chosen; choice++) {
                route_weights[choice] = 1.0 / f32(chosen);
            }
            return;
        }
        case SIGMOID, SIGMOID_TOP_K: {
            for (var choice = at; choice < at + chosen; choice++) {
                route_weights[choice] = sigmoid(selected[choice]);
            }
        }
        case SPARSE_MIXER: {
            mix_sparsely(at, chosen);
        }
        default: {
            if (shares_all()) {
                for (var choice = at; choice < at + chosen; choice++) {
                    route_weights[choice] = share(selected[choice]);
                }
            } else {
                softmax(at, chosen);
            }
        }
    }
    var total = 1.0;
    if (renormalises() && kind() != EXPERTS_CHOOSE) {
        total = 0.0;
        for (var choice = at; choice < at + chosen; choice++) {
            total += route_weights[choice];
        }
        total = max(total, least_sum()) + epsilon();
    }
    for (var choice = at; choice < at + chosen; choice++) {
        route_weights[choice] = route_weights[choice] / total * scale();
    }
}

// Computes the sparse mixer's weights. For each choice, by falling logit, the weight is its share of a softmax over the
// candidates that were not chosen before it and whose logits are relatively at most twice the jitter below it.
fn mix_sparsely(at: u32, chosen: u32) {
    for (var choice = at; choice < at + chosen; choice++) {
        route_weights[choice] = logit_of(selected[choice]);
    }
    sort_by_weight(at, chosen);
    for (var choice = at; choice < at + chosen; choice++) {
        let logit = route_weights[choice];
        var largest = LOWEST;
        for (var expert = 0u; expert < EXPERTS; expert++) {
            if (is_near(expert, logit, at, choice)) {
                largest = max(largest, logit_of(expert));
            }
        }
        var total = 0.0;
        for (var expert = 0u; expert < EXPERTS; expert++) {
            if (is_near(expert, logit, at, choice)) {
                total += exp(logit_of(expert) - largest);
            }
        }
        route_weights[choice] = exp(logit - largest) / total;
    }
}

// Whether an expert counts in the softmax of a choice; the choices from `at` on before it do not.
fn is_near(expert: u32, logit: f32, at: u32, choice: u32) -> bool {
    if (!is_candidate(expert)) {
        return false;
    }
    for (var before = at; before < choice; before++) {
        if (selected[before] == expert) {
            return false;
        }
    }
    let other = logit_of(expert);
    let size = max(abs(other), logit);
    return size <= 0.0 || (logit - other) / size <= 2.0 * jitter();
}

// The number of the `count` choices from `at` on that are experts.
fn chosen_of(at: u32, count: u32) -> u32 {
    var chosen = 0u;
    while (chosen < count && selected[at + chosen] != NONE) {
        chosen++;
    }
    return chosen;
}

// Softmax over the `count` choices from `at` on, experts or groups; none of them is NONE.
fn softmax(at: u32, count: u32) {
    var largest = LOWEST;
    for (var choice = at; choice < at + count; choice++) {
        largest = max(largest, weighed(selected[choice]));
    }
    var total = 0.0;
    for (var choice = at; choice < at + count; choice++) {
        let weight = exp(weighed(selected[choice]) - largest);
        route_weights[choice] = weight;
        total += weight;
    }
    for (var choice = at; choice < at + count; choice++) {
        route_weights[choice] /= total;
    }
}

fn weighed(candidate: u32) -> f32 {
    if (candidate >= EXPERTS) {
        return scores[candidate];
    }
    return logit_of(candidate);
}

// Chooses the largest groups, and in each its largest experts. The groups are kept at the end of the experts' rows,
// where experts will be written later.
fn choose_by_group(at: u32, k: u32) {
    let size = EXPERTS / max(EXPERT_GROUPS, 1u);
    let each = k / GROUPS_PER_TOKEN;
    let first_group = at + k - GROUPS_PER_TOKEN;
    for (var group = 0u; group < EXPERT_GROUPS; group++) {
        var its = CLOSED;
        for (var expert = group * size; expert < (group + 1u) * size; expert++) {
            if (keys[expert] > CLOSED) {
                its = max(scores[EXPERTS + group], LOWEST);
            }
        }
        keys[EXPERTS + group] = its;
    }
    choose_largest(EXPERTS, EXPERTS + EXPERT_GROUPS, first_group, GROUPS_PER_TOKEN);
    softmax(first_group, chosen_of(first_group, GROUPS_PER_TOKEN));
    for (var n = 0u; n < GROUPS_PER_TOKEN; n++) {
        let group = selected[first_group + n];
        let group_weight = route_weights[first_group + n];
        let to = at + n * each;
        for (var choice = to; choice < to + each; choice++) {
            selected[choice] = NONE;
            route_weights[choice] = 0.0;
        }
        if (group == NONE) {
            continue;
        }
        let first = (group - EXPERTS) * size;
        choose_largest(first, first + size, to, each);
        let chosen = chosen_of(to, each);
        softmax(to, chosen);
        for (var choice = to; choice < to + chosen; choice++) {
            route_weights[choice] *= group_weight;
        }
    }
}

// Sorts by falling weight, ties by lower id, NONE last (insertion sort, because there are few choices).
fn sort_by_weight(at: u32, count: u32) {
    for (var end = 1u; end < count; end++) {
        let id = selected[at + end];
        let weight = route_weights[at + end];
        var place = end;
        while (place > 0u) {
            let other = route_weights[at + place - 1u];
            let other_id = selected[at + place - 1u];
            if (other_id != NONE && (id == NONE || weight < other || (weight == other && id > other_id))) {
                break;
            }
            selected[at + place] = other_id;
            route_weights[at + place] = other;
            place--;
        }
        selected[at + place] = id;
        route_weights[at + place] = weight;
    }
}
