/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* What comes in by a tunnel-side interface without a shim. */
#pragma once
#include "packet.h"

static __always_inline int pass_unmarked(struct __sk_buff *skb)
{
    skb->mark = 0; /* routing and nft believe the mark: none comes from outside */
    return TC_ACT_OK;
}

/* By an anchor's tunnel nothing comes but packets to the probe address of that very slot. */
static __always_inline int bare_at_anchor(struct __sk_buff *skb, __u32 l2, const struct config *config, __u32 slot)
{
    const union inner *packet = skb->protocol == bpf_htons(ETH_P_IP) ? inner_at(skb, l2, 0) : NULL;

    if (packet && packet->v4.daddr == bpf_htonl(bpf_ntohl(config->probe_base) + slot))
        return pass_unmarked(skb);
    return count_and(0, C_NOT_SHIM, TC_ACT_SHOT);
}

/* By an edge's veth come answers to direct flows, which nft knows, and what the neighbours on it say. A source that
 * lies behind this node would come back from outside: forged. GRE and packets to the shim endpoint would have been
 * shimmed packets if anything were right with them. */
static __always_inline int bare_at_edge(struct __sk_buff *skb, __u32 l2, const struct config *config)
{
    int v6 = skb->protocol == bpf_htons(ETH_P_IPV6);
    const union inner *packet;

    if (skb->protocol == bpf_htons(ETH_P_ARP))
        return TC_ACT_OK;
    packet = v6 || skb->protocol == bpf_htons(ETH_P_IP) ? inner_at(skb, l2, v6) : NULL;
    if (!packet || (v6 ? packet->v6.nexthdr : packet->v4.protocol) == IPPROTO_GRE ||
        (!v6 && packet->v4.daddr == config->self))
        return count_and(0, C_NOT_SHIM, TC_ACT_SHOT);
    if (source_lies(packet, v6) == OWN)
        return count_and(0, C_FORGED, TC_ACT_SHOT);
    return pass_unmarked(skb);
}
