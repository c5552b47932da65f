/* Vectors, elementary functions and matrix tiles: the floor that the Cython kernels stand on.
 *
 * Why this room is C and not Cython: the loops below are written with the vector extensions of GCC
 * and Clang, which Cython cannot spell, and compilers do not find them by themselves (GCC 12 turns
 * the plain loop of a 6 x 16 register tile into 3 GFLOP/s where this file reaches 100).  Only what
 * needs a vector register in its hand belongs here: no graph, no optimizer, no Python.
 *
 * The file is compiled once per (instruction set x dtype).  FG_REAL_BITS (32 or 64) on the command
 * line chooses `real`; the target flags choose the vector: 64 bytes with AVX-512, 32 with AVX2+FMA,
 * 16 elsewhere.  MSVC, or -DFG_SCALAR, gets vectors of one element behind the same names.
 *
 * Never compile it with -ffast-math: NaN, infinities and the rounding tricks below must survive.
 *
 * Sources: W. J. Cody and W. Waite, "Software Manual for the Elementary Functions" (1980);
 * S. Moshier, Cephes (tanh); fdlibm (log); K. Goto and R. van de Geijn, "Anatomy of
 * High-Performance Matrix Multiplication" (2008).
 */
#ifndef FASTGRAPH_SIMD_H
#define FASTGRAPH_SIMD_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#if !defined(FG_REAL_BITS) || (FG_REAL_BITS != 32 && FG_REAL_BITS != 64)
#error "compile with -DFG_REAL_BITS=32 or -DFG_REAL_BITS=64"
#endif
#if !defined(__GNUC__) && !defined(FG_SCALAR)
#define FG_SCALAR
#endif
#if (defined(__x86_64__) || defined(__i386__)) && !defined(FG_SCALAR)
#include <immintrin.h>
#endif

#if defined(__GNUC__)
#define FG_INLINE static inline __attribute__((always_inline, unused))
#define FG_NOINLINE static __attribute__((noinline, unused))
#else
#define FG_INLINE static __forceinline
#define FG_NOINLINE static __declspec(noinline)
#endif
#if defined(__clang__)
/* "full" is unrolled early enough for the sums of a tile to become registers; "unroll" is not. */
#define FG_UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define FG_UNROLL _Pragma("GCC unroll 16")
#else
#define FG_UNROLL
#endif
#if defined(__GNUC__)
#define FG_OPAQUE(x) __asm__("" : "+r"(x))
#else
#define FG_OPAQUE(x)
#endif

/* ------------------------------------------------------------------------------- the types --- */

#if FG_REAL_BITS == 32
typedef float real;
typedef uint32_t fg_bits;
#define FG_PICK(single, twice) (single##f)
#define FG_MANTISSA 23
#define FG_BIAS 127
#else
typedef double real;
typedef uint64_t fg_bits;
#define FG_PICK(single, twice) (twice)
#define FG_MANTISSA 52
#define FG_BIAS 1023
#endif
#define FG_SIGN_BIT ((fg_bits)1 << (FG_REAL_BITS - 1))

#if defined(FG_SCALAR)
#define FG_VECTOR_BYTES (FG_REAL_BITS / 8)
#elif defined(__AVX512F__) && defined(__AVX512DQ__)
#define FG_AVX512
#define FG_VECTOR_BYTES 64
#elif defined(__AVX2__) && defined(__FMA__)
#define FG_AVX2
#define FG_VECTOR_BYTES 32
#else
#define FG_VECTOR_BYTES 16
#endif

/* Reals in a vector.  A constant, so that Cython can see it as an int. */
#define VW (FG_VECTOR_BYTES * 8 / FG_REAL_BITS)

#if defined(FG_SCALAR)
typedef real vreal;
typedef fg_bits vbits;
#else
typedef real vreal __attribute__((vector_size(FG_VECTOR_BYTES)));
typedef fg_bits vbits __attribute__((vector_size(FG_VECTOR_BYTES)));
#endif

/* A comparison's answer for every element: a mask register, all-ones bits, or a C truth value. */
#if defined(FG_AVX512) && FG_REAL_BITS == 32
typedef __mmask16 vmask;
#define FG_MM(name) _mm512_##name##_ps
#define FG_MM256(name) _mm256_##name##_ps
#define FG_NARROW(x) _mm512_castps512_ps256(x)
#define FG_WIDEN(x) _mm512_castps256_ps512(x)
#define FG_COMPARE(x, y, how, op) _mm512_cmp_ps_mask(x, y, how)
#elif defined(FG_AVX512)
typedef __mmask8 vmask;
#define FG_MM(name) _mm512_##name##_pd
#define FG_MM256(name) _mm256_##name##_pd
#define FG_NARROW(x) _mm512_castpd512_pd256(x)
#define FG_WIDEN(x) _mm512_castpd256_pd512(x)
#define FG_COMPARE(x, y, how, op) _mm512_cmp_pd_mask(x, y, how)
#elif defined(FG_SCALAR)
typedef int vmask;
#define FG_COMPARE(x, y, how, op) ((x)op(y))
#else
typedef vbits vmask;
#define FG_COMPARE(x, y, how, op) ((vbits)((x)op(y)))
#if defined(FG_AVX2) && FG_REAL_BITS == 32
#define FG_MM(name) _mm256_##name##_ps
#elif defined(FG_AVX2)
#define FG_MM(name) _mm256_##name##_pd
#elif defined(__SSE2__) && FG_REAL_BITS == 32
#define FG_MM(name) _mm_##name##_ps
#elif defined(__SSE2__)
#define FG_MM(name) _mm_##name##_pd
#endif
#endif

/* Shuffles of two vectors, by index into their concatenation. */
#if !defined(FG_SCALAR)
#if defined(__clang__) || __GNUC__ >= 12
#define FG_SHUFFLE(x, y, ...) __builtin_shufflevector(x, y, __VA_ARGS__)
#else
#define FG_SHUFFLE(x, y, ...) __builtin_shuffle(x, y, (vbits){__VA_ARGS__})
#endif
#if VW == 2
#define FG_EVEN 0, 2
#define FG_ODD 1, 3
#define FG_ZIP_LOW 0, 2
#define FG_ZIP_HIGH 1, 3
#elif VW == 4
#define FG_EVEN 0, 2, 4, 6
#define FG_ODD 1, 3, 5, 7
#define FG_ZIP_LOW 0, 4, 1, 5
#define FG_ZIP_HIGH 2, 6, 3, 7
#elif VW == 8
#define FG_EVEN 0, 2, 4, 6, 8, 10, 12, 14
#define FG_ODD 1, 3, 5, 7, 9, 11, 13, 15
#define FG_ZIP_LOW 0, 8, 1, 9, 2, 10, 3, 11
#define FG_ZIP_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#else
#define FG_EVEN 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define FG_ODD 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#define FG_ZIP_LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define FG_ZIP_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#endif
#endif

