/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* The programs, compiled for a process from the very headers that the kernel runs, against an oracle that shares no line
 * with them. An input is a list of steps: packets that an edge and an anchor shim and unwrap, switches, restarts, time. */
#include "world.h"

#include "oracle.h"

static const __u8 *input;
static size_t left;

static __u32 take(int bytes)
{
    __u32 value = 0;
    while (bytes-- && left) {
        value = value << 8 | *input++;
        left--;
    }
    return value;
}

static const __u8 ether[14] = {2, 0x70, 0x73, 0, 0, 2, 2, 0x70, 0x73, 0, 0, 1, 8, 0};

/* Runs a program on a frame and compares everything that can be seen of it with what is expected. */
static void check(struct expectation (*expect)(const __u8 *, __u32, struct __sk_buff *), int (*run)(struct __sk_buff *),
                  struct node *at, const __u8 *frame, __u32 length, struct __sk_buff *skb)
{
    struct counters before = at->counters;
    int notes = ring_filled, changes = 0;

    node = at;
    packet_set(frame, length, most_linear);
    packet_show(skb);
    struct __sk_buff given = *skb;
    failed = 0;
    int verdict = run(skb);
    struct expectation expected = expect(frame, length, &given);
    int acknowledged = at == &edge && expected.counter == C_CONTROL;
    if (failed) /* what was noted before stays noted */
        expected = dropped(C_ERROR);
    assert(verdict == expected.verdict);
    __u32 whole = expected.segments > 1 ? expected.segments : 0;
    for (int i = 0; i < C_MAX; i++) {
        __u64 rise = i == C_WHOLE ? whole : i != expected.counter ? 0 : whole ? whole : 1;
        assert(at->counters.of[i] - before.of[i] == rise);
        changes += at->counters.of[i] != before.of[i];
    }
    assert(changes == (expected.counter >= 0) + (whole > 0));
    if (verdict != TC_ACT_SHOT) {
        assert(packet.length == expected.out_length && skb->len == packet.length);
        assert(memcmp(packet.data, expected.out, packet.length) == 0);
    }
    if (verdict == TC_ACT_OK)
        assert(skb->mark == expected.mark);
    assert(ring_filled == notes + acknowledged);
    if (acknowledged) {
        const __u8 *message = frame + l2_length + 32;
        assert(ring.remote == ANCHOR_ID && ring.class == message[1] && ring.active == message[2]);
        assert(ring.copies == message[3] && ring.slot == given.ifindex - IFINDEX);
        assert(ring.counter == be64(message + 8) && ring.nonce == be64(message + 16));
    }
    for (int i = 0; i < CLASSES; i++) {
        assert(anchor.learned[i].active == known_anchor.learned[i].active);
        assert(anchor.learned[i].copies == known_anchor.learned[i].copies);
        assert(anchor.learned[i].serial == known_anchor.learned[i].serial);
        assert(anchor.learned[i].counter == known_anchor.learned[i].counter);
    }
    static const struct learned nothing;
    for (int i = CLASSES; i < ALL_CLASSES; i++)
        assert(memcmp(&anchor.learned[i], &nothing, sizeof(nothing)) == 0);
}

static int run_decap(struct __sk_buff *skb)
{
    return decap(skb, l2_length);
}

static struct expectation expected_decap(const __u8 *frame, __u32 length, struct __sk_buff *given)
{
    if (given->gso_size && !node->config.gso && node->config.self && given->ifindex > IFINDEX && given->ifindex <= IFINDEX + 8) {
        /* known for a shim of the other's, and nothing else is looked at */
        const __u8 *ip = frame + l2_length;
        if (bpf_ntohs(given->protocol) == 0x0800 && length >= l2_length + 32 && ip[0] == 0x45 && ip[9] == 47 &&
            be(ip + 16, 4) == bpf_ntohl(node->config.self) && be(ip + 12, 4) == bpf_ntohl(node->far))
            return dropped(C_OVERSIZE);
    }
    return expect_decap(node == &edge, frame, length, l2_length, bpf_ntohs(given->protocol), given->ifindex - IFINDEX,
                        given->mark);
}

