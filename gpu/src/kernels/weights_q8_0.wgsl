// Blocks of 32 in 17 half-words: d:f16 qs:[i8; 32], x = d·q.
fn four(row: u32, column: u32) -> vec4<f32> {
    let block = row + (column >> 5u) * 17u;
    let codes = bytes_at(block + 1u + ((column & 31u) >> 1u));
    return f16_at(block) * vec4<f32>(unpack4xI8(codes));
}
