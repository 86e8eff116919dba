struct Params {
    // Rows of this part of the matrix, and how many come before it.
    rows: u32,
    first_row: u32,
    // Half-words of a row.
    row_halves: u32,
    // Columns, in fours.
    chunks: u32,
    tokens: u32,
    // The first token in x and the distance of tokens, in fours.
    x_first: u32,
    x_stride: u32,
    // The first token in y and the distance of tokens.
    y_first: u32,
    y_stride: u32,
    // 1: add the bias. 2: add to what y holds.
    flags: u32,
}

var<immediate> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

fn put(token: u32, row: u32, product: f32) {
    if token >= p.tokens || row >= p.rows {
        return;
    }
    let feature = p.first_row + row;
    let at = p.y_first + token * p.y_stride + feature;
    var out = product;
    if (p.flags & 1u) != 0u {
        out += bias[feature];
    }
    if (p.flags & 2u) != 0u {
        out += y[at];
    }
    y[at] = out;
}

fn x_four(token: u32, chunk: u32) -> vec4<f32> {
    if token >= p.tokens || chunk >= p.chunks {
        return vec4<f32>();
    }
    return x[p.x_first + token * p.x_stride + chunk];
}

fn w_four(row: u32, chunk: u32) -> vec4<f32> {
    if row >= p.rows || chunk >= p.chunks {
        return vec4<f32>();
    }
    return four(row * p.row_halves, chunk * 4u);
}
