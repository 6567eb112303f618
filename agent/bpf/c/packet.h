/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* The shim's own fields, and the mark that says the same inside the node. */
#pragma once
#include <linux/pkt_cls.h>

#include "inner.h"

/* since 6.3; Debian's 6.1 headers do not name it */
#ifndef BPF_F_ADJ_ROOM_DECAP_L3_IPV6
#define BPF_F_ADJ_ROOM_DECAP_L3_IPV6 (1ULL << 8)
#endif

/* GRE with key and sequence, version 0 (RFC 2890) */
#define GRE_KEY_SEQUENCE 0x3000
/* IEEE Std 802 local experimental ethertype 1 */
#define PROTO_CONTROL bpf_htons(0x88b5)
#define DONT_FRAGMENT 0x4000
/* the outer header's third word, but for the checksum */
#define TTL_AND_GRE ((64 << 24) | (IPPROTO_GRE << 16))

/* As fields and as the words that are summed and written. */
struct shim {
    union {
        struct {
            struct iphdr ip;
            __be16 flags;
            __be16 protocol;
            __be32 key;
            __be32 sequence;
        };
        __be32 words[8];
    };
}; /* 32 bytes, all naturally aligned */
_Static_assert(sizeof(struct shim) == 32, "the shim has no padding");

#define KEY_VERSION(key) ((key) >> 29)
#define KEY_EPOCH(key) (((key) >> 24) & 31)
#define KEY_CLASS(key) (((key) >> 20) & 15)
#define KEY_COPIES(key) (((key) >> 12) & 255)
#define KEY_SERIAL(key) (((key) >> 8) & 15)
#define KEY_BUCKET(key) ((key) & 255)

#define MARK_CLASS(mark) (((mark) >> 12) & 15)
#define MARK(copies, slot, class, anchor) ((copies) | ((slot) << 8) | ((class) << 12) | ((anchor) << 16))

/* Sum of the outer header; over a right one it is 0xffff. */
static __always_inline __u16 header_sum(const struct shim *shim)
{
    const __be32 *word = shim->words;
    __u64 sum = (__u64)word[0] + word[1] + word[2] + word[3] + word[4];

    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (sum & 0xffff) + (sum >> 16);
}

/* Whether the outer header is one that encap writes, on the packet it is on. */
static __always_inline int well_formed(const struct shim *shim, __u32 length)
{
    return shim->ip.frag_off == bpf_htons(DONT_FRAGMENT) && bpf_ntohs(shim->ip.tot_len) == length &&
           header_sum(shim) == 0xffff;
}

/* The sequence of this very packet. Where the kernel has cut a packet of several segments up it has counted the outer
 * IP ID up, and the rest of the header is the same on all of them. */
static __always_inline __u32 sequence_of(const struct shim *shim)
{
    __u32 sequence = bpf_ntohl(shim->sequence);

    return sequence + (__u16)(bpf_ntohs(shim->ip.id) - (__u16)sequence);
}

/* Whether a packet may be copied so often. */
static __always_inline int copies_allowed(__u32 copies)
{
    __u32 number = 0;

#pragma unroll
    for (int i = 0; i < 8; i++)
        number += (copies >> i) & 1;
    return number <= MOST_COPIES;
}

static __always_inline int has_slot(__u32 slots, __u32 slot)
{
    return slot >= 1 && slot <= 8 && ((slots >> (slot - 1)) & 1);
}
