//! Slots for the experts of one layer: which are in memory, where there is room for a part of them. The expert that was
//! used longest ago makes room for another one.

/// The number of slots for a layer with `experts` experts, of which a token uses `top_k`, where the share `resident`
/// (0 to 1) is in memory: at least as many as a token uses.
pub fn slots_for(experts: usize, top_k: usize, resident: f64) -> usize {
    // A hundredth of an expert is what rounding a share of a few digits may add.
    ((experts as f64 * resident - 0.01).ceil() as usize).clamp(top_k.min(experts), experts)
}

/// What a request for experts needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The experts that are in memory, by number.
    pub hits: Vec<u32>,
    /// Those that have to be read, by number.
    pub misses: Vec<u32>,
}

/// The experts of one layer that are in memory.
#[derive(Clone, Debug)]
pub struct Slots {
    capacity: usize,
    /// The experts in memory; the one that was used longest ago comes first.
    used: Vec<u32>,
}

impl Slots {
    /// Empty slots, at least one.
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), used: Vec::new() }
    }

    /// The number of slots.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The experts in memory.
    pub fn resident(&self) -> &[u32] {
        &self.used
    }

    /// Requests a set of experts. Those in memory count as used, by number. The others have to be taken in.
    pub fn request(&mut self, experts: &[u32]) -> Request {
        let mut wanted = experts.to_vec();
        wanted.sort_unstable();
        wanted.dedup();
        let (hits, misses) = wanted.into_iter().partition(|expert| self.used.contains(expert));
        let request = Request { hits, misses };
        request.hits.iter().for_each(|expert| self.touch(*expert));
        request
    }

    /// Takes an expert in, and counts it as used. Returns the expert that had to make room, if one had to.
    pub fn take_in(&mut self, expert: u32) -> Option<u32> {
        let out = (self.used.len() >= self.capacity && !self.used.contains(&expert)).then(|| self.used.remove(0));
        self.touch(expert);
        out
    }

    fn touch(&mut self, expert: u32) {
        self.used.retain(|other| *other != expert);
        self.used.push(expert);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expert_used_longest_ago_makes_room() {
        let mut slots = Slots::new(2);
        assert_eq!(slots.request(&[3, 1]), Request { hits: vec![], misses: vec![1, 3] });
        assert_eq!([slots.take_in(1), slots.take_in(3)], [None, None]);
        assert_eq!(slots.request(&[1]), Request { hits: vec![1], misses: vec![] });
        assert_eq!(slots.request(&[2, 1, 2]), Request { hits: vec![1], misses: vec![2] });
        assert_eq!(slots.take_in(2), Some(3), "1 was used after 3");
        assert_eq!(slots.resident(), [1, 2]);
        assert_eq!(slots.take_in(2), None, "it is there");
    }

    #[test]
    fn a_share_has_room_for_what_a_token_uses() {
        assert_eq!(slots_for(64, 8, 0.25), 16);
        assert_eq!(slots_for(64, 8, 0.05), 8);
        assert_eq!(slots_for(60, 4, 0.125), 8);
        assert_eq!(slots_for(3, 2, 1.0), 3);
        assert_eq!(slots_for(8, 2, 7.0), 8);
        // A third of 96 as people write it.
        assert_eq!(slots_for(96, 1, 0.3333), 32);
    }
}
