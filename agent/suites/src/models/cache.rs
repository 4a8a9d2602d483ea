//! Keys and values of the positions already computed, of one layer.

use mlx_rs::Array;
use mlx_rs::error::Result;

use crate::device::ops;

/// The buffers grow by this many positions, and between that are written in place.
pub const STEP: i32 = 256;

/// Buffers of `[batch, kv_heads, capacity, head_dim]`, of which the first `len` positions count.
#[derive(Clone, Debug, Default)]
pub struct KvCache {
    buffers: Option<Buffers>,
    len: i32,
    keeps_nothing: bool,
    /// `[batch]`: how many of each sequence's first positions are filled in before it.
    padding: Option<Array>,
}

#[derive(Clone, Debug)]
struct Buffers {
    keys: Array,
    values: Array,
    /// `[batch, kv_heads, capacity, head_dim]`, kept here since asking MLX costs a call.
    shape: [i32; 4],
}

impl KvCache {
    /// For one pass over whole sequences that none follows: what is appended comes back as it is,
    /// untouched between it and its gradients.
    pub fn passing() -> Self {
        Self {
            keeps_nothing: true,
            ..Self::default()
        }
    }

    /// For sequences of different lengths in one step: each is filled up before its first token, with
    /// so many positions (`[batch]`, i32), so that all of them end together.
    pub fn padded(padding: &Array) -> Self {
        Self {
            padding: Some(padding.clone()),
            ..Self::default()
        }
    }

    pub fn padding(&self) -> Option<&Array> {
        self.padding.as_ref()
    }

    /// Positions held.
    pub fn len(&self) -> i32 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends positions and returns all keys and values up to and including them.
    pub fn append(&mut self, keys: &Array, values: &Array, added: i32) -> Result<(Array, Array)> {
        if self.keeps_nothing {
            return Ok((keys.clone(), values.clone()));
        }
        let start = self.len;
        let end = start + added;
        self.reserve(keys, values, added)?;
        let Some(Buffers {
            keys: all_keys,
            values: all_values,
            shape,
        }) = &mut self.buffers
        else {
            unreachable!("reserved above");
        };
        let [batch, heads, capacity, dim] = *shape;
        let (from, to) = ([0, 0, start, 0], [batch, heads, end, dim]);
        *all_keys = ops::slice_update(all_keys, keys, &from, &to)?;
        *all_values = ops::slice_update(all_values, values, &from, &to)?;
        self.len = end;
        if end == capacity {
            return Ok((all_keys.clone(), all_values.clone()));
        }
        let origin = [0; 4];
        Ok((
            ops::slice(all_keys, &origin, &to)?,
            ops::slice(all_values, &origin, &to)?,
        ))
    }

    fn reserve(&mut self, keys: &Array, values: &Array, added: i32) -> Result<()> {
        let end = self.len + added;
        if self
            .buffers
            .as_ref()
            .is_some_and(|buffers| end <= buffers.shape[2])
        {
            return Ok(());
        }
        let shape = keys.shape();
        let (batch, heads, dim) = (shape[0], shape[1], shape[3]);
        let grown = [batch, heads, (added + STEP - 1) / STEP * STEP, dim];
        let mut new_keys = ops::zeros(&grown, keys.dtype())?;
        let mut new_values = ops::zeros(&grown, values.dtype())?;
        let mut capacity = grown[2];
        if let Some(old) = self.buffers.take() {
            // What lies beyond `len` is stale, and the slices cost nothing when there is none.
            let (origin, used) = ([0; 4], [batch, heads, self.len, dim]);
            let old_keys = ops::slice(&old.keys, &origin, &used)?;
            let old_values = ops::slice(&old.values, &origin, &used)?;
            new_keys = ops::concatenate([&old_keys, &new_keys], 2)?;
            new_values = ops::concatenate([&old_values, &new_values], 2)?;
            capacity += self.len;
        }
        self.buffers = Some(Buffers {
            keys: new_keys,
            values: new_values,
            shape: [batch, heads, capacity, dim],
        });
        Ok(())
    }

    /// Forgets the last positions, as many as are there; the buffers stay.
    pub fn trim(&mut self, positions: i32) {
        self.len -= positions.min(self.len);
    }

    /// The buffers, to be evaluated.
    pub fn arrays(&self) -> impl Iterator<Item = &Array> {
        self.buffers
            .iter()
            .flat_map(|buffers| [&buffers.keys, &buffers.values])
    }

    /// What the positions held take, without what is allocated ahead.
    pub fn used_bytes(&self) -> u64 {
        self.buffers.as_ref().map_or(0, |buffers| {
            let capacity = buffers.shape[2] as u64;
            self.allocated_bytes() / capacity * self.len as u64
        })
    }

    /// Allocated, which is more than used: capacity is a multiple of [`STEP`] beyond the last growth.
    pub fn allocated_bytes(&self) -> u64 {
        self.arrays().map(|array| array.nbytes() as u64).sum()
    }
}

/// Waits until every layer's cache is computed, and with it what it depends on: nothing after the
/// last layer's keys and values.
pub fn eval(cache: &[KvCache]) -> Result<()> {
    mlx_rs::transforms::eval(cache.iter().flat_map(KvCache::arrays))
}
