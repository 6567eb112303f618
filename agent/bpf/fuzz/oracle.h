/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* What must become of a packet, read byte by byte from the format as ARCHITECTURE.md has it, without a line of the
 * programs'. Only the order of checks is the same, because a packet counts once. */
#pragma once
#include <stdint.h>

#include "seen.h"

#define PASS 0
#define DROP 2
#define REDIRECT 7

struct expectation {
    int verdict;
    int counter; /* -1: none */
    uint32_t segments; /* that were sent, 0 and 1 for one */
    uint32_t mark;
    uint8_t out[2 * MAX_PACKET]; /* if it passes or is redirected */
    uint32_t out_length;
};

struct known {
    struct seen seen;
    uint32_t life; /* counts epochs: in each everything is new */
    int epoch, previous; /* -1: none */
    uint64_t changed_ns;
    struct {
        int active, copies, serial;
        uint64_t counter, seen_ns;
    } learned[CLASSES];
    uint32_t sent[CLASSES][BUCKETS];
};

static struct known known_edge, known_anchor;

static void known_begin(void)
{
    memset(&known_edge, 0, sizeof(known_edge));
    memset(&known_anchor, 0, sizeof(known_anchor));
    known_edge.epoch = known_edge.previous = known_anchor.epoch = known_anchor.previous = -1;
}

static uint32_t be(const uint8_t *at, int bytes)
{
    uint32_t value = 0;
    while (bytes--)
        value = value << 8 | *at++;
    return value;
}

static uint64_t be64(const uint8_t *at)
{
    return (uint64_t)be(at, 4) << 32 | be(at + 4, 4);
}

static uint32_t folded_sum(const uint8_t *at, int bytes)
{
    uint32_t sum = 0;
    for (int i = 0; i < bytes; i += 2)
        sum += be(at + i, 2);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return sum;
}

static int in_site4(const uint8_t *address)
{
    return address[0] == 172 && address[1] == 16 && address[2] == 7;
}

static int in_site6(const uint8_t *address)
{
    return be(address, 4) == 0x20010db8 && be(address + 4, 4) == 0x00070000;
}

static int in_site(const uint8_t *address, int v6)
{
    return v6 ? in_site6(address) : in_site4(address);
}

static int in_overlay(const uint8_t *address, int v6)
{
    return !v6 && address[0] == 10 && address[1] == 100;
}

static int in_stranger(const uint8_t *address, int v6)
{
    return !v6 && address[0] == 172 && address[1] == 16 && address[2] == 8;
}

static int ones(uint32_t bits)
{
    int number = 0;
    for (; bits; bits >>= 1)
        number += bits & 1;
    return number;
}

/* Not-ECT, ECT(1), ECT(0), CE outside (columns), the same inside (rows); -1 drops. RFC 6040, figure 4. */
static const int figure_4[4][4] = {
    {0, 0, 0, -1},
    {1, 1, 1, 3},
    {2, 1, 2, 3},
    {3, 3, 3, 3},
};

static struct expectation dropped(int counter)
{
    return (struct expectation){.verdict = DROP, .counter = counter};
}

static struct expectation passed(int counter, uint32_t mark, const uint8_t *out, uint32_t length)
{
    struct expectation expected = {.verdict = PASS, .counter = counter, .mark = mark, .out_length = length};
    memcpy(expected.out, out, length);
    return expected;
}

static struct expectation expect_bare(int at_edge, const uint8_t *frame, uint32_t length, uint32_t l2, uint16_t protocol,
                                      uint32_t slot, uint32_t mark)
{
    const uint8_t *ip = frame + l2;
    uint32_t left = length > l2 ? length - l2 : 0;
    int v4 = protocol == 0x0800 && left >= 20 && ip[0] >> 4 == 4 && (ip[0] & 15) >= 5;
    int v6 = protocol == 0x86dd && left >= 40 && ip[0] >> 4 == 6;

    if (!at_edge)
        return v4 && be(ip + 16, 4) == ANCHOR_PROBES + slot ? passed(-1, 0, frame, length) : dropped(C_NOT_SHIM);
    if (protocol == 0x0806)
        return passed(-1, mark, frame, length);
    if ((!v4 && !v6) || ip[v6 ? 6 : 9] == 47 || (v4 && be(ip + 16, 4) == EDGE_SELF))
        return dropped(C_NOT_SHIM);
    if (in_site(ip + (v6 ? 8 : 12), v6))
        return dropped(C_FORGED);
    return passed(-1, 0, frame, length);
}

