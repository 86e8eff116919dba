// Blocks of 256 in 36 words: d:f16 dmin:f16 scales:[u8; 12] qs:[u8; 128], x = d·s·q − dmin·m.
// Of each 64 numbers the low nibbles of 32 bytes are the first half and the high nibbles the second.
@group(0) @binding(0) var<storage, read> weights: array<u32>;

fn byte_of(block: u32, index: u32) -> u32 {
    return (weights[block + (index >> 2u)] >> ((index & 3u) << 3u)) & 0xffu;
}

fn four(row: u32, column: u32) -> vec4<f32> {
    let block = (row >> 1u) + (column >> 8u) * 36u;
    let sub = (column & 255u) >> 5u;
    var scale: u32;
    var least: u32;
    if sub < 4u {
        scale = byte_of(block, 4u + sub) & 63u;
        least = byte_of(block, 8u + sub) & 63u;
    } else {
        let low = byte_of(block, 8u + sub);
        scale = (low & 15u) | ((byte_of(block, sub) >> 6u) << 4u);
        least = (low >> 4u) | ((byte_of(block, 4u + sub) >> 6u) << 4u);
    }
    let d = unpack2x16float(weights[block]);
    let bytes = weights[block + 4u + (sub >> 1u) * 8u + ((column & 31u) >> 2u)];
    let codes = (bytes >> ((sub & 1u) << 2u)) & 0x0f0f0f0fu;
    return d.x * f32(scale) * vec4<f32>(unpack4xU8(codes)) - d.y * f32(least);
}