static struct expectation expected_encap(const __u8 *frame, __u32 length, struct __sk_buff *given)
{
    struct known *known = node == &edge ? &known_edge : &known_anchor;

    if (failed) { /* the number is lost, and nothing on the wire says of which bucket */
        for (int i = 0; i < CLASSES; i++)
            memcpy(known->sent[i], node->sequences[i].last, sizeof(known->sent[i]));
        return dropped(C_ERROR);
    }
    /* the program has run: what it put on the wire says the bucket */
    __u32 bucket = packet.length >= 14 + 32 ? packet.data[14 + 27] : 0;

    return expect_encap(node == &edge, frame, length, bpf_ntohs(given->protocol), given->gso_segs, given->mark, bucket);
}

static void unwrap(struct node *at, const __u8 *frame, __u32 length, __u32 slot, __u16 protocol, __u32 mark, __u32 gso)
{
    struct __sk_buff skb = {
        .protocol = bpf_htons(protocol), .ifindex = IFINDEX + slot, .mark = mark, .gso_size = gso};

    check(expected_decap, run_decap, at, frame, length, &skb);
}

/* Changes a few bytes of a frame as the input says. */
static void spoil(__u8 *frame, __u32 length)
{
    for (int number = take(1) & 3; number && left; number--) {
        __u32 at = take(1);
        if (at < length)
            frame[at] ^= take(1);
    }
}

/* Bytes as they are. */
static void step_raw(void)
{
    struct node *at = take(1) & 1 ? &edge : &anchor;
    __u32 length = take(1), kind = take(1);
    __u16 protocol = kind & 1 ? 0x0800 : kind & 2 ? 0x86dd : kind & 4 ? 0x0806 : take(2);

    l2_length = kind & 8 && at == &anchor ? 0 : 14;
    if (length > left)
        length = left;
    if (length < l2_length)
        return;
    const __u8 *frame = input;
    input += length;
    left -= length;
    if (kind & 16) {
        struct __sk_buff skb = {
            .protocol = bpf_htons(protocol), .mark = take(3), .gso_segs = kind & 32 ? take(1) : 0};
        l2_length = 14;
        if (length >= 14)
            check(expected_encap, encap, at, frame, length, &skb);
    } else {
        unwrap(at, frame, length, take(1) & 15, protocol, take(3), kind & 64);
    }
}

/* A frame with one of the addresses that mean something. */
static __u32 inner_frame(__u8 *frame, int from_site)
{
    static const __u8 there[8][4] = {
        {198, 51, 100, 2}, {172, 16, 8, 2},     {10, 100, 0, 1},    {10, 100, 0, 2},
        {172, 16, 7, 9},   {10, 100, 128, 17}, {10, 100, 128, 20}, {10, 100, 128, 33},
    };
    __u32 shape = take(1), data = take(1);
    const __u8 clients4[4][4] = {{172, 16, 7, 2}, {172, 16, 7, 2}, {172, 16, 8, 2}, {198, 51, 100, 9}};
    const __u8 *client4 = clients4[shape >> 1 & 3], *server4 = there[data >> 5];
    __u8 client6[16] = {0x20, 0x01, 0x0d, 0xb8, 0, 7, [15] = 2}, server6[16] = {0x20, 0x01, 0x0d, 0xb8, 0, 51, [15] = 2};

    data &= 31;
    memcpy(frame, ether, 14);
    memset(frame + 14, 0, 64 + data);
    if (shape & 1) {
        frame[12] = 0x86;
        frame[13] = 0xdd;
        frame[14] = 0x60 | shape >> 7;
        frame[15] = shape;
        frame[19] = 8 + data;
        frame[20] = shape & 8 ? 17 : shape & 16 ? 6 : 44;
        frame[21] = 64;
        memcpy(frame + 14 + 8, from_site ? client6 : server6, 16);
        memcpy(frame + 14 + 24, from_site ? server6 : client6, 16);
        frame[14 + 40 + 1] = take(1);
        return 14 + 40 + 8 + data;
    }
    int options = shape & 32 ? 4 : 0;
    frame[14] = 0x45 + options / 4;
    frame[15] = shape >> 6;
    frame[17] = 20 + options + 8 + data;
    frame[20] = shape & 16 ? 0x20 : 0;
    frame[22] = 64;
    frame[23] = shape & 8 ? 17 : 6;
    memcpy(frame + 14 + 12, from_site ? client4 : server4, 4);
    memcpy(frame + 14 + 16, from_site ? server4 : client4, 4);
    frame[14 + 20 + options + 1] = take(1);
    __u32 sum = 0xffff - folded_sum(frame + 14, 20 + options);
    frame[14 + 10] = sum >> 8;
    frame[14 + 11] = sum;
    return 14 + 20 + options + 8 + data;
}

