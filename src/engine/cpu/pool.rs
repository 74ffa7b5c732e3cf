//! Experts on demand: a part of each layer's experts is in memory, and the others are read from the model's files when
//! a router chooses them. The expert of a layer that was used longest ago makes room.

use super::pack::{Pack, expert_arriving};
use crate::engine::slots::{Slots, slots_for};
use crate::error::Result;
use crate::kernels::expert_ffn::Expert;
use crate::model::tensors::KeptTensor;
use crate::model::{ExpertWeights, LayerWeights, Tensor};
use crate::shape::MoeShape;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::rc::Rc;

/// What has been asked of a pool so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolFigures {
    /// Slots, over all layers.
    pub slots: usize,
    /// Experts, over all layers.
    pub experts: usize,
    /// Experts in memory now.
    pub resident: usize,
    /// Bytes of the experts in memory now.
    pub resident_bytes: u64,
    /// Experts that were asked for: once for each expert and layer of a step.
    pub requests: u64,
    /// Those of them that were in memory.
    pub hits: u64,
    /// Bytes that were read from the files for the others.
    pub read_bytes: u64,
}

/// Where the weights of an expert are.
struct Source {
    w1: KeptTensor,
    w2: KeptTensor,
    w3: KeptTensor,
    bias: Option<[KeptTensor; 3]>,
}

impl Source {
    fn of(expert: &ExpertWeights<'_>) -> Self {
        let ExpertWeights { w1, w2, w3, bias } = expert;
        let bias = bias.as_ref().map(|biases| biases.each_ref().map(Tensor::kept));
        Self { w1: w1.kept(), w2: w2.kept(), w3: w3.kept(), bias }
    }

    async fn read(&self, pack: Pack) -> Result<Expert> {
        let bias = self.bias.as_ref().map(|biases| biases.each_ref().map(KeptTensor::tensor));
        let weights = ExpertWeights { w1: self.w1.tensor(), w2: self.w2.tensor(), w3: self.w3.tensor(), bias };
        expert_arriving(&weights, pack).await
    }
}

/// One layer's experts. Those that every token uses are always in memory.
struct PooledLayer {
    slots: Slots,
    experts: Vec<Option<Rc<Expert>>>,
    sources: Rc<[Source]>,
    routed: usize,
}

/// The experts of all layers.
pub struct ExpertPool {
    /// `None` for a layer without a router.
    layers: Vec<Option<PooledLayer>>,
    pack: Pack,
    figures: PoolFigures,
}

impl ExpertPool {
    /// A pool without layers.
    pub fn new(pack: Pack) -> Self {
        Self { layers: Vec::new(), pack, figures: PoolFigures::default() }
    }

    /// Adds the next layer, with slots for the share `resident` of its experts. Returns whether they are in the pool:
    /// those of a layer without a router are not.
    pub async fn add(&mut self, weights: &LayerWeights<'_>, moe: &MoeShape, resident: f64) -> Result<bool> {
        if moe.gate.is_none() {
            self.layers.push(None);
            return Ok(false);
        }
        let slots = slots_for(moe.experts, moe.top_k, resident);
        let sources: Rc<[Source]> = weights.ffn.experts.iter().map(Source::of).collect();
        let mut experts: Vec<Option<Rc<Expert>>> = sources.iter().map(|_| None).collect();
        for (source, expert) in sources.iter().zip(&mut experts).skip(moe.experts) {
            *expert = Some(Rc::new(source.read(self.pack).await?));
        }
        self.figures.slots += slots;
        self.figures.experts += moe.experts;
        self.layers.push(Some(PooledLayer { slots: Slots::new(slots), experts, sources, routed: moe.experts }));
        Ok(true)
    }

    /// Whether the experts of layer `n` are in the pool.
    pub fn has(&self, n: usize) -> bool {
        self.layers.get(n).is_some_and(Option::is_some)
    }

    /// What has been asked of it so far.
    pub fn figures(&self) -> PoolFigures {
        let pooled = || self.layers.iter().flatten();
        let bytes = |layer: &PooledLayer| -> u64 { layer.experts.iter().flatten().map(|expert| expert.bytes()).sum() };
        PoolFigures {
            resident: pooled().map(|layer| layer.slots.resident().len()).sum(),
            resident_bytes: pooled().map(bytes).sum(),
            ..self.figures
        }
    }

    /// Rounds in which the experts `wanted` of layer `n` can be in memory together: first those that are there.
    pub fn rounds(&mut self, n: usize, wanted: &[u32]) -> Vec<Vec<u32>> {
        let Some(layer) = self.layers.get_mut(n).and_then(Option::as_mut) else { return Vec::new() };
        let (routed, always): (Vec<u32>, Vec<u32>) = wanted.iter().partition(|e| (**e as usize) < layer.routed);
        let request = layer.slots.request(&routed);
        self.figures.requests += (request.hits.len() + request.misses.len()) as u64;
        self.figures.hits += request.hits.len() as u64;
        let capacity = layer.slots.capacity();
        let first = capacity.saturating_sub(request.hits.len()).min(request.misses.len());
        let (now, later) = request.misses.split_at(first);
        let mut rounds = vec![[always, request.hits, now.to_vec()].concat()];
        rounds.extend(later.chunks(capacity).map(<[u32]>::to_vec));
        rounds.retain(|round| !round.is_empty());
        rounds
    }

    /// Brings the experts of a round into memory. Returns all experts of layer `n`, those of the round present.
    ///
    /// # Errors
    /// The model's file cannot be read any more.
    pub async fn bring(pool: &RefCell<Self>, n: usize, round: &[u32]) -> Result<Vec<Option<Rc<Expert>>>> {
        let (sources, pack, count) = {
            let pool = pool.borrow();
            let Some(layer) = pool.layers.get(n).and_then(Option::as_ref) else { return Ok(Vec::new()) };
            (layer.sources.clone(), pool.pack, layer.experts.len())
        };
        let mut experts: Vec<Option<Rc<Expert>>> = vec![None; count];
        for &expert in round {
            let e = expert as usize;
            let resident = pool.borrow().layers[n].as_ref().and_then(|layer| layer.experts[e].clone());
            experts[e] = Some(match resident {
                Some(expert) => expert,
                None => {
                    let read = Rc::new(sources[e].read(pack).await?);
                    pool.borrow_mut().put(n, expert, read.clone());
                    read
                }
            });
        }
        Ok(experts)
    }

    /// Puts an expert that was read into a slot.
    fn put(&mut self, n: usize, expert: u32, read: Rc<Expert>) {
        self.figures.read_bytes += read.bytes();
        let Some(layer) = self.layers.get_mut(n).and_then(Option::as_mut) else { return };
        if let Some(out) = layer.slots.take_in(expert) {
            layer.experts[out as usize] = None;
        }
        layer.experts[expert as usize] = Some(read);
    }
}
