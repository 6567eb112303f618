/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* An edge and an anchor in one process: their maps, the packet in hand, the clock, and the kernel's helpers on these. */
#pragma once
#include <assert.h>
#include <sanitizer/asan_interface.h>
#include <stdint.h>
#include <sys/mman.h>

#include "../c/decap.h"
#include "../c/encap.h"

#define SHIFT 10 /* the smallest window */
#define CLASSES 2      /* that a remote has */
#define ALL_CLASSES 15 /* that it could have */
#define SLOTS 0x1f /* 1 to 5: there are some that nobody has */
#define IFINDEX 100 /* of slot 0, which has none */
#define EDGE_ID 2
#define ANCHOR_ID 1
#define STRANGER_ID 3 /* prefixes lie behind it, but it is no remote here */
#define EDGE_SELF 0x0a640002
#define ANCHOR_SELF 0x0a640001
#define EDGE_PROBES 0x0a648020
#define ANCHOR_PROBES 0x0a648010
#define MAX_PACKET 256

struct window_map {
    __u64 word[BUCKETS << (SHIFT - 5)];
};

struct sequence_map {
    __u32 last[BUCKETS];
};

struct prefix {
    __u32 length;
    __u8 address[16];
    __u32 lies;
};

struct node {
    struct config config;
    __be32 far; /* the other's endpoint */
    __u32 far_id;
    struct remote remote;
    struct slots slots;
    struct chosen chosen[ALL_CLASSES]; /* of class 1 first */
    struct learned learned[ALL_CLASSES];
    struct incarnation incarnation;
    struct window_map windows[CLASSES];
    struct sequence_map sequences[CLASSES];
    const struct prefix *prefixes;
    struct counters counters;
};

/* IPv4 counted from 96 and mapped, as in ps_prefix. */
#define MAPPED(a, b, c, d) {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d}
static const struct prefix edge_prefixes[] = {
    {96, MAPPED(0, 0, 0, 0), ANCHOR_ID},
    {0, {0}, ANCHOR_ID},
    {96 + 24, MAPPED(172, 16, 7, 0), OWN},
    {96 + 16, MAPPED(10, 100, 0, 0), NOWHERE},
    {64, {0x20, 0x01, 0x0d, 0xb8, 0, 7}, OWN},
    {96 + 24, MAPPED(172, 16, 8, 0), STRANGER_ID},
    {~0u},
};
static const struct prefix anchor_prefixes[] = {
    {96 + 24, MAPPED(172, 16, 7, 0), EDGE_ID},
    {64, {0x20, 0x01, 0x0d, 0xb8, 0, 7}, EDGE_ID},
    {96 + 24, MAPPED(172, 16, 8, 0), STRANGER_ID},
    {~0u},
};

static struct node edge, anchor, *node; /* whose program runs */
static struct {
    __u8 *data; /* where 32 bits can say it, as the context does; the sanitizer sees whoever leaves it */
    __u32 length;
    __u32 linear; /* so much of it is in one piece */
} packet;
static __u32 l2_length; /* of the link whose program runs */
static __u32 most_linear; /* a driver leaves no more than that in one piece, and the link's header always */
static __u64 now_ns;
static struct acknowledgement ring;
static int ring_filled;
static int fails_at; /* which change of the packet the kernel refuses next, 0: none */
static int failed;
static int old_kernel; /* one before 6.3 */

static int refused(void)
{
    failed |= fails_at == 1;
    return fails_at && fails_at-- == 1;
}

static void world_node(struct node *one, __u32 role, __u32 self, __u32 probes, __u32 far, __u32 far_id)
{
    memset(one, 0, sizeof(*one));
    one->config = (struct config){
        .self = bpf_htonl(self), .probe_base = bpf_htonl(probes), .epoch = 1, .window_shift = SHIFT, .role = role, .gso = 1};
    one->far = bpf_htonl(far);
    one->far_id = far_id;
    one->remote = (struct remote){.address = one->far, .anchor = role == ROLE_EDGE, .identity = 1, .slots = SLOTS};
    one->prefixes = role == ROLE_EDGE ? edge_prefixes : anchor_prefixes;
    one->incarnation.previous = NO_EPOCH;
    for (int slot = 1; slot <= 8; slot++)
        one->slots.ifindex[slot - 1] = IFINDEX + slot;
}

