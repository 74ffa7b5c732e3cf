// The product of panels of weights and sixteen rows of x, for prefill on a software adapter, where a load costs as
// much as fifteen multiply-adds. Each invocation of a quad loads four columns of another row of x and broadcasts them
// to the other three. Each loaded weight is used for sixteen rows. A workgroup has 16 lanes, one for each row of its
// SET panels. Otherwise it works as product_tile.wgsl.
const TILE = 16u;
const HEIGHT = 1u;
override SET: u32;            // 8 or 16
struct Sums {
    a: vec4<f32>,      // rows 0 to 3 of x
    b: vec4<f32>,      // rows 4 to 7
    c: vec4<f32>,
    d: vec4<f32>,
}
// Four columns of sixteen rows of x.
struct Columns {
    a: mat4x4<f32>,
    b: mat4x4<f32>,
    c: mat4x4<f32>,
    d: mat4x4<f32>,
}

// All invocations must call it, because those of a quad exchange values. Sums of panels beyond the last one are not
// used.
fn product(base: u32, panels: u32, groups: u32, workgroup: u32, local: vec3<u32>, first: u32, count: u32) {
    let panel = workgroup * SET;
    let words = groups * ROWS;
    let start = base + panel * words + local.x;
    let lane = local.x % 4u;
    let ra = x_row(first, lane);
    let rb = x_row(first, 4u + lane);
    let rc = x_row(first, 8u + lane);
    let rd = x_row(first, 12u + lane);
    var s0 = Sums();
    var s1 = Sums();
    var s2 = Sums();
    var s3 = Sums();
    var s4 = Sums();
    var s5 = Sums();
    var s6 = Sums();
    var s7 = Sums();
    var s8 = Sums();
    var s9 = Sums();
    var s10 = Sums();
    var s11 = Sums();
    var s12 = Sums();
    var s13 = Sums();
    var s14 = Sums();
    var s15 = Sums();
    if (count <= TILE / 2u) {
        for (var g = 0u; g < groups; g++) {
            let four = Columns(of_quad(x[ra + g]), of_quad(x[rb + g]), mat4x4<f32>(), mat4x4<f32>());
            let at = start + g * ROWS;
            s0 = plus_half(s0, weight4(at), four);
            s1 = plus_half(s1, weight4(at + words), four);
            s2 = plus_half(s2, weight4(at + 2u * words), four);
            s3 = plus_half(s3, weight4(at + 3u * words), four);
            s4 = plus_half(s4, weight4(at + 4u * words), four);
            s5 = plus_half(s5, weight4(at + 5u * words), four);
            s6 = plus_half(s6, weight4(at + 6u * words), four);
            s7 = plus_half(s7, weight4(at + 7u * words), four);
            if (SET == 8u) {
                continue;
            }
            s8 = plus_half(s8, weight4(at + 8u * words), four);
            s9 = plus_half(s9, weight4(at + 9u * words), four);
            s10 = plus_half(s10, weight4(at + 10u * words), four);
            s11 = plus_half(s11, weight4(at + 11u * words), four);
            s12 = plus_half(s12, weight4(at + 12u * words), four);
            s13 = plus_half(s13, weight4(at + 13u * words), four);
            s14 = plus_half(s14, weight4(at + 14u * words), four);
            s15 = plus_half(s15, weight4(at + 15u * words), four);
        }
    } else {
        for (var g = 0u; g < groups; g++) {
            let four = Columns(of_quad(x[ra + g]), of_quad(x[rb + g]), of_quad(x[rc + g]), of_quad(x[rd + g]));
            let at = start + g * ROWS;
            s0 = plus(s0, weight4(at), four);
            s1 = plus(s1, weight4(at + words), four);
            s2 = plus(s2, weight4(at + 2u * words), four);
            s3 = plus(s3, weight4(at + 3u * words), four);
            s4 = plus(s4, weight4(at + 4u * words), four);
            s5 = plus(s5, weight4(at + 5u * words), four);
            s6 = plus(s6, weight4(at + 6u * words), four);
            s7 = plus(s7, weight4(at + 7u * words), four);
            if (SET == 8u) {
                continue;
            }
            s8 = plus(s8, weight4(at + 8u * words), four);
            s9 = plus(s9, weight4(at + 9u * words), four);
            s10 = plus(s10, weight4(at + 10u * words), four);
            s11 = plus(s11, weight4(at + 11u * words), four);
            s12 = plus(s12, weight4(at + 12u * words), four);
            s13 = plus(s13, weight4(at + 13u * words), four);
            s14 = plus(s14, weight4(at + 14u * words), four);
            s15 = plus(s15, weight4(at + 15u * words), four);
        }
    }
    put(panel, local.x, first, s0, s1);
    put(panel + 2u, local.x, first, s2, s3);
    put(panel + 4u, local.x, first, s4, s5);
    put(panel + 6u, local.x, first, s6, s7);
    if (SET == 8u) {
        return;
    }
    put(panel + 8u, local.x, first, s8, s9);
    put(panel + 10u, local.x, first, s10, s11);
    put(panel + 12u, local.x, first, s12, s13);
    put(panel + 14u, local.x, first, s14, s15);
}

// The values of the four invocations of a quad, one in each column.
fn of_quad(own: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(quadBroadcast(own, 0u), quadBroadcast(own, 1u), quadBroadcast(own, 2u), quadBroadcast(own, 3u));
}

fn plus(sums: Sums, w: vec4<f32>, four: Columns) -> Sums {
    // w * matrix = the dot products of w with the matrix's columns.
    return Sums(sums.a + w * four.a, sums.b + w * four.b, sums.c + w * four.c, sums.d + w * four.d);
}

// The same for the first eight rows only.
fn plus_half(sums: Sums, w: vec4<f32>, four: Columns) -> Sums {
    return Sums(sums.a + w * four.a, sums.b + w * four.b, sums.c, sums.d);
}

fn sum_of(sums: Sums, i: u32) -> f32 {
    switch (i / 4u) {
        case 0u: { return sums.a[i]; }
        case 1u: { return sums.b[i - 4u]; }
        case 2u: { return sums.c[i - 8u]; }
        default: { return sums.d[i - 12u]; }
    }
}
