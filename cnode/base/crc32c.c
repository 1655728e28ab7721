/* crc32c: the checksum of every stored object, CRC-32C (Castagnoli, polynomial 0x1EDC6F41,
 * reflected 0x82F63B78).
 *
 * Where the processor has an instruction for it (SSE 4.2, ARMv8 CRC: looked for at run time, so
 * that one package serves every machine), 8 bytes take one instruction, whose result takes 3
 * cycles, so long inputs are computed in three lanes that are put together with crc32c_combine.
 * Elsewhere "slicing by 8": eight tables, of which the k-th tells what a byte does to the checksum
 * when k more bytes follow it. */
#include "crc32c.h"

#include <string.h>

/* The effect of a byte is the exclusive-or of the effects of its bits: each table below is given by
 * its eight one-bit entries, and the compiler fills in the other 248. */
#define BIT(n, i, b) (((n) >> (i)&1U) != 0 ? (b) : 0U)
#define ENTRY(n, a, b, c, d, e, f, g, h)                                                           \
    (BIT(n, 0, a) ^ BIT(n, 1, b) ^ BIT(n, 2, c) ^ BIT(n, 3, d) ^ BIT(n, 4, e) ^ BIT(n, 5, f) ^     \
        BIT(n, 6, g) ^ BIT(n, 7, h))
#define ENTRIES_4(n, ...)                                                                          \
    ENTRY(n, __VA_ARGS__), ENTRY((n) + 1U, __VA_ARGS__), ENTRY((n) + 2U, __VA_ARGS__),             \
        ENTRY((n) + 3U, __VA_ARGS__)
#define ENTRIES_16(n, ...)                                                                         \
    ENTRIES_4(n, __VA_ARGS__), ENTRIES_4((n) + 4U, __VA_ARGS__), ENTRIES_4((n) + 8U, __VA_ARGS__), \
        ENTRIES_4((n) + 12U, __VA_ARGS__)
#define ENTRIES_64(n, ...)                                                                         \
    ENTRIES_16(n, __VA_ARGS__), ENTRIES_16((n) + 16U, __VA_ARGS__),                                \
        ENTRIES_16((n) + 32U, __VA_ARGS__), ENTRIES_16((n) + 48U, __VA_ARGS__)
#define TABLE(...)                                                                                 \
    ENTRIES_64(0U, __VA_ARGS__), ENTRIES_64(64U, __VA_ARGS__), ENTRIES_64(128U, __VA_ARGS__),      \
        ENTRIES_64(192U, __VA_ARGS__)

static const uint32_t table[8][256] = {
    {TABLE(0xF26B8303, 0xE13B70F7, 0xC79A971F, 0x8AD958CF, 0x105EC76F, 0x20BD8EDE, 0x417B1DBC,
        0x82F63B78)},
    {TABLE(0x13A29877, 0x274530EE, 0x4E8A61DC, 0x9D14C3B8, 0x3FC5F181, 0x7F8BE302, 0xFF17C604,
        0xFBC3FAF9)},
    {TABLE(0xA541927E, 0x4F6F520D, 0x9EDEA41A, 0x38513EC5, 0x70A27D8A, 0xE144FB14, 0xC76580D9,
        0x8B277743)},
    {TABLE(0xDD45AAB8, 0xBF672381, 0x7B2231F3, 0xF64463E6, 0xE964B13D, 0xD725148B, 0xABA65FE7,
        0x52A0C93F)},
    {TABLE(0x38116FAC, 0x7022DF58, 0xE045BEB0, 0xC5670B91, 0x8F2261D3, 0x1BA8B557, 0x37516AAE,
        0x6EA2D55C)},
    {TABLE(0xEF306B19, 0xDB8CA0C3, 0xB2F53777, 0x6006181F, 0xC00C303E, 0x85F4168D, 0x0E045BEB,
        0x1C08B7D6)},
    {TABLE(0x68032CC8, 0xD0065990, 0xA5E0C5D1, 0x4E2DFD53, 0x9C5BFAA6, 0x3D5B83BD, 0x7AB7077A,
        0xF56E0EF4)},
    {TABLE(0x493C7D27, 0x9278FA4E, 0x211D826D, 0x423B04DA, 0x847609B4, 0x0D006599, 0x1A00CB32,
        0x34019664)},
};