static void world_begin(void)
{
    world_node(&edge, ROLE_EDGE, EDGE_SELF, EDGE_PROBES, ANCHOR_SELF, ANCHOR_ID);
    world_node(&anchor, ROLE_ANCHOR, ANCHOR_SELF, ANCHOR_PROBES, EDGE_SELF, EDGE_ID);
    for (int i = 0; i < CLASSES; i++)
        edge.chosen[i] = (struct chosen){.active = 1, .copies = 2, .counter = 1};
    now_ns = 10000000000ULL; /* a machine has been up for a while */
    ring_filled = 0;
    fails_at = 0;
    old_kernel = 0;
    most_linear = ~0u;
}

/* Tells the program where the packet is. */
static void packet_show(struct __sk_buff *skb)
{
    skb->len = packet.length;
    skb->data = (__u32)(uintptr_t)packet.data;
    skb->data_end = skb->data + packet.linear;
}

static void packet_set(const __u8 *data, __u32 length, __u32 linear)
{
    static __u8 *room;

    if (!room)
        room = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    assert(room != MAP_FAILED && length < 2048);
    ASAN_UNPOISON_MEMORY_REGION(room, 4096);
    memset(room, 0xa5, 4096);
    packet.data = room + 64 + (l2_length ? 2 : 0); /* what follows the link's header is aligned, as in the kernel */
    memcpy(packet.data, data, length);
    ASAN_POISON_MEMORY_REGION(room, packet.data - room);
    ASAN_POISON_MEMORY_REGION(packet.data + length, room + 4096 - packet.data - length);
    packet.length = length;
    packet.linear = linear < l2_length ? l2_length : linear;
    if (packet.linear > length)
        packet.linear = length;
}

/* Inserts (or, negative, removes) bytes behind the first `at`. */
static void packet_change(struct __sk_buff *skb, __u32 at, __s32 difference)
{
    __u8 changed[2 * MAX_PACKET] = {0};
    __u32 tail = difference < 0 ? at - difference : at;

    assert(packet.length + difference <= sizeof(changed) && tail <= packet.length);
    memcpy(changed, packet.data, at);
    memcpy(changed + tail + difference, packet.data + tail, packet.length - tail);
    packet_set(changed, packet.length + difference, (packet.linear < tail ? tail : packet.linear) + difference);
    packet_show(skb);
}

static void *prefix_lookup(const struct prefix_key *key)
{
    static __u32 found;
    const struct prefix *best = NULL;

    for (const struct prefix *one = node->prefixes; one->length != ~0u; one++) {
        __u32 bit = 0;
        while (bit < one->length && !(((one->address[bit / 8] ^ key->address[bit / 8]) >> (7 - bit % 8)) & 1))
            bit++;
        if (bit == one->length && (!best || one->length > best->length))
            best = one;
    }
    found = best ? best->lies : 0;
    return best ? &found : NULL;
}


void *bpf_map_lookup_elem(void *map, const void *key)
{
    const __u32 index = *(const __u32 *)key;

    for (int i = 0; i < CLASSES; i++) {
        if (map == &node->windows[i])
            return index < BUCKETS << (SHIFT - 5) ? &node->windows[i].word[index] : NULL;
        if (map == &node->sequences[i])
            return index < BUCKETS ? &node->sequences[i].last[index] : NULL;
    }
    if (map == &ps_config)
        return index == 0 ? &node->config : NULL;
    if (map == &ps_prefix)
        return prefix_lookup(key);
    if (map == &ps_counter)
        return index == 0 || index == node->far_id ? &node->counters : NULL;
    if (map == &ps_slot)
        return index == 0 ? &node->slots : NULL;
    if (map == &ps_incarnation)
        return index == node->far_id ? &node->incarnation : NULL;
    if (map == &ps_remote) {
        static struct remote none;
        return index == node->far_id ? &node->remote : index < REMOTES ? &none : NULL;
    }
    __u32 class = index & 15;
    assert(index >> 4 == node->far_id); /* nobody else gets so far */
    if (map == &ps_sequence)
        return class >= 1 && class <= CLASSES ? &node->sequences[class - 1] : NULL;
    if (map == &ps_window)
        return class >= 1 && class <= CLASSES ? &node->windows[class - 1] : NULL;
    assert(class >= 1);
    if (map == &ps_chosen)
        return &node->chosen[class - 1];
    assert(map == &ps_learned);
    return &node->learned[class - 1];
}

