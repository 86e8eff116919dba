// Rows of f32.
@group(0) @binding(0) var<storage, read> weights: array<u32>;

// Four weights from `column`, a multiple of four, of the row that begins at half-word `row`.
fn four(row: u32, column: u32) -> vec4<f32> {
    let at = (row >> 1u) + column;
    return bitcast<vec4<f32>>(vec4<u32>(weights[at], weights[at + 1u], weights[at + 2u], weights[at + 3u]));
}
