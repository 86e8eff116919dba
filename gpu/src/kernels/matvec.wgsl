// y = W·x of one token: a workgroup makes ROWS outputs, its lanes share the columns.
struct Params {
    // Rows of this part of the matrix, and how many come before it.
    rows: u32,
    first_row: u32,
    // Half-words of a row.
    row_halves: u32,
    // Columns, in fours.
    chunks: u32,
    // Where the token begins in x, in fours, and its outputs in y.
    x_first: u32,
    y_first: u32,
    // 1: add the bias. 2: add to what y holds.
    flags: u32,
}

const ROWS = 4u;

var<immediate> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    thread: Thread,
) {
    let first = (group.x + group.y * groups.x) * ROWS;
    if first >= p.rows {
        return;
    }
    // Rows beyond the last are computed as the last, and not written.
    let last = p.rows - 1u;
    let row0 = first * p.row_halves;
    let row1 = min(first + 1u, last) * p.row_halves;
    let row2 = min(first + 2u, last) * p.row_halves;
    let row3 = min(first + 3u, last) * p.row_halves;
    var sums = vec4<f32>();
    for (var chunk = thread.lane; chunk < p.chunks; chunk += LANES) {
        let value = x[p.x_first + chunk];
        let column = chunk * 4u;
        sums += vec4<f32>(
            dot(four(row0, column), value),
            dot(four(row1, column), value),
            dot(four(row2, column), value),
            dot(four(row3, column), value),
        );
    }
    let total = sum_all(thread, sums);
    let row = first + thread.lane;
    if thread.lane < ROWS && row < p.rows {
        let feature = p.first_row + row;
        var out = total[thread.lane];
        if (p.flags & 1u) != 0u {
            out += bias[feature];
        }
        if (p.flags & 2u) != 0u {
            out += y[p.y_first + feature];
        }
        y[p.y_first + feature] = out;
    }
}
