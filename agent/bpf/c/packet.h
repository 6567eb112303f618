/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* What a packet says: its flow bucket, which remote an address lies behind, and the shim's own fields. */
#pragma once
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>

#include "maps.h"

/* since 6.3; Debian's 6.1 headers do not name it */
#ifndef BPF_F_ADJ_ROOM_DECAP_L3_IPV6
#define BPF_F_ADJ_ROOM_DECAP_L3_IPV6 (1ULL << 8)
#endif

/* GRE with key and sequence, version 0 (RFC 2890) */
#define GRE_KEY_SEQUENCE bpf_htons(0x3000)
/* IEEE Std 802 local experimental ethertype 1 */
#define PROTO_CONTROL bpf_htons(0x88b5)

struct shim {
    struct iphdr ip;
    __be16 flags;
    __be16 protocol;
    __be32 key;
    __be32 sequence;
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

/* Finalizer of lowbias32 (Wellons, hash-prospector): bias 0.17, three multiplications less than a CRC in BPF. */
static __always_inline __u32 mix(__u32 h)
{
    h ^= h >> 16;
    h *= 0x7feb352dU;
    h ^= h >> 15;
    h *= 0x846ca68bU;
    return h ^ (h >> 16);
}

/* Symmetric, so that both directions of a flow share a bucket. Fragments have no ports: all of a pair share one. */
static __always_inline __u32 flow_bucket(struct __sk_buff *skb, __u32 offset, int v6)
{
    __u32 addresses = 0, transport;
    __u16 ports[2] = {0, 0};
    __u8 protocol;

    if (v6) {
        struct ipv6hdr ip;
        if (bpf_skb_load_bytes(skb, offset, &ip, sizeof(ip)) < 0)
            return 0;
        for (int i = 0; i < 4; i++)
            addresses = addresses * 31 + (ip.saddr.in6_u.u6_addr32[i] ^ ip.daddr.in6_u.u6_addr32[i]);
        protocol = ip.nexthdr;
        transport = offset + sizeof(ip);
    } else {
        struct iphdr ip;
        if (bpf_skb_load_bytes(skb, offset, &ip, sizeof(ip)) < 0)
            return 0;
        addresses = ip.saddr ^ ip.daddr;
        protocol = ip.protocol;
        transport = offset + ip.ihl * 4;
        if (ip.frag_off & bpf_htons(0x3fff))
            protocol = 0;
    }
    if (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP)
        bpf_skb_load_bytes(skb, transport, ports, sizeof(ports));
    return mix(addresses ^ mix(((__u32)(ports[0] ^ ports[1]) << 8) ^ protocol)) & (BUCKETS - 1);
}

/* The remote behind which the packet's source or destination lies. */
static __always_inline __u32 remote_of(struct __sk_buff *skb, __u32 offset, int v6, int destination)
{
    struct prefix_key key = {.length = 128};
    __u32 *remote;

    if (v6) {
        if (bpf_skb_load_bytes(skb, offset + (destination ? 24 : 8), key.address, 16) < 0)
            return NO_REMOTE;
    } else {
        key.address[10] = 0xff;
        key.address[11] = 0xff;
        if (bpf_skb_load_bytes(skb, offset + (destination ? 16 : 12), &key.address[12], 4) < 0)
            return NO_REMOTE;
    }
    remote = bpf_map_lookup_elem(&ps_prefix, &key);
    return remote ? *remote : NO_REMOTE;
}

/* DSCP and ECN byte of the inner header. */
static __always_inline __u8 traffic_class(struct __sk_buff *skb, __u32 offset, int v6)
{
    __u8 first[2] = {0, 0};
    bpf_skb_load_bytes(skb, offset, first, 2);
    return v6 ? (__u8)((first[0] << 4) | (first[1] >> 4)) : first[1];
}