/* Through the shim of one and out of that of the other, spoilt or not on the way. */
static void step_through(void)
{
    __u32 how = take(1);
    struct node *from = how & 1 ? &edge : &anchor, *to = how & 1 ? &anchor : &edge;
    struct __sk_buff skb = {.mark = (how & 6) << 11, .gso_segs = how & 8 ? take(1) : 0};
    __u8 frame[2 * MAX_PACKET];
    __u32 length = inner_frame(frame, from == &edge);

    if (how & 16)
        spoil(frame, length);
    skb.protocol = bpf_htons(be(frame + 12, 2));
    l2_length = 14;
    check(expected_encap, encap, from, frame, length, &skb);
    if (bpf_ntohs(skb.protocol) == 0x0806 || packet.length != length + 32)
        return;
    __u8 wire[2 * MAX_PACKET];
    memcpy(wire, packet.data, packet.length);
    length = packet.length;
    __u32 slot = how & 32 ? take(1) & 15 : 1, segment = how & 64 ? take(1) : 0, cut = 0;
    if (segment) { /* as the kernel cuts packets up */
        __u16 id = be(wire + 14 + 4, 2) + segment;
        wire[14 + 4] = id >> 8;
        wire[14 + 5] = id;
    }
    if (how & 128)
        spoil(wire, length);
    if (to == &anchor && slot & 4) { /* by an interface without a link layer */
        cut = 14;
        l2_length = 0;
    }
    if (segment || (how & 136) == 128) { /* with the checksum that belongs to it, or not */
        wire[14 + 10] = wire[14 + 11] = 0;
        __u32 sum = 0xffff - folded_sum(wire + 14, 20);
        wire[14 + 10] = sum >> 8;
        wire[14 + 11] = sum;
    }
    unwrap(to, wire + cut, length - cut, slot, be(wire + 12, 2), 0, 0);
    unwrap(to, wire + cut, length - cut, slot, be(wire + 12, 2), 0, 0); /* the copy */
}

/* A shimmed packet with any key and sequence. */
static void step_shimmed(void)
{
    __u32 how = take(1), key = take(4), sequence = take(4), id = how & 2 ? take(2) : sequence & 0xffff;
    struct node *to = how & 1 ? &anchor : &edge;
    __u8 frame[2 * MAX_PACKET], wire[2 * MAX_PACKET];
    __u32 length = inner_frame(frame, to == &anchor), self = to == &edge ? EDGE_SELF : ANCHOR_SELF;
    __u32 far = to == &edge ? ANCHOR_SELF : EDGE_SELF, control = (key >> 20 & 15) == 0;
    const __u32 words[8] = {0x45000000 | (how & 0x0c) << 14 | (length - 14 + 32), id << 16 | 0x4000, 0x402f0000,
                            far, self, 0x30000000 | be(frame + 12, 2), key & 0x1fffffff, sequence};

    memcpy(wire, ether, 14);
    for (int i = 0; i < 32; i++)
        wire[14 + i] = words[i / 4] >> (24 - 8 * (i % 4));
    memcpy(wire + 14 + 32, frame + 14, length - 14);
    length += 32;
    if (control) {
        memcpy(wire + 14 + 22, "\x88\xb5", 2);
        memset(wire + 14 + 32, 0, 24);
        for (int at = 0; at < 4; at++)
            wire[14 + 32 + at] = take(1);
        wire[14 + 32 + 15] = take(1);
        wire[14 + 32 + 23] = take(1);
        length = 14 + 32 + 24;
        wire[14 + 3] = 32 + 24;
    }
    if (how & 16)
        spoil(wire, length);
    __u32 sum = 0xffff - ((wire[14 + 10] = wire[14 + 11] = 0), folded_sum(wire + 14, 20));
    wire[14 + 10] = sum >> 8;
    wire[14 + 11] = sum;
    l2_length = 14;
    unwrap(to, wire, length, how & 32 ? take(1) & 15 : 1 + (how >> 6), 0x0800, 0, key >> 31);
}

