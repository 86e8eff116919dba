// Indices of the largest `count` values of each row, largest first, the lower index of equals
// first; a workgroup takes a row and finds one after the other.
struct Params {
    rows: u32,
    width: u32,
    count: u32,
}

override LANES: u32 = 64u;

var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> indices: array<u32>;

var<workgroup> best_value: array<f32, LANES>;
var<workgroup> best_index: array<u32, LANES>;

// Whether value `a` at `i` comes before value `b` at `j`.
fn before(a: f32, i: u32, b: f32, j: u32) -> bool {
    return a > b || (a == b && i < j);
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let origin = group.x * p.width;
    // The one found last; the next comes behind it.
    var last_value = 0.0;
    var last_index = 0u;
    for (var found = 0u; found < p.count; found++) {
        var value = 0.0;
        var index = 0xffffffffu;
        for (var i = lane; i < p.width; i += LANES) {
            let candidate = x[origin + i];
            let open = found == 0u || before(last_value, last_index, candidate, i);
            if open && (index == 0xffffffffu || before(candidate, i, value, index)) {
                value = candidate;
                index = i;
            }
        }
        best_value[lane] = value;
        best_index[lane] = index;
        workgroupBarrier();
        for (var half = LANES / 2u; half > 0u; half /= 2u) {
            if lane < half {
                let value = best_value[lane + half];
                let index = best_index[lane + half];
                let mine = best_index[lane];
                if index != 0xffffffffu && (mine == 0xffffffffu || before(value, index, best_value[lane], mine)) {
                    best_value[lane] = value;
                    best_index[lane] = index;
                }
            }
            workgroupBarrier();
        }
        last_value = best_value[0];
        last_index = best_index[0];
        if lane == 0u {
            indices[group.x * p.count + found] = last_index;
        }
        workgroupBarrier();
    }
}
