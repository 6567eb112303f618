/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* Taking the shim off: on the ingress of every tunnel-side interface. */
#pragma once
#include <linux/errno.h>

#include "bare.h"
#include "control.h"
#include "window.h"

/* An anchor learns the path back from the tunnel that packets come in by. Copies teach nothing, nor does a straggler
 * of an older switch: serials are compared modulo 16 while the current one was seen within FRESH_NS, otherwise any is
 * taken. A packet that a backup route sent elsewhere still teaches the truth. Of the copies only those are learned that
 * this remote has a slot for: when an uplink comes or goes, one side hears of it first. */
static __always_inline void teach(__u32 class_key, const struct remote *remote, __u32 key, __u32 slot)
{
    struct learned *learned = bpf_map_lookup_elem(&ps_learned, &class_key);
    __u32 serial = KEY_SERIAL(key), copies = KEY_COPIES(key) & remote->slots, tick = bpf_jiffies64();
    __u64 now;

    if (!learned || has_slot(copies, slot))
        return;
    /* the coarse clock stands still for a tick, and costs more than all the rest of this */
    if (learned->tick == tick && learned->active == slot && learned->copies == copies && learned->serial == serial)
        return;
    now = bpf_ktime_get_coarse_ns();
    if (learned->active && ((serial - learned->serial) & 15) >= 8 && now - learned->seen_ns < FRESH_NS)
        return;
    learned->active = slot;
    learned->copies = copies;
    learned->serial = serial;
    learned->tick = tick;
    learned->seen_ns = now;
}

/* Whether the sender may use the addresses inside. An anchor takes from a site what lies behind that site, whereto is
 * up to its routes. An edge takes from any anchor what lies behind any, if it goes to what lies behind this edge:
 * nothing else has business here, and would be led out again. */
static __always_inline int addresses_allowed(const struct config *config, const union inner *inner, int v6, __u32 id)
{
    __u32 source = source_lies(inner, v6);

    if (config->role == ROLE_ANCHOR)
        return source == id;
    return source != NOWHERE && source != OWN && destination_lies(inner, v6) == OWN;
}

/* Removes the shim. skb->protocol must follow. Since 6.3 a flag does that in the same step; older kernels refuse it and
 * change nothing, and for them an IPv6 packet's outer header is first made one of IPv6 (20 bytes longer), and goes as such. */
static __always_inline int strip(struct __sk_buff *skb, __u32 l2, int v6)
{
    const __u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO;
    const __s32 length = sizeof(struct shim), longer = sizeof(struct ipv6hdr) - sizeof(struct iphdr);
    struct ethhdr *link;
    int error;

    if (!v6)
        return bpf_skb_adjust_room(skb, -length, BPF_ADJ_ROOM_MAC, flags);
    error = bpf_skb_adjust_room(skb, -length, BPF_ADJ_ROOM_MAC, flags | BPF_F_ADJ_ROOM_DECAP_L3_IPV6);
    if (error == -EINVAL)
        error = bpf_skb_change_proto(skb, bpf_htons(ETH_P_IPV6), 0) < 0
                    ? -1
                    : bpf_skb_adjust_room(skb, -length - longer, BPF_ADJ_ROOM_MAC, flags);
    if (error < 0 || !l2)
        return error;
    link = bytes_at(skb, 0, sizeof(*link));
    if (!link)
        return -1;
    link->h_proto = bpf_htons(ETH_P_IPV6);
    return 0;
}