long bpf_skb_store_bytes(struct __sk_buff *skb, __u32 offset, const void *from, __u32 length, __u64 flags)
{
    (void)skb;
    (void)flags;
    if (refused() || offset > packet.length || length > packet.length - offset)
        return -14;
    memcpy(packet.data + offset, from, length);
    return 0;
}

long bpf_l3_csum_replace(struct __sk_buff *skb, __u32 offset, __u64 from, __u64 to, __u64 size)
{
    __u16 sum;

    assert(size == 2 && from <= 0xffff && to <= 0xffff && offset + 2 <= packet.length);
    memcpy(&sum, packet.data + offset, 2);
    __u32 fresh = (__u16)~sum + (__u16)~from + to; /* RFC 1624 */
    fresh = (fresh & 0xffff) + (fresh >> 16);
    sum = ~((fresh & 0xffff) + (fresh >> 16));
    return bpf_skb_store_bytes(skb, offset, &sum, 2, 0);
}

long bpf_skb_pull_data(struct __sk_buff *skb, __u32 length)
{
    if (length > packet.length)
        return -12; /* ENOMEM */
    if (length > packet.linear)
        packet.linear = length;
    packet_show(skb);
    return 0;
}

/* The kernel's own limits: a header of the family that the packet has then stays. */
long bpf_skb_adjust_room(struct __sk_buff *skb, __s32 difference, __u32 mode, __u64 flags)
{
    int to_v6 = !!(flags & BPF_F_ADJ_ROOM_DECAP_L3_IPV6);
    __u32 least = to_v6 || skb->protocol == bpf_htons(ETH_P_IPV6) ? 40 : 20, inside = packet.length - l2_length;

    assert(mode == BPF_ADJ_ROOM_MAC);
    assert(flags & BPF_F_ADJ_ROOM_FIXED_GSO);
    if (to_v6 && old_kernel)
        return -22; /* EINVAL */
    if (refused())
        return -12; /* ENOMEM */
    if (difference < 0 && ((__u32)-difference >= inside || inside + difference < least))
        return -524; /* ENOTSUPP */
    packet_change(skb, l2_length, difference);
    if (to_v6)
        skb->protocol = bpf_htons(ETH_P_IPV6);
    return 0;
}

long bpf_skb_change_proto(struct __sk_buff *skb, __be16 protocol, __u64 flags)
{
    assert(flags == 0 && protocol == bpf_htons(ETH_P_IPV6) && skb->protocol == bpf_htons(ETH_P_IP));
    if (refused())
        return -12;
    packet_change(skb, l2_length, 20);
    skb->protocol = protocol;
    return 0;
}

long bpf_redirect(__u32 ifindex, __u64 flags)
{
    (void)ifindex;
    assert(flags == 0);
    return TC_ACT_REDIRECT;
}

long bpf_ringbuf_output(void *map, void *data, __u64 size, __u64 flags)
{
    assert(map == &ps_ack && size == sizeof(ring) && flags == 0);
    memcpy(&ring, data, size);
    ring_filled++;
    return 0;
}

__u64 bpf_ktime_get_coarse_ns(void)
{
    return now_ns;
}

__u64 bpf_jiffies64(void)
{
    return now_ns / 4000000; /* 250 a second */
}

void bpf_spin_lock(struct bpf_spin_lock *lock)
{
    assert(lock->val == 0);
    lock->val = 1;
}

void bpf_spin_unlock(struct bpf_spin_lock *lock)
{
    assert(lock->val == 1);
    lock->val = 0;
}
