//! `backend_order`: in which order servers stand before balancing.
//!
//! The default is Ruby's `shuffle(random: Random.new(seed))`, bit for bit, so that a host keeps the order it had with
//! the original: hosts with different seeds start at different backends, one host always at the same.

use super::{BackendOrder, ShuffleSeed};

/// Puts `items`, which stand in discovery order, into the order asked for; `name` gives a server's name.
pub fn arrange<T>(order: BackendOrder, items: &mut [T], name: impl Fn(&T) -> &str) {
    match order {
        BackendOrder::Ascending => items.sort_by(|a, b| name(a).as_bytes().cmp(name(b).as_bytes())),
        BackendOrder::Descending => {
            items.sort_by(|a, b| name(b).as_bytes().cmp(name(a).as_bytes()))
        }
        BackendOrder::AsDiscovered => {}
        BackendOrder::Shuffled(seed) => shuffle(seed, items),
    }
}

/// Ruby's `Array#shuffle!(random: Random.new(seed))`.
fn shuffle<T>(seed: ShuffleSeed, items: &mut [T]) {
    let mut random = Twister::new(seed.0);
    for last in (1..items.len()).rev() {
        // Ruby draws 32-bit words below 2^32 items; a service has fewer.
        let limit = u32::try_from(last).unwrap_or(u32::MAX);
        if let Ok(chosen) = usize::try_from(random.up_to(limit)) {
            items.swap(last, chosen);
        }
    }
}

const WORDS: usize = 624;

/// MT19937, seeded as MRI does.
struct Twister {
    state: [u32; WORDS],
    next: usize,
}

#[expect(
    clippy::indexing_slicing,
    reason = "every index is below WORDS: a loop bound or taken modulo WORDS; keys are not empty"
)]
impl Twister {
    fn new(seed: u128) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "cut into 32-bit words on purpose")]
        let mut words: Vec<u32> = (0..4).map(|i| (seed >> (32 * i)) as u32).collect();
        while words.len() > 1 && words.last() == Some(&0) {
            words.pop();
        }
        // MRI pads with a 1 to keep leading zeros and takes a real leading 1 for the padding.
        if words.len() > 1 && words.last() == Some(&1) {
            words.pop();
        }
        match words.as_slice() {
            [word] => Self::from_word(*word),
            words => Self::from_words(words),
        }
    }

    fn from_word(word: u32) -> Self {
        let mut state = [0; WORDS];
        let mut previous = word;
        state[0] = word;
        for (i, cell) in (0_u32..).zip(state.iter_mut()).skip(1) {
            previous = 1_812_433_253_u32.wrapping_mul(previous ^ (previous >> 30)).wrapping_add(i);
            *cell = previous;
        }
        Self { state, next: WORDS }
    }

    fn from_words(key: &[u32]) -> Self {
        let mut twister = Self::from_word(19_650_218);
        let mut i = 1;
        for (j, word) in (0_u32..).zip(key).cycle().take(WORDS.max(key.len())) {
            let mixed = twister.mix(i, 1_664_525);
            twister.state[i] = mixed.wrapping_add(*word).wrapping_add(j);
            i = twister.step(i);
        }
        for _ in 1..WORDS {
            #[expect(clippy::cast_possible_truncation, reason = "below WORDS")]
            let index = i as u32;
            twister.state[i] = twister.mix(i, 1_566_083_941).wrapping_sub(index);
            i = twister.step(i);
        }
        twister.state[0] = 0x8000_0000;
        twister
    }

    fn mix(&self, i: usize, factor: u32) -> u32 {
        let previous = self.state[i - 1];
        self.state[i] ^ (previous ^ (previous >> 30)).wrapping_mul(factor)
    }

    /// The index after `i`, 1..WORDS; the last word is carried over to the front at the wrap.
    fn step(&mut self, i: usize) -> usize {
        if i + 1 < WORDS {
            return i + 1;
        }
        self.state[0] = self.state[WORDS - 1];
        1
    }

    fn draw(&mut self) -> u32 {
        if self.next >= WORDS {
            for k in 0..WORDS {
                let y = (self.state[k] & 0x8000_0000) | (self.state[(k + 1) % WORDS] & 0x7fff_ffff);
                let twist = if y & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[k] = self.state[(k + 397) % WORDS] ^ (y >> 1) ^ twist;
            }
            self.next = 0;
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// 0..=limit, as Ruby's `limited_rand`: draws until one fits under the next power of two.
    fn up_to(&mut self, limit: u32) -> u32 {
        let mask = limit.checked_ilog2().map_or(0, |bits| u32::MAX >> (31 - bits));
        loop {
            let drawn = self.draw() & mask;
            if drawn <= limit {
                return drawn;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MD5_SEED: u128 = 106_120_057_668_456_273_355_833_563_333_802_393_184;

    fn shuffled<T: Clone>(seed: u128, items: &[T]) -> Vec<T> {
        let mut items = items.to_vec();
        shuffle(ShuffleSeed(seed), &mut items);
        items
    }

    #[test]
    fn shuffles_ten_as_ruby() {
        let ten: Vec<u32> = (1..=10).collect();
        for (seed, expected) in [
            (42, [9, 2, 6, 1, 8, 3, 10, 5, 4, 7]),
            (0, [3, 9, 5, 10, 2, 7, 8, 4, 1, 6]),
            (1 << 32, [3, 9, 5, 10, 2, 7, 8, 4, 1, 6]),
            ((1 << 32) + 5, [10, 6, 3, 5, 8, 2, 1, 9, 7, 4]),
            (MD5_SEED, [3, 10, 6, 1, 7, 8, 5, 9, 2, 4]),
        ] {
            assert_eq!(shuffled(seed, &ten), expected, "seed {seed}");
        }
        assert_eq!(shuffled(1, &[1, 2, 3]), [1, 3, 2]);
    }

    #[test]
    fn shuffles_letters_as_ruby() {
        for (seed, expected) in [
            (0, "cabde"),
            (1, "cbead"),
            (1234, "eabcd"),
            (1999, "bcead"),
            ((1 << 32) + 5, "eabcd"),
            (MD5_SEED, "caebd"),
        ] {
            let order: String = shuffled(seed, &['a', 'b', 'c', 'd', 'e']).into_iter().collect();
            assert_eq!(order, expected, "seed {seed}");
        }
    }

    #[test]
    fn nothing_and_one_stay_as_they_are() {
        assert!(shuffled::<u8>(7, &[]).is_empty());
        assert_eq!(shuffled(7, &[1]), [1]);
    }

    #[test]
    fn names_sort_bytewise() {
        let mut names = ["b:1", "B:1", "a_ä:1", "a:1"];
        arrange(BackendOrder::Ascending, &mut names, |n| n);
        assert_eq!(names, ["B:1", "a:1", "a_ä:1", "b:1"]);
        arrange(BackendOrder::Descending, &mut names, |n| n);
        assert_eq!(names, ["b:1", "a_ä:1", "a:1", "B:1"]);
        arrange(BackendOrder::AsDiscovered, &mut names, |n| n);
        assert_eq!(names, ["b:1", "a_ä:1", "a:1", "B:1"]);
    }
}
