// Softmax of rows; a workgroup takes a row.
struct Params {
    rows: u32,
    width: u32,
}

var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    thread: Thread,
) {
    let row = group.x + group.y * groups.x;
    if row >= p.rows {
        return;
    }
    let origin = row * p.width;
    var most = -3.4e38;
    for (var i = thread.lane; i < p.width; i += LANES) {
        most = max(most, x[origin + i]);
    }
    most = max_all(thread, most);
    var sum = 0.0;
    for (var i = thread.lane; i < p.width; i += LANES) {
        sum += exp(x[origin + i] - most);
    }
    sum = sum_all(thread, vec4<f32>(sum)).x;
    for (var i = thread.lane; i < p.width; i += LANES) {
        y[origin + i] = exp(x[origin + i] - most) / sum;
    }
}
