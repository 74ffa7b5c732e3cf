// The values that change from step to step.
struct Step {
    start: u32,        // position of the first token
    count: u32,        // T: tokens of this step
    logits_from: u32,  // first token whose logits are wanted
    unused: u32,
}
@group(0) @binding(0) var<uniform> step: Step;