/* ------------------------------------------------------------------------- loads and stores --- */

FG_INLINE vreal v_set(real x) {
#if defined(FG_MM)
    return FG_MM(set1)(x);
#elif defined(FG_SCALAR)
    return x;
#else
    return x - (vreal){0};  /* x - 0 and not x + 0: it keeps the sign of a negative zero */
#endif
}

FG_INLINE vreal v_zero(void) { return v_set(0); }

FG_INLINE vreal v_load(const real *from) {
    vreal x;
    memcpy(&x, from, sizeof x);
    return x;
}

FG_INLINE void v_store(real *to, vreal x) { memcpy(to, &x, sizeof x); }

#if defined(FG_AVX512)
FG_INLINE vmask v_first(int count) { return (vmask)((1u << count) - 1u); }
#elif defined(FG_AVX2)
/* Read VW elements at an offset of VW - count: all ones for the first `count`, zeros after. */
static const fg_bits fg_first_mask[2 * VW] = {
    (fg_bits)-1, (fg_bits)-1, (fg_bits)-1, (fg_bits)-1,
#if FG_REAL_BITS == 32
    (fg_bits)-1, (fg_bits)-1, (fg_bits)-1, (fg_bits)-1,
#endif
};
#endif

/* The first `count` (0 to VW) elements, zeros after; reads nothing beyond them. */
FG_INLINE vreal v_load_part(const real *from, int count) {
#if defined(FG_AVX512)
    return FG_MM(maskz_loadu)(v_first(count), from);
#elif defined(FG_AVX2)
    return FG_MM(maskload)(
        from, _mm256_loadu_si256((const __m256i *)(fg_first_mask + VW - count)));
#else
    if (count == VW) return v_load(from);
#if defined(__SSE2__) && VW == 2
    return count ? (vreal)_mm_load_sd(from) : v_zero();
#elif defined(__SSE2__) && VW == 4
    if (count < 2) return count ? (vreal)_mm_load_ss(from) : v_zero();
    const __m128 two = _mm_castsi128_ps(_mm_loadl_epi64((const __m128i *)from));
    return (vreal)(count == 2 ? two : _mm_movelh_ps(two, _mm_load_ss(from + 2)));
#else
    real part[VW] = {0};
    for (int i = 0; i < count; i++) part[i] = from[i];
    return v_load(part);
#endif
#endif
}

/* Writes the first `count` (0 to VW) elements and nothing beyond them. */
FG_INLINE void v_store_part(real *to, vreal x, int count) {
#if defined(FG_AVX512)
    FG_MM(mask_storeu)(to, v_first(count), x);
#else
    /* A half, a quarter, ...: AVX2 has a masked store, which costs far more than this on AMD. */
    if (count == VW) {
        v_store(to, x);
        return;
    }
    real all[VW], *from = all;
    v_store(all, x);
    FG_UNROLL
    for (int piece = VW / 2; piece > 0; piece /= 2) {
        if (count & piece) {
            memcpy(to, from, (size_t)piece * sizeof(real));
            to += piece;
            from += piece;
        }
    }
#endif
}

/* ------------------------------------------------------------------------------- arithmetic --- */

