// Blocks that begin at any half-word.
@group(0) @binding(0) var<storage, read> weights: array<u32>;

fn f16_at(half: u32) -> f32 {
    return unpack2x16float(weights[half >> 1u] >> ((half & 1u) << 4u)).x;
}

// The four bytes from half-word `half`.
fn bytes_at(half: u32) -> u32 {
    let low = weights[half >> 1u];
    if (half & 1u) == 0u {
        return low;
    }
    return (low >> 16u) | (weights[(half >> 1u) + 1u] << 16u);
}
