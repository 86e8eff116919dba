// Products of cooperative matrices that stay where they are: each of four subgroups adds the
// products of ones to four sums, round after round. An element gains SIDE a round.
struct Params {
    rounds: u32,
    one: f32,
}

const AREA = SIDE * SIDE;
// Lanes of a subgroup.
override SUBGROUP: u32 = 32u;
override LANES: u32 = 4u * SUBGROUP;

var<immediate> p: Params;
@group(0) @binding(0) var<storage, read_write> y: array<f32>;

// Two left and two right operands.
var<workgroup> ones: array<Element, 4u * AREA>;
var<workgroup> sums: array<f32, 16u * AREA>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
) {
    for (var i = lane; i < 4u * AREA; i += LANES) {
        ones[i] = Element(p.one);
    }
    workgroupBarrier();
    // naga's SPIR-V writer wants indices and strides by name.
    let stride = SIDE;
    let at0 = 0u;
    let at1 = AREA;
    let at2 = 2u * AREA;
    let at3 = 3u * AREA;
    let a0 = coopLoadT<Left>(&ones[at0], stride);
    let a1 = coopLoadT<Left>(&ones[at1], stride);
    let b0 = coopLoad<Right>(&ones[at2], stride);
    let b1 = coopLoad<Right>(&ones[at3], stride);
    var c00 = Sums();
    var c01 = Sums();
    var c10 = Sums();
    var c11 = Sums();
    for (var round = 0u; round < p.rounds; round++) {
        c00 = coopMultiplyAdd(a0, b0, c00);
        c01 = coopMultiplyAdd(a0, b1, c01);
        c10 = coopMultiplyAdd(a1, b0, c10);
        c11 = coopMultiplyAdd(a1, b1, c11);
    }
    let to00 = subgroup * 4u * AREA;
    let to01 = to00 + AREA;
    let to10 = to01 + AREA;
    let to11 = to10 + AREA;
    coopStoreT(c00, &sums[to00], stride);
    coopStoreT(c01, &sums[to01], stride);
    coopStoreT(c10, &sums[to10], stride);
    coopStoreT(c11, &sums[to11], stride);
    workgroupBarrier();
    for (var i = lane; i < 16u * AREA; i += LANES) {
        y[group.x * 16u * AREA + i] = sums[i];
    }
}