#if defined(FG_SCALAR)
FG_INLINE vbits v_bits(vreal x) {
    vbits bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
FG_INLINE vreal v_from_bits(vbits bits) {
    vreal x;
    memcpy(&x, &bits, sizeof x);
    return x;
}
FG_INLINE vreal v_select(vmask mask, vreal yes, vreal no) { return mask ? yes : no; }
#else
FG_INLINE vbits v_bits(vreal x) { return (vbits)x; }
FG_INLINE vreal v_from_bits(vbits bits) { return (vreal)bits; }
FG_INLINE vreal v_select(vmask mask, vreal yes, vreal no) {
#if defined(FG_AVX512)
    return FG_MM(mask_blend)(mask, no, yes);
#elif defined(FG_AVX2)
    return FG_MM(blendv)(no, yes, (vreal)mask);
#else
    return (vreal)((mask & (vbits)yes) | (~mask & (vbits)no));
#endif
}
#endif

FG_INLINE vmask v_less(vreal x, vreal y) { return FG_COMPARE(x, y, _CMP_LT_OQ, <); }
FG_INLINE vmask v_equal(vreal x, vreal y) { return FG_COMPARE(x, y, _CMP_EQ_OQ, ==); }
FG_INLINE vmask v_differ(vreal x, vreal y) { return FG_COMPARE(x, y, _CMP_NEQ_UQ, !=); }

/* Whether the answer is yes for any element. */
FG_INLINE int v_any(vmask mask) {
#if defined(FG_AVX512) || defined(FG_SCALAR)
    return mask != 0;
#elif defined(FG_MM)
    return FG_MM(movemask)((vreal)mask) != 0;
#else
    fg_bits any = 0;
    for (int i = 0; i < VW; i++) any |= mask[i];
    return any != 0;
#endif
}

/* a * b + c, rounded once where the instruction set can. */
FG_INLINE vreal v_fma(vreal a, vreal b, vreal c) {
#if defined(FG_AVX512) || defined(FG_AVX2)
    return FG_MM(fmadd)(a, b, c);
#else
    return a * b + c;
#endif
}

FG_INLINE vreal v_abs(vreal x) { return v_from_bits(v_bits(x) & ~FG_SIGN_BIT); }

/* |x| with the sign of `sign`. */
FG_INLINE vreal v_copysign(vreal x, vreal sign) {
    return v_from_bits((v_bits(x) & ~FG_SIGN_BIT) | (v_bits(sign) & FG_SIGN_BIT));
}

FG_INLINE vreal v_sqrt(vreal x) {
#if defined(FG_MM)
    return FG_MM(sqrt)(x);
#elif defined(FG_SCALAR)
    return FG_REAL_BITS == 32 ? (real)sqrtf((float)x) : (real)sqrt((double)x);
#else
    for (int i = 0; i < VW; i++) {
        x[i] = FG_REAL_BITS == 32 ? (real)sqrtf((float)x[i]) : (real)sqrt((double)x[i]);
    }
    return x;
#endif
}

/* The bound, unless x is beyond it or NaN: one instruction on x86, whose max and min return their
 * second operand when either is NaN. */
FG_INLINE vreal v_at_least(vreal bound, vreal x) {
#if defined(FG_MM)
    return FG_MM(max)(bound, x);
#else
    return v_select(v_less(x, bound), bound, x);
#endif
}
FG_INLINE vreal v_at_most(vreal bound, vreal x) {
#if defined(FG_MM)
    return FG_MM(min)(bound, x);
#else
    return v_select(v_less(bound, x), bound, x);
#endif
}

/* NaN in either operand gives NaN, as in np.maximum and np.minimum. */
FG_INLINE vreal v_max(vreal x, vreal y) { return v_select(v_differ(x, x), x, v_at_least(x, y)); }
FG_INLINE vreal v_min(vreal x, vreal y) { return v_select(v_differ(x, x), x, v_at_most(x, y)); }

/* max(x, 0); NaN stays NaN. */
FG_INLINE vreal v_relu(vreal x) { return v_at_least(v_zero(), x); }

/* np.where(x > 0, y, 0). */
FG_INLINE vreal v_positive(vreal x, vreal y) {
    return v_select(v_less(v_zero(), x), y, v_zero());
}

/* np.sign: -1, 0 or 1; NaN stays NaN. */
FG_INLINE vreal v_sign(vreal x) {
    vreal nonzero = v_copysign(v_set(1), x);
    return v_select(v_differ(v_abs(x), v_abs(x)), x,
                    v_select(v_equal(x, v_zero()), v_zero(), nonzero));
}

#if !defined(FG_SCALAR)
/* The sums of adjacent pairs: those of x, then those of y. */
FG_INLINE vreal v_pair_sums(vreal x, vreal y) {
    return FG_SHUFFLE(x, y, FG_EVEN) + FG_SHUFFLE(x, y, FG_ODD);
}
#endif

#if !defined(FG_SCALAR)
/* Replaces `count` (a constant) rows by the sums of their adjacent pairs, two rows in one. */
FG_INLINE void v_halve_rows(vreal *rows, const int count) {
    FG_UNROLL
    for (int i = 0; i < count / 2; i++) rows[i] = v_pair_sums(rows[2 * i], rows[2 * i + 1]);
    if (count < 2) rows[0] = v_pair_sums(rows[0], rows[0]);
}
#endif

/* Element i of the answer is the sum of rows[i], for a constant `count` that divides VW.  Adjacent
 * pairs are added as a tree: the order is fixed, and the same for every row and count. */
FG_INLINE vreal v_sum_rows(vreal *rows, const int count) {
#if VW > 1
    v_halve_rows(rows, count);
#endif
#if VW > 2
    v_halve_rows(rows, count / 2);
#endif
#if VW > 4
    v_halve_rows(rows, count / 4);
#endif
#if VW > 8
    v_halve_rows(rows, count / 8);
#endif
    (void)count;
    return rows[0];
}

/* The sum of the elements, in the order of v_sum_rows. */
FG_INLINE real v_sum(vreal x) {
    real first[VW];
    v_store(first, v_sum_rows(&x, 1));
    return first[0];
}

/* --------------------------------------------------------------------- elementary functions --- */

/* Adding 1.5 * 2^mantissa rounds to an integer and leaves it in the low bits (Cody and Waite). */
#define FG_ROUNDER FG_PICK(12582912.0, 6755399441055744.0)
/* The same for positive integers read from the bits of a number. */
#define FG_COUNTER FG_PICK(8388608.0, 4503599627370496.0)

/* 2^n for an integer n in the low bits; n stays within the normal exponents. */
FG_INLINE vreal v_power_of_two(vbits n) {
    return v_from_bits((n << FG_MANTISSA) + ((fg_bits)FG_BIAS << FG_MANTISSA));
}

/* x = n ln 2 + r with |r| <= ln 2 / 2; returns e^r - 1 and n: rounded, and in the low bits. */
FG_INLINE vreal v_exp_parts(vreal x, vreal *n, vbits *n_bits) {
    vreal shifted = v_fma(x, v_set(FG_PICK(1.44269504, 1.4426950408889634)), v_set(FG_ROUNDER));
    vreal rounded = shifted - v_set(FG_ROUNDER);
    /* ln 2 in two pieces; n times the first is exact. */
    vreal r = v_fma(rounded, v_set(FG_PICK(-0.693359375, -6.93147180369123816490e-01)), x);
    r = v_fma(rounded, v_set(FG_PICK(2.12194440e-4, -1.90821492927058770002e-10)), r);
    /* (e^r - 1 - r) / r^2, interpolated at Chebyshev nodes: error below 2^-55 and 2^-30. */
#if FG_REAL_BITS == 32
    vreal p = v_set(0.0001989107986f);
    p = v_fma(p, r, v_set(0.001393373124f));
    p = v_fma(p, r, v_set(0.008333310485f));
    p = v_fma(p, r, v_set(0.04166646302f));
    p = v_fma(p, r, v_set(0.1666666716f));
    p = v_fma(p, r, v_set(0.5f));
    const vreal square = r * r;
#else
    /* Even and odd powers apart: two chains that run side by side. */
    const vreal square = r * r;
    vreal odd = v_set(2.51004725056949961e-8), p = v_set(2.76202015910315469e-7);
    odd = v_fma(odd, square, v_set(2.7557268276905696e-6));
    p = v_fma(p, square, v_set(2.48015210578682038e-5));
    odd = v_fma(odd, square, v_set(1.98412698631715573e-4));
    p = v_fma(p, square, v_set(1.38888889173670814e-3));
    odd = v_fma(odd, square, v_set(8.33333333333003898e-3));
    p = v_fma(p, square, v_set(4.16666666666238236e-2));
    odd = v_fma(odd, square, v_set(1.66666666666666685e-1));
    p = v_fma(p, square, v_set(5.00000000000000111e-1));
    p = v_fma(odd, r, p);
#endif
    *n = rounded;
    *n_bits = v_bits(shifted);
    return v_fma(square, p, r);
}

/* Bits of n / 2 rounded: two halves keep 2^n within range where 2^n itself is not. */
FG_INLINE vbits v_half(vreal n) {
    return v_bits(v_fma(n, v_set(FG_PICK(0.5, 0.5)), v_set(FG_ROUNDER)));
}

FG_INLINE vreal v_exp(vreal x) {
    vreal n;
    vbits n_bits;
    /* Beyond these bounds the answer is 0 or infinity all the same. */
    x = v_at_least(v_set(FG_PICK(-104.0, -746.0)), v_at_most(v_set(FG_PICK(89.0, 710.0)), x));
    vreal y = v_exp_parts(x, &n, &n_bits) + v_set(1);
#if defined(FG_AVX512)
    return FG_MM(scalef)(y, n);
#else
    vbits half = v_half(n);
    return y * v_power_of_two(half) * v_power_of_two(n_bits - half);
#endif
}

/* 1 / (1 + e^-x) = s / (s + t e^r) with -x = n ln 2 + r and s / t = 2^-n: no overflow on the way,
 * and one rounding into the subnormal answers. */
FG_INLINE vreal v_sigmoid(vreal x) {
    vreal n;
    vbits n_bits;
#if defined(FG_AVX512)
    /* t = 1, and s = 2^-n down to the subnormals in one instruction; at the upper bound the answer
     * has long been 1. */
    x = v_at_least(v_set(FG_PICK(-104.0, -746.0)), v_at_most(v_set(FG_PICK(40.0, 80.0)), x));
    const vreal q = v_exp_parts(-x, &n, &n_bits), t = v_set(1);
    const vreal s = FG_MM(scalef)(t, -n);
#else
    x = v_at_least(v_set(FG_PICK(-104.0, -746.0)), v_at_most(v_set(FG_PICK(104.0, 746.0)), x));
    const vreal q = v_exp_parts(-x, &n, &n_bits);
    const vbits half = v_half(n);
    const vreal s = v_power_of_two(-half), t = v_power_of_two(n_bits - half);
#endif
    vreal sum = s + t, lost = s - (sum - t); /* what a large t pushed out of the sum (Dekker) */
    return s / (sum + v_fma(t, q, lost));
}

/* x + x^3 P(x^2) / Q(x^2) near zero and 1 - 2 / (1 + e^2|x|) elsewhere, with one division. */
FG_INLINE vreal v_tanh(vreal x) {
    vreal n, size = v_abs(x), z = x * x;
    vbits n_bits;
    vreal bounded = v_at_most(v_set(FG_PICK(10.0, 20.0)), size);
    vreal q = v_exp_parts(bounded + bounded, &n, &n_bits);
    vreal t = v_power_of_two(n_bits);
#if FG_REAL_BITS == 32
    vreal p = v_fma(z, v_set(-0.9336474114f), v_set(-21.06659644f));
    vreal d = v_fma(z + v_set(28.08085768f), z, v_set(63.19978932f));
#else
    vreal p = v_set(-9.64399179425052238628e-1), d = z + v_set(1.12811678491632931402e2);
    p = v_fma(p, z, v_set(-9.92877231001918586564e1));
    p = v_fma(p, z, v_set(-1.61468768441708447952e3));
    d = v_fma(d, z, v_set(2.23548839060100448583e3));
    d = v_fma(d, z, v_set(4.84406305325125486048e3));
#endif
    vmask large = v_less(v_set(FG_PICK(0.625, 0.625)), size);
    vreal above = v_select(large, v_set(-2), z * size * p);
    vreal below = v_select(large, v_fma(t, q, t + v_set(1)), d);
    vreal base = v_select(large, v_set(1), size);
    return v_copysign(base + above / below, x);
}

/* x = 2^k (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)); s = f / (2 + f) and
 * log(1 + f) = f - f^2/2 + s (f^2/2 + R(s^2)) (fdlibm). */
FG_INLINE vreal v_log(vreal x) {
    const fg_bits one = (fg_bits)FG_BIAS << FG_MANTISSA;
    const fg_bits root = FG_REAL_BITS == 32 ? (fg_bits)0x3f3504f3 : (fg_bits)0x3fe6a09e667f3bcd;
    vmask tiny = v_less(x, v_set(FG_PICK(1.17549435e-38, 2.2250738585072014e-308)));
    vreal y = v_select(tiny, x * v_set(FG_PICK(33554432.0, 18014398509481984.0)), x);
    vreal offset = v_select(tiny, v_set(FG_PICK(-25.0, -54.0)), v_zero());
    vbits bits = v_bits(y) + (one - root);
    vbits exponent = bits >> FG_MANTISSA;
    vreal k = v_from_bits(exponent | ((fg_bits)(FG_BIAS + FG_MANTISSA) << FG_MANTISSA));
    k = k - v_set(FG_COUNTER + FG_BIAS) + offset;
    vreal f = v_from_bits((bits & (((fg_bits)1 << FG_MANTISSA) - 1)) + root) - v_set(1);
    vreal s = f / (v_set(2) + f), z = s * s;
#if FG_REAL_BITS == 32
    vreal p = v_set(0.24279078841f);
    p = v_fma(p, z, v_set(0.28498786688f));
    p = v_fma(p, z, v_set(0.40000972152f));
    p = v_fma(p, z, v_set(0.66666662693f));
#else
    vreal p = v_set(1.479819860511658591e-01);
    p = v_fma(p, z, v_set(1.531383769920937332e-01));
    p = v_fma(p, z, v_set(1.818357216161805012e-01));
    p = v_fma(p, z, v_set(2.222219843214978396e-01));
    p = v_fma(p, z, v_set(2.857142874366239149e-01));
    p = v_fma(p, z, v_set(3.999999999940941908e-01));
    p = v_fma(p, z, v_set(6.666666666666735130e-01));
#endif
    vreal half_square = v_set(FG_PICK(0.5, 0.5)) * f * f;
    vreal low = v_fma(s, v_fma(z, p, half_square),
                      k * v_set(FG_PICK(9.0580006145e-06, 1.90821492927058770002e-10)));
    vreal y_log = v_fma(k, v_set(FG_PICK(6.9313812256e-01, 6.93147180369123816490e-01)),
                        f - (half_square - low));
    y_log = v_select(v_less(x, v_set((real)INFINITY)), y_log, x);
    vreal outside = v_select(v_equal(x, v_zero()), v_set(-(real)INFINITY), v_set((real)NAN));
    return v_select(v_less(v_zero(), x), y_log, outside);
}

/* e^x - 1, exact to rounding near zero too: 2^n (e^r - 1) + (2^n - 1) with x = n ln 2 + r. */
FG_INLINE vreal v_expm1(vreal x) {
    vreal n;
    vbits n_bits;
    x = v_at_least(v_set(FG_PICK(-30.0, -60.0)), v_at_most(v_set(FG_PICK(88.0, 709.0)), x));
    vreal q = v_exp_parts(x, &n, &n_bits);
    vreal t = v_power_of_two(n_bits);
    return v_fma(t, q, t - v_set(1));
}

/* log(1 + x) for x >= 0: what rounding 1 + x lost is made good by x / ((1 + x) - 1) (Kahan). */
FG_INLINE vreal v_log1p(vreal x) {
    vreal sum = v_set(1) + x, kept = sum - v_set(1);
    return v_select(v_equal(kept, v_zero()), x, v_log(sum) * (x / kept));
}

/* log(1 + e^x), which never overflows. */
FG_INLINE vreal v_softplus(vreal x) { return v_relu(x) + v_log1p(v_exp(-v_abs(x))); }

/* The standard normal distribution at x, and its density.  The tail beyond z = |x| is
 * e^(-z^2/2) h(t), h a polynomial in t = (z - a) / (z + a), interpolated at Chebyshev nodes: error
 * below 2^-53 and 2^-25. */
FG_INLINE vreal v_normal(vreal x, vreal *density) {
    vreal z = v_at_most(v_set(FG_PICK(14.5, 39.0)), v_abs(x));
    vreal t = (z - v_set(FG_PICK(3.0, 4.5))) / (z + v_set(FG_PICK(3.0, 4.5)));
    vreal bell = v_exp(v_set(FG_PICK(-0.5, -0.5)) * z * z);
#if FG_REAL_BITS == 32
    vreal p = v_set(5.409386007e-5f);
    p = v_fma(p, t, v_set(0.0001162079292f));
    p = v_fma(p, t, v_set(-0.0003395564635f));
    p = v_fma(p, t, v_set(-0.0009842763833f));
    p = v_fma(p, t, v_set(0.00290442839f));
    p = v_fma(p, t, v_set(0.00613219251f));
    p = v_fma(p, t, v_set(-0.04621324747f));
    p = v_fma(p, t, v_set(0.1232250217f));
    p = v_fma(p, t, v_set(-0.2064026221f));
    p = v_fma(p, t, v_set(0.1215139477f));
#else
    vreal p = v_set(2.73166840042823276e-10);
    p = v_fma(p, t, v_set(8.84775241817460048e-10));
    p = v_fma(p, t, v_set(-1.26071431562962683e-9));
    p = v_fma(p, t, v_set(-7.93362064602310652e-9));
    p = v_fma(p, t, v_set(1.64314754800620053e-9));
    p = v_fma(p, t, v_set(4.89413573999208669e-8));
    p = v_fma(p, t, v_set(1.27641838856434266e-8));
    p = v_fma(p, t, v_set(-2.93717143202377261e-7));
    p = v_fma(p, t, v_set(-1.15966246335905567e-7));
    p = v_fma(p, t, v_set(1.93627255734046469e-6));
    p = v_fma(p, t, v_set(1.88423935461717916e-7));
    p = v_fma(p, t, v_set(-0.0000142195447576900164));
    p = v_fma(p, t, v_set(0.0000117402074260369191));
    p = v_fma(p, t, v_set(0.000102680852531340313));
    p = v_fma(p, t, v_set(-0.000296286345967130962));
    p = v_fma(p, t, v_set(-0.000274975868208132973));
    p = v_fma(p, t, v_set(0.00423277106229921546));
    p = v_fma(p, t, v_set(-0.0161393247497021369));
    p = v_fma(p, t, v_set(0.0405027107245619061));
    p = v_fma(p, t, v_set(-0.0777327018896274482));
    p = v_fma(p, t, v_set(0.120745586367588583));
    p = v_fma(p, t, v_set(-0.155943143246980025));
    p = v_fma(p, t, v_set(0.0848033921078003476));
#endif
    *density = bell * v_set(FG_PICK(0.3989422804, 0.398942280401432678));
    vreal tail = bell * p;
    return v_select(v_less(x, v_zero()), tail, v_set(1) - tail);
}

/* np.where(x > y, g, np.where(x == y, g / 2, 0)): the gradient of the larger of two. */
FG_INLINE vreal v_larger(vreal x, vreal y, vreal g) {
    vreal half = v_select(v_equal(x, y), v_set(FG_PICK(0.5, 0.5)) * g, v_zero());
    return v_select(v_less(y, x), g, half);
}

/* np.where(x == y, g, 0). */
FG_INLINE vreal v_where_equal(vreal x, vreal y, vreal g) {
    return v_select(v_equal(x, y), g, v_zero());
}

/* np.where(x > 0, y, z). */
FG_INLINE vreal v_by_sign(vreal x, vreal y, vreal z) {
    return v_select(v_less(v_zero(), x), y, z);
}

/* sin and cos beyond the reach of v_sine, element by element. */
FG_NOINLINE vreal fg_sine_far(vreal x, int quarter) {
    real all[VW];
    v_store(all, x);
    for (int i = 0; i < VW; i++) all[i] = (real)(quarter ? cos((double)all[i]) : sin((double)all[i]));
    return v_load(all);
}

/* sin x, or cos x with a quarter of a turn more.  x = n pi/2 + r with pi/2 in three pieces, of which
 * n times the first two is exact; then the polynomial of sin or of cos on |r| <= pi/4, by the
 * quadrant, which is in the low bits of n (fdlibm; Cephes). */
FG_INLINE vreal v_sine(vreal x, const int quarter) {
    if (v_any(v_less(v_set(FG_PICK(4000.0, 800000.0)), v_abs(x)))) return fg_sine_far(x, quarter);
    vreal shifted = v_fma(x, v_set(FG_PICK(0.636619772, 0.636619772367581343)), v_set(FG_ROUNDER));
    vreal n = shifted - v_set(FG_ROUNDER);
    vbits quadrant = v_bits(shifted) + (fg_bits)quarter;
    vreal r = v_fma(n, v_set(FG_PICK(-1.5703125, -1.57079632673412561417e+00)), x);
    r = v_fma(n, v_set(FG_PICK(-4.837512969970703125e-4, -6.07710050630396597660e-11)), r);
    r = v_fma(n, v_set(FG_PICK(-7.54978995489188216e-8, -2.02226624879595063154e-21)), r);
    vreal z = r * r;
#if FG_REAL_BITS == 32
    vreal s = v_fma(v_set(-1.9515295891e-4f), z, v_set(8.3321608736e-3f));
    s = v_fma(s, z, v_set(-1.6666654611e-1f));
    vreal c = v_fma(v_set(2.443315711809948e-5f), z, v_set(-1.388731625493765e-3f));
    c = v_fma(c, z, v_set(4.166664568298827e-2f));
#else
    vreal s = v_fma(v_set(1.58969099521155010221e-10), z, v_set(-2.50507602534068634195e-08));
    s = v_fma(s, z, v_set(2.75573137070700676789e-06));
    s = v_fma(s, z, v_set(-1.98412698298579493134e-04));
    s = v_fma(s, z, v_set(8.33333333332248946124e-03));
    s = v_fma(s, z, v_set(-1.66666666666666324348e-01));
    vreal c = v_fma(v_set(-1.13596475577881948265e-11), z, v_set(2.08757232129817482790e-09));
    c = v_fma(c, z, v_set(-2.75573143513906633035e-07));
    c = v_fma(c, z, v_set(2.48015872894767294178e-05));
    c = v_fma(c, z, v_set(-1.38888888888741095749e-03));
    c = v_fma(c, z, v_set(4.16666666666666019037e-02));
#endif
    s = v_fma(r * z, s, r);
    vreal half = v_set(FG_PICK(0.5, 0.5)) * z, near_one = v_set(1) - half;
    c = near_one + v_fma(z * z, c, (v_set(1) - near_one) - half);
    vreal odd = v_copysign(v_set(1), v_from_bits(quadrant << (FG_REAL_BITS - 1)));
    vreal y = v_select(v_less(odd, v_zero()), c, s);
    return v_from_bits(v_bits(y) ^ ((quadrant << (FG_REAL_BITS - 2)) & FG_SIGN_BIT));
}

FG_INLINE vreal v_sin(vreal x) { return v_sine(x, 0); }
FG_INLINE vreal v_cos(vreal x) { return v_sine(x, 1); }

/* ---------------------------------------------------------------------------- random numbers --- */

#define FG_GOLDEN 0x9E3779B97F4A7C15u

/* SplitMix64, as fastgraph/randomness.py. */
FG_INLINE uint64_t fg_mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* mask[i] = 0 where element first + i draws below `dropped` of 2^32 chances, else `scale`.  Two
 * elements share 64 bits, and the pairs know nothing of each other: a loop for the compiler. */
FG_NOINLINE void drop(uint64_t key, uint64_t first, ptrdiff_t count, uint64_t dropped, real scale,
                      real *mask) {
    ptrdiff_t i = 0;
    if ((first & 1) && count > 0) {
        mask[i++] = fg_mix(key + FG_GOLDEN * (first / 2 + 1)) >> 32 < dropped ? 0 : scale;
    }
    const uint64_t pair = (first + 1) / 2;
    const ptrdiff_t pairs = (count - i) / 2;
    real *to = mask + i;
    for (ptrdiff_t j = 0; j < pairs; j++) {
        const uint64_t drawn = fg_mix(key + FG_GOLDEN * (pair + (uint64_t)j + 1));
        to[2 * j] = (drawn & 0xFFFFFFFFu) < dropped ? 0 : scale;
        to[2 * j + 1] = drawn >> 32 < dropped ? 0 : scale;
    }
    if (i + 2 * pairs < count) {
        const uint64_t drawn = fg_mix(key + FG_GOLDEN * (pair + (uint64_t)pairs + 1));
        to[2 * pairs] = (drawn & 0xFFFFFFFFu) < dropped ? 0 : scale;
    }
}

/* ------------------------------------------------------------------------ matrix products --- */

/* The same as v_fma and v_load_part where at most half of a vector is wanted.  A core that splits
 * 512-bit operations in two (AMD Zen 4) is spared the empty half; narrow products are common. */
FG_INLINE vreal v_fma_low(vreal a, vreal b, vreal c) {
#if defined(FG_AVX512)
    return FG_WIDEN(FG_MM256(fmadd)(FG_NARROW(a), FG_NARROW(b), FG_NARROW(c)));
#else
    return v_fma(a, b, c);
#endif
}
FG_INLINE vreal v_load_low(const real *from, int count) {
#if defined(FG_AVX512)
    return FG_WIDEN(FG_MM256(maskz_loadu)((__mmask8)v_first(count), from));
#else
    return v_load_part(from, count);
#endif
}

/* Rows and vectors of a register tile: its sums, a row of B and one element of A fit the file. */
#if defined(FG_AVX512)
#define FG_TILE_ROWS 8
#elif defined(FG_AVX2) || defined(__aarch64__)
#define FG_TILE_ROWS 6
#else
#define FG_TILE_ROWS 4
#endif
#define FG_TILE_VECTORS 2
/* Products longer than FG_LONG go through the cache in blocks of FG_BLOCK. */
#define FG_LONG 1024
#define FG_BLOCK 256

/* A product and all that is done to it:
 * C[i,j] (+)= sum_p A[i*a_row + p*a_col] * B[p*ldb + j] (+ bias[j]), then one of two ReLUs. */
typedef struct {
    ptrdiff_t m, n, k;
    const real *a;
    ptrdiff_t a_row, a_col;
    const real *b;
    ptrdiff_t ldb;
    real *c;
    ptrdiff_t ldc;
    const real *bias; /* or NULL */
    const real *mask; /* C is zeroed where this is not positive; or NULL */
    ptrdiff_t ldmask;
    int accumulate; /* start from what C holds */
    int relu;       /* max(C, 0) at the end */
} fg_product;

/* The last vector of a tile: whole, masked, or masked and at most half. */
enum { FG_WHOLE, FG_PART, FG_LOW };

/* One tile of C in registers: `rows` from row i, `vectors` from column j, the last of them `tail`
 * wide.  The first three are constants where this is inlined.  Every element is summed from its
 * start (bias, C or 0) in the order of p, so its bits do not depend on the tile it fell in. */
FG_INLINE void fg_tile(const int rows, const int vectors, const int last, const fg_product *x,
                       ptrdiff_t i, ptrdiff_t j, int tail) {
#define FG_IS(kind, v) (last == (kind) && (v) == vectors - 1)
#define FG_LOAD(from, v)                                         \
    (FG_IS(FG_WHOLE, v) || (v) < vectors - 1 ? v_load((from) + (v) * VW) \
                                             : v_load_part((from) + (v) * VW, tail))
    const ptrdiff_t a_row = x->a_row, a_col = x->a_col, ldb = x->ldb;
    const real *a = x->a + i * a_row, *b = x->b + j;
    vreal sum[FG_TILE_ROWS][FG_TILE_VECTORS];
    FG_UNROLL
    for (int v = 0; v < vectors; v++) {
        vreal start = x->bias ? FG_LOAD(x->bias + j, v) : v_zero();
        FG_UNROLL
        for (int r = 0; r < rows; r++) sum[r][v] = start;
    }
    if (x->accumulate) {
        const real *c = x->c + i * x->ldc + j;
        FG_UNROLL
        for (int r = 0; r < rows; r++, c += x->ldc) {
            FG_UNROLL
            for (int v = 0; v < vectors; v++) sum[r][v] += FG_LOAD(c, v);
        }
    }
    for (ptrdiff_t p = x->k; p > 0; p--, a += a_col, b += ldb) {
        vreal row[FG_TILE_VECTORS];
        FG_UNROLL
        for (int v = 0; v < vectors; v++) {
            row[v] = FG_IS(FG_LOW, v) ? v_load_low(b + v * VW, tail) : FG_LOAD(b, v);
        }
        FG_UNROLL
        for (int r = 0; r < rows; r++) {
            vreal one = v_set(a[r * a_row]);
            FG_UNROLL
            for (int v = 0; v < vectors; v++) {
                sum[r][v] = FG_IS(FG_LOW, v) ? v_fma_low(one, row[v], sum[r][v])
                                             : v_fma(one, row[v], sum[r][v]);
            }
        }
    }
    if (x->relu) {
        FG_UNROLL
        for (int r = 0; r < rows; r++) {
            FG_UNROLL
            for (int v = 0; v < vectors; v++) sum[r][v] = v_relu(sum[r][v]);
        }
    }
    if (x->mask) {
        const real *mask = x->mask + i * x->ldmask + j;
        FG_UNROLL
        for (int r = 0; r < rows; r++, mask += x->ldmask) {
            FG_UNROLL
            for (int v = 0; v < vectors; v++) {
                sum[r][v] = v_positive(FG_LOAD(mask, v), sum[r][v]);
            }
        }
    }
    ptrdiff_t ldc = x->ldc;
    FG_OPAQUE(ldc); /* or GCC keeps every row's address, and spills it around the loop */
    real *c = x->c + i * ldc + j;
    FG_UNROLL
    for (int r = 0; r < rows; r++, c += ldc) {
        FG_UNROLL
        for (int v = 0; v < vectors; v++) {
            if (v < vectors - 1 || last == FG_WHOLE) {
                v_store(c + v * VW, sum[r][v]);
            } else {
                v_store_part(c + v * VW, sum[r][v], tail);
            }
        }
    }
#undef FG_LOAD
#undef FG_IS
}

/* All rows of C at column j.  The last two tiles share their rows evenly: a tile of one row would
 * wait for its own additions. */
FG_INLINE void fg_panel(const int vectors, const int last, const fg_product *x, ptrdiff_t j,
                        int tail) {
    for (ptrdiff_t i = 0, rows; i < x->m; i += rows) {
        const ptrdiff_t left = x->m - i;
        rows = left >= 2 * FG_TILE_ROWS ? FG_TILE_ROWS
               : left > FG_TILE_ROWS    ? (left + 1) / 2
                                        : left;
        switch (rows) {
#define FG_CASE(count) case count: fg_tile(count, vectors, last, x, i, j, tail); break;
            FG_CASE(1) FG_CASE(2) FG_CASE(3) FG_CASE(4)
#if FG_TILE_ROWS > 4
            FG_CASE(5) FG_CASE(6)
#endif
#if FG_TILE_ROWS > 6
            FG_CASE(7) FG_CASE(8)
#endif
#undef FG_CASE
        }
    }
}

FG_NOINLINE void fg_panel_whole(const fg_product *x, ptrdiff_t j) {
    fg_panel(FG_TILE_VECTORS, FG_WHOLE, x, j, VW);
}
FG_NOINLINE void fg_panel_two(const fg_product *x, ptrdiff_t j, int tail) {
    fg_panel(2, FG_PART, x, j, tail);
}
FG_NOINLINE void fg_panel_one(const fg_product *x, ptrdiff_t j, int tail) {
    fg_panel(1, FG_PART, x, j, tail);
}
#if defined(FG_AVX512)
FG_NOINLINE void fg_panel_one_and_half(const fg_product *x, ptrdiff_t j, int tail) {
    fg_panel(2, FG_LOW, x, j, tail);
}
FG_NOINLINE void fg_panel_half(const fg_product *x, ptrdiff_t j, int tail) {
    fg_panel(1, FG_LOW, x, j, tail);
}
#else
#define fg_panel_one_and_half fg_panel_two
#define fg_panel_half fg_panel_one
#endif

FG_INLINE void fg_columns(const fg_product *x) {
    ptrdiff_t j = 0;
    for (; j + 2 * VW <= x->n; j += 2 * VW) fg_panel_whole(x, j);
    const int left = (int)(x->n - j);
    if (left > VW + VW / 2) {
        fg_panel_two(x, j, left - VW);
    } else if (left > VW) {
        fg_panel_one_and_half(x, j, left - VW);
    } else if (left > VW / 2) {
        fg_panel_one(x, j, left);
    } else if (left > 0) {
        fg_panel_half(x, j, left);
    }
}

/* A long product in blocks of k, so that the rows of B under a panel stay in the cache while the
 * tiles go down it (Goto and van de Geijn): 25 -> 78 GFLOP/s at 64 x 50000 x 64.  Each block goes
 * on from the sums that the one before has stored: the same bits. */
FG_NOINLINE void fg_blocks(const fg_product *x) {
    fg_product block = *x;
    for (ptrdiff_t left = x->k; left > 0; left -= block.k) {
        const int final = left <= FG_BLOCK;
        block.k = final ? left : FG_BLOCK;
        block.relu = final ? x->relu : 0;
        block.mask = final ? x->mask : NULL;
        fg_columns(&block);
        block.a += block.k * block.a_col;
        block.b += block.k * block.ldb;
        block.bias = NULL;
        block.accumulate = 1;
    }
}

FG_INLINE void fg_multiply(const fg_product *x) {
    if (x->k <= FG_LONG || x->m <= FG_TILE_ROWS) {
        fg_columns(x);
    } else {
        fg_blocks(x);
    }
}

/* C[i,j] (+)= sum_p A[i*a_row + p*a_col] * B[p*ldb + j] (+ bias[j]), then max(., 0) if `relu`;
 * i < m, j < n, p < k.  A's strides make it X (ldx, 1) or X transposed (1, ldx). */
FG_NOINLINE void gemm(ptrdiff_t m, ptrdiff_t n, ptrdiff_t k, const real *a, ptrdiff_t a_row,
                      ptrdiff_t a_col, const real *b, ptrdiff_t ldb, real *c, ptrdiff_t ldc,
                      const real *bias, int accumulate, int relu) {
    fg_product x = {m, n, k, a, a_row, a_col, b, ldb, c, ldc, bias, NULL, 0, accumulate, relu};
    fg_multiply(&x);
}

/* The product where mask[i*ldmask + j] > 0 and 0 elsewhere: a gradient through a ReLU. */
FG_NOINLINE void gemm_positive(ptrdiff_t m, ptrdiff_t n, ptrdiff_t k, const real *a,
                               ptrdiff_t a_row, ptrdiff_t a_col, const real *b, ptrdiff_t ldb,
                               real *c, ptrdiff_t ldc, const real *mask, ptrdiff_t ldmask) {
    fg_product x = {m, n, k, a, a_row, a_col, b, ldb, c, ldc, NULL, mask, ldmask, 0, 0};
    fg_multiply(&x);
}

/* Rows of A that a matrix-vector product takes together: they share w, and their horizontal sums
 * share the shuffles. */
#define FG_DOT_ROWS (VW < 8 ? VW : 8)

/* y[i] for the next `rows` (a constant) rows, of which `left` exist: the last stands in for those
 * that do not. */
FG_INLINE void fg_dots(const int rows, ptrdiff_t left, ptrdiff_t k, const real *a, const real *w,
                       real bias, real *y) {
    const real *x[FG_DOT_ROWS];
    vreal sum[FG_DOT_ROWS];
    ptrdiff_t p = 0;
    FG_UNROLL
    for (int r = 0; r < rows; r++) {
        x[r] = a + (r < left ? r : left - 1) * k;
        sum[r] = v_zero();
    }
    for (; p + VW <= k; p += VW) {
        const vreal weights = v_load(w + p);
        FG_UNROLL
        for (int r = 0; r < rows; r++) sum[r] = v_fma(v_load(x[r] + p), weights, sum[r]);
    }
    if (p < k) {
        const int tail = (int)(k - p);
        const vreal weights = v_load_part(w + p, tail);
        FG_UNROLL
        for (int r = 0; r < rows; r++) {
            sum[r] = v_fma(v_load_part(x[r] + p, tail), weights, sum[r]);
        }
    }
    v_store_part(y, v_sum_rows(sum, rows) + v_set(bias), left < rows ? (int)left : rows);
}

/* y[i] = sum_p a[i*k + p] * w[p] + bias: a product of width one. */
FG_NOINLINE void gemv(ptrdiff_t m, ptrdiff_t k, const real *a, const real *w, real bias, real *y) {
    ptrdiff_t i = 0;
    for (; m - i > FG_DOT_ROWS / 2; i += FG_DOT_ROWS) {
        fg_dots(FG_DOT_ROWS, m - i, k, a + i * k, w, bias, y + i);
    }
#if VW > 1
    if (i < m) fg_dots(FG_DOT_ROWS / 2, m - i, k, a + i * k, w, bias, y + i);
#endif
}

/* dw[j] of `vectors` (a constant) vectors of columns, the last of them `tail` wide.  Four rows at a
 * time keep their own sums, or each addition would wait for the one before. */
FG_INLINE void fg_weighted_rows(const int vectors, const int last, int tail, ptrdiff_t m,
                                ptrdiff_t k, const real *a, const real *dy, real *dw,
                                int accumulate) {
#define FG_LOAD(from, v)                           \
    (last == FG_WHOLE || (v) < vectors - 1 ? v_load((from) + (v) * VW) \
                                           : v_load_part((from) + (v) * VW, tail))
    vreal sum[4][2];
    ptrdiff_t i = 0;
    FG_UNROLL
    for (int r = 0; r < 4; r++) sum[r][0] = sum[r][1] = v_zero();
    for (; i + 4 <= m; i += 4, a += 4 * k) {
        FG_UNROLL
        for (int r = 0; r < 4; r++) {
            FG_UNROLL
            for (int v = 0; v < vectors; v++) {
                sum[r][v] = v_fma(v_set(dy[i + r]), FG_LOAD(a + r * k, v), sum[r][v]);
            }
        }
    }
    for (; i < m; i++, a += k) {
        FG_UNROLL
        for (int v = 0; v < vectors; v++) {
            sum[0][v] = v_fma(v_set(dy[i]), FG_LOAD(a, v), sum[0][v]);
        }
    }
    FG_UNROLL
    for (int v = 0; v < vectors; v++) {
        vreal total = (sum[0][v] + sum[1][v]) + (sum[2][v] + sum[3][v]);
        if (accumulate) total += FG_LOAD(dw, v);
        if (last == FG_WHOLE || v < vectors - 1) {
            v_store(dw + v * VW, total);
        } else {
            v_store_part(dw + v * VW, total, tail);
        }
    }
#undef FG_LOAD
}

/* dw[j] (+)= sum_i dy[i] * a[i*k + j]: the gradient of that product's weights. */
FG_NOINLINE void gemv_t(ptrdiff_t m, ptrdiff_t k, const real *a, const real *dy, real *dw,
                        int accumulate) {
    ptrdiff_t j = 0;
    for (; j + 2 * VW <= k; j += 2 * VW) {
        fg_weighted_rows(2, FG_WHOLE, VW, m, k, a + j, dy, dw + j, accumulate);
    }
    const int left = (int)(k - j);
    if (left > VW) {
        fg_weighted_rows(2, FG_PART, left - VW, m, k, a + j, dy, dw + j, accumulate);
    } else if (left > 0) {
        fg_weighted_rows(1, FG_PART, left, m, k, a + j, dy, dw + j, accumulate);
    }
}

/* out[c*rows + r] = a[r*cols + c], a VW x VW block in registers at a time.  Zipping the first half
 * of the rows with the second, log2(VW) times, is a transposition. */
FG_NOINLINE void transpose(ptrdiff_t rows, ptrdiff_t cols, const real *a, real *out) {
    for (ptrdiff_t c = 0; c < cols; c += VW) {
        const int width = cols - c < VW ? (int)(cols - c) : VW;
        for (ptrdiff_t r = 0; r < rows; r += VW) {
            const int height = rows - r < VW ? (int)(rows - r) : VW;
            vreal block[VW];
            for (int i = 0; i < VW; i++) {
                block[i] = i < height ? v_load_part(a + (r + i) * cols + c, width) : v_zero();
            }
#if !defined(FG_SCALAR)
            FG_UNROLL
            for (int step = 1; step < VW; step *= 2) {
                vreal zipped[VW];
                FG_UNROLL
                for (int i = 0; i < VW / 2; i++) {
                    zipped[2 * i] = FG_SHUFFLE(block[i], block[i + VW / 2], FG_ZIP_LOW);
                    zipped[2 * i + 1] = FG_SHUFFLE(block[i], block[i + VW / 2], FG_ZIP_HIGH);
                }
                memcpy(block, zipped, sizeof block);
            }
#endif
            for (int i = 0; i < width; i++) {
                v_store_part(out + (c + i) * rows + r, block[i], height);
            }
        }
    }
}

/* The peak of this core for this instruction set and dtype, measured: multiply-adds in registers
 * alone, for about `seconds`, in GFLOP/s. */
FG_NOINLINE double fma_peak_gflops(double seconds) {
    enum { CHAINS = 12, ROUNDS = 100000 };
    vreal sum[CHAINS];
    const vreal x = v_set(FG_PICK(0.999, 0.999)), y = v_set(FG_PICK(0.001, 0.001));
    const clock_t start = clock();
    double spent, rounds = 0;
    for (int i = 0; i < CHAINS; i++) sum[i] = v_set((real)(i + seconds)); /* no constants to fold */
    do {
        for (int round = 0; round < ROUNDS; round++) {
            FG_UNROLL
            for (int i = 0; i < CHAINS; i++) sum[i] = v_fma(sum[i], x, y);
        }
        rounds += ROUNDS;
        spent = (double)(clock() - start) / CLOCKS_PER_SEC;
    } while (spent < seconds);
    real total = 0;
    for (int i = 0; i < CHAINS; i++) total += v_sum(sum[i]);
    volatile real sink = total; /* keeps the work from being optimised away */
    (void)sink;
    return rounds * CHAINS * VW * 2.0 / spent * 1e-9;
}

#endif