static struct expectation expect_control(int at_edge, struct known *known, const uint8_t *frame, uint32_t length,
                                         uint32_t l2)
{
    const uint8_t *message = frame + l2 + 32;

    if (length - l2 != 32 + 24 || be(message + 4, 4) || message[0] != (at_edge ? 2 : 1))
        return dropped(C_UNKNOWN);
    if (at_edge)
        return dropped(C_CONTROL);
    int class = message[1], active = message[2], copies = message[3];
    if (active < 1 || active > 5 || copies & ~SLOTS || ones(copies) > 3 || copies & 1 << (active - 1))
        return dropped(C_COPY_SET);
    if (class < 1 || class > CLASSES)
        return dropped(C_CLASS);
    uint64_t counter = be64(message + 8);
    if (!known->learned[class - 1].active || counter > known->learned[class - 1].counter ||
        now_ns - known->learned[class - 1].seen_ns > 1000000000ULL) {
        known->learned[class - 1].active = active;
        known->learned[class - 1].copies = copies;
        known->learned[class - 1].serial = counter & 15;
        known->learned[class - 1].counter = counter;
        known->learned[class - 1].seen_ns = now_ns;
    }
    struct expectation expected = passed(C_CONTROL, 0, frame, length);
    uint8_t *out = expected.out + l2;
    expected.verdict = REDIRECT;
    memcpy(out + 12, frame + l2 + 16, 4);
    memcpy(out + 16, frame + l2 + 12, 4);
    out[32] = 2;
    out[34] = known->learned[class - 1].active;
    out[35] = known->learned[class - 1].copies;
    for (int i = 0; i < 8; i++)
        out[40 + i] = known->learned[class - 1].counter >> (56 - 8 * i);
    return expected;
}

static void expect_learned(struct known *known, int class, uint32_t key, uint32_t slot)
{
    int copies = key >> 12 & SLOTS, serial = key >> 8 & 15;

    if (copies & 1 << (slot - 1))
        return;
    if (known->learned[class].active && ((serial - known->learned[class].serial) & 15) >= 8 &&
        now_ns - known->learned[class].seen_ns < 1000000000ULL)
        return;
    known->learned[class].active = slot;
    known->learned[class].copies = copies;
    known->learned[class].serial = serial;
    known->learned[class].seen_ns = now_ns; /* the clock moves in steps that are never too small to be noted */
}

static int expect_epoch(struct known *known, int epoch)
{
    if (known->epoch == epoch)
        return 1;
    if (known->previous == epoch && now_ns - known->changed_ns < 2000000000ULL)
        return 0;
    known->previous = known->epoch;
    known->epoch = epoch;
    known->changed_ns = now_ns;
    known->life++;
    return 1;
}

static struct expectation expect_decap(int at_edge, const uint8_t *frame, uint32_t length, uint32_t l2,
                                       uint16_t protocol, uint32_t slot, uint32_t mark)
{
    struct known *known = at_edge ? &known_edge : &known_anchor;
    const uint8_t *ip = frame + l2, *inner = ip + 32;
    uint32_t left = length > l2 ? length - l2 : 0;

    if (!node->config.self || slot < 1 || slot > 8)
        return dropped(C_NO_STATE);
    if (protocol != 0x0800 || left < 32 || ip[0] != 0x45 || ip[9] != 47 ||
        be(ip + 16, 4) != (at_edge ? EDGE_SELF : ANCHOR_SELF))
        return expect_bare(at_edge, frame, length, l2, protocol, slot, mark);
    if (be(ip + 12, 4) != (at_edge ? ANCHOR_SELF : EDGE_SELF))
        return dropped(C_UNKNOWN);
    if (be(ip + 6, 2) != 0x4000 || be(ip + 2, 2) != left || folded_sum(ip, 20) != 0xffff)
        return dropped(C_MALFORMED);
    uint32_t key = be(ip + 24, 4), class = key >> 20 & 15;
    if (be(ip + 20, 2) != 0x3000 || key >> 29)
        return dropped(C_UNKNOWN);
    if (slot > 5)
        return dropped(C_COPY_SET);
    if (class == 0)
        return be(ip + 22, 2) == 0x88b5 ? expect_control(at_edge, known, frame, length, l2) : dropped(C_UNKNOWN);

    int v6 = be(ip + 22, 2) == 0x86dd;
    if (!v6 && be(ip + 22, 2) != 0x0800)
        return dropped(C_UNKNOWN);
    left -= 32;
    if (left < (v6 ? 40 : 20) || inner[0] >> 4 != (v6 ? 6 : 4) || (!v6 && (inner[0] & 15) < 5) ||
        (v6 ? be(inner + 4, 2) + 40 : be(inner + 2, 2)) != left)
        return dropped(C_MALFORMED);
    if (ones(key >> 12 & 255) > 3)
        return dropped(C_COPY_SET);
    const uint8_t *source = inner + (v6 ? 8 : 12), *destination = inner + (v6 ? 24 : 16);
    if (at_edge ? in_site(source, v6) || in_overlay(source, v6) || !in_site(destination, v6) : !in_site(source, v6))
        return dropped(C_FORGED);
    if (class > CLASSES)
        return dropped(C_CLASS);
    int inner_ecn = v6 ? inner[1] >> 4 & 3 : inner[1] & 3, ecn = figure_4[inner_ecn][ip[1] & 3];
    if (ecn < 0)
        return dropped(C_ECN);
    if (!expect_epoch(known, key >> 24 & 31))
        return dropped(C_STALE_EPOCH);
    if (!at_edge)
        expect_learned(known, class - 1, key, slot);
    uint32_t sequence = be(ip + 28, 4), id = be(ip + 4, 2);
    sequence += (id + 0x10000 - sequence % 0x10000) % 0x10000; /* the segment whose low half the ID is */
    int outcome = seen_take(&known->seen, known->life << 16 | class << 8 | (key & 255), sequence);
    if (outcome != SEEN_NOT)
        return dropped(outcome == SEEN_ALREADY ? C_DUPLICATE : C_LATE);

    struct expectation expected = passed(C_DELIVERED, class << 12, frame, l2);
    memcpy(expected.out + l2, inner, left);
    expected.out_length += left;
    if (l2 && v6)
        memcpy(expected.out + 12, "\x86\xdd", 2);
    uint8_t *out = expected.out + l2;
    if (v6) {
        out[1] = (out[1] & ~0x30) | ecn << 4;
    } else {
        out[1] = (out[1] & ~3) | ecn;
        /* a sum that was wrong stays as wrong as it was */
        uint32_t sum = be(inner + 10, 2) + inner_ecn + 0xffff - ecn;
        sum = (sum & 0xffff) + (sum >> 16);
        if (ecn != inner_ecn) {
            out[10] = sum >> 8;
            out[11] = sum;
        }
    }
    return expected;
}