static __always_inline int decap_data(struct __sk_buff *skb, __u32 l2, const struct config *config, __u32 id,
                                      const struct remote *remote, __u32 slot, const struct shim *shim)
{
    const __u32 at = l2 + sizeof(*shim), key = bpf_ntohl(shim->key);
    __u32 class_key = CLASS_KEY(id, KEY_CLASS(key)), incarnation, outer_ecn = shim->ip.tos & ECN;
    int v6 = shim->protocol == bpf_htons(ETH_P_IPV6), ecn, why;
    const __u32 sequence = sequence_of(shim);
    const union inner *inner;
    void *window;

    if (!v6 && shim->protocol != bpf_htons(ETH_P_IP))
        return count_and(id, C_UNKNOWN, TC_ACT_SHOT);
    inner = inner_at(skb, at, v6);
    if (!inner || inner_length(inner, v6) != skb->len - at)
        return count_and(id, C_MALFORMED, TC_ACT_SHOT);
    if (!copies_allowed(KEY_COPIES(key)))
        return count_and(id, C_COPY_SET, TC_ACT_SHOT);
    if (!addresses_allowed(config, inner, v6, id))
        return count_and(id, C_FORGED, TC_ACT_SHOT);
    window = bpf_map_lookup_elem(&ps_window, &class_key);
    if (!window)
        return count_and(id, C_CLASS, TC_ACT_SHOT);
    /* before the window: a copy that met no congestion may still come */
    ecn = ecn_decapsulated(traffic_class(inner, v6) & ECN, outer_ecn);
    if (ecn == ECN_DROP)
        return count_and(id, C_ECN, TC_ACT_SHOT);

    /* from here on the packet changes what is known of its sender: it has proven everything else */
    why = incarnation_of(id, KEY_EPOCH(key), &incarnation);
    if (why)
        return count_and(id, why, TC_ACT_SHOT);
    if (config->role == ROLE_ANCHOR)
        teach(class_key, remote, key, slot);
    why = window_take(window, config->window_shift, KEY_BUCKET(key), sequence, incarnation);
    if (why)
        return count_and(id, why, TC_ACT_SHOT);

    if (ecn != (traffic_class(inner, v6) & ECN) && ecn_store(skb, at, v6, inner, ecn) < 0)
        return count_and(id, C_ERROR, TC_ACT_SHOT);
    if (strip(skb, l2, v6) < 0)
        return count_and(id, C_ERROR, TC_ACT_SHOT);
    skb->mark = KEY_CLASS(key) << 12; /* nft pins it in the conntrack mark, so that answers have the class too */
    return count_and(id, C_DELIVERED, TC_ACT_OK);
}

static __always_inline __u32 slot_of(__u32 ifindex)
{
    __u32 zero = 0;
    const struct slots *slots = bpf_map_lookup_elem(&ps_slot, &zero);

    for (__u32 slot = 1; slots && slot <= 8; slot++)
        if (slots->ifindex[slot - 1] == ifindex)
            return slot;
    return 0;
}

static __always_inline int decap(struct __sk_buff *skb, const __u32 l2)
{
    __u32 zero = 0, id, key, slot = slot_of(skb->ifindex);
    struct config *config = bpf_map_lookup_elem(&ps_config, &zero);
    const struct shim *shim;
    struct remote *remote;

    if (!config || !config->self || !slot)
        return count_and(0, C_NO_STATE, TC_ACT_SHOT);
    shim = skb->protocol == bpf_htons(ETH_P_IP) ? bytes_at(skb, l2, sizeof(*shim)) : NULL;
    if (!shim || shim->ip.version != 4 || shim->ip.ihl != 5 || shim->ip.protocol != IPPROTO_GRE ||
        shim->ip.daddr != config->self)
        return config->role == ROLE_ANCHOR ? bare_at_anchor(skb, l2, config, slot) : bare_at_edge(skb, l2, config);

    id = bpf_ntohl(shim->ip.saddr) & (REMOTES - 1); /* endpoints are numbered by it, see struct remote */
    remote = bpf_map_lookup_elem(&ps_remote, &id);
    if (!id || !remote || remote->address != shim->ip.saddr)
        return count_and(0, C_UNKNOWN, TC_ACT_SHOT);
    /* Every tunnel cuts packets up. One that does not is for declared tests: it takes one number for all segments, so
     * that beside a path that cuts they would be delivered twice. */
    if (skb->gso_size && !config->gso)
        return count_and(id, C_OVERSIZE, TC_ACT_SHOT);
    if (!well_formed(shim, skb->len - l2))
        return count_and(id, C_MALFORMED, TC_ACT_SHOT);
    key = bpf_ntohl(shim->key);
    if (shim->flags != bpf_htons(GRE_KEY_SEQUENCE) || KEY_VERSION(key) != 0)
        return count_and(id, C_UNKNOWN, TC_ACT_SHOT);
    if (!has_slot(remote->slots, slot))
        return count_and(id, C_COPY_SET, TC_ACT_SHOT);
    if (KEY_CLASS(key))
        return decap_data(skb, l2, config, id, remote, slot, shim);
    if (shim->protocol == PROTO_CONTROL)
        return control(skb, l2, config, id, remote, slot);
    return count_and(id, C_UNKNOWN, TC_ACT_SHOT);
}
