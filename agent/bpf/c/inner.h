/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* The packet inside: which flow it belongs to, where its addresses lie, what it says of congestion. */
#pragma once
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <stddef.h>

#include "bytes.h"
#include "maps.h"

union inner {
    struct iphdr v4;
    struct ipv6hdr v6;
};

/* The header at `offset`, or NULL unless there is a whole one of that family. */
static __always_inline const union inner *inner_at(struct __sk_buff *skb, __u32 offset, int v6)
{
    const union inner *inner;

    if (v6) {
        inner = bytes_at(skb, offset, sizeof(inner->v6));
        return inner && inner->v6.version == 6 ? inner : NULL;
    }
    inner = bytes_at(skb, offset, sizeof(inner->v4));
    return inner && inner->v4.version == 4 && inner->v4.ihl >= 5 ? inner : NULL;
}

/* Bytes of the packet as its header has it. */
static __always_inline __u32 inner_length(const union inner *inner, int v6)
{
    return v6 ? bpf_ntohs(inner->v6.payload_len) + sizeof(inner->v6) : bpf_ntohs(inner->v4.tot_len);
}

/* Finalizer of lowbias32 (Wellons, hash-prospector): bias 0.17, three multiplications less than a CRC in BPF. */
static __always_inline __u32 mix(__u32 h)
{
    h ^= h >> 16;
    h *= 0x7feb352dU;
    h ^= h >> 15;
    h *= 0x846ca68bU;
    return h ^ (h >> 16);
}

/* Symmetric, so that both directions of a flow share a bucket. Fragments and whatever hides its ports behind IPv6
 * extension headers have none: all of a pair of hosts share one bucket. `inner` has to be sought again. */
static __always_inline __u32 flow_bucket(struct __sk_buff *skb, __u32 offset, int v6, const union inner *inner)
{
    __u32 addresses = 0, transport;
    const __u16 *ports = NULL;
    __u8 protocol;

    if (v6) {
        for (int i = 0; i < 4; i++)
            addresses =
                addresses * 31 + (inner->v6.saddr.in6_u.u6_addr32[i] ^ inner->v6.daddr.in6_u.u6_addr32[i]);
        protocol = inner->v6.nexthdr;
        transport = offset + sizeof(inner->v6);
    } else {
        addresses = inner->v4.saddr ^ inner->v4.daddr;
        protocol = inner->v4.frag_off & bpf_htons(0x3fff) ? 0 : inner->v4.protocol;
        transport = offset + inner->v4.ihl * 4;
    }
    if (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP)
        ports = bytes_at(skb, transport, 2 * sizeof(*ports));
    return mix(addresses ^ mix((ports ? (__u32)(ports[0] ^ ports[1]) << 8 : 0) ^ protocol)) & (BUCKETS - 1);
}

static __always_inline __u32 lies(const struct prefix_key *key)
{
    __u32 *where = bpf_map_lookup_elem(&ps_prefix, key);
    return where ? *where : NOWHERE;
}

/* Where an IPv4 or an IPv6 address lies: a remote's id, OWN or NOWHERE. */
static __always_inline __u32 lies4(__be32 address)
{
    struct prefix_key key = {.length = 128, .address = {[10] = 0xff, [11] = 0xff}};

    __builtin_memcpy(&key.address[12], &address, 4);
    return lies(&key);
}

static __always_inline __u32 lies6(const struct in6_addr *address)
{
    struct prefix_key key = {.length = 128};

    __builtin_memcpy(key.address, address, 16);
    return lies(&key);
}

static __always_inline __u32 source_lies(const union inner *inner, int v6)
{
    return v6 ? lies6(&inner->v6.saddr) : lies4(inner->v4.saddr);
}

static __always_inline __u32 destination_lies(const union inner *inner, int v6)
{
    return v6 ? lies6(&inner->v6.daddr) : lies4(inner->v4.daddr);
}

/* DSCP and ECN. */
static __always_inline __u8 traffic_class(const union inner *inner, int v6)
{
    return v6 ? (__u8)((inner->v6.priority << 4) | (inner->v6.flow_lbl[0] >> 4)) : inner->v4.tos;
}

#define ECN 3u
#define NOT_ECT 0
#define ECT_1 1
#define ECT_0 2
#define CE 3
#define ECN_DROP (-1)

/* What becomes of the inner field on the way out of a tunnel: RFC 6040, figure 4. */
static __always_inline int ecn_decapsulated(__u32 inner, __u32 outer)
{
    if (outer == CE)
        return inner == NOT_ECT ? ECN_DROP : CE;
    if (outer == ECT_1 && inner == ECT_0)
        return ECT_1;
    return inner;
}

/* Writes the inner ECN field. */
static __always_inline int ecn_store(struct __sk_buff *skb, __u32 offset, int v6, const union inner *inner, __u8 ecn)
{
    __u8 byte;

    if (v6) {
        byte = (inner->v6.flow_lbl[0] & ~(ECN << 4)) | (ecn << 4);
        /* IPv6 headers have no checksum, but the kernel may keep one over the whole packet */
        return bpf_skb_store_bytes(skb, offset + 1, &byte, 1, BPF_F_RECOMPUTE_CSUM);
    }
    byte = (inner->v4.tos & ~ECN) | ecn;
    __u16 first = bpf_htons(0x4000 | (inner->v4.ihl << 8));
    if (bpf_l3_csum_replace(skb, offset + offsetof(struct iphdr, check), first | bpf_htons(inner->v4.tos),
                            first | bpf_htons(byte), 2) < 0)
        return -1;
    return bpf_skb_store_bytes(skb, offset + 1, &byte, 1, 0);
}
