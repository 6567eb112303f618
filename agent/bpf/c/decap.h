/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* Taking the shim off: on the ingress of every tunnel-side interface. */
#pragma once
#include "control.h"
#include "window.h"

/* An anchor learns the path back from the tunnel that packets come in by. Copies teach nothing, nor does a straggler
 * of an older switch: serials are compared modulo 16 while the current one was seen within FRESH_NS, otherwise any is
 * taken. A packet that a backup route sent elsewhere still teaches the truth. */
static __always_inline void teach(__u32 class_key, __u32 key, __u32 slot)
{
    struct learned *learned = bpf_map_lookup_elem(&ps_learned, &class_key);
    __u32 serial = KEY_SERIAL(key), copies = KEY_COPIES(key);
    __u64 now;

    if (!learned || (copies >> (slot - 1)) & 1)
        return;
    now = bpf_ktime_get_ns();
    if (learned->active && ((serial - learned->serial) & 15) >= 8 && now - learned->seen_ns < FRESH_NS)
        return;
    if (learned->active != slot || learned->copies != copies || learned->serial != serial) {
        learned->active = slot;
        learned->copies = copies;
        learned->serial = serial;
        learned->seen_ns = now;
    } else if (now - learned->seen_ns > FRESH_NS / 8) { /* spare the cache line */
        learned->seen_ns = now;
    }
}

static __always_inline int decap(struct __sk_buff *skb, const __u32 l2)
{
    __u32 zero = 0, key, class, class_key, remote, source, incarnation, *slot, *known, ifindex = skb->ifindex;
    struct config *config = bpf_map_lookup_elem(&ps_config, &zero);
    struct shim shim;
    void *window;
    int v6, why;

    if (!config || !config->self)
        return count_and(C_NO_STATE, TC_ACT_SHOT);
    if (skb->protocol != bpf_htons(ETH_P_IP) || bpf_skb_load_bytes(skb, l2, &shim, sizeof(shim)) < 0 ||
        shim.ip.version != 4 || shim.ip.ihl != 5 || shim.ip.protocol != IPPROTO_GRE || shim.ip.daddr != config->self) {
        /* probe addresses are the stack's business; nothing else comes to an edge's veth but ARP */
        if (config->role == ROLE_ANCHOR || skb->protocol == bpf_htons(ETH_P_ARP))
            return TC_ACT_OK;
        return count_and(C_NOT_SHIM, TC_ACT_SHOT);
    }
    key = bpf_ntohl(shim.key);
    known = bpf_map_lookup_elem(&ps_endpoint, &shim.ip.saddr);
    slot = bpf_map_lookup_elem(&ps_slot, &ifindex);
    if (!known || !slot || *slot < 1 || *slot > 8 || shim.flags != GRE_KEY_SEQUENCE || KEY_VERSION(key) != 0)
        return count_and(C_UNKNOWN, TC_ACT_SHOT);
    remote = *known;
    class = KEY_CLASS(key);
    if (class == 0) {
        if (shim.protocol != PROTO_CONTROL)
            return count_and(C_UNKNOWN, TC_ACT_SHOT);
        return control(skb, l2, config, remote, *slot, &shim);
    }
    if (shim.protocol == bpf_htons(ETH_P_IP))
        v6 = 0;
    else if (shim.protocol == bpf_htons(ETH_P_IPV6))
        v6 = 1;
    else
        return count_and(C_UNKNOWN, TC_ACT_SHOT);

    source = remote_of(skb, l2 + sizeof(shim), v6, 0);
    if (source == NO_REMOTE || (config->role == ROLE_ANCHOR && source != remote))
        return count_and(C_FORGED, TC_ACT_SHOT);
    class_key = CLASS_KEY(remote, class);
    window = bpf_map_lookup_elem(&ps_window, &class_key);
    if (!window)
        return count_and(C_NO_STATE, TC_ACT_SHOT);
    why = incarnation_of(remote, KEY_EPOCH(key), &incarnation);
    if (why)
        return count_and(why, TC_ACT_SHOT);
    if (config->role == ROLE_ANCHOR)
        teach(class_key, key, *slot);
    why = window_take(window, config->window_shift, KEY_BUCKET(key), bpf_ntohl(shim.sequence), incarnation);
    if (why)
        return count_and(why, TC_ACT_SHOT);

    /* the L3 flag changes skb->protocol; needed for IPv6 only, and unknown before 6.3 */
    if (bpf_skb_adjust_room(skb, -(__s32)sizeof(shim), BPF_ADJ_ROOM_MAC, v6 ? BPF_F_ADJ_ROOM_DECAP_L3_IPV6 : 0) < 0)
        return count_and(C_ERROR, TC_ACT_SHOT);
    if (l2 && v6) {
        __be16 ethertype = bpf_htons(ETH_P_IPV6);
        if (bpf_skb_store_bytes(skb, offsetof(struct ethhdr, h_proto), &ethertype, sizeof(ethertype), 0) < 0)
            return count_and(C_ERROR, TC_ACT_SHOT);
    }
    skb->mark = class << 12; /* nft pins it in the conntrack mark, so that answers have the class too */
    return count_and(C_DELIVERED, TC_ACT_OK);
}
