//! Which positions a layer's queries see: all that came before, or a window that slides along.
//!
//! The cache keeps every position, and a layer that slides looks at the end of it. mlx-lm overwrites
//! what has left the window, which takes less memory and computes the same.

use mlx_rs::Array;
use mlx_rs::error::Exception;

use super::KvCache;
use super::config::{Config, ConfigError};
use crate::device::ops::{self, Mask};

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
        let held = cache.first().map_or(0, KvCache::len);
        let window = windows.iter().flatten().next();
        Ok(Self {
            everything: Sight::new(None, held, length)?,
            sliding: window
                .map(|window| Sight::new(Some(*window), held, length))
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
}

enum Limit {
    None,
    Causal,
    /// `[queries, keys]`, true where seen.
    Window(Array),
}

impl Sight {
    fn new(window: Option<Window>, held: i32, length: i32) -> Result<Self, Exception> {
        let from = window.map_or(0, |window| (held + 1 - window.positions).max(0));
        let keys = held + length - from;
        let limit = match window {
            _ if length == 1 => Limit::None,
            Some(window) if keys > window.positions => {
                Limit::Window(seen(window, held - from, length)?)
            }
            _ => Limit::Causal,
        };
        Ok(Self { from, limit })
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
            Limit::Window(seen) => Mask::Array(seen),
        }
    }
}

/// For queries at `before` and after, `keys` being all positions up to the last query's.
fn seen(window: Window, before: i32, length: i32) -> Result<Array, Exception> {
    let last = before + length;
    let queries = Array::arange::<i32, i32>(before, last, None)?.expand_dims(1)?;
    let keys = Array::arange::<i32, i32>(None, last, None)?.expand_dims(0)?;
    let beyond = keys.add(Array::from_int(window.positions))?;
    queries.ge(&keys)?.logical_and(&queries.lt(&beyond)?)
}
