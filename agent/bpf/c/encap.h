/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* Adding the shim: on the ingress of ps1, to whatever was routed to ps0. */
#pragma once
#include <linux/errno.h>

#include "packet.h"

#define DEFAULT_CLASS 1

/* The path by which this remote and class is sent to: chosen here at an edge, learned from the edge at an anchor. */
static __always_inline int path_of(const struct config *config, __u32 key, __u32 *active, __u32 *copies, __u32 *serial)
{
    if (config->role == ROLE_EDGE) {
        struct chosen *chosen = bpf_map_lookup_elem(&ps_chosen, &key);
        if (!chosen || !chosen->active)
            return -1;
        *active = chosen->active;
        *copies = chosen->copies;
        *serial = chosen->counter & 15;
    } else {
        struct learned *learned = bpf_map_lookup_elem(&ps_learned, &key);
        if (!learned || !learned->active)
            return -1;
        *active = learned->active;
        *copies = learned->copies;
        *serial = learned->serial;
    }
    return 0;
}

/* What ps0 says for itself, as every interface does: which groups it listens to. No router would have led it here. */
static __always_inline int is_link_local(const struct in6_addr *source)
{
    __u32 first = bpf_ntohl(source->in6_u.u6_addr32[0]);

    return first >> 22 == 0xfe80 >> 6 || !(first | source->in6_u.u6_addr32[1] | source->in6_u.u6_addr32[2] |
                                           source->in6_u.u6_addr32[3]);
}

/* Makes room for the shim. The kernel has to know of a second header where it will cut the packet up, or where the packet
 * is to become one of another family. It can know of one only: what somebody else's tunnel has come in with, merged on the
 * way and cut up again, has one already, and needs no other. */
static __always_inline int make_room(struct __sk_buff *skb, __u32 segments, int v6)
{
    const __u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO, second = BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L4_GRE;
    int error = bpf_skb_adjust_room(skb, sizeof(struct shim), BPF_ADJ_ROOM_MAC, flags | second);

    if (error == -EALREADY && segments == 1 && !v6)
        error = bpf_skb_adjust_room(skb, sizeof(struct shim), BPF_ADJ_ROOM_MAC, flags);
    return error;
}

/* Several segments at once, to be cut up later, get as many sequence numbers. The kernel counts the outer IP ID up per
 * segment and copies the rest of the shim: see sequence_of for what the receiver makes of it. */
static __always_inline int encap(struct __sk_buff *skb)
{
    const __u32 l2 = ETH_HLEN;
    __u32 zero = 0, id, class = MARK_CLASS(skb->mark), key, bucket, sequence, traffic, active, copies, serial;
    __u32 segments = skb->gso_segs > 1 ? skb->gso_segs : 1, length = skb->len - l2 + sizeof(struct shim);
    struct config *config = bpf_map_lookup_elem(&ps_config, &zero);
    int v6 = skb->protocol == bpf_htons(ETH_P_IPV6);
    struct remote *remote;
    const union inner *inner;
    struct ethhdr *link;
    void *sequences;
    __u32 *last;

    if (!v6 && skb->protocol != bpf_htons(ETH_P_IP))
        return TC_ACT_OK; /* ARP; the stack has nothing else here */
    if (!config || !config->self)
        return count_and(0, C_NO_STATE, TC_ACT_SHOT);
    inner = inner_at(skb, l2, v6);
    if (!inner)
        return count_and(0, C_MALFORMED, TC_ACT_SHOT);
    if (config->role == ROLE_EDGE && source_lies(inner, v6) != OWN)
        return v6 && is_link_local(&inner->v6.saddr) ? TC_ACT_SHOT : count_and(0, C_FOREIGN, TC_ACT_SHOT);
    id = destination_lies(inner, v6);
    remote = bpf_map_lookup_elem(&ps_remote, &id); /* OWN and NOWHERE are beyond its end */
    if (!remote || !remote->address)
        return count_and(0, C_NO_REMOTE, TC_ACT_SHOT);
    if ((segments > 1 && !config->gso) || length > 0xffff)
        return count_and(id, C_OVERSIZE, TC_ACT_SHOT);
    if (!class)
        class = DEFAULT_CLASS;
    key = CLASS_KEY(id, class);
    sequences = bpf_map_lookup_elem(&ps_sequence, &key);
    if (!sequences)
        return count_and(id, C_CLASS, TC_ACT_SHOT);
    if (path_of(config, key, &active, &copies, &serial) < 0)
        return count_and(id, C_NO_PATH, TC_ACT_SHOT);
    traffic = traffic_class(inner, v6);
    bucket = flow_bucket(skb, l2, v6, inner);
    last = bpf_map_lookup_elem(sequences, &bucket);
    if (!last)
        return count_and(id, C_NO_STATE, TC_ACT_SHOT);
    sequence = __sync_fetch_and_add(last, segments) + 1;

    /* by words: a sum over bytes that were written one by one has to wait for them */
    struct shim shim = {
        .words = {
            bpf_htonl(0x45000000 | traffic << 16 | length), /* version 4, five words of header */
            bpf_htonl(sequence << 16 | DONT_FRAGMENT),
            bpf_htonl(TTL_AND_GRE),
            config->self,
            remote->address,
            bpf_htonl(GRE_KEY_SEQUENCE << 16 | (v6 ? ETH_P_IPV6 : ETH_P_IP)),
            bpf_htonl(((config->epoch & 31) << 24) | (class << 20) | (copies << 12) | (serial << 8) | bucket),
            bpf_htonl(sequence),
        },
    };
    shim.words[2] = bpf_htonl(TTL_AND_GRE | bpf_ntohs(~header_sum(&shim)));
    __u32 mark = MARK(copies, active, class, remote->anchor);

    if (make_room(skb, segments, v6) < 0)
        return count_and(id, C_ERROR, TC_ACT_SHOT);
    link = bytes_at(skb, 0, l2 + sizeof(shim));
    if (!link)
        return count_and(id, C_ERROR, TC_ACT_SHOT);
    link->h_proto = bpf_htons(ETH_P_IP);
    *(struct shim *)(link + 1) = shim;
    skb->mark = mark;
    count_more(id, C_SENT, segments);
    if (segments > 1)
        count_more(id, C_WHOLE, segments);
    return TC_ACT_OK;
}
