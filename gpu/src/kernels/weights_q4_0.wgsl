// Blocks of 32 in 9 half-words: d:f16 qs:[u8; 16], x = d·(q − 8); numbers 16 to 31 are high nibbles.
fn four(row: u32, column: u32) -> vec4<f32> {
    let block = row + (column >> 5u) * 9u;
    let bytes = bytes_at(block + 1u + ((column & 15u) >> 1u));
    let codes = (bytes >> ((column & 16u) >> 2u)) & 0x0f0f0f0fu;
    return f16_at(block) * (vec4<f32>(unpack4xU8(codes)) - 8.0);
}