/* A node or its agent does something. */
static void step_other(void)
{
    __u32 what = take(1), class = what >> 4 & 1;

    switch (what & 7) {
    case 0:
        edge.chosen[class] = (struct chosen){.active = take(1) % 6, .copies = take(1) & SLOTS, .counter = take(1)};
        break;
    case 1: /* restarted: sequences begin anew, in another epoch */
        edge.config.epoch = take(1) & 31;
        memset(edge.sequences, 0, sizeof(edge.sequences));
        memset(known_edge.sent, 0, sizeof(known_edge.sent));
        break;
    case 2: /* the plan says that the edge has lost its memory */
        anchor.incarnation = (struct incarnation){.state = anchor.incarnation.state & ~0xffULL, .previous = NO_EPOCH};
        known_anchor.epoch = known_anchor.previous = -1;
        break;
    case 3:
        edge.config.gso = take(1) & 1;
        anchor.config.gso = take(1) & 1;
        old_kernel = take(1) & 1;
        break;
    case 5: /* its plan is withdrawn, or comes back */
        edge.config.self ^= bpf_htonl(EDGE_SELF);
        break;
    case 4:
        fails_at = 1 + (what >> 4) % 4;
        break;
    case 6:
        most_linear = what >> 4 == 15 ? ~0u : 8 * (what >> 4);
        break;
    default:
        now_ns += 300000000ULL * (1 + (what >> 4));
    }
}

/* Both directions of a flow fall into one bucket. Then the packet comes without a shim. */
static void step_bare(void)
{
    __u8 frame[2 * MAX_PACKET], back[2 * MAX_PACKET];
    __u32 how = take(1), length = inner_frame(frame, how & 1);
    struct __sk_buff skb = {0};
    int v6 = frame[12] == 0x86, at = v6 ? 8 : 12, size = v6 ? 16 : 4, ports = 14 + (v6 ? 40 : (frame[14] & 15) * 4);

    memcpy(back, frame, length);
    memcpy(back + 14 + at, frame + 14 + at + size, size);
    memcpy(back + 14 + at + size, frame + 14 + at, size);
    memcpy(back + ports, frame + ports + 2, 2);
    memcpy(back + ports + 2, frame + ports, 2);
    l2_length = 14;
    packet_set(frame, length, most_linear);
    packet_show(&skb);
    __u32 bucket = flow_bucket(&skb, 14, v6, inner_at(&skb, 14, v6));
    packet_set(back, length, ~0u);
    packet_show(&skb);
    assert(bucket < BUCKETS && flow_bucket(&skb, 14, v6, inner_at(&skb, 14, v6)) == bucket);
    if (how & 2)
        spoil(frame, length);
    unwrap(how & 4 ? &edge : &anchor, frame, length, how >> 4, be(frame + 12, 2), 0, 0);
}

int LLVMFuzzerTestOneInput(const __u8 *data, size_t size)
{
    input = data;
    left = size;
    world_begin();
    known_begin();
    for (int step = 0; left && step < MOST_SEEN / 3; step++) { /* three packets a step at most */
        switch (take(1) % 8) {
        case 0:
            step_raw();
            break;
        case 1:
        case 2:
        case 3:
            step_through();
            break;
        case 4:
        case 5:
            step_shimmed();
            break;
        case 6:
            step_other();
            break;
        default:
            step_bare();
        }
    }
    return 0;
}
