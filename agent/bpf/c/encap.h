/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* Adding the shim: on the ingress of ps1, to whatever was routed to ps0. */
#pragma once
#include "packet.h"

#define DEFAULT_CLASS 1

static __always_inline void checksum(struct iphdr *ip)
{
    __u32 sum = 0;
    __u16 *word = (__u16 *)ip;

    ip->check = 0;
#pragma unroll
    for (int i = 0; i < 10; i++)
        sum += word[i];
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    ip->check = ~sum;
}

/* The path by which this remote and class is sent to: chosen here at an edge, learned from the edge at an anchor. */
static __always_inline int path_of(struct config *config, __u32 key, __u32 *active, __u32 *copies, __u32 *serial)
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

static __always_inline int encap(struct __sk_buff *skb)
{
    const __u32 l2 = ETH_HLEN;
    __u32 zero = 0, remote_id, class = MARK_CLASS(skb->mark), key, bucket, sequence, active, copies, serial;
    struct config *config = bpf_map_lookup_elem(&ps_config, &zero);
    struct remote *remote;
    __u32 *last;
    void *sequences;
    __u8 tos;
    int v6;

    if (skb->protocol == bpf_htons(ETH_P_IP))
        v6 = 0;
    else if (skb->protocol == bpf_htons(ETH_P_IPV6))
        v6 = 1;
    else
        return TC_ACT_OK; /* ARP; the stack has nothing else here */
    if (!config || !config->self)
        return count_and(C_NO_STATE, TC_ACT_SHOT);
    remote_id = remote_of(skb, l2, v6, 1);
    remote = remote_id == NO_REMOTE ? 0 : bpf_map_lookup_elem(&ps_remote, &remote_id);
    if (!remote)
        return count_and(C_NO_REMOTE, TC_ACT_SHOT);
    if (skb->gso_segs > 1) /* ps0 has gso_max_segs 1: one sequence number per packet on the wire */
        return count_and(C_OVERSIZE, TC_ACT_SHOT);
    if (!class)
        class = DEFAULT_CLASS;
    key = CLASS_KEY(remote_id, class);
    if (path_of(config, key, &active, &copies, &serial) < 0)
        return count_and(C_NO_PATH, TC_ACT_SHOT);
    bucket = flow_bucket(skb, l2, v6);
    tos = traffic_class(skb, l2, v6);
    sequences = bpf_map_lookup_elem(&ps_sequence, &key);
    if (!sequences)
        return count_and(C_NO_STATE, TC_ACT_SHOT);
    last = bpf_map_lookup_elem(sequences, &bucket);
    if (!last)
        return count_and(C_NO_STATE, TC_ACT_SHOT);
    sequence = __sync_fetch_and_add(last, 1) + 1;

    struct shim shim = {
        .ip = {.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_GRE, .frag_off = bpf_htons(0x4000)},
        .flags = GRE_KEY_SEQUENCE,
        .protocol = v6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP),
        .sequence = bpf_htonl(sequence),
    };
    shim.key = bpf_htonl(((config->epoch & 31) << 24) | (class << 20) | (copies << 12) | (serial << 8) | bucket);
    shim.ip.tos = tos;
    shim.ip.tot_len = bpf_htons(skb->len - l2 + sizeof(shim));
    shim.ip.saddr = config->self;
    shim.ip.daddr = remote->address;
    checksum(&shim.ip);
    __u32 mark = MARK(copies, active, class, remote->anchor);

    if (bpf_skb_adjust_room(skb, sizeof(shim), BPF_ADJ_ROOM_MAC,
                            BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L4_GRE) < 0 ||
        bpf_skb_store_bytes(skb, l2, &shim, sizeof(shim), 0) < 0)
        return count_and(C_ERROR, TC_ACT_SHOT);
    if (v6) {
        __be16 ethertype = bpf_htons(ETH_P_IP);
        if (bpf_skb_store_bytes(skb, offsetof(struct ethhdr, h_proto), &ethertype, sizeof(ethertype), 0) < 0)
            return count_and(C_ERROR, TC_ACT_SHOT);
    }
    skb->mark = mark;
    return count_and(C_SENT, TC_ACT_OK);
}
