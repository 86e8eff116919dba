// Rows of f16, of an even number of half-words.
@group(0) @binding(0) var<storage, read> weights: array<u32>;

// Four weights from `column`, a multiple of four, of the row that begins at half-word `row`.
fn four(row: u32, column: u32) -> vec4<f32> {
    let at = (row + column) >> 1u;
    return vec4<f32>(unpack2x16float(weights[at]), unpack2x16float(weights[at + 1u]));
}
