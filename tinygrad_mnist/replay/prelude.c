/* What every C text of a program begins with. */
#include <math.h>
#include <string.h>

/* e^x, within 2 units in the last place: 2^n e^r with |r| <= ln 2 / 2, after Cephes. A loop of it becomes vectors, as
   one of a library's exp does not; 2^n is two factors, as 2^-149 and 2^128 have no exponent of their own. */
static inline float exp_float(float x) {
    const float magic = 12582912.0f; /* 1.5 2^23: adding it rounds to a whole number, in the last bits */
    float c = x < -104.0f ? -104.0f : x;
    c = c > 89.0f ? 89.0f : c; /* NaN stays */
    float t = c * 1.44269504f + magic, n = t - magic;
    float r = c - n * 0.693359375f + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    unsigned int bits, half, rest;
    memcpy(&bits, &t, 4);
    int k = (int)(bits - 0x4b400000u);
    half = ((unsigned int)(k >> 1) + 127u) << 23;
    rest = ((unsigned int)(k - (k >> 1)) + 127u) << 23;
    float f, g;
    memcpy(&f, &half, 4);
    memcpy(&g, &rest, 4);
    return p * f * g;
}

/* ln x, after Cephes: of 2^n m with m from 0.7 to 1.4. */
static inline float log_float(float x) {
    float y = x < 1.17549435e-38f ? x * 16777216.0f : x; /* a subnormal number is made a normal one */
    unsigned int bits;
    memcpy(&bits, &y, 4);
    int k = (int)(bits - 0x3f3504f3u) >> 23; /* by the root of 1/2 */
    unsigned int rest = bits - ((unsigned int)k << 23);
    float m;
    memcpy(&m, &rest, 4);
    float n = (float)(x < 1.17549435e-38f ? k - 24 : k), r = m - 1.0f, z = r * r;
    float p = 7.0376836292e-2f;
    p = p * r - 1.1514610310e-1f;
    p = p * r + 1.1676998740e-1f;
    p = p * r - 1.2420140846e-1f;
    p = p * r + 1.4249322787e-1f;
    p = p * r - 1.6668057665e-1f;
    p = p * r + 2.0000714765e-1f;
    p = p * r - 2.4999993993e-1f;
    p = p * r + 3.3333331174e-1f;
    p = r + (p * r * z - 2.12194440e-4f * n - 0.5f * z) + 0.693359375f * n;
    p = x == 0.0f ? -INFINITY : p;
    p = x < 0.0f ? NAN : p;
    return x < INFINITY ? p : x; /* infinity, and NaN */
}

/* tanh x, after Cephes: a polynomial near 0, where 1 - 2 / (e^2x + 1) would lose digits. */
static inline float tanh_float(float x) {
    float z = x * x, a = fabsf(x);
    float p = -5.70498872745e-3f;
    p = p * z + 2.06390887954e-2f;
    p = p * z - 5.37397155531e-2f;
    p = p * z + 1.33314422036e-1f;
    p = p * z - 3.33332819422e-1f;
    p = p * z * x + x;
    float far = 1.0f - 2.0f / (exp_float(a + a) + 1.0f);
    return copysignf(a < 0.625f ? p : far, x); /* of -0 too */
}

#define EXP(x) _Generic((x), float: exp_float, default: exp)(x)
#define LOG(x) _Generic((x), float: log_float, default: log)(x)
#define TANH(x) _Generic((x), float: tanh_float, default: tanh)(x)
#define POW(x, y) _Generic((x) + (y), float: powf, default: pow)(x, y)
#define SQRT(x) _Generic((x), float: sqrtf, default: sqrt)(x)
#define ABS(x) _Generic((x), float: fabsf, default: fabs)(x)
#define M_LIBM(name, x) _Generic((x), float: __builtin_##name##f(x), default: __builtin_##name(x))
#define M_LIBM2(name, x, y) _Generic((x) + (y), float: __builtin_##name##f(x, y), default: __builtin_##name(x, y))

/* The sum of n numbers, pairwise as NumPy adds them; which adds it to 0, so that -0 is 0. */
#define SUM(type) \
    static type sum_##type(const type *x, long n) { \
        if (n > 128) { \
            long half = n / 2 - (n / 2) % 8; \
            return sum_##type(x, half) + sum_##type(x + half, n - half); \
        } \
        type s[8], sum = 0; \
        if (n >= 8) { \
            memcpy(s, x, sizeof s); \
            for (long i = 8; i + 8 <= n; i += 8) \
                for (int j = 0; j < 8; j++) \
                    s[j] += x[i + j]; \
            sum = ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7])); \
        } \
        for (long i = n - n % 8; i < n; i++) \
            sum += x[i]; \
        return sum; \
    }
SUM(float)
SUM(double)

/* In products alone a b + c may be rounded once: elsewhere it would make a a - b b of equal numbers less than 0. */
#if defined __clang__
#define CONTRACTED
#define CONTRACT _Pragma("clang fp contract(fast)")
#else
#define CONTRACTED __attribute__((optimize("fp-contract=fast")))
#define CONTRACT
#endif

/* out = a b: tiles of ROWS rows and COLUMNS vectors of LANES numbers stay in registers while k runs. The last tile of a
   row or column overlaps the one before, which computes some numbers twice. */
#define PRODUCT(name, type, ROWS, COLUMNS, LANES) \
    typedef type name##_vector __attribute__((vector_size(sizeof(type) * LANES), aligned(4), may_alias)); \
    CONTRACTED static void name(type *out, const type *a, const type *b, long m, long k, long n, long a0, long a1) { \
        CONTRACT \
        for (long i = 0;; i = i + 2 * ROWS > m ? m - ROWS : i + ROWS) { \
            for (long j = 0;; j = j + 2 * COLUMNS * LANES > n ? n - COLUMNS * LANES : j + COLUMNS * LANES) { \
                name##_vector s[ROWS][COLUMNS] = {0}; \
                for (long p = 0; p < k; p++) { \
                    name##_vector v[COLUMNS]; \
                    for (int c = 0; c < COLUMNS; c++) \
                        v[c] = *(const name##_vector *)(b + p * n + j + c * LANES); \
                    for (int r = 0; r < ROWS; r++) \
                        for (int c = 0; c < COLUMNS; c++) \
                            s[r][c] += a[(i + r) * a0 + p * a1] * v[c]; \
                } \
                for (int r = 0; r < ROWS; r++) \
                    for (int c = 0; c < COLUMNS; c++) \
                        *(name##_vector *)(out + (i + r) * n + j + c * LANES) = s[r][c]; \
                if (j + COLUMNS * LANES >= n) \
                    break; \
            } \
            if (i + ROWS >= m) \
                break; \
        } \
    }
