//! Two ways of working in one process and in turn, so that a machine that slows down slows both.

/// As many turns as one pass has: two of each way.
pub const TURNS: usize = 4;

/// A B B A, or B A A B in every other launch.
pub fn in_turn<T: Copy>(a: T, b: T, launch_seed: u64) -> [T; TURNS] {
    if launch_seed.is_multiple_of(2) {
        [a, b, b, a]
    } else {
        [b, a, a, b]
    }
}

/// Which of the turns are this way's.
pub fn places<T: Copy + PartialEq>(order: [T; TURNS], way: T) -> impl Iterator<Item = usize> {
    (0..TURNS).filter(move |&place| order[place] == way)
}

/// The ids of each of a way's turns; `tokens` has those of all turns, as many of each.
pub fn outputs<T: Copy + PartialEq>(
    tokens: &[u32],
    per_turn: usize,
    order: [T; TURNS],
    way: T,
) -> impl Iterator<Item = &[u32]> {
    places(order, way).filter_map(move |place| tokens.chunks(per_turn).nth(place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_mirrored_and_swapped_from_launch_to_launch() {
        for seed in [4, 5] {
            let order = in_turn('a', 'b', seed);
            assert!(order[0] == order[3] && order[1] == order[2] && order[0] != order[1]);
        }
        assert_ne!(in_turn('a', 'b', 6), in_turn('a', 'b', 7));
    }

    #[test]
    fn a_ways_output_is_that_of_its_own_turns() {
        let order = in_turn('a', 'b', 0);
        let tokens = [1, 2, 3, 4, 5, 6, 7, 8];
        let of_b: Vec<&[u32]> = outputs(&tokens, 2, order, 'b').collect();
        assert_eq!(of_b, [[3, 4], [5, 6]]);
    }
}
