/* SHA-256: FIPS 180-4, sections 4.1.2, 5.1.1 and 6.2. */
#include <stdio.h>

#include "glib.h"

enum { WORDS = 8, BLOCK_BYTES = 64, ROUNDS = 64, LENGTH_BYTES = 8 };

struct GChecksum {
    uint32_t state[WORDS];
    guchar block[BLOCK_BYTES];
    uint64_t bytes; /* taken in; those of an unfinished block are at the beginning of `block` */
    gchar text[2 * 4 * WORDS + 1];
};

/* The first 32 bits of the fractions of the first primes' square roots and cube roots. */
static const uint32_t first_state[WORDS] = {0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A,
                                            0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19};
static const uint32_t round_words[ROUNDS] = {
    0x428A2F98, 0x71374491, 0xB5C0FBCF, 0xE9B5DBA5, 0x3956C25B, 0x59F111F1, 0x923F82A4, 0xAB1C5ED5,
    0xD807AA98, 0x12835B01, 0x243185BE, 0x550C7DC3, 0x72BE5D74, 0x80DEB1FE, 0x9BDC06A7, 0xC19BF174,
    0xE49B69C1, 0xEFBE4786, 0x0FC19DC6, 0x240CA1CC, 0x2DE92C6F, 0x4A7484AA, 0x5CB0A9DC, 0x76F988DA,
    0x983E5152, 0xA831C66D, 0xB00327C8, 0xBF597FC7, 0xC6E00BF3, 0xD5A79147, 0x06CA6351, 0x14292967,
    0x27B70A85, 0x2E1B2138, 0x4D2C6DFC, 0x53380D13, 0x650A7354, 0x766A0ABB, 0x81C2C92E, 0x92722C85,
    0xA2BFE8A1, 0xA81A664B, 0xC24B8B70, 0xC76C51A3, 0xD192E819, 0xD6990624, 0xF40E3585, 0x106AA070,
    0x19A4C116, 0x1E376C08, 0x2748774C, 0x34B0BCB5, 0x391C0CB3, 0x4ED8AA4A, 0x5B9CCA4F, 0x682E6FF3,
    0x748F82EE, 0x78A5636F, 0x84C87814, 0x8CC70208, 0x90BEFFFA, 0xA4506CEB, 0xBEF9A3F7, 0xC67178F2};

static uint32_t rotate(uint32_t word, int by) { return word >> by | word << (32 - by); }

static void take_block(GChecksum *self, const guchar *block) {
    uint32_t schedule[ROUNDS], a = self->state[0], b = self->state[1], c = self->state[2], d = self->state[3];
    uint32_t e = self->state[4], f = self->state[5], g = self->state[6], h = self->state[7];
    for (int i = 0; i < 16; i++) {
        const guchar *word = block + 4 * (size_t)i;
        schedule[i] = (uint32_t)word[0] << 24 | (uint32_t)word[1] << 16 | (uint32_t)word[2] << 8 | word[3];
    }
    for (int i = 16; i < ROUNDS; i++) {
        const uint32_t x = schedule[i - 15], y = schedule[i - 2];
        schedule[i] = schedule[i - 16] + (rotate(x, 7) ^ rotate(x, 18) ^ x >> 3) + schedule[i - 7] +
                      (rotate(y, 17) ^ rotate(y, 19) ^ y >> 10);
    }
    for (int i = 0; i < ROUNDS; i++) {
        const uint32_t chosen = (e & f) ^ (~e & g), majority = (a & b) ^ (a & c) ^ (b & c);
        const uint32_t first =
            h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + chosen + round_words[i] + schedule[i];
        const uint32_t second = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + majority;
        h = g;
        g = f;
        f = e;
        e = d + first;
        d = c;
        c = b;
        b = a;
        a = first + second;
    }
    const uint32_t now[WORDS] = {a, b, c, d, e, f, g, h};
    for (int i = 0; i < WORDS; i++) self->state[i] += now[i];
}

GChecksum *g_checksum_new(GChecksumType type) {
    g_assert(type == G_CHECKSUM_SHA256);
    GChecksum *checksum = g_new0(GChecksum, 1);
    memcpy(checksum->state, first_state, sizeof first_state);
    return checksum;
}

void g_checksum_update(GChecksum *checksum, const guchar *bytes, gssize count) {
    gsize left = count < 0 ? strlen((const char *)bytes) : (gsize)count;
    g_assert(!*checksum->text);
    while (left > 0) {
        const gsize used = checksum->bytes % BLOCK_BYTES, taken = MIN(left, BLOCK_BYTES - used);
        memcpy(checksum->block + used, bytes, taken);
        checksum->bytes += taken;
        bytes += taken;
        left -= taken;
        if (used + taken == BLOCK_BYTES) take_block(checksum, checksum->block);
    }
}

/* Behind the message a bit, zeros, and the message's length in bits, so that whole blocks come out. */
static void finish(GChecksum *checksum) {
    guchar padding[BLOCK_BYTES + LENGTH_BYTES] = {0x80};
    const uint64_t bits = 8 * checksum->bytes;
    const gsize used = checksum->bytes % BLOCK_BYTES;
    const gsize zeros_end = (used < BLOCK_BYTES - LENGTH_BYTES ? BLOCK_BYTES : 2 * BLOCK_BYTES) - used - LENGTH_BYTES;
    for (gsize i = 0; i < LENGTH_BYTES; i++) padding[zeros_end + i] = (guchar)(bits >> (56 - 8 * i));
    g_checksum_update(checksum, padding, (gssize)(zeros_end + LENGTH_BYTES));
}

const gchar *g_checksum_get_string(GChecksum *checksum) {
    if (!*checksum->text) {
        finish(checksum);
        for (gsize i = 0; i < WORDS; i++) snprintf(checksum->text + 8 * i, 9, "%08x", checksum->state[i]);
    }
    return checksum->text;
}

void g_checksum_free(GChecksum *checksum) { g_free(checksum); }