static uint32_t load_le32(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

uint32_t crc32c_by_table(uint32_t crc, struct slice bytes)
{
    const uint8_t *p = bytes.data;
    size_t left = bytes.size;

    crc = ~crc;
    for (; left >= 8; p += 8, left -= 8) {
        uint32_t low = crc ^ load_le32(p);
        uint32_t high = load_le32(p + 4);
        crc = table[7][low & 0xFF] ^ table[6][low >> 8 & 0xFF] ^ table[5][low >> 16 & 0xFF] ^
              table[4][low >> 24] ^ table[3][high & 0xFF] ^ table[2][high >> 8 & 0xFF] ^
              table[1][high >> 16 & 0xFF] ^ table[0][high >> 24];
    }
    for (; left > 0; p++, left--)
        crc = crc >> 8 ^ table[0][(crc ^ *p) & 0xFF];
    return ~crc;
}

/* ---- putting together -------------------------------------------------------------------------
 *
 * The checksum of bytes that k zero bytes follow is the checksum times x^(8 k), modulo the
 * polynomial; and checksums of equally long inputs add (exclusive-or). */

/* x^(8 * 2^i). The next one after the last is the first again: x^(2^31) = x. */
static const uint32_t power[31] = {0x00800000, 0x00008000, 0x82F63B78, 0x6EA2D55C, 0x18B8EA18,
    0x510AC59A, 0xB82BE955, 0xB8FDB1E7, 0x88E56F72, 0x74C360A4, 0xE4172B16, 0x0D65762A, 0x35D73A62,
    0x28461564, 0xBF455269, 0xE2EA32DC, 0xFE7740E6, 0xF946610B, 0x3C204F8F, 0x538586E3, 0x59726915,
    0x734D5309, 0xBC1AC763, 0x7D0722CC, 0xD289CABE, 0xE94CA9BC, 0x05B74F3F, 0xA51E1F42, 0x40000000,
    0x20000000, 0x08000000};

/* Bit 31 is the coefficient of x^0. */
static uint32_t multiply(uint32_t a, uint32_t b)
{
    uint32_t product = 0;
    for (; a != 0; a <<= 1) {
        product ^= b & (0U - (a >> 31));
        b = b >> 1 ^ (0x82F63B78U & (0U - (b & 1U)));
    }
    return product;
}

uint32_t crc32c_combine(uint32_t first, uint32_t second, uint64_t second_size)
{
    for (unsigned i = 0; second_size != 0; second_size >>= 1, i = i == 30 ? 0 : i + 1)
        if ((second_size & 1U) != 0)
            first = multiply(power[i], first);
    return first ^ second;
}

/* ---- the processor's instruction --------------------------------------------------------------
 */

#if defined(__x86_64__)
#include <nmmintrin.h>
#define WITH_INSTRUCTION    __attribute__((target("sse4.2")))
#define CRC_OF_8(crc, word) _mm_crc32_u64(crc, word)
#define CRC_OF_1(crc, byte) _mm_crc32_u8(crc, byte)
typedef uint64_t crc_register;

bool crc32c_has_instruction(void)
{
    return __builtin_cpu_supports("sse4.2");
}

#elif defined(__aarch64__) && defined(__AARCH64EL__)
#include <sys/auxv.h>
#ifdef __clang__
#define WITH_INSTRUCTION    __attribute__((target("crc")))
#define CRC_OF_8(crc, word) __builtin_arm_crc32cd(crc, word)
#define CRC_OF_1(crc, byte) __builtin_arm_crc32cb(crc, byte)
#else
#include <arm_acle.h>
#define WITH_INSTRUCTION    __attribute__((target("+crc")))
#define CRC_OF_8(crc, word) __crc32cd(crc, word)
#define CRC_OF_1(crc, byte) __crc32cb(crc, byte)
#endif
typedef uint32_t crc_register;

bool crc32c_has_instruction(void)
{
    enum { CRC32 = 1 << 7 }; /* HWCAP_CRC32 */
    return (getauxval(AT_HWCAP) & CRC32) != 0;
}

#endif

#ifdef WITH_INSTRUCTION

enum { LANE_BYTES = 8192 };

static uint64_t load_word(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

/* Three neighbouring lanes at once, of LANE_BYTES each. Registers in and out, not inverted. */
WITH_INSTRUCTION static uint32_t three_lanes(uint32_t crc, const uint8_t *p)
{
    crc_register a = crc, b = 0, c = 0;
    for (size_t i = 0; i < LANE_BYTES; i += 8) {
        a = CRC_OF_8(a, load_word(p + i));
        b = CRC_OF_8(b, load_word(p + i + LANE_BYTES));
        c = CRC_OF_8(c, load_word(p + i + 2 * (size_t)LANE_BYTES));
    }
    crc = crc32c_combine((uint32_t)a, (uint32_t)b, LANE_BYTES);
    return crc32c_combine(crc, (uint32_t)c, LANE_BYTES);
}

WITH_INSTRUCTION uint32_t crc32c_by_instruction(uint32_t crc, struct slice bytes)
{
    const uint8_t *p = bytes.data;
    size_t left = bytes.size;

    crc = ~crc;
    for (; left >= 3 * (size_t)LANE_BYTES; p += 3 * LANE_BYTES, left -= 3 * (size_t)LANE_BYTES)
        crc = three_lanes(crc, p);
    crc_register wide = crc;
    for (; left >= 8; p += 8, left -= 8)
        wide = CRC_OF_8(wide, load_word(p));
    crc = (uint32_t)wide;
    for (; left > 0; p++, left--)
        crc = CRC_OF_1(crc, *p);
    return ~crc;
}

#else

bool crc32c_has_instruction(void)
{
    return false;
}

uint32_t crc32c_by_instruction(uint32_t crc, struct slice bytes)
{
    return crc32c_by_table(crc, bytes);
}

#endif

uint32_t crc32c(uint32_t crc, struct slice bytes)
{
    return crc32c_has_instruction() ? crc32c_by_instruction(crc, bytes)
                                    : crc32c_by_table(crc, bytes);
}