/* Link-local and unspecified addresses (RFC 4291): what an interface says for itself. */
static int is_own_chatter(const uint8_t *source)
{
    static const uint8_t unspecified[16];
    return (source[0] == 0xfe && (source[1] & 0xc0) == 0x80) || !memcmp(source, unspecified, 16);
}

/* The packet in the shim that an edge or anchor puts around it; the bucket is taken from `bucket`, because which flow
 * falls into which is nobody's contract. */
static struct expectation expect_encap(int at_edge, const uint8_t *frame, uint32_t length, uint16_t protocol,
                                       uint32_t segments, uint32_t mark, uint32_t bucket)
{
    struct known *known = at_edge ? &known_edge : &known_anchor;
    const uint8_t *ip = frame + 14;
    uint32_t left = length - 14, class = mark >> 12 & 15, active, copies, serial;
    int v6 = protocol == 0x86dd;

    if (!v6 && protocol != 0x0800)
        return passed(-1, mark, frame, length);
    if (!node->config.self)
        return dropped(C_NO_STATE);
    if (left < (v6 ? 40 : 20) || ip[0] >> 4 != (v6 ? 6 : 4) || (!v6 && (ip[0] & 15) < 5))
        return dropped(C_MALFORMED);
    const uint8_t *source = ip + (v6 ? 8 : 12), *destination = ip + (v6 ? 24 : 16);
    if (at_edge && !in_site(source, v6))
        return dropped(v6 && is_own_chatter(source) ? -1 : C_FOREIGN);
    if (at_edge ? in_site(destination, v6) || in_overlay(destination, v6) || in_stranger(destination, v6)
                : !in_site(destination, v6))
        return dropped(C_NO_REMOTE);
    if (segments > 1 && !node->config.gso)
        return dropped(C_OVERSIZE);
    class = class ? class : 1;
    if (class > CLASSES)
        return dropped(C_CLASS);
    if (at_edge) {
        active = edge.chosen[class - 1].active;
        copies = edge.chosen[class - 1].copies;
        serial = edge.chosen[class - 1].counter & 15;
    } else {
        active = known->learned[class - 1].active;
        copies = known->learned[class - 1].copies;
        serial = known->learned[class - 1].serial;
    }
    if (!active)
        return dropped(C_NO_PATH);

    uint32_t sequence = known->sent[class - 1][bucket] + 1;
    known->sent[class - 1][bucket] += segments > 1 ? segments : 1;
    uint32_t key = (node->config.epoch & 31) << 24 | class << 20 | copies << 12 | serial << 8 | bucket;
    uint32_t self = at_edge ? EDGE_SELF : ANCHOR_SELF, far = at_edge ? ANCHOR_SELF : EDGE_SELF;
    const uint32_t words[8] = {
        0x45000000 | (v6 ? (ip[0] & 15) << 4 | ip[1] >> 4 : ip[1]) << 16 | (left + 32),
        (sequence & 0xffff) << 16 | 0x4000,
        0x402f0000,
        self,
        far,
        0x30000000 | protocol,
        key,
        sequence,
    };
    struct expectation expected =
        passed(C_SENT, copies | active << 8 | class << 12 | (at_edge ? 1 << 16 : 0), frame, 14);
    expected.segments = segments;
    for (int i = 0; i < 32; i++)
        expected.out[14 + i] = words[i / 4] >> (24 - 8 * (i % 4));
    uint32_t check = 0xffff - folded_sum(expected.out + 14, 20);
    expected.out[14 + 10] = check >> 8;
    expected.out[14 + 11] = check;
    expected.out[12] = 8;
    expected.out[13] = 0;
    memcpy(expected.out + 14 + 32, ip, left);
    expected.out_length = length + 32;
    return expected;
}
