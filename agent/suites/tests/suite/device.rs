//! What MLX is asked beside its safe interface.

use mlx_rs::{Array, Dtype};
use suites::device::ops::{self, Fused, Mask};
use suites::device::{self, Memory};

fn ramp(shape: &[i32]) -> Array {
    let count: i32 = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|i| (i as f32 * 0.37).sin()).collect();
    Array::from_slice(&values, shape)
}

#[test]
fn the_linked_library_and_its_device_are_told() {
    assert_eq!(device::mlx_version().unwrap(), "0.32.2");
    let info = device::device_info().unwrap();
    assert!(
        !info.name.is_empty() && !info.architecture.is_empty(),
        "{info:?}"
    );
    assert_eq!(info.is_gpu, cfg!(target_os = "macos"));
}

#[test]
fn an_operation_that_mlx_refuses_says_why() {
    let error = ops::matmul(&ramp(&[2, 3]), &ramp(&[2, 3])).unwrap_err();
    assert!(error.what().contains("matmul"), "{error}");
    // The message is the last operation's own, for ours and for those of mlx-rs alike.
    let error = ramp(&[2, 3]).matmul(ramp(&[4, 5])).unwrap_err();
    assert!(error.what().contains("(4,5)"), "{error}");
    let error = ops::reshape(&ramp(&[2, 3]), &[5]).unwrap_err();
    assert!(error.what().contains("reshape"), "{error}");
}

#[test]
fn fused_attention_on_demand_fails_where_there_is_no_kernel() {
    // Forty values per head: no backend has a fused kernel for that.
    let x = ramp(&[1, 2, 4, 40]);
    let attend = |fused| ops::attention(&x, &x, &x, 0.2, Mask::Causal, fused);
    let out = attend(Fused::WhereAvailable).unwrap();
    out.eval().unwrap();
    assert_eq!(out.shape(), [1, 2, 4, 40]);
    let error = attend(Fused::Required)
        .and_then(|out| out.eval())
        .unwrap_err();
    assert!(error.what().contains("fused"), "{error}");
}

#[test]
fn a_step_of_one_needs_no_mask_and_longer_ones_see_only_the_past() {
    let x = ramp(&[1, 1, 5, 16]);
    let values = |array: &Array| array.contiguous().unwrap().to_vec_exact::<f32>().unwrap();
    let attend = |q: &Array, k: &Array, mask| {
        values(&ops::attention(q, k, k, 0.25, mask, Fused::WhereAvailable).unwrap())
    };
    let causal = attend(&x, &x, Mask::for_queries(5));
    for position in 0..5 {
        let query = ops::slice(&x, &[0, 0, position, 0], &[1, 1, position + 1, 16]).unwrap();
        let past = ops::slice(&x, &[0, 0, 0, 0], &[1, 1, position + 1, 16]).unwrap();
        let alone = attend(&query, &past, Mask::for_queries(1));
        let row = &causal[position as usize * 16..][..16];
        for (a, b) in row.iter().zip(&alone) {
            assert!((a - b).abs() < 1e-5, "position {position}: {a} and {b}");
        }
    }
}

#[test]
fn swiglu_is_the_gated_activation() {
    let (gate, up) = (ramp(&[3, 7]), ramp(&[3, 7]));
    let out = ops::swiglu(&gate, &up)
        .unwrap()
        .to_vec_exact::<f32>()
        .unwrap();
    for (x, value) in gate.to_vec_exact::<f32>().unwrap().into_iter().zip(out) {
        let expected = x * x / (1.0 + (-x).exp());
        assert!(
            (value - expected).abs() < 1e-6,
            "{value} for {x}, expected {expected}"
        );
    }
}

/// The allocator is the process's, so this needs one of its own, as nextest gives each test.
#[test]
fn the_peak_is_counted_from_the_last_reset() {
    let Memory { active_bytes, .. } = device::memory().unwrap();
    let large = ops::zeros(&[1 << 20], Dtype::Float32).unwrap();
    let doubled = ops::add(&large, &ramp(&[1])).unwrap();
    doubled.eval().unwrap();
    let held = device::memory().unwrap();
    assert!(held.active_bytes >= active_bytes + (4 << 20), "{held:?}");
    assert!(held.peak_bytes >= held.active_bytes);
    drop((large, doubled));
    device::synchronize().unwrap();
    device::reset_peak_memory().unwrap();
    device::clear_cache().unwrap();
    let after = device::memory().unwrap();
    assert!(after.peak_bytes < 4 << 20, "{after:?}");
    assert_eq!(after.cache_bytes, 0);
}
