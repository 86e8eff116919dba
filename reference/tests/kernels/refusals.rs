//! Arguments that do not fit together are errors.

use engine::NumberFormat;
use harness_reference::gguf::GgmlType;
use harness_reference::kernels::{Head, KernelError, Kernels, Matrix, NormKind, Pairing};

fn is_length<T>(result: Result<T, KernelError>) -> bool {
    matches!(result, Err(KernelError::Length { .. }))
}

fn is_shape<T>(result: Result<T, KernelError>) -> bool {
    matches!(result, Err(KernelError::Shape(_)))
}

#[test]
fn kernels_that_are_not_here() {
    let error = Kernels::named("avx1024").err().unwrap().to_string();
    assert!(
        error.contains("avx1024") && error.contains("portable"),
        "{error}"
    );
    assert_eq!(Kernels::best().name(), Kernels::available()[0]);
}

#[test]
fn matrices_that_are_none() {
    let new = |ty, rows, columns, bytes| Matrix::new(ty, rows, columns, vec![0u8; bytes]);
    assert!(is_length(new(GgmlType::Q4_0, 2, 32, 35)));
    assert!(is_shape(new(GgmlType::Q4_0, 2, 33, 36)));
    assert!(is_shape(new(GgmlType::F32, 0, 32, 0)));
    assert!(is_shape(new(GgmlType::F32, 2, 0, 0)));
    assert!(is_shape(new(GgmlType::F32, usize::MAX, 32, 0)));
    assert!(matches!(
        new(GgmlType::Iq2Xxs, 1, 256, 66),
        Err(KernelError::Weights(_))
    ));
}

#[test]
fn slices_that_are_too_short() {
    let kernels = Kernels::best();
    let matrix = Matrix::new(GgmlType::Q8_0, 3, 32, vec![0u8; 3 * 34]).unwrap();
    assert!(is_length(kernels.product(
        &matrix,
        &[0.0; 31],
        &mut [0.0; 3]
    )));
    assert!(is_length(kernels.product(
        &matrix,
        &[0.0; 64],
        &mut [0.0; 3]
    )));
    assert!(is_length(kernels.decode_row(&matrix, 0, &mut [0.0; 31])));
    assert!(is_shape(kernels.decode_row(&matrix, 3, &mut [0.0; 32])));
    let rms = NormKind::Rms { epsilon: 1e-5 };
    assert!(is_length(kernels.norm(
        rms,
        &[1.0; 8],
        None,
        &mut [0.0; 12]
    )));
    assert!(is_length(kernels.norm(
        rms,
        &[1.0; 8],
        Some(&[0.0; 7]),
        &mut [0.0; 16]
    )));
    assert!(is_shape(kernels.norm(rms, &[], None, &mut [])));
    let rotate = |x: &mut [f32], dim, cos: &[f32], sin: &[f32]| {
        kernels.rotate(Pairing::Halves, x, dim, cos, sin)
    };
    assert!(is_length(rotate(&mut [0.0; 16], 8, &[0.0; 7], &[0.0; 7])));
    assert!(is_length(rotate(&mut [0.0; 16], 8, &[0.0; 8], &[0.0; 6])));
    assert!(is_shape(rotate(&mut [0.0; 16], 8, &[0.0; 10], &[0.0; 10])));
    assert_eq!(rotate(&mut [], 8, &[], &[]), Ok(()));
    use harness_reference::kernels::Activation::Silu;
    assert!(is_length(kernels.activate(
        Silu,
        Some(&[0.0; 3]),
        &mut [0.0; 4]
    )));
}

#[test]
fn heads_that_are_not_held() {
    let kernels = Kernels::best();
    let rows = vec![0u8; 4 * 4 * 64];
    let good = Head {
        format: NumberFormat::F32,
        keys: &rows,
        values: &rows,
        width: 64,
        column: 32,
        dim: 32,
        scale: 1.0,
        softcap: None,
        window: None,
    };
    let attend = |head: &Head<'_>, first: usize, tokens: usize| {
        let queries = vec![0.0; tokens * head.dim];
        kernels.attend(head, first, &queries, &mut vec![0.0; queries.len()])
    };
    assert_eq!(attend(&good, 3, 1), Ok(()));
    assert_eq!(attend(&good, 0, 4), Ok(()));
    assert_eq!(attend(&good, 0, 0), Ok(()));
    // Four rows hold no fifth position, unless a window has left the first.
    assert!(is_shape(attend(&good, 4, 1)));
    assert!(is_shape(attend(&good, 0, 5)));
    let windowed = Head {
        window: Some(3),
        ..good
    };
    assert_eq!(attend(&windowed, 100, 2), Ok(()));
    assert!(is_shape(attend(&windowed, 100, 3)));
    assert!(is_shape(attend(&windowed, usize::MAX, 2)));
    assert!(is_shape(attend(&windowed, 1 << 24, 1)));
    for wrong in [
        Head {
            window: Some(0),
            ..good
        },
        Head { column: 33, ..good },
        Head {
            column: usize::MAX,
            ..good
        },
        Head { dim: 0, ..good },
        Head { width: 0, ..good },
        Head {
            format: NumberFormat::Bf16,
            ..good
        },
        Head {
            format: NumberFormat::Q8_0,
            column: 8,
            ..good
        },
        Head {
            format: NumberFormat::Q8_0,
            width: 80,
            ..good
        },
        Head {
            width: 512,
            column: 0,
            dim: 512,
            ..good
        },
    ] {
        assert!(is_shape(attend(&wrong, 0, 1)), "{wrong:?}");
    }
    assert!(is_length(attend(
        &Head {
            keys: &rows[1..],
            ..good
        },
        0,
        1
    )));
    assert!(is_length(attend(
        &Head {
            values: &rows[256..],
            ..good
        },
        0,
        1
    )));
    assert!(is_length(kernels.attend(
        &good,
        0,
        &[0.0; 33],
        &mut [0.0; 33]
    )));
    assert!(is_length(kernels.attend(
        &good,
        0,
        &[0.0; 32],
        &mut [0.0; 64]
    )));
}
