//! Where a step's tokens stand, and which positions a layer's queries see: all that came before, or a
//! window that slides along; in a batch of different lengths never what fills a sequence up.
//!
//! The cache keeps every position, and a layer that slides looks at the end of it. mlx-lm overwrites
//! what has left the window, which takes less memory and computes the same.

use mlx_rs::Array;
use mlx_rs::error::Exception;

use super::KvCache;
use super::config::{Config, ConfigError};
use crate::device::ops::{self, Mask, Offset};

/// How many positions a query sees, its own among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    positions: i32,
}

/// The window of each layer, None where it sees everything; `sliding_window` has the size.
pub fn of_layers(slides: &[bool], config: &Config) -> Result<Vec<Option<Window>>, ConfigError> {
    let window = if slides.contains(&true) {
        let positions = config.required_size("sliding_window")?;
        Some(Window { positions })
    } else {
        None
    };
    Ok(slides
        .iter()
        .map(|slides| window.filter(|_| *slides))
        .collect())
}

/// What the queries of one step see, for the layers with a window and for those without.
pub struct Sights {
    everything: Sight,
    sliding: Option<Sight>,
}

impl Sights {
    /// For a step of `length` tokens after what the cache holds. A model has one size of window.
    pub fn new(
        windows: &[Option<Window>],
        cache: &[KvCache],
        length: i32,
    ) -> Result<Self, Exception> {
        let window = windows.iter().flatten().next();
        Ok(Self {
            everything: Sight::of_everything(cache, length)?,
            sliding: window
                .map(|window| Sight::new(Some(*window), cache, length))
                .transpose()?,
        })
    }

    pub fn of(&self, window: Option<Window>) -> &Sight {
        match (&self.sliding, window) {
            (Some(sliding), Some(_)) => sliding,
            _ => &self.everything,
        }
    }
}

pub struct Sight {
    /// No query of the step sees a position before this one.
    from: i32,
    limit: Limit,
    /// Positions held before the step, whatever they are filled with.
    held: i32,
    /// `[batch]`: those that each sequence has, where they differ.
    offsets: Option<Array>,
}

enum Limit {
    None,
    Causal,
    /// `[queries, keys]` or `[batch, 1, queries, keys]`, true where seen.
    Some(Array),
}

impl Sight {
    /// Without a window.
    pub fn of_everything(cache: &[KvCache], length: i32) -> Result<Self, Exception> {
        Self::new(None, cache, length)
    }

    fn new(window: Option<Window>, cache: &[KvCache], length: i32) -> Result<Self, Exception> {
        let held = cache.first().map_or(0, KvCache::len);
        let padding = cache.first().and_then(KvCache::padding);
        let from = window.map_or(0, |window| (held + 1 - window.positions).max(0));
        let keys = held + length - from;
        let narrow = window.filter(|window| keys > window.positions);
        let limit = match (padding, narrow) {
            (Some(padding), _) => {
                let seen = seen(window, from, held, length)?;
                Limit::Some(without_padding(&seen, padding, from, held, length)?)
            }
            (None, _) if length == 1 => Limit::None,
            (None, Some(_)) => Limit::Some(seen(narrow, from, held, length)?),
            (None, None) => Limit::Causal,
        };
        let offsets = padding.map(|padding| Array::from_int(held).subtract(padding));
        Ok(Self {
            from,
            limit,
            held,
            offsets: offsets.transpose()?,
        })
    }

    /// Where the step begins.
    pub fn offset(&self) -> Offset<'_> {
        match &self.offsets {
            None => Offset::Same(self.held),
            Some(offsets) => Offset::Each(offsets, self.held),
        }
    }

    /// The keys and values, `[batch, heads, positions, dim]`, that at least one query sees.
    pub fn of(&self, (keys, values): (Array, Array)) -> Result<(Array, Array), Exception> {
        if self.from == 0 {
            return Ok((keys, values));
        }
        let stop = [keys.dim(0), keys.dim(1), keys.dim(2), keys.dim(3)];
        let start = [0, 0, self.from, 0];
        Ok((
            ops::slice(&keys, &start, &stop)?,
            ops::slice(&values, &start, &stop)?,
        ))
    }

    pub fn mask(&self) -> Mask<'_> {
        match &self.limit {
            Limit::None => Mask::None,
            Limit::Causal => Mask::Causal,
            Limit::Some(seen) => Mask::Array(seen),
        }
    }
}

/// A row of the positions from `from` to before `to`.
fn positions(from: i32, to: i32) -> Result<Array, Exception> {
    Array::arange::<i32, i32>(from, to, None)
}

/// For queries at `held` and after, the keys being all positions from `from` on.
fn seen(window: Option<Window>, from: i32, held: i32, length: i32) -> Result<Array, Exception> {
    let end = held + length;
    let queries = positions(held, end)?.expand_dims(1)?;
    let keys = positions(from, end)?.expand_dims(0)?;
    let before = queries.ge(&keys)?;
    let Some(window) = window else {
        return Ok(before);
    };
    let beyond = keys.add(Array::from_int(window.positions))?;
    before.logical_and(&queries.lt(&beyond)?)
}

/// The same in each sequence (`[batch, 1, queries, keys]`) without the positions before its first
/// token. Those see themselves: a softmax over nothing is no number, and what is no number stays so
/// in the sums of those that give it no weight.
fn without_padding(
    seen: &Array,
    padding: &Array,
    from: i32,
    held: i32,
    length: i32,
) -> Result<Array, Exception> {
    let end = held + length;
    let queries = positions(held, end)?.expand_dims(1)?;
    let keys = positions(from, end)?.expand_dims(0)?;
    let first = padding.reshape(&[-1, 1, 1, 1])?;
    seen.logical_and(&keys.ge(&mlx_rs::ops::minimum(&first, &queries)?)?)
}
